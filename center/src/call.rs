//! A call: its legs, the phase that it is in, and what it has been through.
//!
//! A value of the replicated state. The node that owns it compares what it wants
//! ([`Call::wants`]) with what is, and closes the difference; it never changes the value but by
//! a command. The centre decides with whom a leg talks; how that is done on the wire is the
//! node's business ([`Leg::wire`] is opaque here).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::directory::{Destination, Skills};
use crate::flow::{Action, FlowName, FlowVersion, Position, Variables};
use crate::ids::{AgentId, CallId, HomeId, Index, LegNumber, Millis, NodeId, QueueId};
pub use crate::leg::{Attempt, Cause, Keys, Leg, LegState, Role, Wire};
use crate::record::{CallResult, SEGMENTS_MAX, Segment, SegmentKind, Side};
use crate::supervision::Supervision;
use crate::timeline::Timeline;

/// Legs of one call that are alive or being ended. Full: the oldest leg that is being ended is
/// forgotten, which asks the node to end it too (see [`crate::Wants`]).
pub const LEGS_MAX: usize = 16;

/// Legs in one conversation. A larger conference is a meeting, which nobody can follow by ear.
pub const PARTIES_MAX: usize = 8;

/// Calls at a time, ended ones that are not cleared among them. Full: a new one is rejected, and
/// its caller is to be refused with 503. Ten times what the busiest single centre has.
pub const CALLS_MAX: usize = 200_000;

/// Legs that a call may have in its life. A call that was offered so often without success is
/// given up; numbers of legs are never used again.
pub const LEG_NUMBERS_MAX: u16 = 60_000;

/// Agents who are asked at once to take a call. With the caller's leg and those of the round
/// before, which are being ended, it stays within [`LEGS_MAX`].
pub const RING_ALL_MAX: usize = 7;

/// How long an ended call is kept that its node does not clear, in seconds. RFC 3261 knows no
/// transaction that lasts longer than timer C, three minutes.
pub const ENDED_SECONDS_MAX: u32 = 600;

/// Bytes of the node's encoding of one leg. A command with more is refused: it would be a
/// dialog with hundreds of routes.
pub const WIRE_BYTES_MAX: usize = 32 << 10;

/// Bytes of a number, name or URI in a call. A command with more is refused.
pub const TEXT_BYTES_MAX: usize = 512;

/// Keys that one command may press: more than any card number and code. More are refused.
pub const KEYS_MAX: usize = 32;

/// Slots for parked calls. Full: parking is refused.
pub const PARK_SLOTS_MAX: u16 = 99;

/// How long a call stays parked before it goes back to who parked it, in seconds. Long enough for an
/// announcement and a walk to a phone.
pub const PARK_SECONDS: u32 = 120;

/// One call, from its first INVITE to the record of its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// Its id, for ever.
    pub id: CallId,
    /// The node whose actor drives it.
    pub owner: NodeId,
    /// The service address that its far ends know; its holder owns the call. None: they know an
    /// address of the owner, and are told when that changes.
    pub home: Option<HomeId>,
    /// Rises with every change of owner. A node that finds a higher one than its own forgets the
    /// call silently.
    pub epoch: u32,
    /// What the identifiers of our own legs are derived from, with the call's id and the leg's
    /// number. Random, given by the node that proposed the call.
    pub salt: u64,
    /// Who began it.
    pub direction: Direction,
    /// Who calls: the far party of an inbound call, the agent of an outbound one.
    pub caller: Party,
    /// What was dialled.
    pub called: Arc<str>,
    /// The trunk that it came in by, if it did.
    pub came_by: Option<Arc<str>>,
    /// When it began.
    pub arrived: Millis,
    /// When the caller was answered (inbound), or the called answered (outbound).
    pub answered: Option<Millis>,
    /// The node has an answer (SDP) ready, so the centre may answer leg 0 in a commit of its own.
    pub answer_ready: bool,
    /// What it is doing.
    pub phase: Phase,
    /// The leg that waits, hears prompts and is connected next: the caller's, or who is left of a
    /// conversation that was transferred.
    pub served: LegNumber,
    /// Who transferred it last, until it arrives somewhere: who gets it back if it does not.
    pub recall: Option<AgentId>,
    /// Its legs by number. A leg that ended and whose call lives on is not kept.
    pub legs: BTreeMap<LegNumber, Leg>,
    /// The number that the next leg receives. Numbers are never used again.
    pub next_leg: u16,
    /// The number that the next IVR action receives. Never used again.
    pub next_act: u32,
    /// What the IVR collected and looked up. Bounded by the flow's module.
    pub variables: Variables,
    /// What the flow wants an agent to see of them.
    pub data: BTreeMap<String, String>,
    /// Served first when higher.
    pub priority: u8,
    /// What the caller's class adds to the priority in every queue.
    pub class_priority: u8,
    /// What the agent must know for this caller in person, beside what the queue asks for.
    pub needs: Arc<Skills>,
    /// The flow that it went through last, by name.
    pub flow: Option<Arc<str>>,
    /// The queue that it was in last.
    pub queue: Option<QueueId>,
    /// The agent who talked last.
    pub agent: Option<AgentId>,
    /// The recording that was begun, whether or not it still goes on.
    pub recording: Option<RecordingId>,
    /// Offers that came back: no answer, declined, busy.
    pub redirects: u16,
    /// The trunk that it left by last.
    pub trunk: Option<Arc<str>>,
    /// How many times somebody in a conversation left it to another one.
    pub transfers: u16,
    /// Parties in its largest conversation so far.
    pub parties_most: u16,
    /// What it spent its time with; the last one is still going on unless it ended.
    pub segments: Vec<Segment>,
    /// What was decided and why.
    pub timeline: Timeline,
    /// The recording is interrupted by an agent's command.
    pub recording_paused: bool,
    /// A supervisor in it.
    pub supervision: Option<Supervision>,
    /// Everybody who supervised it, at most [`crate::supervision::SUPERVISORS_MAX`].
    pub supervisors: BTreeSet<AgentId>,
    /// The agent whose phone began it, by itself and not by a command.
    pub dialled_by: Option<AgentId>,
    /// A leg of it that another call has now: whoever has it here lets go of it without a word.
    pub moved: Option<LegNumber>,
}

