//! Random events through queues of every strategy: nobody is offered two calls at once, only a
//! queue that rings all asks several agents for one call, and no caller is overtaken by another
//! whom the same agents may take.
//!
//! The claims are judged from the events that screens see and from calls as they stand, not by the
//! indexes that the choice uses. `EVENTS=n` runs that many for each strategy in place of the default;
//! a failure prints its strategy and event.

use std::collections::BTreeMap;

use tandem_center::directory::{
    AgentConfig, AnswersOn, CallerClass, Member, NumberPattern, PasswordHash, QueueConfig, Ring,
    Role, Skills, Strategy,
};
use tandem_center::{
    AgentId, Arrived, Call, CallId, Cause, Center, Command, CommandId, Directory, Happened, Index,
    LegNumber, Millis, NodeId, Outcome, Party, Phase, QueueId, Route, SessionId, WantedState, Wire,
};

/// Events of one strategy; what a test run has time for.
const EVENTS: u64 = 4_000;

const QUEUES: [&str; 3] = ["first", "second", "third"];
const AGENTS: u64 = 14;

/// splitmix64: the same numbers everywhere.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

fn queue(name: &str) -> QueueId {
    QueueId::parse(name).expect("a good name")
}

fn agent(number: u64) -> AgentId {
    AgentId::parse(&format!("agent{number:02}")).expect("a good name")
}

/// Who sends those who wait elsewhere, and puts them first.
fn boss_id() -> AgentId {
    AgentId::parse("boss").expect("a good name")
}

fn skill(level: u8) -> Skills {
    Skills::from([("tax".into(), level)])
}

/// Three queues: one whose callers age and widen over rings into the next queue, one with an agent
/// of last time and penalties, one that is plain.
fn queues(strategy: Strategy) -> BTreeMap<QueueId, QueueConfig> {
    let ring = |after_seconds, level: u8| {
        let skills = if level > 0 { skill(level) } else { Skills::new() };
        Ring { after_seconds, skills, ..Ring::default() }
    };
    let base = QueueConfig { strategy, ring_seconds: 4, wrap_up_seconds: 1, ..Default::default() };
    let mut first = QueueConfig { max_wait_seconds: 90, ..base.clone() };
    first.distribution.age_seconds = 15;
    let guests = Ring { queues: vec![queue("second")], waives_caller: true, ..ring(20, 0) };
    first.distribution.rings = vec![ring(0, 5), ring(8, 2), guests];
    first.overflow = Some(Route::Queue(queue("third")));
    let mut second = QueueConfig { priority: 3, ..base.clone() };
    second.distribution.rings = vec![ring(0, 1)];
    second.distribution.last_agent_seconds = 10;
    second.distribution.no_answer_penalty = Some(2);
    let third = QueueConfig { max_length: 30, answer: false, ..base };
    let mut queues = BTreeMap::from([
        (queue("first"), first),
        (queue("second"), second),
        (queue("third"), third),
    ]);
    if strategy == Strategy::HighestLevel {
        queues.get_mut(&queue("third")).expect("it is there").distribution.rings = vec![ring(0, 1)];
    }
    queues
}

/// Who answers at the desk and serves no queue.
fn person(name: &str, role: Role) -> AgentConfig {
    AgentConfig {
        name: name.into(),
        role,
        password: PasswordHash::default(),
        device: "sip:p@q".into(),
        answers_on: AnswersOn::Desk,
        always_ready: false,
        queues: Vec::new(),
        shows: None,
        skills: Skills::new(),
        supervises: Vec::new(),
    }
}

