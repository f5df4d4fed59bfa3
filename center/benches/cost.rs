//! What commands cost: `cargo bench -p tandem-center`. Prints one line a measure.
//!
//! Plain calls alone; then calls through queues with 10,000 agents in 1,000 queues and 50,000
//! callers who wait.
#![expect(clippy::print_stdout, reason = "a bench reports to whoever runs it")]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Duration;

use tandem_center::directory::{AgentConfig, AnswersOn, PasswordHash, QueueConfig, Role};
use tandem_center::{
    AgentId, Arrived, CallId, Cause, Center, Command, Directory, LegNumber, Millis, NodeId, Party,
    QueueId, Route, Wire,
};

const NODE: NodeId = NodeId(1);
const START: Millis = Millis(1_764_000_000_000);

struct Bench {
    center: Center,
    index: u64,
    now: Millis,
}

impl Bench {
    fn new(directory: Directory) -> Self {
        let mut bench = Self { center: Center::new(), index: 0, now: START };
        bench.apply(Command::NodeUp { node: NODE, homes: Vec::new(), sockets_are_lost: true });
        bench.apply(Command::Configure(Box::new(directory)));
        bench
    }

    /// As a replica does it: apply, then the pairs for the store.
    fn apply(&mut self, command: Command) {
        self.index += 1;
        let outcome = self.center.apply(self.index, self.now, command);
        let outcome = outcome.expect("the bench gives good commands");
        black_box(self.center.changed(&outcome.touched));
        black_box(outcome);
    }

    fn arrives(&mut self, n: u64, called: &str) -> CallId {
        let call = CallId(n);
        self.apply(Command::Arrived(Box::new(Arrived {
            call,
            salt: n,
            owner: NODE,
            home: None,
            trunk: None,
            phone: None,
            caller: Party { number: "13800138000".into(), name: Some("Caller".into()) },
            called: called.into(),
            wire: Wire::from(vec![7; 1_200]),
            answer_ready: true,
        })));
        call
    }

    fn answers(&mut self, call: CallId) {
        let leg = LegNumber(1);
        let wires =
            vec![(leg, Wire::from(vec![7; 1_500])), (LegNumber::FIRST, Wire::from(vec![7; 1_500]))];
        self.apply(Command::LegAnswered { call, leg, wires });
    }

    fn ends(&mut self, call: CallId, leg: u16) {
        self.apply(Command::LegEnded { call, leg: LegNumber(leg), cause: Cause::HungUp });
    }
}

/// Processor time, which other programs on the machine do not add to.
fn timed(work: impl FnOnce()) -> Duration {
    let begun = on_processor();
    work();
    on_processor() - begun
}

/// The first number of Linux's schedstat: nanoseconds that this thread has run.
fn on_processor() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux says");
    let first = text.split(' ').next().and_then(|nanos| nanos.parse().ok());
    Duration::from_nanos(first.expect("a number"))
}

fn report(name: &str, count: u64, took: Duration) {
    println!("{name}: {:.2} us each", took.as_secs_f64() * 1e6 / count as f64);
}

fn plain_calls() {
    let route = Route::Target("sip:x@127.0.0.1:5171".into());
    let numbers = BTreeMap::from([("b2b".into(), route)]);
    let mut bench = Bench::new(Directory { numbers, ..Directory::default() });
    let count = 100_000;
    let took = timed(|| {
        for n in 0..count {
            let call = bench.arrives(n, "b2b");
            bench.answers(call);
            bench.ends(call, 0);
            if n % 64 == 63 {
                bench.apply(Command::Cleared { calls: (n - 63..=n).map(CallId).collect() });
            }
        }
    });
    report("plain call, arrival to cleared, with pairs for the store", count, took);
}

fn contact_center() {
    let mut directory = Directory::default();
    for q in 0..1_000 {
        let name = format!("q{q}");
        let id = QueueId::parse(&name).expect("a good name");
        directory.numbers.insert(name.into(), Route::Queue(id.clone()));
        directory
            .queues
            .insert(id, QueueConfig { max_wait_seconds: 3_600, ..QueueConfig::default() });
    }
    for a in 0..10_000 {
        let config = AgentConfig {
            name: "Agent".into(),
            role: Role::Agent,
            password: PasswordHash::default(),
            device: "sip:agent@127.0.0.1:5080".into(),
            answers_on: AnswersOn::Phone,
            always_ready: true,
            queues: (0..10)
                .map(|q| QueueId::parse(&format!("q{}", (a + q * 97) % 1_000)).expect("good"))
                .collect(),
            shows: None,
            skills: BTreeMap::new(),
            supervises: Vec::new(),
        };
        directory.agents.insert(AgentId::parse(&format!("a{a:05}")).expect("good"), config);
    }
    let configured = timed(|| drop(Bench::new(directory.clone())));
    report("10,000 agents and 1,000 queues configured", 1, configured);
    let mut bench = Bench::new(directory);

    let busy = 10_000;
    let took = timed(|| {
        for n in 0..busy {
            let call = bench.arrives(n, &format!("q{}", n % 1_000));
            bench.now = bench.now.plus_ms(1);
            if bench.center.call(call).is_some_and(|call| !call.offers().is_empty()) {
                bench.answers(call);
            }
        }
    });
    report("arrival that is offered and answered", busy, took);

    let waiting = 50_000;
    let took = timed(|| {
        for n in busy..busy + waiting {
            bench.arrives(n, &format!("q{}", n % 1_000));
        }
    });
    report("arrival that waits, 50,000 of them", waiting, took);

    let took = timed(|| {
        for n in 0..busy {
            bench.now = bench.now.plus_ms(1);
            bench.ends(CallId(n), 1);
        }
    });
    report("conversation that ends, its agent taking the next caller", busy, took);

    let took = timed(|| {
        for n in busy..busy + 20_000 {
            bench.ends(CallId(n), 0);
        }
    });
    report("waiting or offered caller who leaves", 20_000, took);

    let mut bytes = Vec::new();
    let took = timed(|| bytes = bench.center.save());
    println!("snapshot of {} calls: {} MB", bench.center.calls().len(), bytes.len() >> 20);
    report("saving it", 1, took);
    let took = timed(|| drop(Center::load(&bytes).expect("it was just saved")));
    report("loading it", 1, took);
}

fn main() {
    plain_calls();
    contact_center();
}