/// Who began a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Direction {
    /// It came in from outside: leg 0 is the caller.
    Inbound,
    /// An agent dialled: leg 0 is the agent's own phone.
    Outbound,
}

/// A number with the name that came with it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Party {
    /// The user part of the calling URI. Empty or `anonymous` when hidden.
    pub number: Arc<str>,
    /// The display name.
    pub name: Option<Arc<str>>,
}

/// What a call is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Just arrived, its route is not decided. Never seen outside of a command.
    Arriving,
    /// In a flow, waiting for an action to end.
    Ivr {
        /// The flow with the version that the call began with.
        flow: FlowKey,
        /// Where in it.
        position: Position,
        /// What the node does now.
        act: Act,
        /// When the prompts were as far as `position` says.
        heard_at: Millis,
        /// When the action counts as failed if its end is not reported.
        until: Millis,
    },
    /// In a queue.
    Queued {
        /// Which one.
        queue: QueueId,
        /// The index of the commit that put it there: its place among equals.
        ticket: Index,
        /// When it entered.
        since: Millis,
        /// When it has waited too long, if there is such a time.
        until: Option<Millis>,
        /// The agents who are asked to take it; none while it waits.
        offers: Vec<Offer>,
        /// The queue's ring of agents who may take it.
        ring: u8,
        /// Only this agent may take it, until `widens`.
        wanted: Option<AgentId>,
        /// When more agents may take it, if there is such a time.
        widens: Option<Millis>,
    },
    /// A certain agent is asked to take it, without a queue.
    Direct { offer: Offer },
    /// A leg is being called: a SIP target, a trunk, or the agent's own phone (leg 0).
    Dialing {
        /// Which leg.
        leg: LegNumber,
        /// Its no-answer time-out.
        until: Millis,
        /// Where the call goes once the agent's own phone (leg 0) answered.
        then: Option<Destination>,
    },
    /// Two legs talk, or more in a conference.
    Bridged {
        /// Who is in the conversation, at most [`PARTIES_MAX`]: first the caller's side or the
        /// agent's own leg of an outbound call, then who was reached, in the order of coming.
        parties: Vec<LegNumber>,
        /// Since when somebody holds the others, or is aside.
        held_since: Option<Millis>,
        /// One of them asks somebody else, or has just done so.
        consultation: Option<Consultation>,
    },
    /// The caller hears their own voice.
    Echo,
    /// Over. Kept until the node says that nothing of it is left on the wire.
    Ended {
        /// When.
        at: Millis,
        /// Who ended it.
        by: Side,
        /// Why.
        cause: Cause,
        /// What it came to.
        result: CallResult,
    },
    /// In a numbered slot, to be picked up.
    Parked {
        /// Which slot: 1 to [`PARK_SLOTS_MAX`].
        slot: u16,
        /// When it goes back to who parked it.
        until: Millis,
    },
}

/// A party of a conversation asks somebody else, whom the others do not hear.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Consultation {
    /// Who asks.
    pub by: LegNumber,
    /// Who is asked, and how far that is.
    pub reach: Reach,
    /// Who asks is with the one who is asked; else back in the conversation, and the one who is
    /// asked waits.
    pub aside: bool,
}

