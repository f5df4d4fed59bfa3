//! One actor per call: the SIP legs and the audio on one side, the replicated value on the other.
//!
//! Owns the transactions and dialogs of the call's legs, and what its media ports do. Does not
//! own the call: that is replicated in [`tandem_center`]. The actor turns what happens on the wire
//! into commands, and after each commit compares what the value wants with what is and closes the
//! difference; it decides nothing. When it dies, its supervisor starts it again from the value:
//! dialogs come back from their committed form, ports were never closed.
//!
//! Read in this order: this file (messages, and the loop of a call), [`reconcile`] (what the value
//! wants), [`moved`] (a call that goes on at another address), [`events`] (what happens on the
//! wire), [`refer`] (what phones ask for), [`leg`] (one leg), [`audio`] (media plans), [`performer`]
//! (IVR actions), [`wire`] (what is committed of a leg).

mod arrival;
mod audio;
mod events;
mod leg;
mod moved;
mod performer;
mod reconcile;
mod refer;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tandem_center::flow::IvrResult;
use tandem_center::{Call, CallId, Command, LegNumber, Rejected, Wire};
use tandem_sip::leg::Output;
use tandem_sip::wire::{Method, Peer, Request, Response};

use crate::media_engine::{Clip, PortEvent};
use crate::node::{Arriving, Node};
use crate::replica::ProposalError;
use crate::stations::Station;

use leg::{Far, LiveLeg};
use performer::Performer;

pub(super) use reconcile::end_of_refused;
pub use wire::{CommittedLeg, LegNames, WireError};

/// What the rest of the node may tell a call.
#[derive(Debug)]
pub enum Message {
    /// A commit changed the call: this is its value now.
    Changed(Arc<Call>),
    /// A request of one of its dialogs, or a repeated INVITE.
    Request(Box<Request>, Peer),
    /// A response to one of its requests.
    Response(Box<Response>),
    /// One of its requests does not reach this peer, or no answer can come from there.
    Unreachable(Peer),
    /// Something happened at one of its media ports.
    Media(PortEvent),
    /// A proposal was not committed, or nobody knows whether it was.
    NotCommitted(Box<Command>, ProposalError, Option<Box<Self>>),
    /// The state machine refused a command: the state has moved on since it was proposed.
    Rejected(Box<Command>, Rejected),
    /// The prompts of an IVR action are ready to be played.
    Prompts { seq: u32, clips: Result<Vec<Clip>, String> },
    /// An IVR action ended outside the call: a web service has answered.
    ActEnded { seq: u32, result: IvrResult },
    /// A digit timer of the IVR, by its generation.
    DigitTimer { generation: u64 },
    /// A timer of a transaction or dialog may be due.
    Timer,
    /// Propose this again: it was not committed the last time. What was to come when it is comes
    /// then.
    Again(Box<Command>, Option<Box<Self>>),
    /// The answer of this leg's far end is committed.
    AnswerKept(LegNumber),
    /// What the INVITE of this leg says is committed.
    InviteKept(LegNumber),
    /// The answer to a re-INVITE on this leg is committed.
    Reanswer(LegNumber),
    /// A far end is to be told our address once more.
    TellAgain(LegNumber),
    /// The address that the call lives on goes to another node: let go of it without a word.
    Forsake,
    /// The address has come here, perhaps again: an arrival from before that is over.
    AddressMoved,
    /// Another version is written now: what is committed of the legs is to be in it.
    Recommit,
    /// A test of the supervision: die.
    Panic,
}

/// From what a call's actor begins.
#[derive(Debug)]
pub enum Arguments {
    /// A new INVITE.
    Arriving { node: Arc<Node>, call: CallId, invite: Box<Request>, peer: Peer },
    /// A committed value: the call was dialled by an agent, or its last actor is gone.
    Committed { node: Arc<Node>, call: Arc<Call> },
}

