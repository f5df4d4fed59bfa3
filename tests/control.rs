//! What an agent does with a call besides talking: mute, keys, a pause of the recording, deflection,
//! parking; and transfers by the phone's own REFER. The phones are spoken for by hand.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should end")]

mod support;

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use support::inside::Inside;
use support::side::{Side, both_hear, is_kept_from, is_over, picks_up};
use support::wait_until;
use tandem_center::{AgentId, CallId, Command, CommandId, Reply};

const PATIENCE: Duration = Duration::from_secs(10);

/// G.711 µ-law: what each says.
const CALLER: u8 = 0x11;
const ANA: u8 = 0x22;
const BOB: u8 = 0x33;

/// The tests speak and listen in time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// A caller who talks with ana through a recorded queue, and the phone of bob.
struct Talk {
    node: Inside,
    call: CallId,
    caller: Side,
    ana: Side,
    bob: support::line::Line,
    commands: u32,
}

impl Talk {
    fn begins(ip: &str) -> Self {
        let mut talk = Self::rings(ip);
        let (audio, _) = picks_up(&mut talk.ana.line);
        talk.ana.audio = audio;
        both_hear(&mut talk.caller, &mut talk.ana);
        talk
    }

    /// The phone of ana is about to ring.
    fn rings(ip: &str) -> Self {
        let entries = format!(
            "[[number]]\nnumber = \"sales\"\nqueue = \"sales\"\n\
             [[number]]\nnumber = \"bob\"\nagent = \"bob\"\n\
             [[queue]]\nid = \"sales\"\nrecord = true\n\
             [[agent]]\nid = \"ana\"\ndevice = \"sip:ana@{ip}:5070\"\nanswers_on = \"phone\"\n\
             always_ready = true\nqueues = [\"sales\"]\n\
             [[agent]]\nid = \"bob\"\ndevice = \"sip:bob@{ip}:5071\"\nanswers_on = \"phone\"\n\
             always_ready = true\n\
             [[trunk]]\nname = \"carrier\"\naddress = \"sip:{ip}:5079\"\nprefix = \"9\"\n"
        );
        let node = Inside::start(ip, &entries, &[]);
        let (mut caller, ana) = (node.phone(), node.phone_at(5070));
        let bob = node.phone_at(5071);
        let offer = caller
            .sdp("sendrecv")
            .replace("RTP/AVP 0\r\n", "RTP/AVP 0 101\r\na=rtpmap:101 telephone-event/8000\r\n");
        caller.calls("alice", "sales", &offer);
        let answered = caller.is_told(200);
        caller.acks("");
        let call = node.looks_at(|center| center.calls().next().unwrap().id);
        let caller = Side { line: caller, audio: answered.audio(), voice: CALLER };
        let ana = Side { line: ana, audio: answered.audio(), voice: ANA };
        Self { node, call, caller, ana, bob, commands: 0 }
    }

    /// A command of this agent's desk that must be taken.
    fn gives(
        &mut self,
        agent: &str,
        command: impl FnOnce(AgentId, CallId, CommandId) -> Command,
    ) -> Reply {
        self.commands += 1;
        let id = CommandId::parse(&format!("t{}", self.commands)).unwrap();
        let command = command(AgentId::parse(agent).unwrap(), self.call, id);
        let (sender, receiver) = std::sync::mpsc::channel();
        self.node.node().propose_then(&command, move |answer| {
            drop(sender.send(answer));
        });
        receiver.recv_timeout(PATIENCE).unwrap().unwrap().reply.unwrap()
    }

    fn bob_picks_up(&mut self) -> Side {
        let (audio, _) = picks_up(&mut self.bob);
        let line = std::mem::replace(&mut self.bob, self.node.phone());
        Side { line, audio, voice: BOB }
    }

    /// So many recordings go on.
    fn recordings_are(&self, count: u64) {
        wait_until("the recorder has followed", PATIENCE, || {
            self.node.node().engine.stats().recordings == count
        });
    }

    fn ends(mut self, mut other: Side) {
        self.caller.line.hangs_up();
        other.line.is_hung_up();
        is_over(&self.node, self.call);
    }
}

#[test]
fn who_is_muted_hears_the_caller_and_is_not_heard() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let mut talk = Talk::begins("127.0.0.71");
    talk.gives("ana", |agent, call, command| Command::Mute { agent, call, muted: true, command });
    is_kept_from(&mut talk.ana, &mut talk.caller);
    let Side { line, audio, voice } = &mut talk.caller;
    line.speaks_until(*audio, *voice, || talk.ana.line.has_heard(CALLER));
    talk.gives("ana", |agent, call, command| Command::Mute { agent, call, muted: false, command });
    both_hear(&mut talk.caller, &mut talk.ana);
}

/// RFC 4733 §2.5: each key is an event whose last packets have the end bit.
#[test]
fn keys_from_the_desk_reach_the_caller_as_telephone_events() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let mut talk = Talk::begins("127.0.0.72");
    let keys = "1#".into();
    talk.gives("ana", |agent, call, command| Command::SendKeys { agent, call, keys, command });
    let mut pressed = Vec::new();
    wait_until("both keys have come", PATIENCE, || {
        while let Some(payload) = talk.caller.line.hears() {
            let ends = payload.len() == 4 && payload[1] & 0x80 != 0;
            if ends && pressed.last() != Some(&payload[0]) {
                pressed.push(payload[0]);
            }
        }
        pressed == [1, 11]
    });
}

