//! A far end that sends what it should not: valid messages at wrong times, doubled, with other
//! identifiers, and with bytes changed. Whatever comes, the leg does not panic, says little per
//! message, sends only what parses, and when it is told to hang up, it ends.

use std::time::Duration;

use tandem_sip::{
    leg::{Leg, LegEvent, Output},
    wire::Message,
};

use crate::script::{
    ANSWER, HELD, OFFER, Script, Way, credentials, outgoing, settings, timed_settings, udp,
};

/// What one message may cause at most: the answers to what was open, an event for each, and the
/// BYE.
const OUTPUTS_MAX: usize = 8;

#[test]
fn whatever_the_far_end_sends_the_leg_stays_whole_and_ends() {
    let mut most = 0;
    for seed in 0..140 {
        most = most.max(Noise::new(seed).plays());
    }
    // Each seed must have got somewhere: an event or an answer to most of what it sent.
    assert!(most > 20, "{most}");
}

struct Noise {
    dice: u64,
    seed: u64,
    call: Script,
    ends: usize,
    outputs: usize,
}

impl Noise {
    fn new(seed: u64) -> Self {
        let way = if seed % 3 == 2 { Way::Adopted } else { Way::Straight };
        let timed = if seed.is_multiple_of(2) { settings() } else { timed_settings() };
        let mut with = outgoing(timed.clone());
        with.credentials = Some(credentials());
        let call = match seed % 7 {
            0 => way.callee_with("Supported: timer\r\n", Some(OFFER), timed),
            1 => way.callee_with("Require: 100rel\r\n", Some(OFFER), timed),
            2 => way.callee_with("", None, timed),
            3 => way.answered_with("Supported: timer\r\n", timed),
            4 => way.caller_with(&with),
            5 => way.caller_with(&tandem_sip::leg::Outgoing { sdp: Vec::new(), ..with }),
            _ => way.connected_with(&with),
        };
        let dice = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        Self { dice, seed, call, ends: 0, outputs: 0 }
    }

