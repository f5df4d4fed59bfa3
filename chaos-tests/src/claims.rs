//! What must be true, as functions whose names are the claims.
//!
//! [`Model`] is the reference: the one log that all nodes must apply, and what follows from it.
//! The first node to apply an entry is compared with the claims, all others with the first one.

use std::collections::BTreeMap;
use std::sync::Arc;

use tandem_center::agent::Agent;
use tandem_center::directory::{Skills, Strategy};
use tandem_center::event::{Happened, OfferEnd};
use tandem_center::hash::Hash;
use tandem_center::timeline::Returned;
use tandem_center::{
    AgentId, Call, CallId, Center, Command, CommandId, Index, Millis, Outcome, Phase, Record,
    Rejected, Reply,
};
use tandem_cluster::Committed;

use crate::Micros;
use crate::node::Ledger;
use moves::{Moves, Replaceable};
use wire::Wire;

pub(crate) mod dialogs;
mod moves;
pub(crate) mod wire;

pub(crate) use moves::Signal;

/// A claim that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{claim} does not hold: {why}")]
pub struct Broken {
    /// The claim's name.
    pub claim: &'static str,
    /// What was seen instead.
    pub why: String,
}

pub(crate) fn broken(claim: &'static str, why: impl Into<String>) -> Broken {
    Broken { claim, why: why.into() }
}

/// What is known of one entry of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    /// Term, time and bytes.
    content: u64,
    /// What applying it changed.
    change: u64,
    /// The whole state after it, where that was looked at.
    state: Option<u64>,
}

/// An offer that is open.
#[derive(Clone, Debug)]
struct Open {
    until: Millis,
}

/// The reference.
#[derive(Debug, Default)]
pub(crate) struct Model {
    log: BTreeMap<Index, Entry>,
    /// Commands whose proposer was told that they are done.
    acknowledged: BTreeMap<Index, u64>,
    /// Calls that began, and the commit that ended each.
    began: BTreeMap<CallId, Index>,
    cdrs: Ledger,
    offers: BTreeMap<CallId, BTreeMap<AgentId, Open>>,
    /// Who answered which call from a queue or directly.
    answered: BTreeMap<CallId, AgentId>,
    replies: BTreeMap<(AgentId, CommandId), Reply>,
    /// The calls as they were after the last entry.
    calls: BTreeMap<CallId, Arc<Call>>,
    pub(crate) moves: Moves,
    pub(crate) wire: Wire,
    pub(crate) replaceable: Option<Replaceable>,
    pub(crate) counts: Counts,
}

/// What happened in a world, to see that something did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Commands in the log.
    pub commands: u64,
    /// Calls that began.
    pub calls: u64,
    /// Offers to agents.
    pub offers: u64,
    /// Of them, to an agent beside others.
    pub at_once: u64,
    /// Conversations with agents.
    pub answered: u64,
    /// Offers that came back because nobody answered.
    pub no_answers: u64,
    /// Commands of desks that were committed more than once.
    pub repeated: u64,
    /// Power cuts.
    pub crashes: u64,
    /// States replaced by another node's snapshot.
    pub snapshots: u64,
    /// New leaders.
    pub elections: u64,
    /// Commands applied, over all nodes.
    pub applied: u64,
    /// Processes that were frozen.
    pub freezes: u64,
    /// Machines that stood still with their clocks.
    pub suspends: u64,
    /// What owners sent that could not know that their clock had stood still.
    pub unaware: u64,
    /// Disks that were slow for a while.
    pub slow_disks: u64,
    /// Disks that were full for a while.
    pub full_disks: u64,
    /// Disks that failed to write, and ended their process.
    pub broken_disks: u64,
    /// Service addresses that were opened at a node.
    pub moves: u64,
    /// Calls that got another owner.
    pub takeovers: u64,
    /// What owners sent to far ends.
    pub signals: u64,
    /// Nodes that were lost, alone and while all else was well, and replaced.
    pub replaced: u64,
    /// The longest that calls of a lost node waited for another owner, milliseconds.
    pub replaced_after_ms_max: u64,
}

/// One applied entry, as the claims see it.
pub(crate) struct Step<'a> {
    pub(crate) entry: &'a Committed,
    /// The world's time.
    pub(crate) now: Micros,
    pub(crate) is_tick: bool,
    pub(crate) given_by: Option<(AgentId, CommandId)>,
    pub(crate) result: &'a Result<Outcome, Rejected>,
    pub(crate) center: &'a Center,
    /// Shown in place of a call of the centre's: only ever by a mutant.
    pub(crate) instead: Option<Arc<Call>>,
}

