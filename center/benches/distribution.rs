//! What a match costs, over sizes: `cargo bench -p tandem-center --bench distribution`. Prints one
//! line for each strategy, size and event, as columns of a table.
//!
//! Two layouts: a centre whose agents serve ten queues each, in the proportion of 10 agents and 50
//! waiting callers to a queue; and one queue that has all agents and all callers, in which the growth
//! with the number of agents shows alone. Each figure is the whole of `Center::apply`; events during
//! which another program had the processor are left out.
#![expect(clippy::print_stdout, reason = "a bench reports to whoever runs it")]
#![expect(clippy::disallowed_methods, reason = "a bench reads the clock")]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Instant;

use tandem_center::directory::{
    AgentConfig, AnswersOn, PasswordHash, QueueConfig, Ring, Role, Skills, Strategy,
};
use tandem_center::{
    Agent, AgentId, AgentState, Arrived, CallId, Cause, Center, Command, Directory, LegNumber,
    Millis, NodeId, Party, QueueId, Route, Wire,
};

const STRATEGIES: [Strategy; 8] = [
    Strategy::LongestIdle,
    Strategy::RoundRobin,
    Strategy::RingAll,
    Strategy::FewestCalls,
    Strategy::LeastTalkTime,
    Strategy::Linear,
    Strategy::WeightedRandom,
    Strategy::HighestLevel,
];

/// Agents of the largest centre; the others are halves and quarters of it and so on.
const AGENTS_MAX: u64 = 10_000;
const SIZES: u32 = 5;
/// Callers who wait for each agent.
const WAITING: u64 = 5;
/// Events of which a percentile is taken.
const SAMPLES: u64 = 4_000;

struct Bench {
    center: Center,
    queues: u64,
    index: u64,
    now: Millis,
    calls: u64,
}

/// Microseconds of each event of a kind.
#[derive(Default)]
struct Times(Vec<f64>);

impl Times {
    fn at(&mut self, share: f64) -> f64 {
        self.0.retain(|took| !took.is_nan());
        self.0.sort_by(f64::total_cmp);
        self.0.get((self.0.len() as f64 * share) as usize).copied().unwrap_or_default()
    }
}

/// The third number of Linux's schedstat: how many times this thread was given a processor.
fn slices() -> String {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux says");
    text.split_whitespace().nth(2).unwrap_or_default().to_owned()
}

fn queue(number: u64) -> QueueId {
    QueueId::parse(&format!("q{number}")).expect("a good name")
}

fn directory(strategy: Strategy, agents: u64, queues: u64) -> Directory {
    let tax: Skills = [("tax".into(), 1)].into();
    let rings = vec![
        Ring { skills: tax, ..Ring::default() },
        Ring { after_seconds: 3_600, ..Ring::default() },
    ];
    let mut directory = Directory::default();
    for number in 0..queues {
        let mut config = QueueConfig { strategy, ..QueueConfig::default() };
        config.distribution.rings.clone_from(&rings);
        config.distribution.age_seconds = 60;
        directory.numbers.insert(format!("q{number}").into(), Route::Queue(queue(number)));
        directory.queues.insert(queue(number), config);
    }
    for number in 0..agents {
        let mut serves: Vec<u64> = (0..10).map(|of| (number + of * 97) % queues).collect();
        serves.sort_unstable();
        serves.dedup();
        let config = AgentConfig {
            name: "Agent".into(),
            role: Role::Agent,
            password: PasswordHash::default(),
            device: "sip:agent@127.0.0.1:5080".into(),
            answers_on: AnswersOn::Phone,
            always_ready: true,
            queues: serves.into_iter().map(queue).collect(),
            shows: None,
            skills: BTreeMap::from([("tax".into(), 1 + (number % 50) as u8)]),
            supervises: Vec::new(),
        };
        let id = AgentId::parse(&format!("a{number:05}")).expect("a good name");
        directory.agents.insert(id, config);
    }
    directory
}

impl Bench {
    fn new(strategy: Strategy, agents: u64, queues: u64) -> Self {
        let now = Millis(1_764_000_000_000);
        let mut bench = Self { center: Center::new(), queues, index: 0, now, calls: 0 };
        let node = NodeId(1);
        bench.apply(Command::NodeUp { node, homes: Vec::new(), sockets_are_lost: true });
        bench.apply(Command::Configure(Box::new(directory(strategy, agents, queues))));
        bench
    }

