//! An agent's phone transfers with its own buttons: it has asked a colleague in a second call, and
//! sends a REFER with Replaces in the first (RFC 3515, RFC 3891, RFC 5589 §7).

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should end")]

mod support;

use std::time::Duration;

use support::inside::Inside;
use support::line::Line;
use support::side::{Side, both_hear, follows, is_over, picks_up, talks_through_sales};
use support::wait_until;
use tandem_center::CallId;

const PATIENCE: Duration = Duration::from_secs(10);

/// G.711 µ-law: what each of the three says.
const CALLER: u8 = 0x11;
const ANA: u8 = 0x22;
const BOB: u8 = 0x33;

/// A caller who talks with ana through a queue.
struct Talk {
    node: Inside,
    call: CallId,
    caller: Side,
    ana: Side,
}

impl Talk {
    fn begins(ip: &str) -> Self {
        let entries = format!(
            "[[number]]\nnumber = \"sales\"\nqueue = \"sales\"\n\
             [[number]]\nnumber = \"bob\"\nagent = \"bob\"\n\
             [[number]]\nnumber = \"support\"\nqueue = \"support\"\n\
             [[number]]\nnumber = \"service\"\ntarget = \"sip:service@{ip}:5072\"\n\
             [[queue]]\nid = \"sales\"\n[[queue]]\nid = \"support\"\n\
             [[agent]]\nid = \"ana\"\ndevice = \"sip:ana@{ip}:5070\"\nanswers_on = \"phone\"\n\
             always_ready = true\nqueues = [\"sales\"]\n\
             [[agent]]\nid = \"bob\"\ndevice = \"sip:bob@{ip}:5071\"\nanswers_on = \"phone\"\n\
             always_ready = true\n"
        );
        let node = Inside::start(ip, &entries, &[]);
        let (call, caller, ana) = talks_through_sales(&node, CALLER, ANA);
        Self { node, call, caller, ana }
    }

    /// Ana's phone holds the caller and calls there on its second line.
    fn ana_calls(&mut self, number: &str) -> Line {
        let hold = self.ana.line.sdp("sendonly");
        self.ana.line.reinvites(&hold);
        self.ana.line.is_told(200);
        self.ana.line.acks("");
        let mut second = self.ana.line.another(self.node.sip());
        let offer = second.sdp("sendrecv");
        second.calls("ana", number, &offer);
        second
    }

    /// The same, and bob answers. Both sides of that call.
    fn ana_asks_bob(&mut self) -> (Side, Side) {
        let mut bob = self.node.phone_at(5071);
        let mut second = self.ana_calls("bob");
        let (audio, _) = picks_up(&mut bob);
        let answered = second.is_told(200);
        second.acks("");
        let mut second = Side { line: second, audio: answered.audio(), voice: ANA };
        let mut bob = Side { line: bob, audio, voice: BOB };
        both_hear(&mut second, &mut bob);
        (second, bob)
    }

    fn refers_to(&mut self, to: &str, headers: &str) {
        let to = format!("sip:bob@{}?{to}", self.node.sip());
        self.ana.line.refers(&to, headers);
    }
}

#[test]
fn a_phone_that_has_asked_a_colleague_leaves_the_caller_to_them() {
    let mut talk = Talk::begins("127.0.0.131");
    let (mut second, mut bob) = talk.ana_asks_bob();
    let to = second.line.as_replaces();
    talk.refers_to(&to, "");
    talk.ana.line.is_told(202);
    assert_eq!(talk.ana.line.is_notified().body(), "SIP/2.0 100 Trying\r\n");
    assert_eq!(talk.ana.line.is_notified().body(), "SIP/2.0 200 OK\r\n");
    talk.ana.line.is_hung_up();
    second.line.is_hung_up();
    follows(&mut bob);
    both_hear(&mut talk.caller, &mut bob);
    // He is at home in the caller's call now, and hangs up there.
    wait_until("it is committed that he follows", PATIENCE, || {
        talk.node.looks_at(|center| {
            let call = center.call(talk.call).unwrap();
            call.legs.values().all(|leg| leg.lives_elsewhere == 0)
        })
    });
    assert!(talk.node.looks_at(|center| center.call(talk.call).unwrap().transfers == 1));
    bob.line.hangs_up();
    talk.caller.line.is_hung_up();
    is_over(&talk.node, talk.call);
}