impl<'a> Step<'a> {
    /// What of the command the claims need.
    pub(crate) fn kind(command: &Command) -> (bool, Option<(AgentId, CommandId)>) {
        let given_by = command.given_by().map(|(agent, id)| (agent.clone(), id.clone()));
        (matches!(command, Command::Tick), given_by)
    }

    fn content(&self) -> u64 {
        let mut hash = Hash::default();
        hash.write(&self.entry.term.to_le_bytes());
        hash.write(&self.entry.at.to_le_bytes());
        hash.write(&self.entry.data);
        hash.finish()
    }

    /// A hash of everything that the entry changed.
    fn change(&self) -> u64 {
        let mut hash = Hash::default();
        match self.result {
            Ok(outcome) => {
                for (key, value) in self.center.changed(&outcome.touched) {
                    hash.write(&key);
                    hash.write(value.as_deref().unwrap_or_default());
                }
                hash.write(&[outcome.events.len() as u8, outcome.records.len() as u8]);
            }
            Err(rejected) => hash.write(rejected.to_string().as_bytes()),
        }
        hash.finish()
    }

    fn calls(&self) -> impl Iterator<Item = &Arc<Call>> {
        let instead = self.instead.as_ref();
        self.center.calls().map(move |call| instead.filter(|by| by.id == call.id).unwrap_or(call))
    }

    fn events(&self) -> impl Iterator<Item = &'a Happened> + use<'a> {
        self.result.iter().flat_map(|outcome| outcome.events.iter().map(|event| &event.what))
    }
}

impl Model {
    /// A node applied an entry. `state`: the hash of its whole state, where that is looked at.
    pub(crate) fn observe(&mut self, step: &Step<'_>, state: Option<u64>) -> Result<(), Broken> {
        self.counts.applied += 1;
        let index = step.entry.index;
        let mine = Entry { content: step.content(), change: step.change(), state };
        if let Some(known) = self.log.get_mut(&index) {
            nodes_apply_the_same_log(index, *known, mine)?;
            equal_logs_make_equal_states(index, *known, mine)?;
            known.state = known.state.or(state);
            return Ok(());
        }
        if let Some((last, _)) = self.log.last_key_value()
            && *last > index
        {
            let why = format!("entry {index} is new, but {last} was applied elsewhere before");
            return Err(broken("nodes_apply_the_same_log", why));
        }
        self.log.insert(index, mine);
        self.counts.commands += 1;
        self.check_step(step)
    }

    /// A node goes from one entry to the next that is a command.
    pub(crate) fn no_entry_is_left_out(&self, from: Index, to: Index) -> Result<(), Broken> {
        match self.log.range(from + 1..to).next() {
            Some((missing, _)) => {
                let why = format!("after {from} comes {to}, and {missing} was left out");
                Err(broken("no_entry_is_left_out", why))
            }
            None => Ok(()),
        }
    }

    fn check_step(&mut self, step: &Step<'_>) -> Result<(), Broken> {
        self.a_repeated_command_acts_once(step)?;
        let Ok(outcome) = step.result else { return Ok(()) };
        self.wire.note(step, step.now);
        self.every_call_that_ends_gets_one_cdr(step, outcome)?;
        self.offers_open_and_close_once(step)?;
        self.at_most_one_agent_answers_a_call(step)?;
        self.callers_are_offered_in_their_order(step)?;
        deadlines_leave_nothing_due(step)?;
        self.moves.check(step, &self.calls)?;
        let is_takeover = |event: &&Happened| matches!(event, Happened::CallTakenOver { .. });
        self.counts.takeovers += step.events().filter(is_takeover).count() as u64;
        for id in &outcome.touched.calls {
            match step.center.call(*id) {
                Some(call) => drop(self.calls.insert(*id, Arc::clone(call))),
                None => drop(self.calls.remove(id)),
            }
            let Some(open) = self.offers.get_mut(id) else { continue };
            for offer in step.center.call(*id).iter().flat_map(|call| call.offers()) {
                if let Some(open) = open.get_mut(&offer.agent) {
                    open.until = offer.until;
                }
            }
        }
        if !outcome.touched.calls.is_empty() || !outcome.touched.agents.is_empty() {
            no_agent_has_two_calls(step.calls())?;
            a_queued_call_is_in_one_place(step.center)?;
        }
        Ok(())
    }