/// What an actor holds of its call; all of it can be rebuilt.
#[derive(Debug)]
pub struct State {
    node: Arc<Node>,
    me: ActorRef<Message>,
    id: CallId,
    /// The address that it lives at.
    station: Arc<Station>,
    /// Which of its lives this is: it rises when another node takes the call over.
    epoch: u32,
    /// What was confirmed of this node's leases when it was last seen whose the call is.
    confirmed: u64,
    /// The committed value; none until the arrival is committed.
    call: Option<Arc<Call>>,
    /// When the INVITE came, until it is answered.
    invited: Option<Instant>,
    /// Which life of the address it came in, as [`State::lives`] counts them.
    arrived_in: u64,
    /// The call is over, and until then its caller may repeat that.
    remembered_until: Option<Instant>,
    /// Counts the call among those that wait for their first commit.
    arriving: Option<Arriving>,
    legs: BTreeMap<LegNumber, LiveLeg>,
    performer: Performer,
    /// When [`Message::Timer`] will come; an earlier need sets another one.
    timer: Option<Instant>,
    /// The INVITE was refused before the cluster knew of it.
    uncommitted_refused: bool,
    /// A request is being handled: what is said now answers it.
    is_asked: bool,
    /// When legs were seen to end whose end may not be committed yet. As many as there are legs.
    ends: BTreeMap<LegNumber, Instant>,
    /// The caller tries again, which is another call once the end of this one is committed.
    anew: Option<(Box<Request>, Peer)>,
    /// Legs that came from other calls and were taken up here; once each.
    came: BTreeSet<LegNumber>,
    /// Nothing is left to do: stop after this message.
    over: bool,
}

/// The port for audio of a leg, as it is committed.
pub(super) fn committed_port(wire: &Wire) -> Option<u16> {
    CommittedLeg::decode(wire).ok().map(|leg| leg.rtp_port)
}

/// The SIP Call-ID of a leg, as it is committed.
pub(super) fn committed_name(wire: &Wire) -> Option<String> {
    CommittedLeg::decode(wire).ok().map(|leg| leg.sip_call_id)
}

/// The behaviour of a call.
#[derive(Debug)]
pub struct CallActor;

impl Actor for CallActor {
    type Msg = Message;
    type State = State;
    type Arguments = Arguments;

    async fn pre_start(
        &self,
        me: ActorRef<Message>,
        arguments: Arguments,
    ) -> Result<State, ActorProcessingErr> {
        let now = Instant::now();
        let mut state = match arguments {
            Arguments::Arriving { node, call, invite, peer } => {
                let station = node.stations.at(peer.local);
                let mut state = State::new(node, me, call, station);
                state.invited = Some(now);
                state.arrived_in = state.life_served();
                state.arrive(now, &invite, peer);
                state
            }
            Arguments::Committed { node, call } => {
                let station = node.stations.of(call.home).unwrap_or_else(|| node.stations.own());
                let mut state = State::new(node, me, call.id, station);
                state.take_up(now, &call);
                state.changed(now, call);
                state
            }
        };
        state.settle(now);
        Ok(state)
    }

    async fn handle(
        &self,
        me: ActorRef<Message>,
        message: Message,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let now = Instant::now();
        if state.is_another_nodes() {
            state.forsake();
        } else {
            state.handle(now, message);
        }
        state.settle(now);
        if state.over {
            me.stop(None);
        }
        Ok(())
    }

    async fn post_stop(
        &self,
        me: ActorRef<Message>,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        state.node.router.release(state.id, me.get_id());
        Ok(())
    }
}

impl State {
    fn new(node: Arc<Node>, me: ActorRef<Message>, id: CallId, station: Arc<Station>) -> Self {
        let performer = Performer::default();
        let (legs, call, confirmed) = (BTreeMap::new(), None, node.lease.confirmed());
        Self {
            node,
            me,
            id,
            station,
            epoch: 0,
            confirmed,
            call,
            invited: None,
            arrived_in: 0,
            remembered_until: None,
            arriving: None,
            legs,
            performer,
            timer: None,
            uncommitted_refused: false,
            is_asked: false,
            ends: BTreeMap::new(),
            anew: None,
            came: BTreeSet::new(),
            over: false,
        }
    }