#[test]
fn what_is_said_during_a_pause_is_not_in_the_recording() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let mut talk = Talk::begins("127.0.0.73");
    let pause = |paused| {
        move |agent, call, command| Command::PauseRecording { agent, call, paused, command }
    };
    talk.gives("ana", pause(true));
    talk.recordings_are(0);
    talk.caller.voice = 0x44;
    both_hear(&mut talk.caller, &mut talk.ana);
    talk.gives("ana", pause(false));
    talk.recordings_are(1);
    talk.caller.voice = 0x55;
    both_hear(&mut talk.caller, &mut talk.ana);
    talk.caller.line.hangs_up();
    talk.ana.line.is_hung_up();
    is_over(&talk.node, talk.call);
    let folder = talk.node.flows.parent().unwrap().join("data/recordings");
    let sample = |voice| tandem_media::codec::g711::ulaw_decode(voice);
    let mut parts: Vec<Vec<i16>> = Vec::new();
    wait_until("both parts are complete", PATIENCE, || {
        let files = std::fs::read_dir(&folder).unwrap().filter_map(Result::ok);
        let mut paths: Vec<_> = files.map(|file| file.path()).collect();
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "wav"));
        paths.sort();
        let read = |path: &std::path::PathBuf| {
            let bytes = std::fs::read(path).ok()?;
            Some(tandem_media::wav::read(&bytes).ok()?.channel(0).collect())
        };
        parts = paths.iter().filter_map(read).collect();
        let has = |voice| parts.iter().any(|part| part.contains(&sample(voice)));
        parts.len() == 2 && has(CALLER) && has(0x55)
    });
    assert!(!parts.iter().any(|part| part.contains(&sample(0x44))), "the card number is kept");
}

#[test]
fn a_call_that_rings_is_deflected_to_a_colleague() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let mut talk = Talk::rings("127.0.0.74");
    talk.ana.line.is_invited();
    talk.ana.line.answers(180, "", "");
    let to = "bob".into();
    talk.gives("ana", |agent, call, command| Command::Deflect { agent, call, to, command });
    talk.ana.line.is_cancelled();
    let mut bob = talk.bob_picks_up();
    both_hear(&mut talk.caller, &mut bob);
    talk.ends(bob);
}

#[test]
fn a_parked_caller_is_picked_up_by_a_colleague() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let mut talk = Talk::begins("127.0.0.75");
    let reply = talk.gives("ana", |agent, call, command| Command::Park { agent, call, command });
    assert_eq!(reply, Reply::Parked { slot: 1 });
    talk.ana.line.is_hung_up();
    wait_until("there is music", PATIENCE, || talk.caller.line.hears().is_some());
    talk.gives("bob", |agent, _, command| Command::PickUp { agent, slot: 1, command });
    let mut bob = talk.bob_picks_up();
    both_hear(&mut talk.caller, &mut bob);
    talk.ends(bob);
}

#[test]
fn an_agents_phone_sends_the_caller_on_by_refer() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let mut talk = Talk::begins("127.0.0.76");
    talk.ana.line.refers("sip:nobody@127.0.0.76", "");
    assert_eq!(talk.ana.line.is_refused().status(), 404);
    both_hear(&mut talk.caller, &mut talk.ana);
    talk.ana.line.refers("sip:bob@127.0.0.76", "");
    assert_eq!(talk.ana.line.is_answered().status(), 202);
    assert!(talk.ana.line.is_notified().says("SIP/2.0 100 Trying"));
    assert!(talk.ana.line.is_notified().says("SIP/2.0 200 OK"));
    talk.ana.line.is_hung_up();
    let mut bob = talk.bob_picks_up();
    both_hear(&mut talk.caller, &mut bob);
    // Bob does not want to hear of it; nobody answers there, and he gets the caller back.
    bob.line.refers("sip:9123@127.0.0.76", "Refer-Sub: false\r\n");
    let accepted = bob.line.is_answered();
    assert_eq!((accepted.status(), accepted.header("Refer-Sub")), (202, "false"));
    bob.line.is_hung_up();
    let mut carrier = talk.node.phone_at(5079);
    carrier.is_invited();
    carrier.answers(486, "", "");
    carrier.is_acked();
    talk.bob = bob.line;
    let mut bob = talk.bob_picks_up();
    both_hear(&mut talk.caller, &mut bob);
    talk.ends(bob);
}

/// A caller who could send others on could call out at our cost.
#[test]
fn a_callers_refer_is_refused() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let mut talk = Talk::begins("127.0.0.77");
    for to in ["sip:9123@127.0.0.77", "sip:bob@127.0.0.77"] {
        talk.caller.line.refers(to, "");
        assert_eq!(talk.caller.line.is_refused().status(), 403);
    }
    both_hear(&mut talk.caller, &mut talk.ana);
    assert_eq!(talk.node.looks_at(|center| center.calls().count()), 1);
}