    fn a_repeated_command_acts_once(&mut self, step: &Step<'_>) -> Result<(), Broken> {
        let (Some(given_by), Ok(outcome)) = (&step.given_by, step.result) else { return Ok(()) };
        let Some(first) = self.replies.insert(given_by.clone(), outcome.reply) else {
            return Ok(());
        };
        self.counts.repeated += 1;
        let acts = !outcome.touched.is_empty() || !outcome.records.is_empty();
        if acts || first != outcome.reply {
            let why = format!("{given_by:?} was answered {first:?}, then again {outcome:?}");
            return Err(broken("a_repeated_command_acts_once", why));
        }
        Ok(())
    }

    fn every_call_that_ends_gets_one_cdr(
        &mut self,
        step: &Step<'_>,
        outcome: &Outcome,
    ) -> Result<(), Broken> {
        let claim = "every_call_that_ends_gets_one_cdr";
        for record in &outcome.records {
            let Record::Cdr(cdr) = record else { continue };
            let at = step.center.at();
            self.wire.a_record_has_the_times_of_its_commits(cdr, at, step.now)?;
            if let Some(before) = self.cdrs.insert(cdr.call, step.entry.index) {
                let why = format!("{} has one of {before} and {}", cdr.call, step.entry.index);
                return Err(broken(claim, why));
            }
        }
        for id in &outcome.touched.calls {
            let call = step.center.call(*id);
            if !self.began.contains_key(id) && call.is_some() {
                self.began.insert(*id, step.entry.index);
                self.counts.calls += 1;
            }
            let is_over = call.is_none_or(|call| call.has_ended());
            if is_over != self.cdrs.contains_key(id) {
                let why = format!("{id} is over: {is_over}, and has none or too early a record");
                return Err(broken(claim, why));
            }
        }
        Ok(())
    }

    /// Each offer is to one agent, and ends once: answered, returned, or withdrawn.
    fn offers_open_and_close_once(&mut self, step: &Step<'_>) -> Result<(), Broken> {
        for event in step.events() {
            if let Happened::Offered { agent, call, until, .. } = event {
                self.open_offer(step, call.call, agent, Open { until: *until })?;
            } else if let Happened::OfferEnded { agent, call, why } = event {
                self.close_offer(step, agent, *call, Some(*why))?;
            } else if let Happened::Established { agent, call, .. } = event
                && self.offers.get(&call.call).is_some_and(|open| open.contains_key(agent))
            {
                self.close_offer(step, agent, call.call, None)?;
            }
        }
        Ok(())
    }

    /// Several agents only where the queue rings all at once, and then each once.
    fn open_offer(
        &mut self,
        step: &Step<'_>,
        call: CallId,
        agent: &AgentId,
        open: Open,
    ) -> Result<(), Broken> {
        self.counts.offers += 1;
        let mine = self.offers.entry(call).or_default();
        let is_repeated = mine.insert(agent.clone(), open).is_some();
        if is_repeated || (mine.len() > 1 && !rings_all(step.center, call)) {
            let why = format!("{call} is offered to {:?}, then to {agent}", mine.keys());
            return Err(broken("no_call_is_offered_to_two_agents", why));
        }
        self.counts.at_once += u64::from(mine.len() > 1);
        let to_them = self.offers.iter().filter(|(_, open)| open.contains_key(agent));
        let to_them: Vec<_> = to_them.map(|(call, _)| call.to_string()).collect();
        if to_them.len() > 1 {
            let why = format!("{agent} is offered {to_them:?}");
            return Err(broken("no_agent_is_offered_two_calls", why));
        }
        Ok(())
    }

    fn close_offer(
        &mut self,
        step: &Step<'_>,
        agent: &AgentId,
        call: CallId,
        end: Option<OfferEnd>,
    ) -> Result<(), Broken> {
        let Some(open) = self.offers.get_mut(&call).and_then(|open| open.remove(agent)) else {
            let why = format!("the offer of {call} to {agent} ends, and is not open");
            return Err(broken("an_offer_ends_once", why));
        };
        if end == Some(OfferEnd::Returned(Returned::NoAnswer)) && step.is_tick {
            self.counts.no_answers += 1;
            if open.until > step.center.at() {
                let why = format!("due at {}, fired at {}", open.until, step.center.at());
                return Err(broken("deadlines_fire_once_and_not_early", why));
            }
        }
        Ok(())
    }

