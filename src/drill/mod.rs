//! Failover drills: three real nodes, calls in every phase, a fault, and a judgement from outside.
//!
//! Starts processes of this program on addresses of its own, on loopback or on `machines`, plays all
//! phones, desks and web services around them, does something to one of them, and says which claims
//! held. Believes no node: what counts is what arrived at the phones and desks, and the records.
//!
//! Read [`round`] first (the order of events), then `phases` (what calls do), `exchange` (the
//! phones at work, on `leg` and `audio`), `fault`, and `judge` (what it is worth). `suite` plays
//! many rounds, and `summary` makes one figure of them.

mod audio;
mod busy;
mod cast;
mod cluster;
mod commands;
mod config;
mod desks;
mod exchange;
mod fault;
mod hands;
mod judge;
mod leg;
mod machines;
mod means;
mod message;
mod no_quorum;
mod phases;
mod queue;
mod report;
mod round;
mod shared_storage;
mod suite;
mod summary;
mod tries;
mod under;
mod upgrade;
mod watcher;
mod web;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail};

use self::cast::Addresses;
use self::fault::{Fault, Place};
use self::judge::Judged;
use self::means::Means;
use self::no_quorum::Survivor;
pub(crate) use self::suite::{Order, SIDE_BY_SIDE_MAX, Wish, run};
use self::summary::{Bounds, Gap};
use self::under::Under;

/// A drill, by what is played.
#[derive(Clone, Copy, Debug)]
enum Drill {
    /// Calls in every phase and a fault of one node: [`round`], judged by [`judge`].
    Calls(round::Drill),
    /// Callers in queues and several faults: [`queue`].
    Queue(queue::Drill),
    /// Commands of desks and several faults: [`commands`].
    Commands(commands::Drill),
    /// Calls on a busy machine and no fault: [`busy`]. Takes minutes, so it is not one of [`ALL`].
    Busy(busy::Drill),
    /// Two machines over one directory: [`shared_storage`].
    SharedStorage(shared_storage::Drill),
    /// A node that is left without a majority: [`no_quorum`].
    NoQuorum(&'static str, Survivor),
    /// Node after node is started with another build: [`upgrade`].
    Upgrade,
}

/// All drills.
const DRILLS: [Drill; 34] = [
    calls("node-killed", Fault::Killed, Place::Carrier),
    calls("node-frozen", Fault::Frozen, Place::Carrier),
    calls("node-cut-off", Fault::CutOff, Place::Carrier),
    calls("leading-node-killed", Fault::Killed, Place::LeadingCarrier),
    calls("leading-node-frozen", Fault::Frozen, Place::LeadingCarrier),
    calls("leading-node-cut-off", Fault::CutOff, Place::LeadingCarrier),
    calls("leader-killed", Fault::Killed, Place::BareLeader),
    calls("leader-frozen", Fault::Frozen, Place::BareLeader),
    calls("leader-cut-off", Fault::CutOff, Place::BareLeader),
    calls("leader-transferred", Fault::Transferred, Place::BareLeader),
    witness("witness-node-killed", Fault::Killed, Place::Carrier),
    witness("witness-leading-node-frozen", Fault::Frozen, Place::LeadingCarrier),
    witness("witness-leading-node-cut-off", Fault::CutOff, Place::LeadingCarrier),
    witness("witness-killed", Fault::Killed, Place::Witness),
    Drill::NoQuorum("no-quorum", Survivor::Follower),
    Drill::NoQuorum("no-quorum-leading", Survivor::Leader),
    under("full-disk", Fault::FullDisk, Place::Carrier, Under::SmallDisks),
    under("clock-offset", Fault::Killed, Place::LeadingCarrier, Under::Clocks),
    under("lossy-network", Fault::Killed, Place::Carrier, Under::Loss(8)),
    Drill::Queue(queue::Drill { name: "queue" }),
    Drill::Commands(commands::Drill { name: "commands" }),
    Drill::Busy(busy::Drill { name: "busy", load: 1 }),
    Drill::Busy(busy::Drill { name: "busy-twice", load: 2 }),
    Drill::Busy(busy::Drill { name: "busy-fourfold", load: 4 }),
    shared_storage("shared-storage-killed", shared_storage::Fault::Killed),
    shared_storage("shared-storage-frozen", shared_storage::Fault::Frozen),
    calls_by(Means::Interface, "interface-killed", Fault::Killed, Place::Carrier),
    calls_by(Means::Interface, "interface-frozen", Fault::Frozen, Place::Carrier),
    calls_by(Means::Interface, "interface-cut-off", Fault::CutOff, Place::Carrier),
    calls_by(Means::Hook, "hook-killed", Fault::Killed, Place::Carrier),
    calls_by(Means::Hook, "hook-frozen", Fault::Frozen, Place::Carrier),
    calls_by(Means::Reinvite, "reinvite-killed", Fault::Killed, Place::Carrier),
    calls_by(Means::Reinvite, "reinvite-frozen", Fault::Frozen, Place::Carrier),
    Drill::Upgrade,
];

const fn calls(name: &'static str, fault: Fault, place: Place) -> Drill {
    under(name, fault, place, Under::Nothing)
}

/// The same with two nodes and a witness.
const fn witness(name: &'static str, fault: Fault, place: Place) -> Drill {
    Drill::Calls(round::Drill {
        name,
        fault,
        place,
        under: Under::Nothing,
        witness: true,
        means: Means::Loopback,
    })
}

/// The same by other means than the loopback's.
const fn calls_by(means: Means, name: &'static str, fault: Fault, place: Place) -> Drill {
    Drill::Calls(round::Drill { name, fault, place, under: Under::Nothing, witness: false, means })
}

const fn under(name: &'static str, fault: Fault, place: Place, under: Under) -> Drill {
    Drill::Calls(round::Drill { name, fault, place, under, witness: false, means: Means::Loopback })
}

const fn shared_storage(name: &'static str, fault: shared_storage::Fault) -> Drill {
    Drill::SharedStorage(shared_storage::Drill { name, fault })
}

impl Drill {
    fn name(self) -> &'static str {
        match self {
            Self::Calls(drill) => drill.name,
            Self::Queue(drill) => drill.name,
            Self::Commands(drill) => drill.name,
            Self::Busy(drill) => drill.name,
            Self::SharedStorage(drill) => drill.name,
            Self::NoQuorum(name, _) => name,
            Self::Upgrade => upgrade::NAME,
        }
    }

