//! The four machines as call flows in virtual time.

use super::{
    InviteClient, InviteServer, Moment, NonInviteClient, NonInviteServer, Output, TransactionKey,
    ack_of_failure, cancel_of,
};
use crate::wire::{HeaderName, Message, Request, Response};

const INVITE: &str = "INVITE sip:b@example.com SIP/2.0\r\n\
    Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKa1\r\nMax-Forwards: 70\r\n\
    From: <sip:a@example.com>;tag=a\r\nTo: <sip:b@example.com>\r\nCall-ID: c1\r\n\
    CSeq: 7 INVITE\r\nRoute: <sip:p.example.com;lr>\r\nAuthorization: Digest x\r\n\
    Contact: <sip:a@192.0.2.1>\r\nContent-Length: 0\r\n\r\n";

fn request(text: &str) -> Request {
    Message::parse(text.as_bytes()).unwrap().into_request().unwrap()
}

fn response(status: u16) -> Response {
    Response::to_request(&request(INVITE), status, Some("b")).build()
}

mod invite_server_17_2_1 {
    use super::*;

    #[test]
    fn nothing_is_said_before_the_user_says_something() {
        let mut call = Script::of(server(false));
        call.again().is_silent();
    }

    #[test]
    fn the_last_provisional_response_answers_the_invite_that_comes_again() {
        let mut call = Script::of(server(false));
        call.respond(100).sends(100).respond(180).sends(180).again().sends(180);
        call.after_ms(100_000).is_silent();
    }

    #[test]
    fn busy_is_repeated_until_the_ack() {
        let mut call = Script::of(server(false));
        call.respond(486).sends(486);
        call.after_ms(500).sends(486); // G = T1
        call.after_ms(1_000).sends(486); // G doubles
        call.again().sends(486);
        call.ack(false).is_silent();
        call.again().is_silent();
        call.after_ms(4_999).goes_on();
        call.after_ms(1).is_over(); // I = T4
    }

    #[test]
    fn g_grows_to_t2_and_h_ends_it() {
        let mut call = Script::of(server(false));
        call.respond(486).sends(486);
        for ms in [500, 1_000, 2_000, 4_000, 4_000, 4_000, 4_000, 4_000, 4_000, 4_000] {
            call.after_ms(ms - 1).is_silent().after_ms(1).sends(486);
        }
        call.after_ms(499).is_silent().after_ms(1).times_out().is_over(); // H = 64·T1
    }

    #[test]
    fn over_a_reliable_transport_g_is_not_set_and_i_is_zero() {
        let mut call = Script::of(server(true));
        call.respond(486).sends(486).after_ms(31_999).is_silent();
        call.ack(false).is_over();
    }

    #[test]
    fn a_2xx_is_not_repeated_here_and_l_ends_it_6026_7_1() {
        let mut call = Script::of(server(false));
        call.respond(200).sends(200).after_ms(10_000).is_silent();
        call.again().is_silent(); // The INVITE is absorbed.
        call.respond(200).sends(200); // The dialog repeats its 2xx through us.
        call.ack(true).is_silent(); // The ACK is the dialog's.
        call.after_ms(21_999).goes_on();
        call.after_ms(1).is_over(); // L = 64·T1
    }

    #[test]
    fn behind_a_final_response_no_other_is_sent() {
        let mut call = Script::of(server(false));
        call.respond(486).sends(486).respond(200).is_silent().respond(180).is_silent();
        let mut call = Script::of(server(false));
        call.respond(200).sends(200).respond(486).is_silent().respond(180).is_silent();
    }
}

mod invite_client_17_1_1 {
    use super::*;

    #[test]
    fn the_invite_is_repeated_with_doubling_until_b() {
        let mut call = Script::of(client(false));
        call.sends_invite();
        for ms in [500, 1_000, 2_000, 4_000, 8_000, 16_000] {
            call.after_ms(ms - 1).is_silent().after_ms(1).sends_invite();
        }
        call.after_ms(499).is_silent().after_ms(1).times_out().is_over(); // B = 64·T1
    }

    #[test]
    fn over_a_reliable_transport_it_is_sent_once() {
        let mut call = Script::of(client(true));
        call.sends_invite().after_ms(31_999).is_silent().after_ms(1).times_out();
    }

    #[test]
    fn a_provisional_response_stops_a_and_b() {
        let mut call = Script::of(client(false));
        call.sends_invite().receive(100, true).receive(180, true);
        call.after_ms(1_000_000).is_silent().goes_on();
    }

