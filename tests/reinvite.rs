//! `[takeover] mode = "reinvite"`: the address of a dead node stays dead, and the node that adopts
//! its calls tells each phone its own by a re-INVITE.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should end")]

mod support;

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use support::cluster::{Cluster, others};
use support::line::{Line, Message};
use support::wait_until;

const HALF_A_MINUTE: Duration = Duration::from_secs(30);

/// From the death of a node to the re-INVITE of the one that adopts its calls.
const TOLD_WITHIN: Duration = Duration::from_secs(2);

/// CSeqs of a dead machine that may not be committed.
const CSEQ_ABOVE: u32 = 1_000;

/// Where bob's and carol's phones are.
const BOB: &str = "127.0.0.200:5071";
const CAROL: &str = "127.0.0.200:5072";

/// Bob's phone is the same in all tests.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn cluster(prefix: &str) -> Cluster {
    let cluster = Cluster::start_with(prefix, 15, |_, text| {
        format!(
            "{text}\n[takeover]\nmode = \"reinvite\"\n\
             [[number]]\nnumber = \"bob\"\ntarget = \"sip:bob@{BOB}\"\n\
             [[number]]\nnumber = \"help\"\nqueue = \"help\"\n\
             [[queue]]\nid = \"help\"\nring_seconds = 60\nwrap_up_seconds = 0\n\
             answer = false\n\
             [[agent]]\nid = \"carol\"\nqueues = [\"help\"]\nalways_ready = true\n\
             device = \"sip:carol@{CAROL}\"\n"
        )
    });
    // Who calls before says the INVITE again, which these lines do not.
    wait_until("each node may act", HALF_A_MINUTE, || {
        (1..=3).all(|node| cluster.metric(node, "tandem_lease_held") == Some(1.0))
    });
    cluster
}

/// A phone and what the node told it last.
struct Talking {
    phone: Line,
    told: Message,
}

impl Talking {
    /// It is told where the call goes on, and accepts.
    fn follows(&mut self, from: SocketAddr) {
        let invite = self.is_told_where(from);
        let answer = self.phone.sdp("sendrecv");
        self.phone.answers(200, "", &answer);
        self.phone.is_acked();
        self.told = invite;
    }

    /// The re-INVITE of a node that is not this one.
    fn is_told_where(&mut self, not: SocketAddr) -> Message {
        let invite = self.phone.is_told_another_address();
        let (id, version) = self.told.session();
        assert_eq!(invite.session().0, id, "RFC 3264 §8: one id as long as the session lives");
        assert!(invite.session().1 > version, "{invite:?}");
        assert!(invite.cseq() > CSEQ_ABOVE, "{invite:?}");
        assert_ne!(invite.audio().ip(), not.ip());
        assert!(!invite.header("Contact").contains(&not.to_string()), "{invite:?}");
        invite
    }

    fn audio(&self) -> SocketAddr {
        self.told.audio()
    }
}

/// Alice talks to bob through this node.
fn conversation(cluster: &Cluster, node: usize) -> [Talking; 2] {
    let mut alice = Line::new("127.0.0.201", cluster.sip(node));
    let mut bob = Line::at(BOB.parse().unwrap(), cluster.sip(node));
    let offer = alice.sdp("sendrecv");
    alice.calls("alice", "bob", &offer);
    let invite = bob.is_invited();
    let answer = bob.sdp("sendrecv");
    bob.answers(200, "", &answer);
    bob.is_acked();
    let ok = alice.is_told(200);
    alice.acks("");
    let [mut alice, mut bob] =
        [Talking { phone: alice, told: ok }, Talking { phone: bob, told: invite }];
    hear_each_other(&mut alice, &mut bob);
    [alice, bob]
}

fn hear_each_other(one: &mut Talking, other: &mut Talking) {
    let (to_one, to_other) = (other.audio(), one.audio());
    one.phone.speaks_until(to_other, 0x21, || other.phone.has_heard(0x21));
    other.phone.speaks_until(to_one, 0x22, || one.phone.has_heard(0x22));
}

#[test]
fn a_conversation_goes_on_at_the_adopters_address_and_ends_there() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let mut cluster = cluster("127.0.0.8");
    let leader = cluster.leader();
    let [carrier, other] = others(leader);
    let [mut alice, mut bob] = conversation(&cluster, carrier);
    cluster.nodes[carrier - 1].kill();
    let killed = Instant::now();
    alice.follows(cluster.sip(carrier));
    bob.follows(cluster.sip(carrier));
    assert!(killed.elapsed() < TOLD_WITHIN, "told after {:?}", killed.elapsed());
    hear_each_other(&mut alice, &mut bob);
    // The node that is back has nothing to say.
    cluster.restart(carrier);
    hear_each_other(&mut alice, &mut bob);
    bob.phone.hangs_up();
    alice.phone.is_hung_up();
    for node in [leader, other, carrier] {
        cluster.records_are(node, 1);
    }
}