/// Agents who differ in what they serve and are good at, and a supervisor.
fn directory(strategy: Strategy) -> Directory {
    let mut queues = queues(strategy);
    let mut agents = BTreeMap::from([(boss_id(), person("Boss", Role::Supervisor))]);
    for number in 0..AGENTS {
        let serves = QUEUES.iter().enumerate();
        let serves = serves.filter(|(place, _)| (number + 1) >> place & 1 == 1 || number > 10);
        let serves: Vec<QueueId> = serves.map(|(_, name)| queue(name)).collect();
        for (place, served) in serves.iter().enumerate() {
            let member = Member {
                penalty: u8::from(number % 5 == 4),
                rank: (number * 7 % 4) as u16,
                weight: 1 + (number % 6) as u16,
                preference: u8::from(place == 1 && number % 3 == 0),
            };
            let config = queues.get_mut(served).expect("it is there");
            config.distribution.members.insert(agent(number), member);
        }
        let config = AgentConfig {
            answers_on: if number % 2 == 0 { AnswersOn::Desk } else { AnswersOn::Phone },
            always_ready: number == 13,
            queues: serves,
            skills: if number % 4 == 3 { Skills::new() } else { skill(1 + (number % 8) as u8) },
            ..person("Agent", Role::Agent)
        };
        agents.insert(agent(number), config);
    }
    let gold = CallerClass {
        name: "gold".into(),
        callers: vec![NumberPattern::Prefix("9".into())],
        priority: 4,
        skills: skill(3),
        ..CallerClass::default()
    };
    let numbers = QUEUES.iter().map(|name| ((*name).into(), Route::Queue(queue(name))));
    let classes = vec![gold];
    Directory { numbers: numbers.collect(), queues, agents, classes, ..Directory::default() }
}

struct World {
    strategy: Strategy,
    dice: Dice,
    center: Center,
    index: Index,
    now: Millis,
    calls: u16,
    /// Who rings for which call, as the events say.
    rings: BTreeMap<AgentId, CallId>,
    offers: u64,
    answers: u64,
    at_once: u64,
}

impl World {
    fn new(strategy: Strategy) -> Self {
        let mut world = Self {
            strategy,
            dice: Dice(strategy as u64 + 1),
            center: Center::new(),
            index: 0,
            now: Millis(1_764_000_000_000),
            calls: 0,
            rings: BTreeMap::new(),
            offers: 0,
            answers: 0,
            at_once: 0,
        };
        world.apply(Command::NodeUp { node: NodeId(1), homes: Vec::new(), sockets_are_lost: true });
        world.apply(Command::Configure(Box::new(directory(strategy))));
        for number in 0..AGENTS - 1 {
            world.signs_in(number);
        }
        let (session, command) = (SessionId(1_000_000_000), world.command());
        world.apply(Command::SignIn { agent: boss_id(), session, node: NodeId(1), command });
        world
    }

    fn signs_in(&mut self, number: u64) {
        let session = SessionId(self.index + 1);
        let command = self.command();
        self.apply(Command::SignIn { agent: agent(number), session, node: NodeId(1), command });
        let (agent, command) = (agent(number), self.command());
        self.apply(Command::SetState { agent, state: WantedState::Ready, command });
    }

    fn command(&self) -> CommandId {
        CommandId::parse(&format!("c{}", self.index)).expect("short")
    }

    fn apply(&mut self, command: Command) {
        self.index += 1;
        // What comes too late is refused, and changes nothing.
        if let Ok(outcome) = self.center.apply(self.index, self.now, command) {
            self.judge(&outcome);
        }
    }

    fn judge(&mut self, outcome: &Outcome) {
        let here = format!("{:?}, event {}", self.strategy, self.index);
        for event in &outcome.events {
            if let Happened::Offered { agent, call, .. } = &event.what {
                self.offers += 1;
                let before = self.rings.insert(agent.clone(), call.call);
                assert_eq!(before, None, "{here}: {agent} is offered {} as well", call.call);
                let others = self.rings.values().filter(|of| **of == call.call).count();
                let may = self.strategy == Strategy::RingAll;
                assert!(others == 1 || may, "{here}: {} rings at {others}", call.call);
                self.at_once += u64::from(others > 1);
                self.nobody_is_overtaken_by(call.call, &here);
            } else if let Happened::OfferEnded { agent, call, .. } = &event.what {
                assert_eq!(self.rings.remove(agent), Some(*call), "{here}: {agent}");
            } else if let Happened::Established { agent, call, .. } = &event.what {
                self.answers += 1;
                assert_eq!(self.rings.remove(agent), Some(call.call), "{here}: {agent}");
            }
        }
    }