    fn handle(&mut self, now: Instant, message: Message) {
        match message {
            Message::Changed(call) => self.changed(now, call),
            Message::Request(request, peer) => {
                self.is_asked = true;
                self.request(now, *request, peer);
            }
            Message::Response(response) => self.response(now, &response),
            Message::Unreachable(peer) => self.unreachable(now, peer),
            Message::Media(event) => self.media(event),
            Message::NotCommitted(command, error, then) => {
                self.not_committed(now, (command, then), error);
            }
            Message::Rejected(command, why) if self.is_anothers(&command, &why) => {
                tracing::debug!(call = %self.id, %why, "the INVITE is for who has the address now");
                self.forsake();
            }
            Message::Rejected(
                command,
                why @ (Rejected::TooManyCalls { .. } | Rejected::NodeIsLost { .. }),
            ) if matches!(*command, Command::Arrived(_)) => {
                tracing::info!(call = %self.id, %why, "the call is not taken");
                self.refuse_uncommitted(now, 503);
            }
            // The state that says so is on its way, and this actor makes place for it.
            Message::Rejected(_, why @ Rejected::CallMoved { .. }) => {
                tracing::debug!(call = %self.id, %why, "a report of another epoch");
            }
            Message::Rejected(command, why) => {
                tracing::debug!(call = %self.id, %why, ?command, "the state has moved on");
                if let Command::Referred { leg, .. } | Command::ReferredWith { leg, .. } = *command
                {
                    self.refuse_refer(now, leg, refer::refusal_of_refer(&why));
                }
                // It may have been committed by a proposal of which nobody heard again.
                if let Command::LegAnswered { leg, .. } = *command {
                    self.answer_kept(leg);
                }
            }
            Message::AnswerKept(number) => self.answer_kept(number),
            Message::InviteKept(number) => self.invite_kept(number),
            Message::Prompts { seq, clips } => self.prompts_ready(seq, clips),
            Message::ActEnded { seq, result } => self.act_ended(seq, result),
            Message::DigitTimer { generation } => self.digit_timer(generation),
            Message::Timer => self.timer_due(now),
            Message::Again(command, then) => {
                self.propose_again(now, *command, then.map(|then| *then));
            }
            Message::Reanswer(number) => self.reanswer(now, number),
            Message::TellAgain(number) => self.tell_again(now, number),
            Message::Forsake => self.forsake(),
            Message::AddressMoved => {
                let waits = self.call.is_none() && !self.uncommitted_refused;
                if waits && self.address_has_moved() {
                    self.forsake();
                }
            }
            Message::Recommit => {
                let legs: Vec<_> = self.legs.keys().copied().collect();
                self.commit_wires(now, &legs);
            }
            #[expect(clippy::panic, reason = "the hook that tests of the supervision pull")]
            Message::Panic => panic!("the test hook was pulled"),
        }
    }

    /// Sends what the legs want sent, handles what they report, and arms the timer. Every message
    /// ends here, so no output waits longer than the message that caused it.
    fn settle(&mut self, now: Instant) {
        let numbers: Vec<_> = self.legs.keys().copied().collect();
        // An event of one leg can give another one something to say; each round needs an event,
        // and a leg has few of them.
        let mut again = true;
        while again {
            again = false;
            for &number in &numbers {
                while let Some(output) = self
                    .legs
                    .get_mut(&number)
                    .filter(|leg| !leg.unsaid)
                    .and_then(|leg| leg.dialog.poll_output())
                {
                    match output {
                        Output::Send { peer, bytes } => self.send(number, &peer, bytes),
                        Output::Event(event) => {
                            self.leg_event(now, number, event);
                            again = true;
                        }
                    }
                }
            }
        }
        self.is_asked = false;
        self.finish_if_over();
        self.arm_timer(now);
    }