/// How far the reaching of somebody who is consulted is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reach {
    /// An agent is asked.
    Offered(Offer),
    /// A target or a number is called, until its no-answer time-out.
    Dialing { leg: LegNumber, until: Millis },
    /// They talk.
    Talking { leg: LegNumber },
}

impl Reach {
    /// The leg, if there is one yet.
    #[must_use]
    pub fn leg(&self) -> Option<LegNumber> {
        match self {
            Self::Offered(offer) => offer.stage.leg(),
            Self::Dialing { leg, .. } | Self::Talking { leg } => Some(*leg),
        }
    }

    /// The leg, if it answered.
    #[must_use]
    pub fn talking(&self) -> Option<LegNumber> {
        match self {
            Self::Talking { leg } => Some(*leg),
            Self::Offered(_) | Self::Dialing { .. } => None,
        }
    }
}

/// One version of a flow.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FlowKey {
    /// The flow's name.
    pub name: FlowName,
    /// Which text of that name.
    pub version: FlowVersion,
}

/// An action that the node does once. A node that has done `seq` does not do it again; another
/// node that adopts the call does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Act {
    /// Tells this action from the ones before it. Its end is reported with it.
    pub seq: u32,
    /// What to do.
    pub action: Action,
}

/// A call that an agent is asked to take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// Who is asked.
    pub agent: AgentId,
    /// Since when.
    pub since: Millis,
    /// The no-answer time-out of the present stage.
    pub until: Millis,
    /// How far it is.
    pub stage: Stage,
}

/// How far an offer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// The desk rings; the phone is not invited yet.
    Desk,
    /// The desk accepted; the phone, this leg, is invited and answers by itself.
    Accepted(LegNumber),
    /// The phone, this leg, rings; picking up accepts.
    Phone(LegNumber),
}

impl Stage {
    /// The agent's leg, if there is one yet.
    #[must_use]
    pub fn leg(self) -> Option<LegNumber> {
        match self {
            Self::Desk => None,
            Self::Accepted(leg) | Self::Phone(leg) => Some(leg),
        }
    }
}

/// A recording, named after its call: the file's name without folder and ending.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RecordingId(pub Arc<str>);