    fn roll(&mut self, sides: usize) -> usize {
        self.dice ^= self.dice >> 12;
        self.dice ^= self.dice << 25;
        self.dice ^= self.dice >> 27;
        (self.dice.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % sides
    }

    fn plays(mut self) -> usize {
        self.drain();
        for _ in 0..80 {
            match self.roll(10) {
                0 => self.commands(),
                1 => self.waits(),
                _ => self.sends(),
            }
        }
        self.call.leg.hang_up(self.call.now);
        self.drain();
        let until = self.call.now + Duration::from_secs(200);
        while let Some(at) = self.call.leg.poll_timeout() {
            assert!(at <= until, "seed {}: not over", self.seed);
            self.call.now = at;
            self.call.leg.handle_timeout(at);
            self.drain();
        }
        assert_eq!(self.ends, 1, "seed {}", self.seed);
        self.outputs
    }

    fn commands(&mut self) {
        let which = self.roll(12);
        let (leg, now) = (&mut self.call.leg, self.call.now);
        // Most do not fit, and say so.
        let _fits = match which {
            0 => leg.trying(now).is_ok(),
            1 => leg.ring(now, None).is_ok(),
            2 => leg.ring(now, Some(ANSWER.into())).is_ok(),
            3 => leg.answer(now, ANSWER.into()).is_ok(),
            4 => leg.reoffer(now, HELD.into()).is_ok(),
            5 => leg.reoffer(now, Vec::new()).is_ok(),
            6 => leg.answer_reoffer(now, ANSWER.into()).is_ok(),
            7 => leg.refuse_reoffer(now, 488).is_ok(),
            8 => leg.acknowledge(now, ANSWER.into()).is_ok(),
            9 => leg.accept_refer(now).is_ok() && leg.notify_refer(now, 200).is_ok(),
            10 => leg.accept_bye(now).is_ok(),
            _ => leg.refuse_refer(now, 603).is_ok(),
        };
        self.drain();
    }

    fn waits(&mut self) {
        let ms = [10, 500, 5_000, 40_000][self.roll(4)];
        let until = self.call.now + Duration::from_millis(ms);
        while let Some(at) = self.call.leg.poll_timeout().filter(|at| *at <= until) {
            self.call.now = self.call.now.max(at);
            self.call.leg.handle_timeout(self.call.now);
            self.drain();
        }
        self.call.now = self.call.now.max(until);
    }

    fn sends(&mut self) {
        let bytes = self.message();
        let Ok(message) = Message::parse(&bytes) else { return };
        match message {
            Message::Request(request) => {
                // The node gives a leg what it owns; here it gets everything.
                let _owns = self.call.leg.owns(&request);
                self.call.leg.handle_request(self.call.now, &request, udp());
            }
            Message::Response(response) => {
                self.call.leg.handle_response(self.call.now, &response);
            }
        }
        self.drain();
    }

    fn message(&mut self) -> Vec<u8> {
        const METHODS: [&str; 12] = [
            "INVITE", "ACK", "BYE", "CANCEL", "PRACK", "UPDATE", "OPTIONS", "INFO", "REFER",
            "NOTIFY", "INVITE", "ACK",
        ];
        const HEADERS: [&str; 7] = [
            "",
            "RAck: 1 1 INVITE\r\n",
            "Refer-To: <sip:x@192.0.2.9>\r\n",
            "Session-Expires: 91\r\nSupported: timer\r\n",
            "Content-Type: application/dtmf-relay\r\n",
            "Require: unknown\r\n",
            "Record-Route: <sip:192.0.2.4;lr>\r\n",
        ];
        const STATUSES: [u16; 14] =
            [100, 180, 183, 200, 200, 200, 202, 302, 401, 407, 422, 481, 487, 491];
        let sdp = [OFFER, HELD, "", ""][self.roll(4)];
        let mut bytes = if self.roll(2) == 0 && !self.call.sent.is_empty() {
            let at = self.roll(self.call.sent.len());
            let extra =
                ["", "RSeq: 1\r\nRequire: 100rel\r\n", "Session-Expires: 90;refresher=uas\r\n"];
            let extra = extra[self.roll(3)];
            let status = STATUSES[self.roll(STATUSES.len())];
            let tag = ["far", "far", "far", "two", "three"][self.roll(5)];
            self.call.response_to(at, status, (tag, extra, sdp))
        } else {
            let mut method = METHODS[self.roll(METHODS.len())];
            if matches!(method, "BYE" | "CANCEL") && self.roll(8) > 0 {
                method = "INVITE"; // Or most calls would be over at once.
            }
            let headers = HEADERS[self.roll(HEADERS.len())];
            self.call.request_text(method, headers, sdp)
        };
        for _ in 0..[0, 0, 0, 1, 3][self.roll(5)] {
            let at = self.roll(bytes.len());
            bytes[at] = b"0129 ;:=<>\"\r\nazAZ\0\xff"[self.roll(19)];
        }
        bytes
    }

    fn drain(&mut self) {
        let mut count = 0;
        while let Some(output) = self.call.leg.poll_output() {
            count += 1;
            match output {
                Output::Send { peer, bytes } => {
                    let message = Message::parse(&bytes);
                    let text = String::from_utf8_lossy(&bytes);
                    let message = message.unwrap_or_else(|bad| {
                        panic!("seed {}: {} in\n{text}", self.seed, bad.fault())
                    });
                    self.call.sent.push((peer, message));
                }
                Output::Event(event) => match event {
                    LegEvent::Refused(_) | LegEvent::Cancelled | LegEvent::Ended { .. } => {
                        self.ends += 1;
                    }
                    LegEvent::Ringing { .. }
                    | LegEvent::Answered { .. }
                    | LegEvent::Acked { .. }
                    | LegEvent::Reoffered { .. }
                    | LegEvent::ReofferAnswered { .. }
                    | LegEvent::ReofferRefused { .. }
                    | LegEvent::ByeReceived
                    | LegEvent::Digit(_)
                    | LegEvent::Refer(_)
                    | LegEvent::Terminated => (),
                },
            }
        }
        self.outputs += count;
        assert!(count <= OUTPUTS_MAX, "seed {}: {count} outputs", self.seed);
        let export = self.call.leg.export(self.call.now);
        let bytes = postcard::to_allocvec(&export).unwrap();
        assert!(bytes.len() < 100_000, "seed {}: {} bytes", self.seed, bytes.len());
        if self.seed.is_multiple_of(2) {
            let export = postcard::from_bytes(&bytes).unwrap();
            self.call.leg = Leg::restore(self.call.now, export, 0).unwrap();
        }
    }
}