    #[test]
    fn a_failure_is_acknowledged_and_told_once() {
        let mut call = Script::of(client(false));
        call.sends_invite().receive(486, true).sends_ack();
        call.receive(486, false).sends_ack();
        call.receive(200, false).is_silent();
        call.after_ms(31_999).receive(486, false).sends_ack().goes_on();
        call.after_ms(1).is_over(); // D ≥ 32 s
    }

    #[test]
    fn over_a_reliable_transport_d_is_zero() {
        let mut call = Script::of(client(true));
        call.sends_invite().receive(486, true).sends_ack().is_over();
    }

    #[test]
    fn every_2xx_is_told_until_m_6026_7_2() {
        let mut call = Script::of(client(false));
        call.sends_invite().receive(200, true).is_silent().receive(200, true);
        call.receive(486, false).receive(180, false).is_silent();
        call.after_ms(31_999).receive(200, true).goes_on();
        call.after_ms(1).is_over(); // M = 64·T1
    }
}

mod non_invite_client_17_1_2 {
    use super::*;

    #[test]
    fn the_request_is_repeated_up_to_t2_until_f() {
        let mut call = Script::of(asker(false));
        call.sends_bye();
        for ms in [500, 1_000, 2_000, 4_000, 4_000, 4_000, 4_000, 4_000, 4_000, 4_000] {
            call.after_ms(ms - 1).is_silent().after_ms(1).sends_bye();
        }
        call.after_ms(499).is_silent().after_ms(1).times_out().is_over(); // F = 64·T1
    }

    #[test]
    fn once_it_is_proceeding_it_is_repeated_each_t2_until_f() {
        let mut call = Script::of(asker(false));
        call.sends_bye().receive(100, true);
        call.after_ms(500).sends_bye(); // The E that was running.
        call.after_ms(3_999).is_silent().after_ms(1).sends_bye(); // Then T2.
        call.after_ms(27_500).times_out_after_repeats();
    }

    #[test]
    fn the_final_response_is_told_once_and_k_ends_it() {
        let mut call = Script::of(asker(false));
        call.sends_bye().receive(200, true).receive(200, false).is_silent();
        call.after_ms(4_999).goes_on().after_ms(1).is_over(); // K = T4
    }

    #[test]
    fn over_a_reliable_transport_it_is_sent_once_and_k_is_zero() {
        let mut call = Script::of(asker(true));
        call.sends_bye().after_ms(31_999).is_silent().receive(200, true).is_over();
    }
}

mod non_invite_server_17_2_2 {
    use super::*;

    #[test]
    fn the_request_that_comes_again_is_absorbed_until_there_is_a_response() {
        let mut call = Script::of(answerer(false));
        call.again().is_silent().respond(200).sends(200).again().sends(200);
        call.respond(500).is_silent();
        call.after_ms(31_999).again().sends(200).after_ms(1).is_over(); // J = 64·T1
    }

    #[test]
    fn a_provisional_response_is_repeated() {
        let mut call = Script::of(answerer(false));
        call.respond(100).sends(100).again().sends(100).respond(200).sends(200);
    }

    #[test]
    fn over_a_reliable_transport_j_is_zero() {
        let mut call = Script::of(answerer(true));
        call.respond(200).sends(200).is_over();
    }
}

mod messages {
    use super::*;

    #[test]
    fn the_ack_of_a_failure_has_the_invites_identity_and_the_responses_to_17_1_1_3() {
        let ack = ack_of_failure(INVITE.as_bytes(), &response(486));
        let (ack, invite) = (request(std::str::from_utf8(&ack).unwrap()), request(INVITE));
        assert_eq!(ack.uri(), invite.uri());
        assert_eq!(ack.vias().collect::<Vec<_>>(), [invite.via_top().as_bytes()]);
        assert_eq!(ack.header(HeaderName::To), Some(&b"<sip:b@example.com>;tag=b"[..]));
        assert_eq!(ack.cseq().to_string(), "7 ACK");
        for same in [HeaderName::From, HeaderName::CallId, HeaderName::Route] {
            assert_eq!(ack.header(same), invite.header(same), "{same}");
        }
        // RFC 3261 §22.1: with the credentials of its INVITE.
        assert_eq!(ack.header(HeaderName::Authorization), Some(&b"Digest x"[..]));
        assert_eq!(ack.header(HeaderName::Contact), None);
    }

    #[test]
    fn the_cancel_has_the_invites_identity_9_1() {
        let cancel = cancel_of(INVITE.as_bytes());
        let (cancel, invite) = (request(std::str::from_utf8(&cancel).unwrap()), request(INVITE));
        assert_eq!(cancel.cseq().to_string(), "7 CANCEL");
        assert_eq!(cancel.via_top(), invite.via_top());
        for same in [HeaderName::To, HeaderName::From, HeaderName::CallId, HeaderName::Route] {
            assert_eq!(cancel.header(same), invite.header(same), "{same}");
        }
        assert_eq!(cancel.header(HeaderName::Authorization), None);
    }