impl fmt::Display for RecordingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Call {
    /// Its phase in a word, for screens and errors.
    #[must_use]
    pub fn phase_name(&self) -> &'static str {
        match &self.phase {
            Phase::Arriving => "arriving",
            Phase::Ivr { .. } => "in a flow",
            Phase::Queued { offers, .. } if offers.is_empty() => "waiting",
            Phase::Queued { .. } | Phase::Direct { .. } => "offered",
            Phase::Dialing { .. } => "dialling",
            Phase::Bridged { consultation: Some(_), .. } => "consulting",
            Phase::Bridged { parties, .. } if parties.len() > 2 => "in a conference",
            Phase::Bridged { .. } => "connected",
            Phase::Parked { .. } => "parked",
            Phase::Echo => "in the echo",
            Phase::Ended { .. } => "over",
        }
    }

    /// When something happens to it by itself.
    #[must_use]
    pub fn deadline(&self) -> Option<Millis> {
        let supervision = self.supervision.as_ref().and_then(Supervision::deadline);
        supervision.into_iter().chain(self.deadline_of_phase()).min()
    }

    fn deadline_of_phase(&self) -> Option<Millis> {
        match &self.phase {
            Phase::Queued { offers, until, widens, .. } if offers.is_empty() => {
                until.iter().chain(widens).min().copied()
            }
            Phase::Queued { offers, .. } => offers.iter().map(|offer| offer.until).min(),
            Phase::Direct { offer } => Some(offer.until),
            Phase::Dialing { until, .. }
            | Phase::Ivr { until, .. }
            | Phase::Parked { until, .. } => Some(*until),
            Phase::Ended { at, .. } => Some(at.plus_seconds(ENDED_SECONDS_MAX)),
            Phase::Bridged { consultation: Some(consultation), .. } => match &consultation.reach {
                Reach::Offered(offer) => Some(offer.until),
                Reach::Dialing { until, .. } => Some(*until),
                Reach::Talking { .. } => None,
            },
            Phase::Arriving | Phase::Bridged { consultation: None, .. } | Phase::Echo => None,
        }
    }

    /// Whether it is over.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        matches!(self.phase, Phase::Ended { .. })
    }

    /// The offers that are open.
    #[must_use]
    pub fn offers(&self) -> &[Offer] {
        match &self.phase {
            Phase::Queued { offers, .. } => offers,
            Phase::Direct { offer } => std::slice::from_ref(offer),
            Phase::Bridged {
                consultation: Some(Consultation { reach: Reach::Offered(offer), .. }),
                ..
            } => std::slice::from_ref(offer),
            Phase::Arriving
            | Phase::Ivr { .. }
            | Phase::Dialing { .. }
            | Phase::Bridged { .. }
            | Phase::Parked { .. }
            | Phase::Echo
            | Phase::Ended { .. } => &[],
        }
    }

    /// Whether it waits for just this agent.
    pub(crate) fn waits_for(&self, agent: &AgentId) -> bool {
        matches!(&self.phase, Phase::Queued { wanted: Some(wanted), .. } if wanted == agent)
    }

    /// The open offer to this agent.
    #[must_use]
    pub fn offer_to(&self, agent: &AgentId) -> Option<&Offer> {
        self.offers().iter().find(|offer| offer.agent == *agent)
    }

    /// The open offer that this leg belongs to.
    #[must_use]
    pub fn offer_at(&self, leg: LegNumber) -> Option<&Offer> {
        self.offers().iter().find(|offer| offer.stage.leg() == Some(leg))
    }

    /// The open offer to this agent, to be changed.
    pub(crate) fn offer_to_mut(&mut self, agent: &AgentId) -> Option<&mut Offer> {
        let is_theirs = |offer: &&mut Offer| offer.agent == *agent;
        match &mut self.phase {
            Phase::Queued { offers, .. } => offers.iter_mut().find(is_theirs),
            Phase::Direct { offer } => Some(offer).filter(is_theirs),
            Phase::Bridged {
                consultation: Some(Consultation { reach: Reach::Offered(offer), .. }),
                ..
            } => Some(offer).filter(is_theirs),
            Phase::Arriving
            | Phase::Ivr { .. }
            | Phase::Dialing { .. }
            | Phase::Bridged { .. }
            | Phase::Parked { .. }
            | Phase::Echo
            | Phase::Ended { .. } => None,
        }
    }

    /// The slot in which it is parked.
    #[must_use]
    pub fn slot(&self) -> Option<u16> {
        if let Phase::Parked { slot, .. } = self.phase { Some(slot) } else { None }
    }

    /// Who talks, and whom one of them asks.
    #[must_use]
    pub fn conversation(&self) -> Option<(&[LegNumber], Option<&Consultation>)> {
        match &self.phase {
            Phase::Bridged { parties, consultation, .. } => Some((parties, consultation.as_ref())),
            Phase::Arriving
            | Phase::Ivr { .. }
            | Phase::Queued { .. }
            | Phase::Direct { .. }
            | Phase::Dialing { .. }
            | Phase::Parked { .. }
            | Phase::Echo
            | Phase::Ended { .. } => None,
        }
    }

    /// The leg of `agent`'s phone, if it is alive.
    #[must_use]
    pub fn leg_of(&self, agent: &AgentId) -> Option<LegNumber> {
        let mut alive = self.legs.iter().filter(|(_, leg)| leg.state.is_alive());
        alive.find(|(_, leg)| leg.role.agent() == Some(agent)).map(|(number, _)| *number)
    }

    /// The leg with which `agent` is in the conversation, or is being consulted.
    #[must_use]
    pub fn talking_leg_of(&self, agent: &AgentId) -> Option<LegNumber> {
        let (parties, consultation) = self.conversation()?;
        let mine = self.leg_of(agent)?;
        let asked = consultation.and_then(|consultation| consultation.reach.talking());
        (parties.contains(&mine) || asked == Some(mine)).then_some(mine)
    }

    /// Milliseconds in queues until `at`.
    #[must_use]
    pub fn wait_ms(&self, at: Millis) -> u64 {
        let waits = self.segments.iter().filter(|s| matches!(s.kind, SegmentKind::Queue(_)));
        waits.map(|segment| segment.length_ms(at)).sum()
    }

    /// Adds a leg under the next number.
    pub(crate) fn add_leg(&mut self, leg: Leg) -> LegNumber {
        if self.legs.len() >= LEGS_MAX {
            let is_over = |(_, leg): &(&LegNumber, &Leg)| !leg.state.is_alive();
            let over = self.legs.iter().skip(1).find(is_over).map(|(number, _)| *number);
            over.and_then(|number| self.legs.remove(&number));
        }
        let number = LegNumber(self.next_leg);
        self.next_leg = self.next_leg.saturating_add(1);
        self.legs.insert(number, leg);
        number
    }

    /// Puts the time from now on another account.
    pub(crate) fn begin_segment(&mut self, kind: SegmentKind, at: Millis) {
        self.end_segment(at);
        let segment = Segment { kind, began: at, ended: None, held_ms: 0, rang_ms: 0 };
        if self.segments.len() < SEGMENTS_MAX {
            self.segments.push(segment);
        } else if let Some(last) = self.segments.last_mut() {
            last.ended = None;
        }
    }

    /// Closes the account of the time that is going on.
    pub(crate) fn end_segment(&mut self, at: Millis) {
        let Some(last) = self.segments.last_mut() else { return };
        last.ended.get_or_insert(at);
    }
}
