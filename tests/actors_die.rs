//! Every kind of actor is made to panic in the middle of a call. The call goes on and ends well.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should end")]

mod support;

use std::fs;
use std::path::Path;
use std::time::Duration;

use support::{Sipp, fresh_directory, wait_until};
use tandem::actors::supervisor::Serves;
use tandem::config::Config;
use tandem::media_engine::PortKey;
use tandem::start::Running;
use tandem_center::{AgentId, QueueId};

const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn a_call_outlives_the_death_of_any_actor() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let running = runtime.block_on(Running::start(config())).unwrap();
    let node = &running.node;
    wait_until("the directory holds", PATIENCE, || {
        node.replica.read_local(|machine| !machine.center().directory().numbers.is_empty())
    });
    let _callee =
        Sipp::start("uas_answer.xml", &["-p", "5070", "-cp", "8890", "-rtp_echo", "-mp", "30000"]);
    let caller = ["127.0.0.8:5060", "-s", "service", "-p", "5061", "-cp", "8889"];
    let talk = ["-m", "1", "-d", "8000"];
    let caller = Sipp::start("uac_media.xml", &[&caller[..], &talk[..]].concat());
    wait_until("the call is up", PATIENCE, || bridged(node).is_some());
    let call = bridged(node).unwrap();

    let actors = [
        Serves::Call(call),
        Serves::SipTransport,
        Serves::Registrar,
        Serves::Replica,
        Serves::Queue(QueueId::parse("queue").unwrap()),
        Serves::Agent(AgentId::parse("agent001").unwrap()),
        Serves::Call(call),
    ];
    for (deaths, actor) in actors.iter().enumerate() {
        let before = restarts(node, actor.kind());
        assert!(node.actors.kill(node, actor), "{actor:?} is there to die");
        wait_until(&format!("{actor:?} lives again ({deaths})"), PATIENCE, || {
            restarts(node, actor.kind()) > before
        });
        assert_eq!(bridged(node), Some(call), "the call outlives {actor:?}");
    }
    node.engine.panic_port(PortKey { call: call.0, leg: 0 });
    wait_until("the port lives again", PATIENCE, || restarts(node, "media_port") > 0);

    // The caller's BYE is answered: SIPp fails the call otherwise.
    caller.finishes(PATIENCE);
    wait_until("nothing is left of the call", PATIENCE, || {
        node.replica.read_local(|machine| machine.center().calls().len() == 0)
            && node.router.calls_active() == 0
    });
    let records =
        tandem::records::Reader::new(&node.config.node.data.join("replica/records.sqlite"));
    let all = tandem::api::backend::CdrQuery { limit: 10, ..Default::default() };
    wait_until("the call has one record", PATIENCE, || {
        let rows = records.connect().and_then(|from| tandem::records::cdrs(&from, &all));
        rows.is_ok_and(|rows| rows.len() == 1)
    });
}

/// The call that two legs talk in.
fn bridged(node: &tandem::node::Node) -> Option<tandem_center::CallId> {
    node.replica.read_local(|machine| {
        let talks = |call: &&std::sync::Arc<tandem_center::Call>| {
            matches!(call.phase, tandem_center::Phase::Bridged { .. })
        };
        machine.center().calls().find(talks).map(|call| call.id)
    })
}

fn restarts(node: &tandem::node::Node, kind: &str) -> u64 {
    node.metrics.actor_restarts_total.with_label_values(&[kind]).get()
}

/// The configuration of the load tests on an address of this test.
fn config() -> Config {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let shipped = fs::read_to_string(root.join("config/bench.toml")).unwrap();
    let flows = format!("{:?}", root.join("config/flows/bench"));
    let data = fresh_directory("actors");
    let text = shipped
        .replace("data = \"data\"", &format!("data = {data:?}"))
        .replace("\"flows/bench\"", &flows)
        + "\n[sip]\nudp = [\"127.0.0.8:5060\"]\ntcp = [\"127.0.0.8:5060\"]\n\
           [media]\naddress = \"127.0.0.8\"\n";
    Config::parse(&text, &root.join("config/bench.toml")).unwrap()
}