    #[test]
    fn noise_instead_of_an_invite_is_not_sent() {
        assert_eq!(cancel_of(b"noise"), b"");
    }

    #[test]
    fn branch_sent_by_and_method_make_the_transaction_17_2_3() {
        let invite = request(INVITE);
        let same =
            |text: String| TransactionKey::of(&request(&text)) == TransactionKey::of(&invite);
        assert!(same(INVITE.replace("Call-ID: c1", "Call-ID: other")));
        assert!(same(INVITE.replace(" INVITE", " ACK").replace("INVITE ", "ACK ")));
        assert!(!same(INVITE.replace("z9hG4bKa1", "z9hG4bKa2")));
        assert!(!same(INVITE.replace("192.0.2.1:5060", "192.0.2.1:5062")));
        let cancel = request(&INVITE.replace(" INVITE", " CANCEL").replace("INVITE ", "CANCEL "));
        assert_ne!(TransactionKey::of(&cancel), TransactionKey::of(&invite));
        assert_eq!(TransactionKey::of_cancelled(&cancel), TransactionKey::of(&invite));
        let bye = request(&INVITE.replace(" INVITE", " BYE").replace("INVITE ", "BYE "));
        let of_cancel = TransactionKey::of(&cancel);
        for (request, is_meant) in [(&invite, true), (&bye, true), (&cancel, false)] {
            assert_eq!(TransactionKey::of(request).is_cancelled_by(&of_cancel), is_meant);
        }
        let other = request(&INVITE.replace("z9hG4bKa1", "z9hG4bKa2"));
        assert!(!TransactionKey::of(&other).is_cancelled_by(&of_cancel));
        assert!(!TransactionKey::of(&invite).is_cancelled_by(&TransactionKey::of(&bye)));
    }

    #[test]
    fn without_the_cookie_the_whole_of_it_makes_the_transaction_17_2_3() {
        let old = INVITE.replace(";branch=z9hG4bKa1", "");
        let key = |text: &str| TransactionKey::of(&request(text));
        assert_eq!(
            key(&old),
            key(&old.replace("To: <sip:b@example.com>", "To: <sip:b@example.com>;tag=b"))
        );
        assert_ne!(key(&old), key(&old.replace("Call-ID: c1", "Call-ID: c2")));
        assert_ne!(key(&old), key(&old.replace("CSeq: 7", "CSeq: 8")));
        assert_ne!(key(&old), key(&old.replace("tag=a", "tag=z")));
    }
}

/// One machine, whichever it is.
enum Machine {
    InviteServer(InviteServer),
    InviteClient(InviteClient),
    Server(NonInviteServer),
    Client(NonInviteClient),
}

fn server(reliable: bool) -> Machine {
    Machine::InviteServer(InviteServer::new(reliable))
}

fn client(reliable: bool) -> Machine {
    Machine::InviteClient(InviteClient::new(Moment::ZERO, INVITE.into(), reliable))
}

fn answerer(reliable: bool) -> Machine {
    Machine::Server(NonInviteServer::new(reliable))
}

fn asker(reliable: bool) -> Machine {
    Machine::Client(NonInviteClient::new(Moment::ZERO, b"BYE".into(), reliable))
}

/// A machine, its clock, and what it wanted since the last look. The machine is rebuilt from its
/// serialised value after each step: it must not notice.
struct Script {
    machine: Machine,
    now: Moment,
    wanted: Vec<Output>,
}

impl Script {
    fn of(machine: Machine) -> Self {
        let mut script = Self { machine, now: Moment::ZERO, wanted: Vec::new() };
        script.step();
        script
    }

    fn step(&mut self) -> &mut Self {
        loop {
            let output = match &mut self.machine {
                Machine::InviteServer(machine) => machine.poll_output(),
                Machine::InviteClient(machine) => machine.poll_output(),
                Machine::Server(machine) => machine.poll_output(),
                Machine::Client(machine) => machine.poll_output(),
            };
            match output {
                Some(output) => self.wanted.push(output),
                None => break,
            }
        }
        match &mut self.machine {
            Machine::InviteServer(machine) => rebuild(machine),
            Machine::InviteClient(machine) => rebuild(machine),
            Machine::Server(machine) => rebuild(machine),
            Machine::Client(machine) => rebuild(machine),
        }
        self
    }