    /// The order of service, computed anew from the call: with ageing, as if it had entered
    /// earlier by so much for each step of priority.
    fn order(&self, call: &Call) -> Option<(i128, Index, CallId)> {
        let Phase::Queued { queue, ticket, since, .. } = &call.phase else { return None };
        let step = self.center.directory().queues.get(queue)?.distribution.age_seconds;
        let priority = i128::from(call.priority);
        let key = match step {
            0 => -priority,
            step => i128::from(since.0) - priority * i128::from(step) * 1_000,
        };
        Some((key, *ticket, call.id))
    }

    fn nobody_is_overtaken_by(&self, id: CallId, here: &str) {
        let class = |call: &Call| {
            let Phase::Queued { queue, ring, wanted, .. } = &call.phase else { return None };
            Some((queue.clone(), *ring, wanted.clone(), call.needs.clone()))
        };
        let Some(call) = self.center.call(id) else { return };
        let Some(mine) = class(call) else { return };
        for other in self.center.calls().filter(|other| other.offers().is_empty()) {
            if class(other).as_ref() == Some(&mine) {
                assert!(self.order(other) > self.order(call), "{here}: {} by {id}", other.id);
            }
        }
    }

    fn step(&mut self) {
        self.now = self.now.plus_ms(self.dice.below(700));
        while self.center.next_deadline().is_some_and(|due| due <= self.now) {
            self.apply(Command::Tick);
        }
        let number = self.dice.below(AGENTS);
        let agent = agent(number);
        let ended = self.center.calls().filter(|call| call.has_ended()).map(|call| call.id);
        let ended: Vec<CallId> = ended.collect();
        if ended.len() > 20 {
            self.apply(Command::Cleared { calls: ended });
        }
        match self.dice.below(22) {
            20 => self.boss_interferes(),
            21 => self.parks_or_deflects(),
            0..=5 => self.arrives(),
            6..=10 => self.answers_or_not(),
            11..=15 => self.somebody_hangs_up(),
            16 => {
                let state = WantedState::NotReady { reason: "break".into() };
                let command = self.command();
                self.apply(Command::SetState { agent, state, command });
            }
            17 if self.dice.below(4) == 0 => {
                let session = self.center.agent(&agent).and_then(|agent| agent.session);
                let command = self.command();
                match session {
                    Some(session) => self.apply(Command::SignOut { agent, session, command }),
                    None => self.signs_in(number),
                }
            }
            _ => {
                let command = self.command();
                self.apply(Command::SetState { agent, state: WantedState::Ready, command });
            }
        }
    }

    fn arrives(&mut self) {
        self.calls = self.calls.wrapping_add(1);
        let call = CallId::new(NodeId(1), self.now, self.calls);
        let caller = Party { number: self.dice.below(25).to_string().into(), name: None };
        let called = QUEUES[self.dice.below(3) as usize].into();
        self.apply(Command::Arrived(Box::new(Arrived {
            call,
            salt: self.index,
            owner: NodeId(1),
            home: None,
            trunk: None,
            phone: None,
            caller,
            called,
            wire: Wire::default(),
            answer_ready: true,
        })));
    }

    /// One of those who ring: accepts, picks up, declines or is broken.
    fn answers_or_not(&mut self) {
        let rings: Vec<_> = self.rings.iter().map(|(agent, call)| (agent.clone(), *call)).collect();
        if rings.is_empty() {
            return;
        }
        let (agent, call) = rings[self.dice.below(rings.len() as u64) as usize].clone();
        let offer = self.center.call(call).and_then(|value| value.offer_to(&agent).cloned());
        let Some(offer) = offer else { return };
        let command = self.command();
        match (offer.stage.leg(), self.dice.below(8)) {
            (None, 0) => self.apply(Command::DeclineOffer { agent, call, command }),
            (None, _) => self.apply(Command::AcceptOffer { agent, call, command }),
            (Some(leg), 0) => self.apply(Command::LegFailed { call, leg, status: 486 }),
            (Some(leg), 1) => self.apply(Command::LegRinging { call, leg }),
            (Some(leg), _) => self.apply(Command::LegAnswered { call, leg, wires: Vec::new() }),
        }
    }

