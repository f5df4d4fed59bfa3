//! The phases of a call in which a fault may find it.
//!
//! Another phase is another variant with its plan: what is dialled, what the far end does, what
//! each side hears while the fault happens and at the end. Everything else follows from the plan.

/// Where a call is when the fault comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Phase {
    Inviting,
    Offered,
    DialingOut,
    EarlyMedia,
    Bridged,
    Echo,
    HeldByPhone,
    HeldAtDesk,
    Queued,
    Prompt,
    Digits,
    WebRequest,
    Recorded,
    Transferred,
    Consulting,
    Conference,
    /// A call that comes after the fault, to a node that has none: how long a decision takes.
    Probe,
    /// Callers of a drill of the queues.
    Urgent,
    Patient,
    /// A call at a node that the fault does not concern.
    Witness,
}

/// See the file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) name: &'static str,
    pub(crate) dials: Dials,
    pub(crate) begins: Begins,
    pub(crate) callee: Option<Callee>,
    /// Whom the callee, who has a desk, hands the call to, and how.
    pub(crate) hands: Option<(Hands, Callee)>,
    /// What has to be reached before the fault.
    pub(crate) settled: Settled,
    /// What the caller does.
    pub(crate) caller: Caller,
    /// What caller and callee hear around the fault.
    pub(crate) during: [Hears; 2],
    /// Whether that holds only until the change that follows the fault.
    pub(crate) changes: bool,
    /// What they hear at the end.
    pub(crate) at_end: [Hears; 2],
}

/// What is dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dials {
    /// A number that several calls share.
    Shared(&'static str),
    /// A number that leads to the SIP address of this call's callee.
    Target(&'static str),
    /// A queue, whose agents are the callees.
    Queue(&'static str),
}

/// When a call begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begins {
    Before,
    AtFault,
    After,
}

/// What a callee does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Callee {
    Answers,
    /// Rings until the change, then answers.
    Rings,
    /// The same, with audio of its own.
    RingsWithAudio,
    /// An agent with a desk; answers.
    AtDesk,
    /// The one agent of a queue: answers when ready, and hangs up after a moment.
    AnswersBriefly,
}

/// What the desk of a callee does with its call before the fault, and at the change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hands {
    /// Leaves it to somebody whose phone rings.
    Transfers,
    /// Asks somebody while the caller waits; leaves the call to them.
    Consults,
    /// The same, but all three talk first; hangs up.
    Confers,
}

impl Hands {
    /// The queue whose agents do so.
    pub(crate) fn queue(self) -> &'static str {
        match self {
            Self::Transfers => "transfer",
            Self::Consults => "consult",
            Self::Confers => "conference",
        }
    }

    /// The number of whoever is asked, for this call.
    pub(crate) fn number(self, call: usize) -> String {
        format!("{}-to-{call:04}", self.queue())
    }
}

/// When a call is where the fault is to find it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Settled {
    AtOnce,
    Ringing,
    Answered,
    Held,
}

/// What a caller does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    Listens,
    /// Holds before the fault, retrieves after it.
    Holds,
    /// Presses [`KEYS`] after the fault.
    Presses,
}

/// The queues of [`Phase::Urgent`] and [`Phase::Patient`]: who is in the first is served first.
pub(crate) const URGENT: &str = "urgent";
pub(crate) const PATIENT: &str = "patient";

/// The keys that the flow waits for.
pub(crate) const KEYS: &str = "2468";

/// What is to be heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hears {
    /// Nothing that is judged.
    Nothing,
    /// The other party's frames.
    Far,
    /// One's own.
    Own,
    /// What the node plays.
    Played,
    /// Anything but silence.
    Any,
}

/// Calls are spread over these, one after the other.
pub(crate) const SPREAD: [Phase; 16] = [
    Phase::Bridged,
    Phase::Offered,
    Phase::Prompt,
    Phase::Queued,
    Phase::Echo,
    Phase::DialingOut,
    Phase::HeldAtDesk,
    Phase::Consulting,
    Phase::EarlyMedia,
    Phase::HeldByPhone,
    Phase::Digits,
    Phase::Transferred,
    Phase::Recorded,
    Phase::WebRequest,
    Phase::Conference,
    Phase::Inviting,
];

impl Plan {
    /// A conversation with a callee that answers; the other plans say what is different.
    const TALK: Self = Self {
        name: "bridged",
        dials: Dials::Queue("bridge"),
        begins: Begins::Before,
        callee: Some(Callee::Answers),
        hands: None,
        settled: Settled::Answered,
        caller: Caller::Listens,
        during: [Hears::Far, Hears::Far],
        changes: false,
        at_end: [Hears::Far, Hears::Far],
    };

    /// Waits in a queue whose agents serve others, too.
    const fn waits(name: &'static str, queue: &'static str) -> Self {
        Self {
            name,
            dials: Dials::Queue(queue),
            callee: Some(Callee::AnswersBriefly),
            during: Self::SILENT,
            at_end: Self::SILENT,
            ..Self::TALK
        }
    }