    /// Needs namespaces of its own.
    fn needs_namespace(self) -> bool {
        match self {
            Self::Calls(drill) => {
                drill.fault == Fault::CutOff
                    || drill.under.needs_namespace()
                    || drill.means.has_machines()
            }
            Self::Queue(_)
            | Self::Commands(_)
            | Self::Busy(_)
            | Self::SharedStorage(_)
            | Self::NoQuorum(..)
            | Self::Upgrade => false,
        }
    }

    /// Why it cannot be done here, if it cannot.
    fn impossible(self, order: &Order) -> Option<String> {
        match self {
            Self::Calls(drill) => {
                let under = || drill.under.impossible();
                drill.fault.impossible().or_else(under).or_else(|| drill.means.impossible())
            }
            Self::Queue(_)
            | Self::Commands(_)
            | Self::Busy(_)
            | Self::SharedStorage(_)
            | Self::NoQuorum(..) => None,
            Self::Upgrade => {
                let none = order.other.is_none();
                none.then(|| "there is no other build; name its program with --other".to_owned())
            }
        }
    }

    /// Is one of [`ALL`].
    fn is_short(self) -> bool {
        match self {
            Self::Calls(_)
            | Self::Queue(_)
            | Self::Commands(_)
            | Self::SharedStorage(_)
            | Self::NoQuorum(..)
            | Self::Upgrade => true,
            Self::Busy(_) => false,
        }
    }