    fn at_most_one_agent_answers_a_call(&mut self, step: &Step<'_>) -> Result<(), Broken> {
        for event in step.events() {
            // Who is parked is picked up by another.
            if let Happened::Parked { call, .. } = event {
                self.answered.remove(call);
            }
            let Happened::Established { agent, call, .. } = event else { continue };
            let of_caller = step
                .center
                .call(call.call)
                .is_none_or(|call| call.direction == tandem_center::Direction::Inbound);
            if !of_caller {
                continue;
            }
            self.counts.answered += 1;
            if let Some(before) = self.answered.insert(call.call, agent.clone()) {
                let why = format!("{} is answered by {before} and by {agent}", call.call);
                return Err(broken("at_most_one_agent_answers_a_call", why));
            }
        }
        Ok(())
    }

    /// Higher priority first, then the earlier commit, among those whom the same agents may take.
    /// An offer that came back keeps the place.
    fn callers_are_offered_in_their_order(&self, step: &Step<'_>) -> Result<(), Broken> {
        for event in step.events() {
            let Happened::Offered { call, .. } = event else { continue };
            let Some(offered) = step.center.call(call.call) else { continue };
            let Some((queue, _)) = place_of(offered) else { continue };
            let Some(place) = order_of(step.center, offered) else { continue };
            let Some(live) = step.center.queue(queue) else { continue };
            let others = live.waiting().filter_map(|waiting| step.center.call(waiting.call));
            let alike = |other: &&Arc<Call>| {
                other.offers().is_empty() && may_be_taken_by(other) == may_be_taken_by(offered)
            };
            for other in others.filter(alike) {
                if order_of(step.center, other).is_some_and(|before| before < place) {
                    let why = format!("{} is offered before {}", offered.id, other.id);
                    return Err(broken("callers_are_offered_in_their_order", why));
                }
            }
        }
        Ok(())
    }

    /// A proposer was told that this entry is done.
    pub(crate) fn acknowledge(&mut self, index: Index) {
        let content = self.log.get(&index).map_or(0, |entry| entry.content);
        self.acknowledged.insert(index, content);
    }

    pub(crate) fn newest_acknowledged(&self) -> Index {
        self.acknowledged.last_key_value().map_or(0, |(index, _)| *index)
    }

    /// At the end, at each node: it has everything that was acknowledged, and the records.
    pub(crate) fn acknowledged_commands_survive(
        &self,
        applied: Index,
        ledger: &Ledger,
    ) -> Result<(), Broken> {
        let newest = self.newest_acknowledged();
        if applied < newest {
            let why = format!("applied up to {applied}, and {newest} was acknowledged");
            return Err(broken("acknowledged_commands_survive", why));
        }
        if *ledger != self.cdrs {
            let why = format!("{} records, {} calls ended", ledger.len(), self.cdrs.len());
            return Err(broken("every_node_has_every_cdr_once", why));
        }
        Ok(())
    }

    /// At the end: every call that ever began is over and has its record.
    pub(crate) fn every_call_has_one_cdr(&self) -> Result<(), Broken> {
        match self.began.keys().find(|call| !self.cdrs.contains_key(call)) {
            Some(call) => Err(broken("every_call_has_one_cdr", format!("{call} has none"))),
            None => Ok(()),
        }
    }

