//! The one way in: applies a committed command, then lets the ACD match what became free.
//!
//! Every command is checked first and mutates after: an `Err` leaves the state as it was. What
//! is late or repeated is no error but [`Reply::Already`]: nodes report what they see, and the
//! state may have moved on.
//!
//! `arrive` begins calls and routes them, `ivr` walks them through flows, `offer` is about
//! agents and calls finding each other, `legs` hears what nodes report, `end` ends calls and
//! writes their records, `desk`, `talk`, `control`, `park` and `dial` obey agents, `refer` their
//! phones, `supervise` supervisors, `time` handles what is due, `nodes` and `configure` handle the world changing,
//! `trunks` chooses ways out.

mod arrive;
mod configure;
mod control;
mod desk;
mod dial;
mod end;
mod ivr;
mod legs;
mod nodes;
mod offer;
mod park;
mod refer;
mod session;
mod supervise;
mod talk;
mod time;
mod trunks;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::agent::Remembered;
use crate::call::{TEXT_BYTES_MAX, WIRE_BYTES_MAX, Wire};
use crate::event::{Audience, Event, Happened, Screen};
use crate::queue::Place;
use crate::record::Ended;
use crate::registration::Registration;
use crate::timeline::What;
use crate::{
    AgentId, Call, CallId, Center, Command, Index, Millis, Outcome, QueueId, Record, Rejected,
    Reply,
};

/// One command on its way through the state: when and where it stands, and what it did so far.
#[derive(Debug)]
pub(crate) struct Turn {
    pub(crate) index: Index,
    pub(crate) at: Millis,
    /// When what the command reports was seen, if it could not be reported at once.
    pub(crate) seen: Option<Millis>,
    pub(crate) outcome: Outcome,
    /// Queues of agents who came, left, or went on a break.
    pub(crate) restaffed: BTreeSet<QueueId>,
    /// Agents who became ready, or stand elsewhere among the ready.
    pub(crate) freed: BTreeSet<AgentId>,
    /// Those of them who stand in no pool yet: most are offered a call before they would.
    pub(crate) unseated: BTreeSet<AgentId>,
    /// The places of callers who came to be offered to nobody, or whom others may take now.
    pub(crate) opened: BTreeMap<QueueId, BTreeSet<Place>>,
    /// Routes that this command followed, to end circles.
    pub(crate) routes: usize,
}

impl Turn {
    pub(crate) fn new(index: Index, at: Millis) -> Self {
        let (freed, unseated, opened) = (BTreeSet::new(), BTreeSet::new(), BTreeMap::new());
        let (seen, outcome, restaffed) = (None, Outcome::default(), BTreeSet::new());
        Self { index, at, seen, outcome, restaffed, freed, unseated, opened, routes: 0 }
    }

    /// Says something to an agent, and to supervisors.
    pub(crate) fn tell(&mut self, agent: &AgentId, what: Happened) {
        self.outcome.events.push(Event { audience: Audience::Agent(agent.clone()), what });
    }

    /// Says something to supervisors.
    pub(crate) fn announce(&mut self, what: Happened) {
        self.outcome.events.push(Event { audience: Audience::Supervisors, what });
    }
}

impl Center {
    /// Applies one committed command, then lets the ACD match what became free.
    ///
    /// Depends on nothing but its arguments: every replica that applies the same commands holds
    /// the same state. A rejected command changes nothing but the index. `at` is the leader's
    /// clock; should it step back, time stands still here.
    pub fn apply(
        &mut self,
        index: Index,
        at: Millis,
        command: Command,
    ) -> Result<Outcome, Rejected> {
        self.index = index;
        let given_by = command.given_by().map(|(agent, id)| (agent.clone(), id.clone()));
        if let Some((agent, id)) = &given_by
            && let Some(results) = self.results.get(agent)
        {
            if let Some(reply) = results.get(id) {
                return Ok(Outcome { reply: *reply, ..Outcome::default() });
            }
            if results.may_have_forgotten(id) {
                return Err(Rejected::Late { agent: agent.clone() });
            }
        }
        let mut turn = Turn::new(index, self.at.max(at));
        let reply = self.dispatch(&mut turn, command)?;
        self.at = turn.at;
        self.rehearse();
        turn.outcome.reply = reply;
        if let Some((agent, command)) = given_by
            && self.agents.contains_key(&agent)
        {
            let result = Remembered { command, index, reply };
            let slot = self.results.entry(agent.clone()).or_default().remember(result);
            turn.outcome.touched.results.insert((agent, slot));
        }
        self.settle_supervisions(&mut turn);
        self.note_deserted(&mut turn);
        self.distribute(&mut turn);
        self.stamp_timelines(&mut turn);
        self.announce_queues(&mut turn);
        if cfg!(debug_assertions)
            && let Err(violation) = self.check_invariants()
        {
            panic!("the centre contradicts itself after command {index}: {violation}");
        }
        Ok(turn.outcome)
    }