    fn respond(&mut self, status: u16) -> &mut Self {
        let (now, bytes) = (self.now, vec![(status / 100) as u8, (status % 100) as u8]);
        match &mut self.machine {
            Machine::InviteServer(machine) => machine.respond(now, status, bytes),
            Machine::Server(machine) => machine.respond(now, status, bytes),
            Machine::InviteClient(_) | Machine::Client(_) => panic!("a client"),
        }
        self.step()
    }

    fn again(&mut self) -> &mut Self {
        match &mut self.machine {
            Machine::InviteServer(machine) => machine.handle_retransmission(),
            Machine::Server(machine) => machine.handle_retransmission(),
            Machine::InviteClient(_) | Machine::Client(_) => panic!("a client"),
        }
        self.step()
    }

    #[track_caller]
    fn ack(&mut self, for_user: bool) -> &mut Self {
        let Machine::InviteServer(machine) = &mut self.machine else { panic!("no INVITE") };
        assert_eq!(machine.handle_ack(self.now), for_user);
        self.step()
    }

    #[track_caller]
    fn receive(&mut self, status: u16, told: bool) -> &mut Self {
        let now = self.now;
        let is_told = match &mut self.machine {
            Machine::InviteClient(machine) => machine.handle_response(now, &response(status)),
            Machine::Client(machine) => machine.handle_response(now, status),
            Machine::InviteServer(_) | Machine::Server(_) => panic!("a server"),
        };
        assert_eq!(is_told, told);
        self.step()
    }

    fn after_ms(&mut self, ms: u64) -> &mut Self {
        let until = self.now.after_ms(ms);
        loop {
            let due = match &self.machine {
                Machine::InviteServer(machine) => machine.poll_timeout(),
                Machine::InviteClient(machine) => machine.poll_timeout(),
                Machine::Server(machine) => machine.poll_timeout(),
                Machine::Client(machine) => machine.poll_timeout(),
            };
            let Some(due) = due.filter(|due| *due <= until) else { break };
            self.now = due;
            match &mut self.machine {
                Machine::InviteServer(machine) => machine.handle_timeout(due),
                Machine::InviteClient(machine) => machine.handle_timeout(due),
                Machine::Server(machine) => machine.handle_timeout(due),
                Machine::Client(machine) => machine.handle_timeout(due),
            }
            self.step();
        }
        self.now = until;
        self
    }

    #[track_caller]
    fn gives(&mut self, wanted: &[Output]) -> &mut Self {
        assert_eq!(self.wanted, wanted);
        self.wanted.clear();
        self
    }

    #[track_caller]
    fn is_silent(&mut self) -> &mut Self {
        self.gives(&[])
    }

    #[track_caller]
    fn sends(&mut self, status: u16) -> &mut Self {
        self.gives(&[Output::Transmit(vec![(status / 100) as u8, (status % 100) as u8])])
    }

    #[track_caller]
    fn sends_invite(&mut self) -> &mut Self {
        self.gives(&[Output::Transmit(INVITE.into())])
    }

    #[track_caller]
    fn sends_bye(&mut self) -> &mut Self {
        self.gives(&[Output::Transmit(b"BYE".into())])
    }

    #[track_caller]
    fn sends_ack(&mut self) -> &mut Self {
        let ack = ack_of_failure(INVITE.as_bytes(), &response(486));
        self.gives(&[Output::Transmit(ack)])
    }

    #[track_caller]
    fn times_out(&mut self) -> &mut Self {
        self.gives(&[Output::TimedOut])
    }

    #[track_caller]
    fn times_out_after_repeats(&mut self) -> &mut Self {
        assert_eq!(self.wanted.pop(), Some(Output::TimedOut));
        let bye = Output::Transmit(b"BYE".into());
        assert!(!self.wanted.is_empty() && self.wanted.iter().all(|output| *output == bye));
        self.wanted.clear();
        self
    }

    fn is_terminated(&self) -> bool {
        match &self.machine {
            Machine::InviteServer(machine) => machine.is_terminated(),
            Machine::InviteClient(machine) => machine.is_terminated(),
            Machine::Server(machine) => machine.is_terminated(),
            Machine::Client(machine) => machine.is_terminated(),
        }
    }

    #[track_caller]
    fn is_over(&mut self) -> &mut Self {
        assert!(self.is_terminated());
        self.is_silent()
    }

    #[track_caller]
    fn goes_on(&mut self) -> &mut Self {
        assert!(!self.is_terminated());
        self.is_silent()
    }
}

fn rebuild<M: serde::Serialize + serde::de::DeserializeOwned>(machine: &mut M) {
    let bytes = postcard::to_allocvec(machine).unwrap();
    *machine = postcard::from_bytes(&bytes).unwrap();
}
