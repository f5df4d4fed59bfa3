//! `[takeover] mode = "hook"`: nodes whose addresses a program moves. The program of these tests
//! writes down what it is called with, and fails or hangs where it is told to; the addresses are of
//! the loopback, so that there is nothing else for it to do.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should end")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use support::cluster::{Cluster, others};
use support::line::{Line, Message};
use support::{fresh_directory, wait_until};

const HALF_A_MINUTE: Duration = Duration::from_secs(30);

/// How soon another node serves the calls of one whose process is gone.
const ADOPTED_WITHIN: Duration = Duration::from_secs(2);

/// How long it is watched that nothing comes.
const WATCH: Duration = Duration::from_secs(3);

/// The pause between two tries of an address that was not taken.
const TRY_AGAIN: Duration = Duration::from_millis(250);

/// Three nodes, each with a program of its own.
struct Hooked {
    cluster: Cluster,
    folder: PathBuf,
    prefix: String,
}

impl Hooked {
    fn start(prefix: &str) -> Self {
        let folder = fresh_directory("hook");
        for node in 1..=3 {
            let (log, mood) =
                (folder.join(format!("log{node}")), folder.join(format!("mood{node}")));
            let text = format!(
                "#!/bin/sh\necho \"$1 $2 ${{TANDEM_LIFETIME_MS-none}}\" >>{log:?}\n\
                 mood=$(cat {mood:?} 2>/dev/null)\n[ \"$1\" = take ] || exit 0\n\
                 case \"$mood\" in\nfails) echo \"the provider says no\" >&2; exit 7;;\n\
                 hangs) sleep 60;;\nesac\n"
            );
            let program = folder.join(format!("move{node}"));
            fs::write(&program, text).unwrap();
            fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let cluster = Cluster::start_with(prefix, 15, |node, text| {
            let program = folder.join(format!("move{node}"));
            format!("{text}\n[takeover]\nmode = \"hook\"\nhook = {program:?}\n")
        });
        Self { cluster, folder, prefix: prefix.to_owned() }
    }

    /// What a node's program was called with so far: verb and address.
    fn calls(&self, node: usize, verb: &str, address_of: usize) -> usize {
        let log = fs::read_to_string(self.folder.join(format!("log{node}"))).unwrap_or_default();
        let begin = format!("{verb} {}{address_of} ", self.prefix);
        log.lines().filter(|line| line.starts_with(&begin)).count()
    }

    fn waits_for(&self, node: usize, verb: &str, address_of: usize, within: Duration) {
        wait_until(&format!("{verb} {address_of} at {node}"), within, || {
            self.calls(node, verb, address_of) > 0
        });
    }

    /// From now on the programs of these nodes do so when an address is to be taken.
    fn mood(&self, nodes: &[usize], mood: &str) {
        for node in nodes {
            fs::write(self.folder.join(format!("mood{node}")), mood).unwrap();
        }
    }

    /// Alice talks to the echo through this node.
    fn talks_at(&self, node: usize) -> (Line, Message) {
        let mut alice = Line::new("127.0.0.201", self.cluster.sip(node));
        let offer = alice.sdp("sendrecv");
        alice.calls("alice", "echo", &offer);
        let ok = alice.is_told(200);
        alice.acks("");
        alice.hears_itself(ok.audio(), 0x21);
        self.cluster.wait_for_owned_call(&[node]);
        (alice, ok)
    }
}

#[test]
fn a_node_takes_its_address_the_adopter_takes_it_and_gives_it_back() {
    let mut hooked = Hooked::start("127.0.0.18");
    let leader = hooked.cluster.leader();
    let [carrier, other] = others(leader);
    for node in 1..=3 {
        assert_eq!(hooked.calls(node, "take", node), 1, "each takes its own");
        hooked.waits_for(node, "refresh", node, HALF_A_MINUTE);
    }
    let (mut alice, ok) = hooked.talks_at(carrier);
    hooked.cluster.nodes[carrier - 1].kill();
    wait_until("an adopter takes it", ADOPTED_WITHIN, || {
        [leader, other].iter().any(|node| hooked.calls(*node, "take", carrier) == 1)
    });
    let is_adopter = |node: &usize| hooked.calls(*node, "take", carrier) == 1;
    let adopter = [leader, other].into_iter().find(is_adopter).unwrap();
    alice.hears_itself(ok.audio(), 0x22);
    hooked.cluster.restart(carrier);
    hooked.waits_for(adopter, "release", carrier, HALF_A_MINUTE);
    wait_until("it is taken back", HALF_A_MINUTE, || hooked.calls(carrier, "take", carrier) == 2);
    hooked.cluster.wait_for_owned_call(&[carrier]);
    alice.hears_itself(ok.audio(), 0x23);
    alice.hangs_up();
    hooked.cluster.records_are(adopter, 1);
    assert_eq!(hooked.calls(adopter, "take", carrier), 1, "it is taken once");
}

#[test]
fn a_node_whose_program_fails_says_so_tries_again_and_sends_nothing_until_it_has_the_address() {
    let mut hooked = Hooked::start("127.0.0.14");
    let leader = hooked.cluster.leader();
    let [carrier, other] = others(leader);
    let (mut alice, ok) = hooked.talks_at(carrier);
    hooked.mood(&[leader, other], "fails");
    hooked.cluster.nodes[carrier - 1].kill();
    wait_until("somebody tries", HALF_A_MINUTE, || {
        [leader, other].iter().any(|node| hooked.calls(*node, "take", carrier) > 0)
    });
    let is_adopter = |node: &usize| hooked.calls(*node, "take", carrier) > 0;
    let adopter = [leader, other].into_iter().find(is_adopter).unwrap();
    while alice.hears().is_some() {}
    let (began, before) = (Instant::now(), hooked.calls(adopter, "take", carrier));
    alice.says_bye();
    assert!(!alice.hears_within(200, WATCH), "a node without the address answers for it");
    assert!(alice.hears().is_none(), "audio from a node without the address");
    let tries = hooked.calls(adopter, "take", carrier) - before;
    let most = began.elapsed().as_millis() / TRY_AGAIN.as_millis() + 1;
    assert!(tries > 1 && tries as u128 <= most, "{tries} tries in {:?}", began.elapsed());
    let log = hooked.cluster.nodes[adopter - 1].log_text();
    assert!(log.contains("the service address is not taken"), "the log says nothing");
    assert!(log.contains("the provider says no"), "the log does not say why");
    hooked.mood(&[leader, other], "");
    wait_until("the call is served", HALF_A_MINUTE, || {
        alice.speaks(ok.audio(), 0x22);
        alice.has_heard(0x22)
    });
    alice.hangs_up();
    hooked.cluster.records_are(adopter, 1);
}

#[test]
fn a_program_that_hangs_is_ended_and_holds_up_nothing_else() {
    let mut hooked = Hooked::start("127.0.0.15");
    let leader = hooked.cluster.leader();
    let [carrier, other] = others(leader);
    let (mut alice, ok) = hooked.talks_at(carrier);
    hooked.mood(&[leader, other], "hangs");
    hooked.cluster.nodes[carrier - 1].kill();
    wait_until("somebody tries", HALF_A_MINUTE, || {
        [leader, other].iter().any(|node| hooked.calls(*node, "take", carrier) > 0)
    });
    let is_adopter = |node: &usize| hooked.calls(*node, "take", carrier) > 0;
    let adopter = [leader, other].into_iter().find(is_adopter).unwrap();
    // Meanwhile its own address is renewed, and its own callers are served.
    let (mut carol, _) = {
        let mut carol = Line::new("127.0.0.202", hooked.cluster.sip(adopter));
        let offer = carol.sdp("sendrecv");
        carol.calls("carol", "echo", &offer);
        let ok = carol.is_told(200);
        carol.acks("");
        carol.hears_itself(ok.audio(), 0x31);
        (carol, ok)
    };
    let renewed = hooked.calls(adopter, "refresh", adopter);
    wait_until("its own address is renewed", HALF_A_MINUTE, || {
        hooked.calls(adopter, "refresh", adopter) > renewed
    });
    carol.hangs_up();
    wait_until("it is tried again", HALF_A_MINUTE, || hooked.calls(adopter, "take", carrier) > 1);
    let log = hooked.cluster.nodes[adopter - 1].log_text();
    assert!(log.contains("was ended after 5000 ms"), "the log does not say why");
    hooked.mood(&[leader, other], "");
    wait_until("the call is served", HALF_A_MINUTE, || {
        alice.speaks(ok.audio(), 0x22);
        alice.has_heard(0x22)
    });
    alice.hangs_up();
    hooked.cluster.records_are(adopter, 2);
}