    #[expect(clippy::too_many_lines, reason = "one arm for each command, each straight")]
    fn dispatch(&mut self, turn: &mut Turn, command: Command) -> Result<Reply, Rejected> {
        match command {
            Command::Configure(directory) => self.configure(turn, *directory),
            Command::Tick => Ok(self.tick(turn)),
            Command::NodeUp { node, homes, sockets_are_lost } => {
                self.node_up(turn, nodes::Arrival { node, homes, sockets_are_lost })
            }
            Command::NodeLost { node, silent_ms } => Ok(self.node_lost(turn, node, silent_ms)),
            Command::Arrived(arrived) => self.arrived(turn, *arrived),
            Command::LegRinging { call, leg } => self.leg_ringing(turn, call, leg),
            Command::LegAnswered { call, leg, wires } => self.leg_answered(turn, call, leg, wires),
            Command::LegFailed { call, leg, status } => {
                let failure = trunks::Failure { status, relayed: status };
                self.leg_failed(turn, (call, leg), failure)
            }
            Command::TrunkFailed { call, leg, status, relayed, retry_after_seconds } => {
                let failure = trunks::Failure { status, relayed };
                self.trunk_failed(turn, (call, leg), failure, retry_after_seconds)
            }
            Command::TrunkSeen { node, trunk, reached } => {
                Ok(self.trunk_seen(turn, node, trunk, reached))
            }
            Command::LegEnded { call, leg, cause } => self.leg_ended(turn, call, leg, cause),
            Command::LegEndedBefore { call, leg, cause, ago_ms } => {
                turn.seen = Some(Millis(turn.at.0.saturating_sub(ago_ms.into())));
                self.leg_ended(turn, call, leg, cause)
            }
            Command::LegHeld { call, leg, held } => self.leg_held(turn, call, leg, held),
            Command::WireChanged { call, leg, wire } => self.wire_changed(turn, call, leg, wire),
            Command::Ivr { call, seq, result } => self.ivr(turn, call, seq, result),
            Command::IvrProgress { call, seq, offset_ms } => {
                self.ivr_progress(turn, call, seq, offset_ms)
            }
            Command::Cleared { calls } => self.cleared(turn, calls),
            Command::SignIn { agent, session, node, .. } => {
                self.sign_in(turn, &agent, session, node)
            }
            Command::SignOut { agent, session, .. } => self.sign_out(turn, &agent, session),
            Command::SessionLost { session, node } => Ok(self.session_lost(turn, session, node)),
            Command::SessionBack { session, node } => self.session_back(turn, session, node),
            Command::SetState { agent, state, .. } => self.set_state(turn, &agent, state),
            Command::AcceptOffer { agent, call, .. } => self.accept_offer(turn, &agent, call),
            Command::DeclineOffer { agent, call, .. } => self.decline_offer(turn, &agent, call),
            Command::Hold { agent, call, .. } => self.hold(turn, &agent, call),
            Command::Retrieve { agent, call, .. } => self.retrieve(turn, &agent, call),
            Command::HangUp { agent, call, .. } => self.hang_up(turn, &agent, call),
            Command::Dial(dial) => self.dial(turn, *dial),
            Command::Consult { agent, call, to, .. } => self.consult(turn, &agent, call, to),
            Command::Alternate { agent, call, .. } => self.alternate(turn, &agent, call),
            Command::Reconnect { agent, call, .. } => self.reconnect(turn, &agent, call),
            Command::Conference { agent, call, .. } => self.conference(turn, &agent, call),
            Command::Transfer { agent, call, to, .. } => self.transfer(turn, &agent, call, to),
            Command::Dispose { agent, call, disposition, note, .. } => {
                self.dispose(turn, desk::Words { agent, call, disposition, note })
            }
            Command::EndWrapUp { agent, .. } => self.end_wrap_up(turn, &agent),
            Command::HomeYielded { home, epoch } => Ok(self.home_yielded(turn, home, epoch)),
            Command::Drain { node } => self.drain(turn, node),
            Command::Resume { node } => self.resume(turn, node),
            Command::Reads { node, reads, witness } => self.reads(turn, (node, witness), reads),
            Command::Agree { version, nodes } => Ok(self.agree(turn, version, &nodes)),
            Command::Mute { agent, call, muted, .. } => self.mute(turn, &agent, call, muted),
            Command::SendKeys { agent, call, keys, .. } => self.send_keys(turn, &agent, call, keys),
            Command::PauseRecording { agent, call, paused, .. } => {
                self.pause_recording(turn, &agent, call, paused)
            }
            Command::Deflect { agent, call, to, .. } => self.deflect(turn, &agent, call, to),
            Command::Park { agent, call, .. } => self.park(turn, &agent, call),
            Command::PickUp { agent, slot, .. } => self.pick_up(turn, &agent, slot),
            Command::Referred { call, leg, to } => self.referred(turn, call, leg, to),
            Command::ReferredWith { call, leg, other } => {
                self.referred_with(turn, (call, leg), other)
            }
            Command::Supervise { agent, of, mode, .. } => self.supervise(turn, &agent, &of, mode),
            Command::TakeOver { agent, of, .. } => self.take_over(turn, &agent, &of),
            Command::ForceState { agent, of, state, .. } => {
                self.force_state(turn, &agent, &of, state)
            }
            Command::ForceLogOut { agent, of, .. } => self.force_log_out(turn, &agent, &of),
            Command::Prioritise { agent, call, priority, .. } => {
                self.prioritise(turn, &agent, call, priority)
            }
            Command::MoveToQueue { agent, call, queue, .. } => {
                self.move_to_queue(turn, &agent, call, &queue)
            }
            Command::Registered { agent, contacts, until } => {
                self.registered(turn, agent, Registration { contacts, until })
            }
            Command::Owned { epoch, report } => self.owned(turn, epoch, *report),
        }
    }