    /// Whether its callees are there for several queues.
    pub(crate) fn is_served_by_all(&self) -> bool {
        [Dials::Queue(URGENT), Dials::Queue(PATIENT)].contains(&self.dials)
    }

    /// A call that a flow or the node itself answers, in which something is played.
    const PLAYED: Self = Self {
        name: "prompt",
        dials: Dials::Shared("prompt"),
        callee: None,
        during: [Hears::Played, Hears::Nothing],
        at_end: [Hears::Played, Hears::Nothing],
        ..Self::TALK
    };

    const SILENT: [Hears; 2] = [Hears::Nothing, Hears::Nothing];

    const ECHO: Self = Self {
        name: "echo",
        dials: Dials::Shared("echo"),
        callee: None,
        during: [Hears::Own, Hears::Nothing],
        at_end: [Hears::Own, Hears::Nothing],
        ..Self::TALK
    };
}

impl Phase {
    #[expect(clippy::too_many_lines, reason = "one arm for each phase, each straight")]
    pub(crate) fn plan(self) -> Plan {
        match self {
            Self::Bridged => Plan::TALK,
            Self::Recorded => {
                Plan { name: "recorded", dials: Dials::Queue("recorded"), ..Plan::TALK }
            }
            Self::Echo => Plan::ECHO,
            Self::Witness => Plan { name: "witness", ..Plan::ECHO },
            Self::Prompt => Plan::PLAYED,
            Self::Inviting => Plan {
                name: "INVITE under way",
                dials: Dials::Target("invite"),
                begins: Begins::AtFault,
                settled: Settled::AtOnce,
                during: Plan::SILENT,
                ..Plan::TALK
            },
            Self::Offered => Plan {
                name: "offered to an agent",
                dials: Dials::Queue("offer"),
                callee: Some(Callee::Rings),
                settled: Settled::Ringing,
                during: Plan::SILENT,
                changes: true,
                ..Plan::TALK
            },
            Self::DialingOut => Plan {
                name: "dialling out",
                dials: Dials::Target("out"),
                callee: Some(Callee::Rings),
                settled: Settled::Ringing,
                during: Plan::SILENT,
                changes: true,
                ..Plan::TALK
            },
            Self::EarlyMedia => Plan {
                name: "early media",
                dials: Dials::Target("early"),
                callee: Some(Callee::RingsWithAudio),
                settled: Settled::Ringing,
                during: [Hears::Far, Hears::Nothing],
                changes: true,
                ..Plan::TALK
            },
            Self::HeldByPhone => Plan {
                name: "held by the phone",
                dials: Dials::Queue("phonehold"),
                caller: Caller::Holds,
                settled: Settled::Held,
                during: [Hears::Nothing, Hears::Any],
                changes: true,
                ..Plan::TALK
            },
            Self::HeldAtDesk => Plan {
                name: "held at the desk",
                dials: Dials::Queue("desk"),
                callee: Some(Callee::AtDesk),
                during: [Hears::Played, Hears::Nothing],
                changes: true,
                ..Plan::TALK
            },
            Self::Transferred => Plan {
                name: "being transferred",
                dials: Dials::Queue("transfer"),
                callee: Some(Callee::AtDesk),
                hands: Some((Hands::Transfers, Callee::Rings)),
                during: Plan::SILENT,
                changes: true,
                ..Plan::TALK
            },
            Self::Consulting => Plan {
                name: "waiting during a consultation",
                dials: Dials::Queue("consult"),
                callee: Some(Callee::AtDesk),
                hands: Some((Hands::Consults, Callee::Answers)),
                during: [Hears::Played, Hears::Any],
                changes: true,
                ..Plan::TALK
            },
            Self::Conference => Plan {
                name: "conference of three",
                dials: Dials::Queue("conference"),
                callee: Some(Callee::AtDesk),
                hands: Some((Hands::Confers, Callee::Answers)),
                during: [Hears::Any, Hears::Any],
                changes: true,
                ..Plan::TALK
            },
            Self::Queued => Plan {
                name: "waiting in a queue",
                dials: Dials::Queue("wait"),
                callee: Some(Callee::AnswersBriefly),
                during: [Hears::Played, Hears::Nothing],
                changes: true,
                at_end: Plan::SILENT,
                ..Plan::TALK
            },
            Self::Digits => Plan {
                name: "collecting digits",
                dials: Dials::Shared("digits"),
                caller: Caller::Presses,
                during: Plan::SILENT,
                changes: true,
                ..Plan::PLAYED
            },
            Self::WebRequest => Plan {
                name: "asking a web service",
                dials: Dials::Shared("web"),
                during: Plan::SILENT,
                changes: true,
                ..Plan::PLAYED
            },
            Self::Urgent => Plan::waits("urgent", URGENT),
            Self::Patient => Plan::waits("patient", PATIENT),
            Self::Probe => Plan {
                name: "probe",
                dials: Dials::Queue("probe"),
                begins: Begins::After,
                settled: Settled::AtOnce,
                during: Plan::SILENT,
                ..Plan::TALK
            },
        }
    }
}