    fn send(&mut self, number: LegNumber, peer: &Peer, bytes: Vec<u8>) {
        if let Some(leg) = self.legs.get_mut(&number) {
            leg.keep_last_answer(peer, &bytes);
        }
        // A lease that came while this was being made says nothing for a call that has moved.
        let may_act = self.node.lease.holds() && !self.is_another_nodes();
        if may_act || self.may_say_without_lease(number, &bytes) {
            self.node.journal.sent(self.id, number, &bytes);
            self.node.send_sip(peer, bytes);
        }
    }

    /// There was no lease, there is one again, and by what is applied since the call has moved. The
    /// value that says so is on its way to this actor, behind others that are older.
    fn is_another_nodes(&mut self) -> bool {
        let confirmed = self.node.lease.confirmed();
        if self.confirmed == confirmed {
            return false;
        }
        let (id, epoch) = (self.id, self.epoch);
        let now = self
            .node
            .replica
            .read_local(|machine| machine.center().call(id).map(|call| (call.owner, call.epoch)));
        if now.is_some_and(|now| now != (self.node.id, epoch)) {
            return true;
        }
        self.confirmed = confirmed;
        false
    }

    /// Another node may serve the call by now, so nothing is said that could disturb it. Who hangs
    /// up here reached this node, and is let go; and so is who repeats an INVITE that is refused:
    /// nobody else has answered it.
    fn may_say_without_lease(&self, number: LegNumber, bytes: &[u8]) -> bool {
        let leg = self.legs.get(&number);
        leg.is_some_and(|leg| leg.far == Far::HangsUp) && bytes.starts_with(b"SIP/2.0 200")
            || self.is_asked && self.uncommitted_refused && bytes.starts_with(b"SIP/2.0 503")
    }

    fn arm_timer(&mut self, now: Instant) {
        let dialogs = self.legs.values().filter_map(|leg| leg.dialog.poll_timeout());
        let unheard = self.legs.values().filter_map(|leg| leg.unheard_until);
        let Some(due) = dialogs.chain(unheard).chain(self.remembered_until).min() else { return };
        if self.timer.is_none_or(|armed| due < armed || armed <= now) {
            self.timer = Some(due);
            drop(self.me.send_after(due.saturating_duration_since(now), || Message::Timer));
        }
    }

    fn timer_due(&mut self, now: Instant) {
        // An earlier timer than the armed one may ring too: it finds nothing due.
        if self.timer.is_some_and(|armed| armed <= now) {
            self.timer = None;
        }
        self.remembered_until.take_if(|until| *until <= now);
        for leg in self.legs.values_mut() {
            if leg.dialog.poll_timeout().is_some_and(|due| due <= now) {
                leg.dialog.handle_timeout(now);
            }
        }
        self.give_up_unheard(now);
    }

    fn request(&mut self, now: Instant, request: Request, peer: Peer) {
        let Some(number) = self.leg_with(request.call_id()) else {
            return self.node.answer_unknown_dialog(&request, &peer);
        };
        if *request.method() == Method::Invite {
            self.refuse_if_late(now);
        }
        let Some(leg) = self.legs.get_mut(&number) else { return };
        if !leg.is_called_anew(&request) {
            self.node.journal.received(self.id, number, &request);
            leg.dialog.handle_request(now, &request, peer);
        } else {
            self.anew = Some((Box::new(request), peer));
        }
    }

    fn unreachable(&mut self, now: Instant, peer: Peer) {
        for leg in self.legs.values_mut() {
            leg.dialog.handle_unreachable(now, peer);
        }
    }

    fn response(&mut self, now: Instant, response: &Response) {
        let number = self.leg_with(response.call_id());
        if let Some(leg) = number.and_then(|number| self.legs.get_mut(&number)) {
            leg.dialog.handle_response(now, response);
        }
    }

    pub(super) fn leg_with(&self, sip_call_id: &str) -> Option<LegNumber> {
        let mut legs = self.legs.iter();
        legs.find(|(_, leg)| leg.sip_call_id == sip_call_id).map(|(number, _)| *number)
    }

