//! A desk: an agent's client. It lives outside of the nodes, has one socket to one of them, and
//! sees what that node's state says.
//!
//! A command has an id and is repeated, to whichever node, until it is answered.

use tandem_center::call::Stage;
use tandem_center::directory::Role;
use tandem_center::{
    Agent, AgentId, AgentState, CallId, Center, Command, CommandId, Dial, Link, NodeId, Rejected,
    Reply, SessionId, SupervisionMode, WantedState,
};

use crate::random::Random;
use crate::{Micros, SECOND};

/// Between two looks at the screen.
pub(crate) const THINKS_EVERY: Micros = SECOND / 5;

/// An unanswered command is repeated after this.
const REPEAT_AFTER: Micros = 3 * SECOND / 2;

/// What the agent does of their own accord.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Habit {
    /// Not there.
    Away,
    /// Whatever comes to mind.
    Busy,
    /// Signs in, is ready, accepts at once, and does nothing else.
    Obliging,
    /// Signs out when no call holds them.
    Leaving,
}

/// A desk.
#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) agent: AgentId,
    pub(crate) habit: Habit,
    /// The node that the socket leads to, and which start of it.
    pub(crate) socket: Option<(u64, u64)>,
    pub(crate) connect_at: Micros,
    pub(crate) session: Option<SessionId>,
    /// The present socket has said whose session it is.
    greeted: bool,
    outstanding: Option<Outstanding>,
    commands: u64,
    /// When it will have made up its mind about this call.
    decided: Option<(CallId, Micros)>,
    /// Says what its last call came to, once.
    pub(crate) disposed: Option<CallId>,
}

#[derive(Debug)]
struct Outstanding {
    command: Command,
    id: CommandId,
    sent_at: Micros,
}

/// What a desk wants done.
#[derive(Debug)]
pub(crate) enum Wish {
    /// Propose this at its node; the answer comes back by this id.
    Command(CommandId, Command),
    /// The node proposes this of its own accord.
    Tell(Command),
    /// The socket closes.
    Disconnect,
}

/// What the desk looks at.
pub(crate) struct View<'a> {
    pub(crate) now: Micros,
    pub(crate) node: NodeId,
    pub(crate) center: &'a Center,
    /// For ids.
    pub(crate) new_call: CallId,
}

impl Desk {
    pub(crate) fn new(agent: AgentId, habit: Habit) -> Self {
        Self {
            agent,
            habit,
            socket: None,
            connect_at: 0,
            session: None,
            greeted: false,
            outstanding: None,
            commands: 0,
            decided: None,
            disposed: None,
        }
    }

    pub(crate) fn connected(&mut self, node: u64, start: u64) {
        self.socket = Some((node, start));
        self.greeted = false;
        // A sign-in names the node that it was made at; elsewhere it is another one.
        if matches!(&self.outstanding, Some(Outstanding { command: Command::SignIn { .. }, .. })) {
            self.outstanding = None;
        }
    }

    pub(crate) fn disconnected(&mut self, at: Micros) {
        self.socket = None;
        self.connect_at = at;
    }

    /// The answer to a command.
    pub(crate) fn answered(&mut self, id: &CommandId, reply: &Result<Reply, Rejected>) {
        if self.outstanding.as_ref().is_none_or(|outstanding| outstanding.id != *id) {
            return;
        }
        self.outstanding = None;
        if let Ok(Reply::SignedIn { session }) = reply {
            self.session = Some(*session);
            self.greeted = true;
        }
    }

    /// The command was certainly not taken: it is sent again a little later.
    pub(crate) fn not_taken(&mut self, now: Micros, id: &CommandId) {
        if let Some(outstanding) = self.outstanding.as_mut().filter(|one| one.id == *id) {
            outstanding.sent_at = now + SECOND / 4 - REPEAT_AFTER.min(now);
        }
    }

    /// Looks at the screen and does something, or nothing.
    pub(crate) fn think(&mut self, view: &View<'_>, random: &mut Random) -> Option<Wish> {
        if let Some(outstanding) = &mut self.outstanding {
            if view.now < outstanding.sent_at + REPEAT_AFTER {
                return None;
            }
            outstanding.sent_at = view.now;
            return Some(Wish::Command(outstanding.id.clone(), outstanding.command.clone()));
        }
        let agent = view.center.agent(&self.agent)?.clone();
        if self.habit == Habit::Leaving {
            return self.leave(view, &agent);
        }
        if let Some(wish) = self.greet(view, random) {
            return Some(wish);
        }
        if self.habit == Habit::Busy && random.permille(2) {
            return Some(Wish::Disconnect);
        }
        self.work(view, &agent, random)
    }

    /// Signs out, unless that is done.
    fn leave(&mut self, view: &View<'_>, agent: &Agent) -> Option<Wish> {
        let session = agent.session?;
        let (agent, command) = (self.agent.clone(), self.next_id());
        let out = Command::SignOut { agent, session, command: command.clone() };
        Some(self.command(view.now, command, out))
    }

    /// Says whose session it is, or signs in.
    fn greet(&mut self, view: &View<'_>, random: &mut Random) -> Option<Wish> {
        let session = self.session.and_then(|session| view.center.session(session));
        match session.filter(|session| session.agent == self.agent) {
            Some(session) if session.node == view.node && session.link == Link::Live => {
                self.greeted = true;
                None
            }
            // The node sees a session of its own marked lost while the socket is there.
            Some(session) => {
                self.greeted = true;
                Some(Wish::Tell(Command::SessionBack { session: session.id, node: view.node }))
            }
            // The session that was signed in is not here yet, or is over.
            None if self.greeted && self.session.is_some() && random.percent(80) => None,
            None => {
                let (agent, node) = (self.agent.clone(), view.node);
                let (session, command) = (SessionId(random.next()), self.next_id());
                let sign_in = Command::SignIn { agent, session, node, command: command.clone() };
                Some(self.command(view.now, command, sign_in))
            }
        }
    }