    /// A report of a call's owner, if it is the owner still.
    fn owned(&mut self, turn: &mut Turn, epoch: u32, report: Command) -> Result<Reply, Rejected> {
        let call = report.reported_call().ok_or(Rejected::NoReport)?;
        if self.calls.get(&call).is_some_and(|call| call.epoch != epoch) {
            return Err(Rejected::CallMoved { call });
        }
        self.dispatch(turn, report)
    }

    /// The notes of this command get its index, and who ended leaves a timeline behind.
    fn stamp_timelines(&mut self, turn: &mut Turn) {
        for id in &turn.outcome.touched.calls {
            let Some(call) = self.calls.get_mut(id).filter(|call| call.timeline.is_fresh()) else {
                continue;
            };
            Arc::make_mut(call).timeline.stamp(turn.index);
        }
        let ended = turn.outcome.records.iter().filter_map(|record| match record {
            Record::Cdr(cdr) => self.calls.get(&cdr.call),
            Record::Disposition(_) | Record::Timeline(_) | Record::Stint(_) => None,
        });
        let ended = ended.map(|call| Ended { call: call.id, timeline: call.timeline.clone() });
        let timelines: Vec<_> = ended.map(|ended| Record::Timeline(Box::new(ended))).collect();
        turn.outcome.records.extend(timelines);
    }

    pub(crate) fn looked_up(&self, id: CallId) -> Result<&Arc<Call>, Rejected> {
        self.calls.get(&id).ok_or(Rejected::NoSuchCall { call: id })
    }

    pub(crate) fn note(&mut self, turn: &mut Turn, id: CallId, what: What) {
        let at = turn.at;
        self.edit_call(turn, id, |call| call.timeline.note(at, what));
    }

    /// What a screen shows of a call.
    pub(crate) fn screen(&self, turn: &Turn, call: &Call) -> Box<Screen> {
        let config = call.queue.as_ref().and_then(|queue| self.directory.queues.get(queue));
        Box::new(Screen {
            call: call.id,
            direction: call.direction,
            caller: call.caller.clone(),
            called: call.called.clone(),
            queue: call.queue.clone(),
            queue_label: config.map(|config| config.label.clone()),
            arrived: call.arrived,
            wait_ms: call.wait_ms(turn.at),
            variables: call.data.iter().map(|(k, v)| (k.clone(), v.clone())).collect(),
            priority: call.priority,
        })
    }

    fn announce_queues(&self, turn: &mut Turn) {
        for id in &turn.outcome.touched.queues {
            let Some(queue) = self.queues.get(id) else { continue };
            let what = Happened::QueueChanged {
                queue: id.clone(),
                waiting: count(queue.length()),
                first_since: queue.first_since(),
                ready: count(queue.ready_count()),
            };
            turn.outcome.events.push(Event { audience: Audience::Supervisors, what });
        }
    }
}

pub(crate) fn count(of: usize) -> u32 {
    u32::try_from(of).unwrap_or(u32::MAX)
}

fn check_wire(wire: &Wire) -> Result<(), Rejected> {
    at_most("wire of a leg", wire.0.len(), WIRE_BYTES_MAX)
}

fn check_text(text: &str) -> Result<(), Rejected> {
    at_most("text of a call", text.len(), TEXT_BYTES_MAX)
}

fn at_most(what: &'static str, size: usize, max: usize) -> Result<(), Rejected> {
    if size <= max {
        return Ok(());
    }
    Err(Rejected::TooLarge { what, size, max })
}