    /// One who waits gets another priority, or goes to another queue.
    fn boss_interferes(&mut self) {
        let waits = |call: &&std::sync::Arc<Call>| {
            matches!(call.phase, Phase::Queued { .. }) && call.offers().is_empty()
        };
        let waiting: Vec<CallId> = self.center.calls().filter(waits).map(|call| call.id).collect();
        if waiting.is_empty() {
            return;
        }
        let call = waiting[self.dice.below(waiting.len() as u64) as usize];
        let (agent, command) = (boss_id(), self.command());
        match self.dice.below(4) {
            0 => self.apply(Command::Prioritise { agent, call, priority: None, command }),
            1 => {
                let priority = Some(self.dice.below(8) as u8);
                self.apply(Command::Prioritise { agent, call, priority, command });
            }
            _ => {
                let queue = queue(QUEUES[self.dice.below(3) as usize]);
                self.apply(Command::MoveToQueue { agent, call, queue, command });
            }
        }
    }

    /// An agent parks the caller, takes one who is parked, or sends on who rings.
    fn parks_or_deflects(&mut self) {
        let agent = agent(self.dice.below(AGENTS));
        let command = self.command();
        if let Some(call) = self.rings.get(&agent).copied() {
            let to = QUEUES[self.dice.below(3) as usize].into();
            return self.apply(Command::Deflect { agent, call, to, command });
        }
        let call = self.center.agent(&agent).and_then(|agent| agent.state.call());
        match call {
            Some(call) => self.apply(Command::Park { agent, call, command }),
            None => self.apply(Command::PickUp { agent, slot: 1, command }),
        }
    }

    /// Most often one who talks, now and then one who waits.
    fn somebody_hangs_up(&mut self) {
        let waits = self.dice.below(6) == 0;
        let calls = self
            .center
            .calls()
            .filter(|call| !call.has_ended() && call.conversation().is_some() != waits);
        let calls: Vec<CallId> = calls.map(|call| call.id).collect();
        if calls.is_empty() {
            return;
        }
        let call = calls[self.dice.below(calls.len() as u64) as usize];
        self.apply(Command::LegEnded { call, leg: LegNumber::FIRST, cause: Cause::HungUp });
    }
}

fn runs(strategy: Strategy) {
    let events = std::env::var("EVENTS").ok().and_then(|text| text.parse().ok()).unwrap_or(EVENTS);
    let mut world = World::new(strategy);
    while world.index < events {
        world.step();
    }
    let queues = world.center.queues().map(|queue| queue.totals.entered).collect::<Vec<_>>();
    assert!(queues.iter().all(|entered| *entered > events / 50), "{queues:?}");
    assert!(world.offers > events / 20 && world.answers > events / 50, "{}", world.offers);
    assert_eq!(world.at_once > 0, strategy == Strategy::RingAll);
}

#[test]
fn longest_idle_and_round_robin_keep_the_order() {
    runs(Strategy::LongestIdle);
    runs(Strategy::RoundRobin);
}

#[test]
fn ring_all_and_fewest_calls_keep_the_order() {
    runs(Strategy::RingAll);
    runs(Strategy::FewestCalls);
}

#[test]
fn least_talk_time_and_linear_keep_the_order() {
    runs(Strategy::LeastTalkTime);
    runs(Strategy::Linear);
}

#[test]
fn weighted_random_and_highest_level_keep_the_order() {
    runs(Strategy::WeightedRandom);
    runs(Strategy::HighestLevel);
}