    /// Microseconds; no number if another program had the processor meanwhile.
    fn apply(&mut self, command: Command) -> f64 {
        self.index += 1;
        self.now = self.now.plus_ms(1);
        let slices = slices();
        let begun = Instant::now();
        let outcome = self.center.apply(self.index, self.now, command);
        let took = begun.elapsed();
        black_box(outcome.expect("the bench gives good commands"));
        if slices == self::slices() { took.as_secs_f64() * 1e6 } else { f64::NAN }
    }

    fn arrives(&mut self) -> (CallId, f64) {
        let call = CallId(self.calls);
        let called = format!("q{}", self.calls * 31 % self.queues).into();
        self.calls += 1;
        let arrived = Arrived {
            call,
            salt: call.0,
            owner: NodeId(1),
            home: None,
            trunk: None,
            phone: None,
            caller: Party { number: "13800138000".into(), name: None },
            called,
            wire: Wire::from(vec![7; 1_200]),
            answer_ready: true,
        };
        (call, self.apply(Command::Arrived(Box::new(arrived))))
    }

    /// The first phone that rings for a call is picked up; how long that took.
    fn answers(&mut self, call: CallId) -> Option<f64> {
        let leg = self.center.call(call)?.offers().first()?.stage.leg()?;
        Some(self.apply(Command::LegAnswered { call, leg, wires: Vec::new() }))
    }

    fn ends(&mut self, call: CallId) -> f64 {
        let cause = Cause::HungUp;
        self.apply(Command::LegEnded { call, leg: LegNumber::FIRST, cause })
    }
}

fn measure(strategy: Strategy, agents: u64, queues: u64) {
    let mut bench = Bench::new(strategy, agents, queues);
    let (mut matched, mut waits, mut freed, mut left) =
        (Times::default(), Times::default(), Times::default(), Times::default());
    // Everybody is ready: each arrival is matched, until nobody is left.
    let mut talking = std::collections::VecDeque::new();
    while bench.center.agents().len() > talking.len() && bench.calls < 3 * agents {
        let (call, took) = bench.arrives();
        if bench.answers(call).is_none() {
            continue;
        }
        talking.push_back(call);
        if matched.0.len() < SAMPLES as usize {
            matched.0.push(took);
        }
    }
    while (bench.center.queues().map(tandem_center::Queue::length).sum::<usize>() as u64)
        < WAITING * agents
    {
        for _ in 0..agents {
            let took = bench.arrives().1;
            waits.0.push(took);
        }
    }
    // Who hangs up frees an agent, who gets the first of the waiting; another caller comes.
    for _ in 0..SAMPLES {
        let Some(call) = talking.pop_front() else { break };
        let took = bench.ends(call);
        freed.0.push(took);
        let is_asked =
            |agent: &&std::sync::Arc<Agent>| matches!(agent.state, AgentState::Reserved { .. });
        let rings = bench.center.agents().find(is_asked).and_then(|agent| agent.state.call());
        if let Some(call) = rings.filter(|call| bench.answers(*call).is_some()) {
            talking.push_back(call);
        }
        bench.arrives();
    }
    let waiting: Vec<CallId> =
        bench.center.queues().flat_map(|queue| queue.waiting().map(|one| one.call)).collect();
    for call in waiting.iter().step_by((waiting.len() / SAMPLES as usize).max(1)) {
        left.0.push(bench.ends(*call));
    }
    let name = format!("{strategy:?}");
    println!(
        "| {name} | {agents} | {queues} | {} | {:.0} / {:.0} | {:.0} / {:.0} | {:.0} / {:.0} | \
         {:.0} / {:.0} |",
        waiting.len(),
        matched.at(0.5),
        matched.at(0.99),
        waits.at(0.5),
        waits.at(0.99),
        freed.at(0.5),
        freed.at(0.99),
        left.at(0.5),
        left.at(0.99),
    );
}

fn main() {
    println!(
        "Microseconds of one event, p50 / p99: a caller is matched at once; a caller comes to wait; \
         an agent becomes free and takes the first caller; a waiting caller leaves."
    );
    println!("| strategy | agents | queues | waiting | matched | waits | freed | left |");
    println!("|---|---|---|---|---|---|---|---|");
    for size in (0..SIZES).rev() {
        let agents = AGENTS_MAX >> size;
        for strategy in STRATEGIES {
            measure(strategy, agents, (agents / 10).max(1));
        }
    }
    for size in (0..SIZES).rev() {
        for strategy in [Strategy::LongestIdle, Strategy::RoundRobin, Strategy::WeightedRandom] {
            measure(strategy, AGENTS_MAX >> size, 1);
        }
    }
}
