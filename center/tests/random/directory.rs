//! What the call centre of the random commands has, in variants.

use std::collections::BTreeMap;

use tandem_center::directory::{
    AgentConfig, AnswersOn, OutboundRule, PasswordHash, QueueConfig, Role as Duty, TrunkConfig,
};
use tandem_center::{Directory, QueueId, Route};

use crate::{agent, queue};

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

/// One of several directories that differ in what exists.
pub(crate) fn directory(variant: u64) -> Directory {
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
    Directory {
        numbers,
        queues,
        agents,
        trunks: BTreeMap::from([("carrier".into(), trunk)]),
        outbound: vec![rule],
        flows: BTreeMap::from([("menu".into(), (comment + FLOW).into())]),
        session_grace_seconds: 4,
        ..Directory::default()
    }
}
