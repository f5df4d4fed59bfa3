//! What the simulated call centre is configured with.

use std::collections::BTreeMap;
use std::sync::Arc;

use tandem_center::directory::{
    AgentConfig, AnswersOn, CallerClass, Member, NumberPattern, OutboundRule, PasswordHash,
    QueueConfig, Ring, Role, Skills, Strategy, TrunkConfig,
};
use tandem_center::{AgentId, Directory, QueueId, Route};

/// The agents who sit at a desk; the last two take calls at the phone.
pub(crate) const PEOPLE: [&str; 6] = ["ana", "bob", "cyd", "dan", "eve", "fay"];

/// The numbers that callers dial, the frequent ones more than once.
pub(crate) const NUMBERS: [&str; 14] = [
    "sales", "sales", "sales", "support", "support", "quiet", "quiet", "menu", "menu", "service",
    "ana", "eve", "echo", "nobody",
];

const MENU: &str = r##"
title = "Menu"
start = "pick_up"

[steps.pick_up]
do = "answer"
next = "welcome"

[steps.welcome]
do = "play"
prompts = "Welcome."
next = "choose"

[steps.choose]
do = "menu"
prompts = "One or two."
retries = 1
choices = { 1 = "sales", 2 = "look_up", 3 = "dial" }
on_failure = "sales"

[steps.look_up]
do = "http"
method = "GET"
url = "http://127.0.0.1:8099/{caller_number}"
timeout_ms = 1500
save = { customer = "/name" }
on_ok = "sales"
on_error = "support"

[steps.dial]
do = "transfer"
number = "service"

[steps.sales]
do = "enqueue"
queue = "sales"
priority = 1

[steps.support]
do = "enqueue"
queue = "support"
"##;

pub(crate) fn agent(name: &str) -> AgentId {
    AgentId::parse(name).expect("names of the simulation are short")
}

fn queue(name: &str) -> QueueId {
    QueueId::parse(name).expect("names of the simulation are short")
}

fn person(answers_on: AnswersOn, queues: &[&str]) -> AgentConfig {
    AgentConfig {
        name: "A Person".into(),
        role: Role::Agent,
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

fn skill(name: &str, level: u8) -> Skills {
    Skills::from([(name.into(), level)])
}

/// What the queues say of their distribution. The strategies change with the version, so that
/// callers wait and agents ring while another one begins.
fn distribute(directory: &mut Directory, version: u64) {
    let strategies = [
        Strategy::RingAll,
        Strategy::LongestIdle,
        Strategy::RoundRobin,
        Strategy::FewestCalls,
        Strategy::LeastTalkTime,
        Strategy::Linear,
        Strategy::WeightedRandom,
        Strategy::HighestLevel,
    ];
    for (place, config) in (0..).zip(directory.queues.values_mut()) {
        config.strategy = strategies[((version + place) % strategies.len() as u64) as usize];
        let asks = skill("talk", 1);
        let last = Ring { after_seconds: 9, waives_caller: true, ..Ring::default() };
        config.distribution.rings = vec![Ring { skills: asks, ..Ring::default() }, last];
    }
    for (name, known) in [("ana", 3), ("bob", 1), ("dan", 2), ("eve", 1), ("bot1", 1), ("bot2", 1)]
    {
        if let Some(person) = directory.agents.get_mut(&agent(name)) {
            person.skills = skill("talk", known);
        }
    }
    let sales = directory.queues.get_mut(&queue("sales")).expect("it is always there");
    sales.distribution.age_seconds = 5;
    sales.distribution.last_agent_seconds = 4;
    sales.distribution.rings[1].queues = vec![queue("quiet")];
    let (aside, first) =
        (Member { penalty: 1, ..Member::default() }, Member { preference: 1, ..Member::default() });
    sales.distribution.members = BTreeMap::from([(agent("bob"), aside), (agent("dan"), first)]);
    let quiet = directory.queues.get_mut(&queue("quiet")).expect("it is always there");
    quiet.distribution.no_answer_penalty = Some(1);
    directory.classes = vec![CallerClass {
        name: "gold".into(),
        called: vec![NumberPattern::Exact("sales".into())],
        priority: u8::try_from(version % 3).unwrap_or_default(),
        skills: skill("talk", 2),
        ..CallerClass::default()
    }];
}

fn agents() -> BTreeMap<AgentId, AgentConfig> {
    let bot = AgentConfig { always_ready: true, ..person(AnswersOn::Phone, &["quiet"]) };
    let supervisor = AgentConfig {
        role: Role::Supervisor,
        ..person(AnswersOn::Desk, &["sales", "support", "quiet"])
    };
    BTreeMap::from([
        (agent("ana"), person(AnswersOn::Desk, &["sales"])),
        (agent("bob"), person(AnswersOn::Desk, &["sales", "support"])),
        (agent("cyd"), person(AnswersOn::Desk, &["support"])),
        (agent("dan"), supervisor),
        (agent("eve"), person(AnswersOn::Phone, &["sales"])),
        (agent("fay"), person(AnswersOn::Phone, &["support", "quiet"])),
        (agent("bot1"), bot.clone()),
        (agent("bot2"), bot),
    ])
}

/// The directory. The odd versions know neither `fay` nor the queue `support` nor what needs them.
pub(crate) fn directory(version: u64) -> Directory {
    let sales = QueueConfig {
        ring_seconds: 6,
        wrap_up_seconds: 3,
        max_wait_seconds: 25,
        max_length: 12,
        overflow: Some(Route::Queue(queue("quiet"))),
        record: true,
        dispositions: BTreeMap::from([("sold".into(), "Sold".into())]),
        ..QueueConfig::default()
    };
    let support = QueueConfig { ring_seconds: 4, priority: 1, ..QueueConfig::default() };
    let quiet = QueueConfig { answer: false, ring_seconds: 5, ..QueueConfig::default() };
    let mut directory = Directory {
        numbers: BTreeMap::from([
            ("sales".into(), Route::Queue(queue("sales"))),
            ("support".into(), Route::Queue(queue("support"))),
            ("quiet".into(), Route::Queue(queue("quiet"))),
            ("menu".into(), Route::Flow("menu".into())),
            ("service".into(), Route::Target("sip:x@127.0.0.1:5070".into())),
            ("ana".into(), Route::Agent(agent("ana"))),
            ("eve".into(), Route::Agent(agent("eve"))),
            ("echo".into(), Route::Echo),
        ]),
        queues: BTreeMap::from([
            (queue("sales"), sales),
            (queue("support"), support),
            (queue("quiet"), quiet),
        ]),
        agents: agents(),
        trunks: BTreeMap::from([(
            "carrier".into(),
            TrunkConfig { ring_seconds: 10, wrap_up_seconds: 2, ..TrunkConfig::default() },
        )]),
        outbound: vec![OutboundRule {
            prefix: "0".into(),
            trunk: "carrier".into(),
            strip: 1,
            add: "+".into(),
        }],
        flows: BTreeMap::from([("menu".into(), Arc::from(MENU))]),
        session_grace_seconds: 8,
        ..Directory::default()
    };
    distribute(&mut directory, version);
    if !version.is_multiple_of(2) {
        let flow = MENU.replace(r#"queue = "support""#, r#"queue = "quiet""#);
        directory.flows.insert("menu".into(), flow.into());
        directory.numbers.remove("support");
        directory.queues.remove(&queue("support"));
        directory.agents.remove(&agent("fay"));
        for agent in directory.agents.values_mut() {
            agent.queues.retain(|name| name.as_str() != "support");
        }
    }
    directory
}