    fn work(&mut self, view: &View<'_>, agent: &Agent, random: &mut Random) -> Option<Wish> {
        let is_busy = self.habit == Habit::Busy;
        let (who, command) = (self.agent.clone(), self.peek_id());
        let done = match &agent.state {
            AgentState::NotReady { until: None, .. } if !is_busy || random.percent(15) => {
                Command::SetState { agent: who, state: WantedState::Ready, command }
            }
            AgentState::Ready { .. } if is_busy && random.permille(8) => {
                let state = WantedState::NotReady { reason: "lunch".into() };
                Command::SetState { agent: who, state, command }
            }
            AgentState::Ready { .. } if is_busy && random.permille(12) => {
                let to = (*random.of(&["0123", "service", "sales"])).into();
                let (call, owner) = (view.new_call, view.node);
                let salt = random.next();
                Command::Dial(Box::new(Dial { agent: who, call, salt, to, owner, command }))
            }
            AgentState::Ready { .. } if is_busy && random.permille(40) => {
                self.stand_by(view, random)?
            }
            AgentState::Ringing { call, .. } => self.consider(view, *call, random)?,
            AgentState::Talking { call, .. } if is_busy => match random.below(60) {
                0..=1 => Command::HangUp { agent: who, call: *call, command },
                2..=4 => Command::Hold { agent: who, call: *call, command },
                5 => Command::SetState { agent: who, state: WantedState::Ready, command },
                6 => Command::Park { agent: who, call: *call, command },
                7 => Command::Mute { agent: who, call: *call, muted: random.percent(50), command },
                _ => return None,
            },
            AgentState::Held { call, .. } if is_busy && random.percent(20) => {
                Command::Retrieve { agent: who, call: *call, command }
            }
            AgentState::WrapUp { call, .. } if is_busy && self.disposed != Some(*call) => {
                self.disposed = Some(*call);
                let (disposition, note) = ("sold".into(), None);
                Command::Dispose { agent: who, call: *call, disposition, note, command }
            }
            AgentState::WrapUp { .. } if random.percent(10) => {
                Command::EndWrapUp { agent: who, command }
            }
            AgentState::LoggedOut { .. }
            | AgentState::NotReady { .. }
            | AgentState::Ready { .. }
            | AgentState::Reserved { .. }
            | AgentState::Talking { .. }
            | AgentState::Held { .. }
            | AgentState::WrapUp { .. } => return None,
        };
        let id = self.next_id();
        Some(self.command(view.now, id, done))
    }

    /// Nothing rings: a parked caller is picked up, or a supervisor is in another's call.
    fn stand_by(&self, view: &View<'_>, random: &mut Random) -> Option<Command> {
        let (agent, command) = (self.agent.clone(), self.peek_id());
        if let Some(slot) = view.center.calls().find_map(|call| call.slot()) {
            return Some(Command::PickUp { agent, slot, command });
        }
        let role = view.center.directory().agents.get(&agent)?.role;
        let mut talking = view.center.agents().filter(|other| {
            let call = other.state.call().and_then(|call| view.center.call(call));
            call.is_some_and(|call| call.talking_leg_of(&other.id).is_some())
        });
        let of = talking.next().filter(|_| role > Role::Agent)?.id.clone();
        let modes = [SupervisionMode::Listen, SupervisionMode::Whisper, SupervisionMode::Barge];
        Some(Command::Supervise { agent, of, mode: *random.of(&modes), command })
    }

    /// It rings at the desk: some accept, some decline, some are not there.
    fn consider(&mut self, view: &View<'_>, id: CallId, random: &mut Random) -> Option<Command> {
        let call = view.center.call(id)?;
        let offer = call.offer_to(&self.agent)?;
        if offer.stage != Stage::Desk {
            return None;
        }
        let wait = if self.habit == Habit::Busy { random.about(3 * SECOND) } else { 0 };
        let due = match self.decided {
            Some((of, due)) if of == id => due,
            Some(_) | None => self.decided.insert((id, view.now + wait)).1,
        };
        if view.now < due {
            return None;
        }
        let (agent, call, command) = (self.agent.clone(), id, self.peek_id());
        match random.below(20) {
            0 if self.habit == Habit::Busy => Some(Command::DeclineOffer { agent, call, command }),
            1 if self.habit == Habit::Busy => {
                self.decided = Some((id, view.now + 60 * SECOND));
                None
            }
            _ => Some(Command::AcceptOffer { agent, call, command }),
        }
    }

    fn peek_id(&self) -> CommandId {
        let id = format!("{}-{}", self.agent, self.commands + 1);
        CommandId::parse(&id).expect("an agent's name and a number make a short id")
    }

    fn next_id(&mut self) -> CommandId {
        let id = self.peek_id();
        self.commands += 1;
        id
    }

    fn command(&mut self, now: Micros, id: CommandId, command: Command) -> Wish {
        let again = command.clone();
        self.outstanding = Some(Outstanding { command, id: id.clone(), sent_at: now });
        Wish::Command(id, again)
    }

    /// Does this next, whatever the habit.
    pub(crate) fn order(&mut self, now: Micros, make: impl FnOnce(AgentId, CommandId) -> Command) {
        let id = self.next_id();
        let command = make(self.agent.clone(), id.clone());
        let sent_at = now.saturating_sub(REPEAT_AFTER);
        self.outstanding = Some(Outstanding { command, id, sent_at });
    }

    pub(crate) fn is_waiting(&self) -> bool {
        self.outstanding.is_some()
    }
}