#[test]
fn an_adopter_that_dies_before_it_is_answered_leaves_higher_numbers_to_the_next() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let mut cluster = cluster("127.0.0.9");
    let leader = cluster.leader();
    let [carrier, _] = others(leader);
    let [mut alice, mut bob] = conversation(&cluster, carrier);
    cluster.nodes[carrier - 1].kill();
    let first = alice.is_told_where(cluster.sip(carrier));
    bob.is_told_where(cluster.sip(carrier));
    let adopter = (1..=3).find(|node| cluster.sip(*node).ip() == first.audio().ip()).unwrap();
    cluster.restart(carrier);
    cluster.nodes[adopter - 1].kill();
    let second = alice.is_told_where(cluster.sip(adopter));
    assert!(second.cseq() > first.cseq(), "{} after {}", second.cseq(), first.cseq());
    let answer = alice.phone.sdp("sendrecv");
    alice.phone.answers(200, "", &answer);
    alice.phone.is_acked();
    alice.told = second;
    bob.follows(cluster.sip(adopter));
    hear_each_other(&mut alice, &mut bob);
    alice.phone.hangs_up();
    bob.phone.is_hung_up();
}

#[test]
fn a_phone_that_is_busy_is_told_again_and_one_that_refuses_ends_the_call() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    for (status, follows) in [(500, true), (491, true), (488, false), (481, false)] {
        let mut cluster = cluster("127.0.0.10");
        let leader = cluster.leader();
        let [carrier, other] = others(leader);
        let [mut alice, mut bob] = conversation(&cluster, carrier);
        cluster.nodes[carrier - 1].kill();
        alice.is_told_where(cluster.sip(carrier));
        alice.phone.answers(status, "", "");
        bob.follows(cluster.sip(carrier));
        if follows {
            alice.follows(cluster.sip(carrier));
            hear_each_other(&mut alice, &mut bob);
            alice.phone.hangs_up();
        } else {
            // RFC 3261 §12.2.1.2 for 481: a BYE is no harm, and one who refused wants it.
            alice.phone.is_hung_up();
        }
        bob.phone.is_hung_up();
        cluster.records_are(other, 1);
    }
}

#[test]
fn a_phone_that_rings_is_cancelled_and_rings_again_and_the_caller_is_answered_by_the_adopter() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let mut cluster = cluster("127.0.0.11");
    let leader = cluster.leader();
    let [carrier, other] = others(leader);
    let mut alice = Line::new("127.0.0.201", cluster.sip(carrier));
    let mut carol = Line::at(CAROL.parse().unwrap(), cluster.sip(carrier));
    let offer = alice.sdp("sendrecv");
    alice.calls("alice", "help", &offer);
    let first = carol.is_invited();
    carol.answers(180, "", "");
    alice.is_told(180);
    // What is not known to ring cannot be cancelled (RFC 3261 §9.1).
    wait_until("it is known that the phone rings", HALF_A_MINUTE, || {
        cluster.metric(other, "tandem_agents{state=\"ringing\"}") == Some(1.0)
    });
    cluster.nodes[carrier - 1].kill();
    let cancel = carol.is_cancelled();
    assert_eq!(cancel.header("Via"), first.header("Via"), "RFC 3261 §9.2");
    let again = carol.is_invited();
    assert_ne!(again.header("Call-ID"), first.header("Call-ID"));
    carol.goes_on_at(&again);
    let answer = carol.sdp("sendrecv");
    carol.answers(200, "", &answer);
    carol.is_acked();
    // Alice, who waited for an answer, gets it from there, too.
    let ok = alice.is_told(200);
    alice.goes_on_at(&ok);
    alice.acks("");
    let mut alice = Talking { phone: alice, told: ok };
    let mut carol = Talking { phone: carol, told: again };
    hear_each_other(&mut alice, &mut carol);
    alice.phone.hangs_up();
    carol.phone.is_hung_up();
    cluster.records_are(other, 1);
}

#[test]
fn a_caller_whose_far_end_was_ringing_is_refused_by_the_adopter_and_not_left_waiting() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let mut cluster = cluster("127.0.0.17");
    let leader = cluster.leader();
    let [carrier, other] = others(leader);
    let mut alice = Line::new("127.0.0.201", cluster.sip(carrier));
    let mut bob = Line::at(BOB.parse().unwrap(), cluster.sip(carrier));
    let offer = alice.sdp("sendrecv");
    alice.calls("alice", "bob", &offer);
    bob.is_invited();
    bob.answers(180, "", "");
    alice.is_told(180);
    cluster.nodes[carrier - 1].kill();
    // Nobody else can be called.
    bob.is_cancelled();
    let refusal = alice.is_refused();
    assert!((500..600).contains(&refusal.status()), "{refusal:?}");
    cluster.records_are(other, 1);
    wait_until("the call is forgotten", HALF_A_MINUTE * 2, || {
        cluster.metric(other, "tandem_calls_owned") == Some(0.0)
    });
}
