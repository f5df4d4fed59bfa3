//! Faults that are built in on purpose. A checker that does not notice them is no checker.

use std::sync::Arc;

use tandem_center::call::{Offer, Stage};
use tandem_center::{AgentState, Call, Center, Command, CommandId, Index, Millis, Phase};

use crate::node::pairs_of;

/// What is wrong with all nodes of a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// Acknowledgements leave before the disk has synced.
    SendsBeforeSync,
    /// An agent who is offered a call is offered the next one, too.
    OffersTwice,
    /// A repeated command of a desk is not recognised.
    ForgetsCommands,
    /// A replica applies with its own clock instead of the log's.
    ReadsTheClock,
    /// The last caller of a queue is served first.
    ServesTheLastFirst,
    /// A lease holds for longer than it takes until its node is missed.
    LeasesOutliveTheLoss,
    /// A leader misses those from whom it read nothing lately, though it read nothing at all.
    MissesByOldReadings,
    /// A leader speaks for the calls of a node that it misses before that is committed.
    ActsBeforeTheCommit,
    /// A node that is up again does not get its address back.
    KeepsTheHome,
    /// A node goes on with calls that are another's now.
    OwnersStay,
    /// An arrival whose fate is unknown is proposed again.
    ArrivesTwice,
    /// A node acts as soon as it has a lease again, before it knows what happened meanwhile.
    ActsUnconfirmed,
}

impl Mutant {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::SendsBeforeSync,
        Self::OffersTwice,
        Self::ForgetsCommands,
        Self::ReadsTheClock,
        Self::ServesTheLastFirst,
        Self::LeasesOutliveTheLoss,
        Self::MissesByOldReadings,
        Self::ActsBeforeTheCommit,
        Self::KeepsTheHome,
        Self::OwnersStay,
        Self::ArrivesTwice,
        Self::ActsUnconfirmed,
    ];
}

/// The command and its time as the mutant sees them.
pub(crate) fn twist(
    mutant: Option<Mutant>,
    (at, clock): (Millis, u64),
    mut command: Command,
    index: Index,
) -> (Millis, Command) {
    match mutant {
        Some(Mutant::ReadsTheClock) => (Millis(clock), command),
        Some(Mutant::ForgetsCommands) => {
            let id = CommandId::parse(&index.to_string()).expect("a number is a short id");
            rename(&mut command, id);
            (at, command)
        }
        Some(Mutant::KeepsTheHome) => {
            if let Command::HomeYielded { epoch, .. } = &mut command {
                *epoch = u32::MAX;
            }
            (at, command)
        }
        Some(_) | None => (at, command),
    }
}

fn rename(of: &mut Command, id: CommandId) {
    if let Command::SetState { command, .. }
    | Command::Hold { command, .. }
    | Command::Retrieve { command, .. }
    | Command::Dispose { command, .. }
    | Command::AcceptOffer { command, .. }
    | Command::SignIn { command, .. } = of
    {
        *command = id;
    }
}

/// The state after a command as the mutant leaves it.
pub(crate) fn corrupt(mutant: Option<Mutant>, center: &mut Center) {
    let changed = match mutant {
        Some(Mutant::ServesTheLastFirst) => turn_round(center),
        Some(_) | None => None,
    };
    if let Some(call) = changed
        && let Some(corrupted) = with_call(center, &call)
    {
        *center = corrupted;
    }
}

/// What the mutant's wrapper shows in place of one of the calls. The centre itself cannot be
/// brought to hold such a call: it does not load a state that contradicts itself.
pub(crate) fn wrap(mutant: Option<Mutant>, center: &Center) -> Option<Arc<Call>> {
    match mutant {
        Some(Mutant::OffersTwice) => offer_twice(center).map(Arc::new),
        Some(_) | None => None,
    }
}

/// A caller who waits is offered to an agent who rings already.
fn offer_twice(center: &Center) -> Option<Call> {
    let mut agents = center.agents();
    let agent = agents.find(|agent| matches!(agent.state, AgentState::Ringing { .. }))?;
    let is_free = |call: &&Arc<Call>| matches!(&call.phase, Phase::Queued { offers, .. } if offers.is_empty());
    let mut call = Call::clone(center.calls().find(is_free)?);
    if let Phase::Queued { offers, .. } = &mut call.phase {
        let (since, until) = (center.at(), center.at().plus_seconds(5));
        offers.push(Offer { agent: agent.id.clone(), since, until, stage: Stage::Desk });
    }
    Some(call)
}

/// The caller who came last is made the first.
fn turn_round(center: &Center) -> Option<Call> {
    for queue in center.queues().filter(|queue| queue.length() > 1) {
        let last = queue.waiting().last()?;
        let mut call = Call::clone(center.call(last.call)?);
        if let Phase::Queued { ticket, offers, .. } = &mut call.phase
            && offers.is_empty()
        {
            *ticket = 1;
            return Some(call);
        }
    }
    None
}

/// The same state with another value of one call.
fn with_call(center: &Center, call: &Call) -> Option<Center> {
    let mut pairs = pairs_of(&center.save())?;
    let key = [&b"c"[..], &call.id.0.to_be_bytes()].concat();
    let pair = pairs.iter_mut().find(|(at, _)| *at == key)?;
    pair.1 = postcard::to_allocvec(call).ok()?;
    Center::from_pairs(pairs).ok()
}
