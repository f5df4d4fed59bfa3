//! A call that has ended takes no place from the next one, whatever its caller leaves unsaid.
//!
//! The node has room for one call. Callers who never acknowledge a refusal hold a transaction for
//! 32 s (Timer H, RFC 3261 §17.2.1), but neither a place nor a port.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should end")]

mod support;

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use support::line::Line;
use support::{fresh_directory, wait_until};
use tandem::config::Config;
use tandem::start::Running;

const ADDRESS: &str = "127.0.0.9";
/// Well below Timer H.
const SOON: Duration = Duration::from_secs(8);

#[test]
fn refused_calls_that_nobody_acknowledges_hold_no_place_and_no_port() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let running = runtime.block_on(Running::start(config())).unwrap();
    let node = &running.node;
    wait_until("the directory holds", SOON, || {
        node.replica.read_local(|machine| !machine.center().directory().numbers.is_empty())
    });
    let sip: SocketAddr = format!("{ADDRESS}:5060").parse().unwrap();

    for _ in 0..5 {
        let mut stranger = Line::new(ADDRESS, sip);
        let sdp = stranger.sdp("sendrecv");
        stranger.calls("stranger", "nobody", &sdp);
        stranger.is_told(404);
        let mut deaf = Line::new(ADDRESS, sip);
        deaf.calls("deaf", "echo", "v=0\r\nno SDP\r\n");
        deaf.is_told(400);
    }
    assert_eq!((node.router.calls_ended(), node.router.calls_active()), (10, 10));
    wait_until("their ports are free", SOON, || node.engine.stats().pairs_in_use == 0);

    let mut caller = Line::new(ADDRESS, sip);
    let sdp = caller.sdp("sendrecv");
    caller.calls("caller", "echo", &sdp);
    caller.is_told(200);
    caller.acks("");
    let mut second = Line::new(ADDRESS, sip);
    let sdp = second.sdp("sendrecv");
    second.calls("second", "echo", &sdp);
    second.is_told(503);
    caller.hangs_up();
    // A BYE that was answered may come again, which needs no actor.
    wait_until("the call is gone", SOON, || node.router.calls_active() == 10);
    second.calls("second", "echo", &sdp);
    second.is_told(200);
    second.acks("");
    second.hangs_up();
}

#[test]
fn an_invite_that_has_no_hop_left_leaves_nothing_behind() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let running = runtime.block_on(Running::start(config_on("127.0.0.10"))).unwrap();
    let node = &running.node;
    let sip: SocketAddr = "127.0.0.10:5060".parse().unwrap();
    let mut caller = Line::new("127.0.0.10", sip);
    caller.may_hop(0);
    let sdp = caller.sdp("sendrecv");
    caller.calls("caller", "echo", &sdp);
    caller.is_told(483);
    wait_until("nothing is left", SOON, || {
        node.router.calls_active() == 0 && node.router.dialogs_bound() == 0
    });
}

fn config() -> Config {
    config_on(ADDRESS)
}

fn config_on(ip: &str) -> Config {
    let folder = fresh_directory("places");
    let flows = folder.join("flows");
    fs::create_dir(&flows).unwrap();
    let text = format!(
        "[node]\nid = 1\ndata = {:?}\n[sip]\nudp = [\"{ip}:5060\"]\ntcp = [\"{ip}:5060\"]\n\
         [media]\naddress = \"{ip}\"\n[limits]\ncalls_max = 1\n[flows]\ndirectory = {flows:?}\n\
         [[number]]\nnumber = \"echo\"\necho = true\n",
        folder.join("data"),
    );
    Config::parse(&text, Path::new("places.toml")).unwrap()
}