    /// Makes so much load that no other round is to be played beside it.
    fn is_alone(self) -> bool {
        match self {
            Self::Calls(_)
            | Self::Queue(_)
            | Self::SharedStorage(_)
            | Self::NoQuorum(..)
            | Self::Upgrade => false,
            Self::Commands(_) | Self::Busy(_) => true,
        }
    }

    /// What is asked of all its rounds together.
    fn bounds(self) -> Bounds {
        match self {
            Self::Calls(drill) => Bounds {
                gap: drill.gap_max().map_or(Gap::NoneAdded, Gap::Within),
                decision: Some(judge::DECISION),
            },
            Self::Queue(_) => Bounds { gap: Gap::NotJudged, decision: Some(queue::FREE) },
            Self::Commands(_) => Bounds { gap: Gap::NotJudged, decision: Some(judge::DECISION) },
            Self::Busy(_) | Self::SharedStorage(_) | Self::NoQuorum(..) | Self::Upgrade => {
                Bounds::default()
            }
        }
    }

    /// How its nodes take over.
    fn means(self) -> Means {
        match self {
            Self::Calls(drill) => drill.means,
            Self::Queue(_)
            | Self::Commands(_)
            | Self::Busy(_)
            | Self::SharedStorage(_)
            | Self::NoQuorum(..)
            | Self::Upgrade => Means::Loopback,
        }
    }

    /// Plays it once in `folder`, which it makes, and judges it.
    async fn play(
        self,
        round: usize,
        (order, addresses): (&Order, Addresses),
        folder: &Path,
    ) -> anyhow::Result<Judged> {
        match self {
            Self::Calls(drill) => {
                let evidence = round::play(drill, order.calls, addresses, folder).await?;
                Ok(judge::judge(drill, round, &evidence))
            }
            Self::Queue(drill) => queue::play(drill, round, (order.calls, addresses), folder).await,
            Self::Commands(drill) => {
                commands::play(drill, round, (order.calls, addresses), folder).await
            }
            Self::Busy(drill) => {
                let order = (order.calls, Duration::from_secs(order.minutes * 60));
                busy::play(drill, round, order, addresses, folder).await
            }
            Self::SharedStorage(drill) => {
                shared_storage::play(drill, round, (order.calls, addresses), folder).await
            }
            Self::NoQuorum(name, survivor) => {
                let outage = no_quorum::play(survivor, order.calls, addresses, folder).await?;
                Ok(judge::no_quorum::judge(name, round, &outage))
            }
            Self::Upgrade => {
                let other = order.other.as_deref().context("there is no other build")?;
                upgrade::play(round, (other, addresses), folder).await
            }
        }
    }
}

/// What stands for all drills that take less than a few minutes.
pub(crate) const ALL: &str = "all";

/// The names of the drills.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    DRILLS.iter().map(|drill| drill.name())
}

/// The same program in namespaces of its own, where a drill needs them and they can be made.
pub(crate) fn elsewhere(wishes: &[Wish]) -> anyhow::Result<Option<Command>> {
    let needs = suite::chosen(wishes, 1)?.iter().any(|(drill, _)| drill.needs_namespace());
    Ok(needs.then(fault::cut_off::elsewhere).flatten())
}

/// The drills of this name.
fn named(name: &str) -> anyhow::Result<Vec<Drill>> {
    let is_meant = |drill: &&Drill| drill.name() == name || name == ALL && drill.is_short();
    let drills: Vec<Drill> = DRILLS.iter().filter(is_meant).copied().collect();
    if drills.is_empty() {
        let names: Vec<&str> = names().collect();
        bail!("there is no drill {name:?}; there are {ALL}, {}", names.join(", "));
    }
    Ok(drills)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drill_is_found_by_its_name() {
        assert_eq!(named("leader-killed").unwrap().len(), 1);
        assert_eq!(named("busy").unwrap().len(), 1);
        let short = DRILLS.iter().filter(|drill| drill.is_short());
        assert_eq!(named(ALL).unwrap().len(), short.count());
        let error = named("nobody").unwrap_err().to_string();
        assert!(error.contains("node-killed"), "{error}");
    }
}
