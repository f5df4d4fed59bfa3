//! Failover drills: three real nodes, calls in every phase, a fault, and a judgement from outside.
//!
//! Starts processes of this program on loopback addresses of its own, plays all phones, desks and
//! web services around them, does something to one of them, and says which claims held. Believes
//! no node: what counts is what arrived at the phones and desks, and the records.
//!
//! Read [`round`] first (the order of events), then `phases` (what calls do), `exchange` (the
//! phones at work, on `leg` and `audio`), `fault`, and `judge` (what it is worth).

mod audio;
mod cast;
mod cluster;
mod config;
mod desks;
mod exchange;
mod fault;
mod judge;
mod leg;
mod message;
mod phases;
mod report;
mod round;
mod upgrade;
mod web;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use self::cast::Addresses;
use self::fault::{Fault, Place};
use self::judge::{Claim, Judged, Verdict};

/// A drill, by what is played.
#[derive(Clone, Copy, Debug)]
enum Drill {
    /// Calls in every phase and a fault of one node: [`round`], judged by [`judge`].
    Calls(round::Drill),
    /// Node after node is started with another build: [`upgrade`].
    Upgrade,
}

/// All drills.
const DRILLS: [Drill; 11] = [
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
    Drill::Upgrade,
];

const fn calls(name: &'static str, fault: Fault, place: Place) -> Drill {
    Drill::Calls(round::Drill { name, fault, place })
}

impl Drill {
    fn name(self) -> &'static str {
        match self {
            Self::Calls(drill) => drill.name,
            Self::Upgrade => upgrade::NAME,
        }
    }

    /// Needs a network namespace of its own.
    fn needs_namespace(self) -> bool {
        match self {
            Self::Calls(drill) => drill.fault == Fault::CutOff,
            Self::Upgrade => false,
        }
    }

    /// Why it cannot be done here, if it cannot.
    fn impossible(self, order: &Order) -> Option<String> {
        match self {
            Self::Calls(drill) => drill.fault.impossible(),
            Self::Upgrade => {
                let none = order.other.is_none();
                none.then(|| "there is no other build; name its program with --other".to_owned())
            }
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
            Self::Upgrade => {
                let other = order.other.as_deref().context("there is no other build")?;
                upgrade::play(round, (other, addresses), folder).await
            }
        }
    }
}

/// What stands for all drills.
pub(crate) const ALL: &str = "all";

/// The names of the drills.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    DRILLS.iter().map(|drill| drill.name())
}

/// What is to be done.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    /// A drill, or [`ALL`].
    pub(crate) name: String,
    pub(crate) calls: usize,
    pub(crate) rounds: usize,
    /// The last byte of the first node's address.
    pub(crate) first: u8,
    /// Where the report goes.
    pub(crate) report: Option<PathBuf>,
    /// The program of the build that follows this one, for upgrades.
    pub(crate) other: Option<PathBuf>,
    /// Keep the folder with configurations, logs and data.
    pub(crate) keep: bool,
}

/// The same program in a network namespace of its own, where a drill needs one and it can be made.
pub(crate) fn elsewhere(name: &str) -> anyhow::Result<Option<Command>> {
    let needs = chosen(name)?.iter().any(|drill| drill.needs_namespace());
    Ok(needs.then(fault::cut_off::elsewhere).flatten())
}

fn chosen(name: &str) -> anyhow::Result<Vec<Drill>> {
    let drills: Vec<Drill> =
        DRILLS.iter().filter(|drill| name == ALL || drill.name() == name).copied().collect();
    if drills.is_empty() {
        let names: Vec<&str> = names().collect();
        bail!("there is no drill {name:?}; there are {ALL}, {}", names.join(", "));
    }
    Ok(drills)
}

/// Runs what is ordered; `says` gets the lines as they come.
///
/// # Errors
/// A claim did not hold, or the drill could not be run.
pub(crate) async fn run(order: &Order, says: impl Fn(&str)) -> anyhow::Result<()> {
    let drills = chosen(&order.name)?;
    allow_sockets();
    let folder = Folder::new(order.keep)?;
    let addresses = Addresses { first: order.first };
    let mut all = Vec::new();
    for drill in drills {
        for round in 1..=order.rounds {
            let place = folder.path.join(format!("{}-{round}", drill.name()));
            let judged = one(drill, round, (order, addresses), &place).await;
            report::lines(&judged).iter().for_each(|line| says(line));
            all.push(judged);
        }
    }
    says("");
    report::table(&all).iter().for_each(|line| says(line));
    if let Some(file) = &order.report {
        std::fs::write(file, report::html(&all))
            .with_context(|| format!("{} cannot be written", file.display()))?;
        says(&format!("the report is in {}", file.display()));
    }
    if order.keep {
        says(&format!("logs and data are in {}", folder.path.display()));
    }
    let failed = all.iter().filter(|judged| judged.verdict() == Verdict::Failed).count();
    if failed > 0 {
        bail!("{failed} of {} rounds failed", all.len());
    }
    Ok(())
}

async fn one(
    drill: Drill,
    round: usize,
    (order, addresses): (&Order, Addresses),
    folder: &Path,
) -> Judged {
    let claim = "the drill can be run";
    if let Some(why) = drill.impossible(order) {
        let why = format!("not possible here: {why}");
        return Judged::unplayed(drill.name(), round, Claim::skipped(claim, &why));
    }
    drill.play(round, (order, addresses), folder).await.unwrap_or_else(|error| {
        Judged::unplayed(drill.name(), round, Claim::failed(claim, format!("{error:#}")))
    })
}

/// Each party has two sockets; the usual soft limit of 1,024 files is for 200 calls too low.
fn allow_sockets() {
    let limit = getrlimit(Resource::Nofile);
    // Where it cannot be raised, the sockets that are too many fail with their own message.
    let _refused =
        setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

/// The folder of a run, removed with it unless it is kept.
struct Folder {
    path: PathBuf,
    keep: bool,
}

impl Folder {
    fn new(keep: bool) -> anyhow::Result<Self> {
        let name = format!("tandem-drill-{}-{:08x}", std::process::id(), rand::random::<u32>());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).with_context(|| format!("{} cannot be made", path.display()))?;
        Ok(Self { path, keep })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.keep {
            // It is temporary: what cannot be removed now is removed by the system.
            let _left = std::fs::remove_dir_all(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drill_is_found_by_its_name() {
        assert_eq!(chosen("leader-killed").unwrap().len(), 1);
        assert_eq!(chosen(ALL).unwrap().len(), DRILLS.len());
        let error = chosen("nobody").unwrap_err().to_string();
        assert!(error.contains("node-killed"), "{error}");
    }
}
