//! Agents consult, confer and transfer; the phones are spoken for by hand, and each says and
//! hears a sample of its own.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should end")]

mod support;

use std::time::Duration;

use support::inside::Inside;
use support::line::Line;
use support::side::{
    Side, all_hear_each_other, both_hear, is_kept_from, is_over, picks_up, talks_through_sales,
};
use support::wait_until;
use tandem_center::{AgentId, CallId, Command, CommandId};

const PATIENCE: Duration = Duration::from_secs(10);

/// G.711 µ-law: what each of the three says.
const CALLER: u8 = 0x11;
const ANA: u8 = 0x22;
const BOB: u8 = 0x33;

/// A caller who talks with ana through a queue, and the phone of bob, who is ready to be asked.
struct Talk {
    node: Inside,
    call: CallId,
    caller: Side,
    ana: Side,
    bob: Line,
    commands: u32,
}

impl Talk {
    fn begins(ip: &str) -> Self {
        let entries = format!(
            "[[number]]\nnumber = \"sales\"\nqueue = \"sales\"\n\
             [[number]]\nnumber = \"closed\"\nreject = 480\n\
             [[number]]\nnumber = \"bob\"\nagent = \"bob\"\n\
             [[number]]\nnumber = \"service\"\ntarget = \"sip:service@{ip}:5072\"\n\
             [[queue]]\nid = \"sales\"\n\
             [[agent]]\nid = \"ana\"\ndevice = \"sip:ana@{ip}:5070\"\nanswers_on = \"phone\"\n\
             always_ready = true\nqueues = [\"sales\"]\n\
             [[agent]]\nid = \"bob\"\ndevice = \"sip:bob@{ip}:5071\"\nanswers_on = \"phone\"\n\
             always_ready = true\n"
        );
        let node = Inside::start(ip, &entries, &[]);
        let bob = node.phone_at(5071);
        let (call, caller, ana) = talks_through_sales(&node, CALLER, ANA);
        Self { node, call, caller, ana, bob, commands: 0 }
    }

    /// A command of ana's desk that must be taken.
    fn ana(&mut self, command: impl FnOnce(AgentId, CallId, CommandId) -> Command) {
        self.commands += 1;
        let id = CommandId::parse(&format!("t{}", self.commands)).unwrap();
        let command = command(AgentId::parse("ana").unwrap(), self.call, id);
        let (sender, receiver) = std::sync::mpsc::channel();
        self.node.node().propose_then(&command, move |answer| {
            drop(sender.send(answer));
        });
        receiver.recv_timeout(PATIENCE).unwrap().unwrap().reply.unwrap();
    }

    fn consults(&mut self, to: &str) {
        let to = to.into();
        self.ana(|agent, call, command| Command::Consult { agent, call, to, command });
    }

    /// Ana asks bob, whose phone is picked up.
    fn asks_bob(&mut self) -> Side {
        self.consults("bob");
        let (audio, _) = picks_up(&mut self.bob);
        wait_until("bob talks", PATIENCE, || {
            self.node.looks_at(|center| {
                let asked = center.call(self.call).and_then(|call| call.conversation()?.1);
                asked.is_some_and(|asked| asked.reach.talking().is_some())
            })
        });
        let line = std::mem::replace(&mut self.bob, self.node.phone());
        Side { line, audio, voice: BOB }
    }
}

#[test]
fn an_agent_asks_a_colleague_aside_goes_to_and_fro_and_leaves_the_call_to_them() {
    let mut talk = Talk::begins("127.0.0.24");
    let mut bob = talk.asks_bob();
    both_hear(&mut talk.ana, &mut bob);
    is_kept_from(&mut talk.ana, &mut talk.caller);
    is_kept_from(&mut talk.caller, &mut bob);

    talk.ana(|agent, call, command| Command::Alternate { agent, call, command });
    both_hear(&mut talk.ana, &mut talk.caller);
    is_kept_from(&mut talk.ana, &mut bob);

    talk.ana(|agent, call, command| Command::Transfer { agent, call, to: None, command });
    talk.ana.line.is_hung_up();
    both_hear(&mut talk.caller, &mut bob);
    talk.caller.line.hangs_up();
    bob.line.is_hung_up();
    is_over(&talk.node, talk.call);
}

#[test]
fn three_talk_and_two_go_on_when_the_agent_hangs_up() {
    let mut talk = Talk::begins("127.0.0.25");
    let bob = talk.asks_bob();
    talk.ana(|agent, call, command| Command::Conference { agent, call, command });
    let Talk { node, call, caller, ana, .. } = talk;
    let mut sides = [caller, ana, bob];
    all_hear_each_other(&mut sides);
    let [mut caller, mut ana, mut bob] = sides;
    ana.line.hangs_up();
    both_hear(&mut caller, &mut bob);
    bob.line.hangs_up();
    caller.line.is_hung_up();
    is_over(&node, call);
}

#[test]
fn hanging_up_while_the_colleagues_phone_rings_lets_the_caller_wait_for_it() {
    let mut talk = Talk::begins("127.0.0.26");
    talk.consults("bob");
    let invite = talk.bob.is_invited();
    talk.bob.answers(180, "", "");
    talk.ana.line.hangs_up();
    let answer = talk.bob.sdp("sendrecv");
    talk.bob.answers(200, "", &answer);
    talk.bob.is_acked();
    let line = std::mem::replace(&mut talk.bob, talk.node.phone());
    let mut bob = Side { line, audio: invite.audio(), voice: BOB };
    both_hear(&mut talk.caller, &mut bob);
    talk.caller.line.hangs_up();
    bob.line.is_hung_up();
    is_over(&talk.node, talk.call);
}

#[test]
fn a_colleague_who_was_asked_and_vanishes_leaves_the_agent_with_the_caller() {
    let mut talk = Talk::begins("127.0.0.28");
    let mut bob = talk.asks_bob();
    both_hear(&mut talk.ana, &mut bob);
    bob.line.hangs_up();
    both_hear(&mut talk.ana, &mut talk.caller);
    talk.caller.line.hangs_up();
    talk.ana.line.is_hung_up();
    is_over(&talk.node, talk.call);
}

#[test]
fn a_transfer_to_a_number_goes_there_or_comes_back() {
    let mut talk = Talk::begins("127.0.0.27");
    let mut service = talk.node.phone_at(5072);
    talk.ana(|agent, call, command| Command::Transfer {
        agent,
        call,
        to: Some("service".into()),
        command,
    });
    talk.ana.line.is_hung_up();
    service.is_invited();
    service.answers(486, "", "");
    service.is_acked();
    // Busy there: ana's phone rings once more, and she tries another number.
    let mut ana = talk.node.phone_at(5073);
    std::mem::swap(&mut ana, &mut talk.ana.line);
    let (audio, _) = picks_up(&mut ana);
    let mut ana = Side { line: ana, audio, voice: ANA };
    both_hear(&mut talk.caller, &mut ana);
    talk.caller.line.hangs_up();
    ana.line.is_hung_up();
    is_over(&talk.node, talk.call);
}