#[test]
fn a_colleague_whose_phone_does_not_follow_brings_the_caller_back_to_the_agent() {
    let mut talk = Talk::begins("127.0.0.132");
    let (mut second, mut bob) = talk.ana_asks_bob();
    let to = second.line.as_replaces();
    talk.refers_to(&to, "Refer-Sub: false\r\n");
    talk.ana.line.is_told(202);
    talk.ana.line.is_hung_up();
    second.line.is_hung_up();
    // RFC 5057 §5: his phone has lost the dialog.
    bob.line.is_reinvited();
    bob.line.answers(481, "", "");
    let (audio, _) = picks_up(&mut talk.ana.line);
    talk.ana.audio = audio;
    both_hear(&mut talk.caller, &mut talk.ana);
    talk.caller.line.hangs_up();
    talk.ana.line.is_hung_up();
    is_over(&talk.node, talk.call);
}

#[test]
fn a_phone_that_waits_in_a_queue_gives_its_place_to_the_caller() {
    let mut talk = Talk::begins("127.0.0.133");
    let mut second = talk.ana_calls("support");
    second.is_told(200);
    second.acks("");
    let to = second.as_replaces();
    talk.refers_to(&to, "");
    talk.ana.line.is_told(202);
    talk.ana.line.is_hung_up();
    second.is_hung_up();
    wait_until("the caller waits", PATIENCE, || {
        talk.node.looks_at(|center| center.call(talk.call).unwrap().phase_name() == "waiting")
    });
    talk.caller.line.hangs_up();
    is_over(&talk.node, talk.call);
}

#[test]
fn a_transfer_to_a_dialog_that_is_not_the_phones_is_refused_and_the_call_goes_on() {
    let mut talk = Talk::begins("127.0.0.134");
    let mut service = talk.node.phone_at(5072);
    let (mut second, mut bob) = talk.ana_asks_bob();
    let right = second.line.as_replaces();
    let answer_to = |talk: &mut Talk, to: &str| {
        talk.refers_to(to, "");
        talk.ana.line.is_answered().status()
    };
    // Nobody's dialog, and a dialog with another tag.
    let nobodys = "Replaces=nobody%3Bto-tag%3Da%3Bfrom-tag%3Db";
    assert_eq!(answer_to(&mut talk, nobodys), 404);
    let (start, _) = right.rsplit_once("%3Dt").unwrap();
    assert_eq!(answer_to(&mut talk, &format!("{start}%3Dx")), 404);
    assert_eq!(answer_to(&mut talk, &format!("{right}%3Bearly-only")), 486);
    assert_eq!(answer_to(&mut talk, "Replaces=torn"), 400);
    // The dialog of a caller who says to be ana, from another place.
    let mut eve = talk.node.phone();
    let offer = eve.sdp("sendrecv");
    eve.calls("ana", "support", &offer);
    eve.is_told(200);
    eve.acks("");
    let of_eve = eve.as_replaces();
    assert_eq!(answer_to(&mut talk, &of_eve), 404);
    // A caller's phone may not do it, whatever it names.
    let to = format!("sip:bob@{}?{of_eve}", talk.node.sip());
    talk.caller.line.refers(&to, "");
    assert_eq!(talk.caller.line.is_answered().status(), 403);
    // A third call of ana's phone that nobody has answered.
    let mut third = talk.ana.line.another(talk.node.sip());
    let offer = third.sdp("sendrecv");
    third.calls("ana", "service", &offer);
    service.is_invited();
    service.answers(180, "", "");
    third.is_told(180);
    let early = third.as_replaces();
    assert_eq!(answer_to(&mut talk, &early), 603);
    third.cancels();
    service.is_cancelled();
    both_hear(&mut second, &mut bob);
    second.line.hangs_up();
    bob.line.is_hung_up();
    talk.caller.line.hangs_up();
    talk.ana.line.is_hung_up();
    is_over(&talk.node, talk.call);
}
