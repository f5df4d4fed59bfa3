//! The script of a call flow: owns the centre and the virtual clock, and speaks for everybody.

use std::collections::BTreeMap;
use std::sync::Arc;

use tandem_center::audit::{self, Ledger};
use tandem_center::directory::{
    AgentConfig, AnswersOn, OutboundRule, PasswordHash, QueueConfig, Role as Duty, TrunkConfig,
};
use tandem_center::{
    Agent, AgentId, AgentState, Arrived, Call, CallId, Cause, Cdr, Center, Command, CommandId,
    Dial, Directory, Happened, Hears, Index, LegNumber, LegWant, Millis, NodeId, Outcome, Party,
    Phase, QueueId, Record, Rejected, Reply, Route, SessionId, WantedState, Wire,
};

/// When every script begins.
pub(crate) const START: Millis = Millis(1_764_000_000_000);

pub(crate) const NODE: NodeId = NodeId(1);

pub(crate) struct Script {
    pub(crate) center: Center,
    pub(crate) index: Index,
    pub(crate) now: Millis,
    /// What the last command did.
    pub(crate) last: Outcome,
    /// The auditor's account. Every step of every test is audited.
    pub(crate) ledger: Ledger,
    commands: u32,
    calls: u16,
}

pub(crate) fn agent(name: &str) -> AgentId {
    AgentId::parse(name).expect("a good name")
}

pub(crate) fn queue(name: &str) -> QueueId {
    QueueId::parse(name).expect("a good name")
}

pub(crate) fn leg(number: u16) -> LegNumber {
    LegNumber(number)
}

pub(crate) fn person(answers_on: AnswersOn, queues: &[&str]) -> AgentConfig {
    AgentConfig {
        name: "A Person".into(),
        role: Duty::Agent,
        password: PasswordHash::default(),
        device: "sip:phone@127.0.0.1".into(),
        answers_on,
        always_ready: false,
        queues: queues.iter().map(|name| queue(name)).collect(),
        shows: None,
        skills: BTreeMap::new(),
        supervises: Vec::new(),
    }
}

/// `service` a target, `sales` a queue that answers and records, served by ana and bob (desk)
/// and cyd (phone), `quiet` a queue that lets callers hear ringing, served by bot (always ready);
/// `ana`'s own number, an echo, a number that is closed, a trunk behind 0.
pub(crate) fn directory() -> Directory {
    let sales = QueueConfig {
        label: "Sales".into(),
        ring_seconds: 15,
        wrap_up_seconds: 10,
        max_wait_seconds: 120,
        record: true,
        dispositions: BTreeMap::from([("sold".into(), "Sold".into())]),
        ..QueueConfig::default()
    };
    let quiet = QueueConfig { answer: false, ..QueueConfig::default() };
    let bot = AgentConfig { always_ready: true, ..person(AnswersOn::Phone, &["quiet"]) };
    Directory {
        numbers: BTreeMap::from([
            ("service".into(), Route::Target("sip:x@127.0.0.1:5070".into())),
            ("sales".into(), Route::Queue(queue("sales"))),
            ("quiet".into(), Route::Queue(queue("quiet"))),
            ("ana".into(), Route::Agent(agent("ana"))),
            ("cyd".into(), Route::Agent(agent("cyd"))),
            ("echo".into(), Route::Echo),
            ("closed".into(), Route::Reject(480)),
        ]),
        queues: BTreeMap::from([(queue("sales"), sales), (queue("quiet"), quiet)]),
        agents: BTreeMap::from([
            (agent("ana"), person(AnswersOn::Desk, &["sales"])),
            (agent("bob"), person(AnswersOn::Desk, &["sales", "quiet"])),
            (agent("cyd"), person(AnswersOn::Phone, &["sales"])),
            (agent("bot"), bot),
        ]),
        trunks: BTreeMap::from([(
            "carrier".into(),
            TrunkConfig {
                shows: Some("555000".into()),
                ring_seconds: 40,
                record: true,
                wrap_up_seconds: 5,
                ..TrunkConfig::default()
            },
        )]),
        outbound: vec![OutboundRule {
            prefix: "0".into(),
            trunk: "carrier".into(),
            strip: 1,
            add: "+".into(),
        }],
        ..Directory::default()
    }
}

impl Script {
    pub(crate) fn new() -> Self {
        Self::with(directory())
    }

    pub(crate) fn with(directory: Directory) -> Self {
        let mut script = Self {
            center: Center::new(),
            index: 0,
            now: START,
            last: Outcome::default(),
            ledger: Ledger::default(),
            commands: 0,
            calls: 0,
        };
        script.gives(Command::NodeUp { node: NODE, homes: Vec::new(), sockets_are_lost: true });
        script.gives(Command::Configure(Box::new(directory)));
        script
    }

    /// A command that must be taken.
    pub(crate) fn gives(&mut self, command: Command) -> Reply {
        let said = format!("{command:?}");
        match self.tries(command) {
            Ok(reply) => reply,
            Err(rejected) => panic!("{said}: {rejected}"),
        }
    }

