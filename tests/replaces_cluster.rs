//! An agent's phone has a call at one node and a call at another, and transfers the one to the other;
//! the node of either dies in that moment.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should end")]

mod support;

use std::sync::{Mutex, PoisonError};

use support::cluster::{Cluster, PHONE, others};
use support::line::Line;
use support::side::{Side, both_hear, follows, picks_up};

/// All tests here use the address of ana's phone.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// G.711 µ-law: what each of the three says.
const CALLER: u8 = 0x11;
const ANA: u8 = 0x22;
const SERVICE: u8 = 0x33;

/// A caller who talks with ana at one node, and the service that her phone has reached by another.
struct Talk {
    cluster: Cluster,
    carrier: usize,
    other: usize,
    caller: Side,
    ana: Side,
    second: Side,
    service: Side,
}

impl Talk {
    fn begins(prefix: &str) -> Self {
        let service = Line::new("127.0.0.1", "127.0.0.1:9".parse().unwrap());
        let number = format!(
            "\n[[number]]\nnumber = \"service\"\ntarget = \"sip:service@{}\"\n",
            service.address()
        );
        let cluster = Cluster::start_with(prefix, 15, |_, text| {
            text.replace("device = ", "always_ready = true\ndevice = ") + &number
        });
        let [carrier, other] = others(cluster.leader());
        let mut caller = Line::new("127.0.0.1", cluster.sip(carrier));
        let mut ana = Line::at(PHONE.parse().unwrap(), cluster.sip(carrier));
        let offer = caller.sdp("sendrecv");
        caller.calls("alice", "sales", &offer);
        let answered = caller.is_told(200);
        caller.acks("");
        let (audio, _) = picks_up(&mut ana);
        let mut caller = Side { line: caller, audio: answered.audio(), voice: CALLER };
        let mut ana = Side { line: ana, audio, voice: ANA };
        both_hear(&mut caller, &mut ana);

        let mut second = ana.line.another(cluster.sip(other));
        let mut service = service.with_node(cluster.sip(other));
        let offer = second.sdp("sendrecv");
        second.calls("ana", "service", &offer);
        let (audio, _) = picks_up(&mut service);
        let answered = second.is_told(200);
        second.acks("");
        let mut second = Side { line: second, audio: answered.audio(), voice: ANA };
        let mut service = Side { line: service, audio, voice: SERVICE };
        both_hear(&mut second, &mut service);
        Self { cluster, carrier, other, caller, ana, second, service }
    }

    fn transfers(&mut self) {
        let to = format!("sip:service@x?{}", self.second.line.as_replaces());
        self.ana.line.refers(&to, "");
        self.ana.line.is_told(202);
    }

    /// The caller and the service talk, and both phones of ana are free. Each call has one record at
    /// every node that is there.
    fn ends_well(mut self, there: &[usize]) {
        both_hear(&mut self.caller, &mut self.service);
        self.caller.line.hangs_up();
        self.service.line.is_hung_up();
        for node in there {
            self.cluster.records_are(*node, 2);
        }
    }
}

#[test]
fn a_phone_leaves_a_caller_at_one_node_to_whom_it_reached_by_another() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let mut talk = Talk::begins("127.0.0.14");
    talk.transfers();
    talk.ana.line.is_hung_up();
    talk.second.line.is_hung_up();
    follows(&mut talk.service);
    talk.ends_well(&[1, 2, 3]);
}

#[test]
fn the_transfer_is_finished_by_the_adopter_when_the_node_of_the_caller_dies() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let mut talk = Talk::begins("127.0.0.15");
    talk.transfers();
    // Its answer would go to a node that is gone: it is told again, by another node.
    talk.service.line.is_told_another_address();
    talk.cluster.nodes[talk.carrier - 1].kill();
    follows(&mut talk.service);
    talk.second.line.is_hung_up();
    let carrier = talk.carrier;
    talk.ends_well(&others(carrier));
}

#[test]
fn the_transfer_is_finished_when_the_node_of_the_other_call_dies() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let mut talk = Talk::begins("127.0.0.16");
    talk.transfers();
    talk.cluster.nodes[talk.other - 1].kill();
    follows(&mut talk.service);
    talk.ana.line.is_hung_up();
    let other = talk.other;
    talk.ends_well(&others(other));
}
