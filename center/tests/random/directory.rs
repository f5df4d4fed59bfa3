//! Directories that differ in what exists and in how queues distribute.

use std::collections::BTreeMap;

use tandem_center::directory::{
    AgentConfig, AnswersOn, CallerClass, NumberPattern, OutboundRule, PasswordHash, QueueConfig,
    Ring, Role as Duty, Skills, Staffing, Strategy, TrunkConfig,
};
use tandem_center::{AgentId, Directory, QueueId, Route};

const STRATEGIES: [Strategy; 8] = [
    Strategy::RingAll,
    Strategy::LongestIdle,
    Strategy::RoundRobin,
    Strategy::FewestCalls,
    Strategy::LeastTalkTime,
    Strategy::Linear,
    Strategy::WeightedRandom,
    Strategy::HighestLevel,
];

const FLOW: &str = r#"
title = "Random"
start = "pick_up"
language = "en"
[steps.pick_up]
do = "answer"
next = "menu"
[steps.menu]
do = "menu"
prompts = "?"
retries = 1
choices = { 1 = "sales", 2 = "out", 3 = "service", 4 = "ana" }
on_failure = "bye"
[steps.sales]
do = "enqueue"
queue = "sales"
priority = 3
[steps.out]
do = "transfer"
number = "0123"
[steps.service]
do = "transfer"
number = "service"
[steps.ana]
do = "transfer"
number = "ana"
[steps.bye]
do = "hang_up"
"#;

pub(crate) fn agent(name: &str) -> AgentId {
    AgentId::parse(name).expect("a good name")
}

pub(crate) fn queue(name: &str) -> QueueId {
    QueueId::parse(name).expect("a good name")
}

fn skill(level: u8) -> Skills {
    Skills::from([("tax".into(), level)])
}

/// Every variant has another strategy; most ask for skills at first, and some need staff.
fn distribute(queues: &mut BTreeMap<QueueId, QueueConfig>, variant: u64) {
    for (place, config) in (0..).zip(queues.values_mut()) {
        config.strategy = STRATEGIES[((variant + place) % STRATEGIES.len() as u64) as usize];
    }
    let later = Ring { after_seconds: 4, waives_caller: true, ..Ring::default() };
    let sales = queues.get_mut(&queue("sales")).expect("it is always there");
    let first = Ring { skills: skill(1), ..Ring::default() };
    sales.distribution.rings = vec![first, Ring { queues: vec![queue("rest")], ..later }];
    (sales.distribution.age_seconds, sales.distribution.last_agent_seconds) = (3, 2);
    sales.distribution.no_answer_penalty = (variant & 4 == 0).then_some(1);
    if sales.overflow.is_some() {
        sales.distribution.detours.full = Some(Route::Agent(agent("ana")));
        if variant & 16 == 0 {
            sales.distribution.stay_needs = Staffing::SignedIn;
        }
    }
}

/// One queue that flows over or lets go, one that waits for free, and one that comes and goes.
fn queues(variant: u64) -> BTreeMap<QueueId, QueueConfig> {
    let mut queues: BTreeMap<QueueId, QueueConfig> = BTreeMap::new();
    let sales = QueueConfig {
        ring_seconds: 5,
        wrap_up_seconds: 3,
        max_wait_seconds: 30,
        max_length: 4,
        overflow: (variant & 1 == 0).then(|| Route::Queue(queue("rest"))),
        record: true,
        ..QueueConfig::default()
    };
    queues.insert(queue("sales"), sales);
    let rest = QueueConfig { answer: false, priority: 2, ..QueueConfig::default() };
    queues.insert(queue("rest"), rest);
    if variant & 2 == 0 {
        queues.insert(queue("extra"), QueueConfig::default());
    }
    distribute(&mut queues, variant);
    queues
}

/// One of several directories that differ in what exists.
pub(crate) fn directory(variant: u64) -> Directory {
    let queues = queues(variant);
    let mut numbers = BTreeMap::from([
        ("service".into(), Route::Target("sip:x@y".into())),
        ("sales".into(), Route::Queue(queue("sales"))),
        ("rest".into(), Route::Queue(queue("rest"))),
        ("ana".into(), Route::Agent(agent("ana"))),
        ("bob".into(), Route::Agent(agent("bob"))),
        ("cyd".into(), Route::Agent(agent("cyd"))),
        ("menu".into(), Route::Flow("menu".into())),
        ("echo".into(), Route::Echo),
        ("closed".into(), Route::Reject(480)),
    ]);
    if variant & 2 == 0 {
        numbers.insert("extra".into(), Route::Queue(queue("extra")));
    }
    let mut agents = BTreeMap::new();
    for (n, name) in ["ana", "bob", "cyd", "dan", "bot"].into_iter().enumerate() {
        let mut serves: Vec<QueueId> = queues.keys().cloned().collect();
        serves.truncate(1 + n);
        let config = AgentConfig {
            name: name.into(),
            role: match name {
                "dan" => Duty::Supervisor,
                "bot" => Duty::Administrator,
                _ => Duty::Agent,
            },
            password: PasswordHash::default(),
            device: "sip:p@q".into(),
            answers_on: if n % 2 == 0 { AnswersOn::Desk } else { AnswersOn::Phone },
            always_ready: name == "bot" && variant & 8 == 0,
            queues: serves,
            shows: None,
            skills: skill(1 + n as u8),
            supervises: Vec::new(),
        };
        if name != "dan" || variant & 4 == 0 {
            agents.insert(agent(name), config);
        }
    }
    let trunk = TrunkConfig { record: true, wrap_up_seconds: 2, ..TrunkConfig::default() };
    let (prefix, carrier) = ("0".into(), "carrier".into());
    let rule = OutboundRule { prefix, trunk: carrier, strip: 0, add: "".into() };
    let comment = format!("# version {}\n", variant & 16);
    let gold = CallerClass {
        name: "gold".into(),
        called: vec![NumberPattern::Exact("rest".into())],
        priority: u8::from(variant & 8 == 0),
        skills: skill(2),
        ..CallerClass::default()
    };
    Directory {
        numbers,
        classes: if variant & 1 == 0 { vec![gold] } else { Vec::new() },
        queues,
        agents,
        trunks: BTreeMap::from([("carrier".into(), trunk)]),
        outbound: vec![rule],
        flows: BTreeMap::from([("menu".into(), (comment + FLOW).into())]),
        session_grace_seconds: 4,
        ..Directory::default()
    }
}