    /// A state that was read back from a snapshot or the cache is the one that was applied.
    pub(crate) fn a_state_reads_back_as_it_was(
        &self,
        index: Index,
        state: u64,
    ) -> Result<(), Broken> {
        let before = self.log.range(..=index).next_back();
        match before.and_then(|(_, entry)| entry.state) {
            Some(known) if known != state => {
                let why = format!("the state at {index} hashes to {state:x}, not {known:x}");
                Err(broken("a_state_reads_back_as_it_was", why))
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// The queue that a call waits in, and its place there: smaller is earlier.
fn place_of(call: &Call) -> Option<(&tandem_center::QueueId, (u8, Index, CallId))> {
    let Phase::Queued { queue, ticket, .. } = &call.phase else { return None };
    Some((queue, (u8::MAX - call.priority, *ticket, call.id)))
}

/// What decides who may take a waiting call, besides the queue.
fn may_be_taken_by(call: &Call) -> Option<(u8, &Option<AgentId>, &Skills)> {
    let Phase::Queued { ring, wanted, .. } = &call.phase else { return None };
    Some((*ring, wanted, &call.needs))
}

/// Whether the call waits in a queue that asks several agents at once.
fn rings_all(center: &Center, call: CallId) -> bool {
    let Some(Phase::Queued { queue, .. }) = center.call(call).map(|call| &call.phase) else {
        return false;
    };
    let config = center.directory().queues.get(queue);
    config.is_some_and(|config| config.strategy == Strategy::RingAll)
}

/// The order of service in a queue: with ageing, as if a caller had come earlier by so much for
/// each step of priority.
fn order_of(center: &Center, call: &Call) -> Option<(i128, Index, CallId)> {
    let Phase::Queued { queue, ticket, since, .. } = &call.phase else { return None };
    let step = center.directory().queues.get(queue)?.distribution.age_seconds;
    let priority = i128::from(call.priority);
    let key = match step {
        0 => -priority,
        step => i128::from(since.0) - priority * i128::from(step) * 1_000,
    };
    Some((key, *ticket, call.id))
}

fn nodes_apply_the_same_log(index: Index, known: Entry, mine: Entry) -> Result<(), Broken> {
    if known.content == mine.content {
        return Ok(());
    }
    Err(broken("nodes_apply_the_same_log", format!("entry {index} is another one elsewhere")))
}

fn equal_logs_make_equal_states(index: Index, known: Entry, mine: Entry) -> Result<(), Broken> {
    let states_differ = matches!((known.state, mine.state), (Some(a), Some(b)) if a != b);
    if known.change == mine.change && !states_differ {
        return Ok(());
    }
    let why = format!("entry {index} does here what it does not do elsewhere");
    Err(broken("equal_logs_make_equal_states", why))
}

fn no_agent_has_two_calls<'a>(of: impl Iterator<Item = &'a Arc<Call>>) -> Result<(), Broken> {
    let mut calls: BTreeMap<&AgentId, CallId> = BTreeMap::new();
    for call in of {
        let alive = call.legs.values().filter(|leg| leg.state.is_alive());
        let mut agents: Vec<_> = alive.filter_map(|leg| leg.role.agent()).collect();
        agents.extend(call.offers().iter().map(|offer| &offer.agent));
        agents.sort_unstable();
        agents.dedup();
        for agent in agents {
            if let Some(other) = calls.insert(agent, call.id) {
                let why = format!("{agent} is in {other} and in {}", call.id);
                return Err(broken("no_agent_has_two_calls", why));
            }
        }
    }
    Ok(())
}

/// Who waits is in the queue that the call names, once, and in no other.
fn a_queued_call_is_in_one_place(center: &Center) -> Result<(), Broken> {
    let mut places: BTreeMap<CallId, &tandem_center::QueueId> = BTreeMap::new();
    for queue in center.queues() {
        for waiting in queue.waiting() {
            if let Some(other) = places.insert(waiting.call, &queue.id) {
                let why = format!("{} waits in {other} and in {}", waiting.call, queue.id);
                return Err(broken("a_queued_call_is_in_one_place", why));
            }
        }
    }
    for call in center.calls() {
        let queue = place_of(call).map(|(queue, _)| queue);
        if places.remove(&call.id) != queue {
            let why = format!("{} is queued in {queue:?}", call.id);
            return Err(broken("a_queued_call_is_in_one_place", why));
        }
    }
    match places.into_iter().next() {
        Some((call, queue)) => {
            let why = format!("{call} waits in {queue}, and there is no such call");
            Err(broken("a_queued_call_is_in_one_place", why))
        }
        None => Ok(()),
    }
}

/// Whatever was due when the leader ticked has happened, and is not due again.
fn deadlines_leave_nothing_due(step: &Step<'_>) -> Result<(), Broken> {
    match step.center.next_deadline() {
        Some(due) if step.is_tick && due <= step.center.at() => {
            let why = format!("{due} is due after a tick at {}", step.center.at());
            Err(broken("deadlines_fire_once_and_not_early", why))
        }
        Some(_) | None => Ok(()),
    }
}

/// After quiet time there is no call, and nobody is busy.
pub(crate) fn nothing_is_left(center: &Center) -> Result<(), Broken> {
    let claim = "nothing_is_left_after_quiet_time";
    if let Some(call) = center.calls().next() {
        let legs: Vec<_> = call.legs.values().map(|leg| leg.state).collect();
        return Err(broken(claim, format!("{} is {}: {legs:?}", call.id, call.phase_name())));
    }
    let is_busy = |agent: &&Arc<Agent>| agent.state.call().is_some();
    match center.agents().find(is_busy) {
        Some(agent) => Err(broken(claim, format!("{} is {}", agent.id, agent.state.name()))),
        None => Ok(()),
    }
}
