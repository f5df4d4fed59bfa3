//! What a call wants of the node that owns it.
//!
//! Pure: the same value always wants the same. The node compares it with the legs and media
//! that it has and closes the difference, whether the call changed, an actor was restarted or
//! the call was taken over from another node.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::call::{
    Act, Call, Cause, Consultation, Keys, Leg, LegState, Party, Phase, Reach, RecordingId, Role,
};
use crate::ids::LegNumber;

/// What a call wants. A leg that exists on the wire and is not mentioned is to be ended like
/// [`LegWant::Gone`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wants {
    /// Of each leg.
    pub legs: BTreeMap<LegNumber, LegWant>,
    /// What each leg that is alive hears once it has media.
    pub media: BTreeMap<LegNumber, Hears>,
    /// What the IVR does once for its `seq`, on leg 0.
    pub act: Option<Act>,
    /// Record both sides under this name, as long as it is wanted.
    pub record: Option<RecordingId>,
    /// Keys to be pressed for legs, once for each number.
    pub keys: BTreeMap<LegNumber, Keys>,
    /// Legs whose voices are not in the recording.
    pub off_record: BTreeSet<LegNumber>,
    /// A leg that another call has now: nothing is said to it any more.
    pub moved: Option<LegNumber>,
}

/// What a call wants of a leg.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LegWant {
    /// An arriving leg waits: 100 only.
    Proceed,
    /// An arriving leg rings: 180 of our own.
    Ring,
    /// An arriving leg hears what this other leg sends: its 180, 183 and early media are passed
    /// on without a commit, and so is its answer once that is committed.
    RingWithPeer(LegNumber),
    /// In a call. An arriving leg whose answer is not committed yet is answered by committing
    /// [`crate::Command::LegAnswered`] first and sending the 200 then, if [`Wants`] still say so.
    Answered,
    /// An arriving leg is refused with this status.
    Refused { status: u16 },
    /// This leg exists: an INVITE to `target`, whose identifiers follow from call, leg and salt.
    Invited {
        /// Whose leg, which says how `target` is to be read.
        role: Role,
        /// A SIP URI, an address-of-record, or a number behind the trunk of `role`.
        target: Arc<str>,
        /// What the invited party is shown as the caller.
        shows: Party,
        /// Ask the phone to answer by itself.
        auto_answer: bool,
        /// How long it may ring. The centre's own deadline ends it; this bounds the wire.
        ring_seconds: u32,
    },
    /// This leg does not exist: CANCEL, BYE or nothing, whichever its state asks for; a BYE that
    /// it sent is answered.
    Gone { cause: Cause },
}

/// What a leg hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hears {
    /// Silence.
    Nothing,
    /// Another leg.
    Leg(LegNumber),
    /// These other legs at once, two or more.
    Mix(BTreeSet<LegNumber>),
    /// Music on hold.
    Music,
    /// The tone of a phone that rings far away.
    Ringback,
    /// What [`Wants::act`] plays, while it plays; silence before and after.
    Prompts { seq: u32 },
    /// Itself.
    Echo,
}

impl Hears {
    /// These legs, or nothing if there are none.
    pub(crate) fn these(legs: impl Iterator<Item = LegNumber>) -> Self {
        let legs: BTreeSet<LegNumber> = legs.collect();
        match legs.first() {
            None => Self::Nothing,
            Some(only) if legs.len() == 1 => Self::Leg(*only),
            Some(_) => Self::Mix(legs),
        }
    }

    /// The legs that are heard.
    pub fn voices(&self) -> impl Iterator<Item = LegNumber> {
        let (one, more) = match self {
            Self::Leg(number) => (Some(*number), None),
            Self::Mix(legs) => (None, Some(legs)),
            Self::Nothing | Self::Music | Self::Ringback | Self::Prompts { .. } | Self::Echo => {
                (None, None)
            }
        };
        one.into_iter().chain(more.into_iter().flatten().copied())
    }
}

impl Call {
    /// What the call wants now.
    #[must_use]
    pub fn wants(&self) -> Wants {
        let legs = self.legs.keys().map(|number| (*number, self.wants_of_leg(*number))).collect();
        let alive = self.legs.iter().filter(|(_, leg)| leg.state.is_alive());
        let media = alive.map(|(number, _)| (*number, self.hears(*number))).collect();
        Wants {
            legs,
            media,
            act: self.act().cloned(),
            record: self.records(),
            off_record: self.off_the_record(),
            keys: self.keys(),
            moved: self.moved,
        }
    }

    /// The IVR's present action.
    #[must_use]
    pub fn act(&self) -> Option<&Act> {
        match &self.phase {
            Phase::Ivr { act, .. } => Some(act),
            Phase::Arriving
            | Phase::Queued { .. }
            | Phase::Direct { .. }
            | Phase::Dialing { .. }
            | Phase::Bridged { .. }
            | Phase::Parked { .. }
            | Phase::Echo
            | Phase::Ended { .. } => None,
        }
    }

    /// Milliseconds of the present action's prompts that were heard before the call came to its
    /// owner, or before they began late.
    #[must_use]
    pub fn heard_ms(&self) -> Option<u32> {
        match &self.phase {
            Phase::Ivr { position, .. } => Some(position.offset_ms),
            Phase::Arriving
            | Phase::Queued { .. }
            | Phase::Direct { .. }
            | Phase::Dialing { .. }
            | Phase::Bridged { .. }
            | Phase::Parked { .. }
            | Phase::Echo
            | Phase::Ended { .. } => None,
        }
    }