    /// A command that may be rejected, and then must have changed nothing.
    pub(crate) fn tries(&mut self, command: Command) -> Result<Reply, Rejected> {
        self.index += 1;
        let before = self.center.state_hash();
        match self.center.apply(self.index, self.now, command) {
            Ok(outcome) => {
                self.last = outcome;
                self.ledger.applied(&self.center, &self.last);
                let faults = [audit::check_state(&self.center), self.ledger.faults().to_vec()];
                assert_eq!(faults.concat(), []);
                Ok(self.last.reply)
            }
            Err(rejected) => {
                assert_eq!(self.center.state_hash(), before, "{rejected} changed something");
                Err(rejected)
            }
        }
    }

    pub(crate) fn next_command(&mut self) -> CommandId {
        self.commands += 1;
        CommandId::parse(&format!("c{}", self.commands)).expect("a short id")
    }

    /// Time passes; the leader ticks whenever something is due.
    pub(crate) fn after_seconds(&mut self, seconds: u32) {
        let end = self.now.plus_seconds(seconds);
        while let Some(due) = self.center.next_deadline().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.gives(Command::Tick);
            assert_ne!(self.center.next_deadline(), Some(due), "a tick leaves nothing due");
        }
        self.now = end;
    }

    // --- callers ---

    pub(crate) fn new_call(&mut self) -> CallId {
        self.calls += 1;
        CallId::new(NODE, self.now, self.calls)
    }

    pub(crate) fn arrived(&mut self, called: &str) -> Arrived {
        Arrived {
            call: self.new_call(),
            salt: 7,
            owner: NODE,
            home: None,
            trunk: None,
            phone: None,
            caller: Party { number: "100".into(), name: Some("Alice".into()) },
            called: called.into(),
            wire: Wire::from(&b"invite"[..]),
            answer_ready: true,
        }
    }

    /// A caller's INVITE comes in.
    pub(crate) fn dials(&mut self, called: &str) -> CallId {
        let arrived = self.arrived(called);
        let call = arrived.call;
        self.gives(Command::Arrived(Box::new(arrived)));
        call
    }

    pub(crate) fn caller_hangs_up(&mut self, call: CallId) {
        let leg = LegNumber::FIRST;
        self.gives(Command::LegEnded { call, leg, cause: Cause::HungUp });
    }

    pub(crate) fn caller_cancels(&mut self, call: CallId) {
        let leg = LegNumber::FIRST;
        self.gives(Command::LegEnded { call, leg, cause: Cause::Cancelled });
    }

    // --- legs ---

    pub(crate) fn rings(&mut self, call: CallId, number: u16) -> Reply {
        self.gives(Command::LegRinging { call, leg: leg(number) })
    }

    pub(crate) fn answers(&mut self, call: CallId, number: u16) -> Reply {
        let wires = vec![(leg(number), Wire::from(&b"answer"[..]))];
        self.gives(Command::LegAnswered { call, leg: leg(number), wires })
    }

    pub(crate) fn fails(&mut self, call: CallId, number: u16, status: u16) -> Reply {
        self.gives(Command::LegFailed { call, leg: leg(number), status })
    }

    pub(crate) fn ends(&mut self, call: CallId, number: u16) -> Reply {
        self.gives(Command::LegEnded { call, leg: leg(number), cause: Cause::HungUp })
    }

    pub(crate) fn phone_holds(&mut self, call: CallId, number: u16, held: bool) -> Reply {
        self.gives(Command::LegHeld { call, leg: leg(number), held })
    }

    // --- desks ---

    pub(crate) fn signs_in(&mut self, name: &str, session: u64) {
        let (session, command) = (SessionId(session), self.next_command());
        self.gives(Command::SignIn { agent: agent(name), session, node: NODE, command });
    }

    pub(crate) fn becomes(&mut self, name: &str, state: WantedState) -> Reply {
        let command = self.next_command();
        self.gives(Command::SetState { agent: agent(name), state, command })
    }

    /// Signs in and becomes ready.
    pub(crate) fn is_ready(&mut self, name: &str) {
        let session = name.bytes().fold(0, |sum, byte| sum * 31 + u64::from(byte));
        self.signs_in(name, session);
        self.becomes(name, WantedState::Ready);
    }

    pub(crate) fn accepts(&mut self, name: &str, call: CallId) -> Result<Reply, Rejected> {
        let command = self.next_command();
        self.tries(Command::AcceptOffer { agent: agent(name), call, command })
    }

    pub(crate) fn declines(&mut self, name: &str, call: CallId) -> Result<Reply, Rejected> {
        let command = self.next_command();
        self.tries(Command::DeclineOffer { agent: agent(name), call, command })
    }

    pub(crate) fn holds(&mut self, name: &str, call: CallId) -> Result<Reply, Rejected> {
        let command = self.next_command();
        self.tries(Command::Hold { agent: agent(name), call, command })
    }

    pub(crate) fn retrieves(&mut self, name: &str, call: CallId) -> Result<Reply, Rejected> {
        let command = self.next_command();
        self.tries(Command::Retrieve { agent: agent(name), call, command })
    }

    pub(crate) fn hangs_up(&mut self, name: &str, call: CallId) -> Result<Reply, Rejected> {
        let command = self.next_command();
        self.tries(Command::HangUp { agent: agent(name), call, command })
    }

    pub(crate) fn consults(
        &mut self,
        name: &str,
        call: CallId,
        to: &str,
    ) -> Result<Reply, Rejected> {
        let (agent, to, command) = (agent(name), to.into(), self.next_command());
        self.tries(Command::Consult { agent, call, to, command })
    }

    pub(crate) fn alternates(&mut self, name: &str, call: CallId) -> Result<Reply, Rejected> {
        let command = self.next_command();
        self.tries(Command::Alternate { agent: agent(name), call, command })
    }

    pub(crate) fn reconnects(&mut self, name: &str, call: CallId) -> Result<Reply, Rejected> {
        let command = self.next_command();
        self.tries(Command::Reconnect { agent: agent(name), call, command })
    }

    pub(crate) fn conferences(&mut self, name: &str, call: CallId) -> Result<Reply, Rejected> {
        let command = self.next_command();
        self.tries(Command::Conference { agent: agent(name), call, command })
    }

    pub(crate) fn transfers(
        &mut self,
        name: &str,
        call: CallId,
        to: Option<&str>,
    ) -> Result<Reply, Rejected> {
        let (agent, to, command) = (agent(name), to.map(Into::into), self.next_command());
        self.tries(Command::Transfer { agent, call, to, command })
    }

    pub(crate) fn agent_dials(&mut self, name: &str, to: &str) -> Result<CallId, Rejected> {
        let (call, command) = (self.new_call(), self.next_command());
        let (agent, to) = (agent(name), to.into());
        self.tries(Command::Dial(Box::new(Dial {
            agent,
            call,
            salt: 9,
            to,
            owner: NODE,
            command,
        })))?;
        Ok(call)
    }

    /// The call in a conversation with this agent, through the queue `sales`.
    pub(crate) fn talks_with(&mut self, name: &str) -> CallId {
        self.is_ready(name);
        let call = self.dials("sales");
        assert_eq!(self.accepts(name, call), Ok(Reply::Done));
        self.answers(call, 1);
        assert_eq!(self.state(name), "talking");
        call
    }

    // --- what is seen ---

    pub(crate) fn call(&self, id: CallId) -> &Arc<Call> {
        self.center.call(id).expect("the call is there")
    }

    pub(crate) fn agent(&self, name: &str) -> &Arc<Agent> {
        self.center.agent(&agent(name)).expect("the agent is there")
    }

    pub(crate) fn state(&self, name: &str) -> &'static str {
        self.agent(name).state.name()
    }

    /// Why the agent is not ready or logged out.
    pub(crate) fn reason(&self, name: &str) -> String {
        let state = &self.agent(name).state;
        let (AgentState::NotReady { reason, .. } | AgentState::LoggedOut { reason, .. }) = state
        else {
            panic!("{name} is {}", state.name())
        };
        reason.to_string()
    }

    /// The place of a waiting call.
    pub(crate) fn ticket(&self, id: CallId) -> Index {
        let Phase::Queued { ticket, .. } = &self.call(id).phase else {
            panic!("{:?}", self.call(id).phase)
        };
        *ticket
    }

    pub(crate) fn wants(&self, id: CallId, number: u16) -> Option<LegWant> {
        self.call(id).wants().legs.remove(&leg(number))
    }

    pub(crate) fn hears(&self, id: CallId, number: u16) -> Option<Hears> {
        self.call(id).wants().media.remove(&leg(number))
    }

    pub(crate) fn offered_to(&self, id: CallId) -> Option<String> {
        self.call(id).offers().first().map(|offer| offer.agent.to_string())
    }

    /// What the last command recorded of calls.
    pub(crate) fn of_calls(&self) -> Vec<&Record> {
        let all = self.last.records.iter();
        all.filter(|record| !matches!(record, Record::Stint(_))).collect()
    }

    /// The record that the last command wrote.
    pub(crate) fn cdr(&self) -> &Cdr {
        match &self.of_calls()[..] {
            [Record::Cdr(cdr), Record::Timeline(ended)] if ended.call == cdr.call => cdr,
            other => panic!("not one record: {other:?}"),
        }
    }

    /// What the last command told this agent, without changes of state.
    pub(crate) fn told(&self, name: &str) -> Vec<&Happened> {
        let to = tandem_center::Audience::Agent(agent(name));
        let events = self.last.events.iter().filter(|event| event.audience == to);
        let what = events.map(|event| &event.what);
        what.filter(|what| !matches!(what, Happened::AgentChanged { .. })).collect()
    }

    /// The timeline in words.
    pub(crate) fn story(&self, id: CallId) -> Vec<String> {
        self.call(id).timeline.notes().map(|note| note.what.to_string()).collect()
    }
}

pub(crate) fn invited(want: Option<LegWant>) -> (String, bool) {
    match want {
        Some(LegWant::Invited { target, auto_answer, .. }) => (target.to_string(), auto_answer),
        other => panic!("not invited: {other:?}"),
    }
}

pub(crate) fn not_ready(reason: &str) -> WantedState {
    WantedState::NotReady { reason: reason.into() }
}
