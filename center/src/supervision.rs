//! A supervisor in an agent's call: who, of whom, and what the others hear of it.
//!
//! The supervisor's phone is one leg more of the call, and no party of the conversation: it hears
//! what its agent says and hears. Who may supervise whom, and how it begins and ends, is decided in
//! `apply/supervise.rs`.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::ids::{AgentId, LegNumber, Millis};
use crate::wants::Hears;
use crate::{Call, Leg};

/// People who supervised one call, as its record names them. More are in its timeline only.
pub const SUPERVISORS_MAX: usize = 16;

/// A supervisor in an agent's call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Supervision {
    /// Who supervises.
    pub by: AgentId,
    /// Whose conversation it is.
    pub of: AgentId,
    /// Who hears the supervisor.
    pub mode: SupervisionMode,
    /// The supervisor's phone.
    pub leg: LegNumber,
    /// How far that is.
    pub stage: SupervisionStage,
}

/// Who hears a supervisor, who hears everybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum SupervisionMode {
    /// Nobody.
    Listen,
    /// The agent only.
    Whisper,
    /// Everybody who hears the agent, and the agent.
    Barge,
}

impl SupervisionMode {
    /// The word in timelines and logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Listen => "listen",
            Self::Whisper => "whisper",
            Self::Barge => "barge",
        }
    }
}

/// How far a supervisor's phone is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SupervisionStage {
    /// It is called, until this time-out.
    Called { until: Millis },
    /// It answered.
    There,
}

impl Supervision {
    /// When it is given up by itself.
    #[must_use]
    pub fn deadline(&self) -> Option<Millis> {
        match self.stage {
            SupervisionStage::Called { until } => Some(until),
            SupervisionStage::There => None,
        }
    }
}

impl Call {
    /// The supervision, if its phone has answered.
    #[must_use]
    pub fn supervised(&self) -> Option<&Supervision> {
        let there = |supervision: &&Supervision| supervision.stage == SupervisionStage::There;
        self.supervision.as_ref().filter(there)
    }

    /// Whether this is the phone of the present supervisor.
    pub(crate) fn is_supervisor(&self, number: LegNumber) -> bool {
        self.supervision.as_ref().is_some_and(|supervision| supervision.leg == number)
    }

    /// The legs whose voices are not recorded: who is muted, and a supervisor who does not speak to
    /// all.
    pub(crate) fn off_the_record(&self) -> BTreeSet<LegNumber> {
        let supervision = self.supervised().filter(|one| one.mode != SupervisionMode::Barge);
        let muted = self.legs.iter().filter(|(_, leg)| leg.muted).map(|(number, _)| *number);
        muted.chain(supervision.map(|supervision| supervision.leg)).collect()
    }

    /// What a leg hears while the call is supervised.
    pub(crate) fn hears_supervised(&self, me: LegNumber, supervision: &Supervision) -> Hears {
        let holds = |number: LegNumber| self.legs.get(&number).is_some_and(Leg::holds);
        let Some(agent) = self.leg_of(&supervision.of) else { return self.hears_apart(me) };
        if me == supervision.leg {
            if holds(me) {
                return Hears::Nothing;
            }
            return Hears::these(self.hears_apart(agent).voices().chain([agent]));
        }
        let own = self.hears_apart(me);
        let is_agent = me == agent && !holds(me);
        let hears_supervisor = match supervision.mode {
            SupervisionMode::Listen => false,
            SupervisionMode::Whisper => is_agent,
            SupervisionMode::Barge => is_agent || own.voices().any(|voice| voice == agent),
        };
        if !hears_supervisor || holds(supervision.leg) {
            return own;
        }
        Hears::these(own.voices().chain([supervision.leg]))
    }
}
