//! The four standard SIPp scenarios against one node with `config/bench.toml`.
//!
//! One node serves them one after the other, since the scenarios name fixed ports.

mod support;

use std::path::Path;
use std::time::Duration;

use support::{Node, Sipp};

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn the_standard_scenarios_pass() {
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/bench.toml");
    let node = Node::start(&config, "127.0.0.1:8080");
    calls_are_bridged_to_the_far_side();
    digits_are_collected_by_the_ivr();
    queued_calls_reach_agents();
    media_is_relayed_both_ways();
    drop(node);
}

fn calls_are_bridged_to_the_far_side() {
    let _callee = Sipp::start("uas_answer.xml", &["-p", "5070", "-cp", "8890"]);
    let caller = ["127.0.0.1:5060", "-s", "service", "-p", "5061", "-cp", "8889"];
    let load = ["-r", "100", "-m", "300", "-d", "0", "-l", "5000"];
    Sipp::start("uac_b2bua.xml", &[&caller[..], &load].concat()).finishes(MINUTE);
}

fn digits_are_collected_by_the_ivr() {
    let caller = ["127.0.0.1:5060", "-s", "ivr", "-p", "5061", "-cp", "8889"];
    let load = ["-r", "5", "-m", "15", "-l", "100"];
    Sipp::start("uac_ivr_dtmf.xml", &[&caller[..], &load].concat()).finishes(MINUTE);
}

fn queued_calls_reach_agents() {
    let _agents = Sipp::start("uas_agent.xml", &["-p", "5080", "-cp", "8890", "-d", "1000"]);
    let caller = ["127.0.0.1:5060", "-s", "queue", "-p", "5061", "-cp", "8889"];
    let load = ["-r", "20", "-m", "150", "-l", "1000"];
    Sipp::start("uac_queue.xml", &[&caller[..], &load].concat()).finishes(MINUTE);
}

fn media_is_relayed_both_ways() {
    let far_side = ["-p", "5070", "-cp", "8890", "-rtp_echo", "-mp", "30000"];
    let _callee = Sipp::start("uas_answer.xml", &far_side);
    let caller = ["127.0.0.1:5060", "-s", "service", "-p", "5061", "-cp", "8889"];
    let load = ["-r", "10", "-m", "30", "-d", "3000", "-l", "100"];
    Sipp::start("uac_media.xml", &[&caller[..], &load].concat()).finishes(MINUTE);
}