    /// What is reported late, with when it was seen or what has become of it.
    fn dated(&self, command: Command) -> Command {
        if let Command::IvrProgress { call, seq, offset_ms } = command {
            let heard_ms = self.performer.progress(seq, Instant::now());
            return Command::IvrProgress { call, seq, offset_ms: heard_ms.unwrap_or(offset_ms) };
        }
        let (Command::LegEnded { call, leg, cause }
        | Command::LegEndedBefore { call, leg, cause, .. }) = command
        else {
            return command;
        };
        match self.ends.get(&leg).map(Instant::elapsed).filter(|ago| *ago >= LATE) {
            Some(ago) => {
                let ago_ms = u32::try_from(ago.as_millis()).unwrap_or(u32::MAX);
                Command::LegEndedBefore { call, leg, cause, ago_ms }
            }
            None => Command::LegEnded { call, leg, cause },
        }
    }

    /// Proposes a command; when it is committed the changed value comes back as
    /// [`Message::Changed`], so only failures are reported to the actor.
    fn propose(&self, command: Command) {
        self.propose_and(command, None);
    }

    /// The same, and `then` comes when it is committed.
    fn propose_then(&self, command: Command, then: Message) {
        self.propose_and(command, Some(then));
    }

    fn propose_and(&self, command: Command, then: Option<Message>) {
        let me = self.me.clone();
        let command = self.dated(command);
        let bytes = command.clone().of_epoch(self.epoch).encode(self.node.version());
        let Ok(bytes) = bytes else {
            let not_yet =
                Message::NotCommitted(Box::new(command), ProposalError::NotYet, then.map(Box::new));
            return drop(me.send_message(not_yet));
        };
        self.node.replica.propose_then(bytes, move |outcome| match outcome {
            Ok(answer) => {
                if let Err(why) = answer.reply {
                    let _ = me.send_message(Message::Rejected(Box::new(command), why));
                } else if let Some(then) = then {
                    let _ = me.send_message(then);
                }
            }
            Err(error) => {
                let then = then.map(Box::new);
                let _ = me.send_message(Message::NotCommitted(Box::new(command), error, then));
            }
        });
    }

    /// A command of a call is idempotent by the state it finds, so it is proposed again until it
    /// is committed or the call is gone. What is due to a caller who waits is bounded elsewhere:
    /// an arrival that is not committed is refused at once, and SIP timers end the rest.
    fn not_committed(
        &mut self,
        now: Instant,
        (command, then): (Box<Command>, Option<Box<Message>>),
        error: ProposalError,
    ) {
        tracing::debug!(call = %self.id, %error, "not committed");
        let passes = matches!(
            error,
            ProposalError::NoLeader | ProposalError::Unknown | ProposalError::NotYet
        );
        if matches!(*command, Command::Arrived { .. }) && !passes {
            return self.give_arrival_up(now);
        }
        if error == ProposalError::Stopped {
            return;
        }
        drop(self.me.send_after(PROPOSE_AGAIN, move || Message::Again(command, then)));
    }
}

impl State {
    /// What was proposed of a leg's dialog may be old by now: it is said as it is.
    fn propose_again(&mut self, now: Instant, command: Command, then: Option<Message>) {
        if matches!(command, Command::Arrived { .. }) {
            return self.arrive_again(now, command);
        }
        if let Command::WireChanged { call, leg, .. } = command
            && let Some(live) = self.legs.get(&leg)
        {
            let wire = live.committed(now).encode(self.node.version());
            // Who waits for the answer to a re-INVITE waits for this commit.
            let waits = live.dialog.awaits_reanswer();
            let then = then.or_else(|| waits.then_some(Message::Reanswer(leg)));
            return self.propose_and(Command::WireChanged { call, leg, wire }, then);
        }
        self.propose_and(command, then);
    }
}

/// An end that is reported so late says when it was: no election takes as long.
const LATE: Duration = Duration::from_millis(750);

/// Between two tries of a proposal: a part of the time that an election takes.
const PROPOSE_AGAIN: Duration = Duration::from_millis(100);