    /// Recording goes on as long as two talk, through holds. What is said aside is not for the
    /// caller, who may ask for the recording.
    fn records(&self) -> Option<RecordingId> {
        match &self.phase {
            Phase::Bridged { consultation: Some(consultation), .. } if consultation.aside => None,
            Phase::Bridged { .. } if self.recording_paused => None,
            Phase::Bridged { .. } => self.recording.clone(),
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

    fn wants_of_leg(&self, number: LegNumber) -> LegWant {
        let leg = &self.legs[&number];
        match leg.state {
            LegState::Arriving => self.wants_of_arriving_leg(),
            LegState::Answering | LegState::Answered { .. } => LegWant::Answered,
            LegState::Dialing | LegState::Ringing => LegWant::Invited {
                role: leg.role.clone(),
                target: leg.target.clone(),
                shows: leg.shows.clone(),
                auto_answer: leg.auto_answer,
                ring_seconds: leg.ring_seconds,
            },
            LegState::Refusing { status } => LegWant::Refused { status },
            LegState::Ending { cause } | LegState::Ended { cause } => LegWant::Gone { cause },
        }
    }

    fn wants_of_arriving_leg(&self) -> LegWant {
        match &self.phase {
            Phase::Dialing { leg, .. } => LegWant::RingWithPeer(*leg),
            // An agent's phone that is invited rings as long as it takes: its own 180 and early
            // media say nothing that the caller needs, and the next agent's would follow it.
            Phase::Queued { .. } | Phase::Direct { .. } => LegWant::Ring,
            Phase::Arriving
            | Phase::Ivr { .. }
            | Phase::Bridged { .. }
            | Phase::Parked { .. }
            | Phase::Echo
            | Phase::Ended { .. } => LegWant::Proceed,
        }
    }

    fn hears(&self, number: LegNumber) -> Hears {
        let hears = match self.supervised() {
            Some(supervision) => self.hears_supervised(number, supervision),
            None => self.hears_apart(number),
        };
        let is_muted = |leg: LegNumber| self.legs.get(&leg).is_some_and(|leg| leg.muted);
        if hears.voices().any(is_muted) {
            return Hears::these(hears.voices().filter(|leg| !is_muted(*leg)));
        }
        hears
    }

    /// The keys of this life of the call: those of another one were pressed then.
    fn keys(&self) -> BTreeMap<LegNumber, Keys> {
        let pressed =
            self.legs.iter().filter_map(|(number, leg)| Some((*number, leg.keys.clone()?)));
        pressed.filter(|(_, keys)| keys.epoch == self.epoch).collect()
    }

    /// What a leg hears, apart from a supervisor.
    pub(crate) fn hears_apart(&self, number: LegNumber) -> Hears {
        match &self.phase {
            Phase::Ivr { act, .. } if number == self.served => Hears::Prompts { seq: act.seq },
            Phase::Queued { .. } | Phase::Parked { .. } if number == self.served => Hears::Music,
            Phase::Direct { .. } if number == self.served => Hears::Ringback,
            Phase::Dialing { leg, .. } if number == self.served && *leg != number => {
                Hears::Ringback
            }
            Phase::Bridged { parties, consultation, .. } => {
                self.hears_in_bridge(number, parties, consultation.as_ref())
            }
            Phase::Echo => Hears::Echo,
            Phase::Arriving
            | Phase::Ivr { .. }
            | Phase::Queued { .. }
            | Phase::Direct { .. }
            | Phase::Dialing { .. }
            | Phase::Parked { .. }
            | Phase::Ended { .. } => Hears::Nothing,
        }
    }

    /// Who holds hears nothing; who is left alone hears music; two hear each other, and more are a
    /// conference.
    fn hears_in_bridge(
        &self,
        me: LegNumber,
        parties: &[LegNumber],
        consultation: Option<&Consultation>,
    ) -> Hears {
        let holds = |number: LegNumber| self.legs.get(&number).is_some_and(Leg::holds);
        if holds(me) {
            return Hears::Nothing;
        }
        let aside = consultation.filter(|consultation| consultation.aside);
        if let Some(consultation) = aside.filter(|consultation| consultation.by == me) {
            return match consultation.reach {
                Reach::Offered(_) | Reach::Dialing { .. } => Hears::Ringback,
                Reach::Talking { leg } if holds(leg) => Hears::Music,
                Reach::Talking { leg } => Hears::Leg(leg),
            };
        }
        if let Some(consultation) = consultation
            && consultation.reach.leg() == Some(me)
        {
            return match consultation.reach {
                Reach::Offered(_) | Reach::Dialing { .. } => Hears::Nothing,
                Reach::Talking { .. } if aside.is_some() && !holds(consultation.by) => {
                    Hears::Leg(consultation.by)
                }
                Reach::Talking { .. } => Hears::Music,
            };
        }
        let is_there = |number: &LegNumber| {
            !holds(*number) && aside.is_none_or(|consultation| consultation.by != *number)
        };
        if !parties.contains(&me) {
            return Hears::Nothing;
        }
        let mut others = parties.iter().copied().filter(|n| *n != me && is_there(n)).peekable();
        if others.peek().is_none() { Hears::Music } else { Hears::these(others) }
    }
}
