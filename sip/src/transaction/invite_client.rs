//! The INVITE client transaction (RFC 3261 §17.1.1 with RFC 6026 §7.2).
//!
//! It repeats the INVITE, acknowledges failures, and lets every 2xx through, for each may be of
//! another fork. The ACK of a 2xx and the CANCEL are the dialog's; [`cancel_of`] builds the
//! latter, since it must look like the INVITE.

use serde::{Deserialize, Serialize};

use super::{GIVE_UP_MS, Moment, Output, Repeat, T1_MS};
use crate::{
    dialog::push_line,
    wire::{HeaderName, Message, Response},
};

/// Timer D over an unreliable transport, milliseconds: at least 32 s (RFC 3261 §17.1.1.2).
const TIMER_D_MS: u64 = 32_000;

/// The transaction. A new one has its INVITE to send.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct InviteClient {
    state: State,
    reliable: bool,
    #[serde(skip)]
    output: Option<Output>,
}

/// The states of RFC 6026 figure 8.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
enum State {
    Calling { invite: Vec<u8>, timer_a: Option<Repeat>, timer_b: Moment },
    Proceeding { invite: Vec<u8> },
    Completed { ack: Vec<u8>, timer_d: Moment },
    Accepted { timer_m: Moment },
    Terminated,
}

impl InviteClient {
    /// Sends the INVITE.
    pub fn new(now: Moment, invite: Vec<u8>, reliable: bool) -> Self {
        let output = Some(Output::Transmit(invite.clone()));
        let timer_a = (!reliable).then(|| Repeat::every_ms(now, T1_MS));
        let state = State::Calling { invite, timer_a, timer_b: now.after_ms(GIVE_UP_MS) };
        Self { state, reliable, output }
    }

    /// A response came. Says whether it is for the transaction user: a retransmitted failure is
    /// acknowledged again and kept from it, a 2xx never is.
    pub fn handle_response(&mut self, now: Moment, response: &Response) -> bool {
        match (&mut self.state, response.status()) {
            (State::Calling { invite, .. }, ..=199) => {
                self.state = State::Proceeding { invite: std::mem::take(invite) };
                true
            }
            (State::Proceeding { .. }, ..=199) => true,
            (State::Calling { .. } | State::Proceeding { .. }, 200..=299) => {
                self.state = State::Accepted { timer_m: now.after_ms(GIVE_UP_MS) };
                true
            }
            (State::Calling { invite, .. } | State::Proceeding { invite }, _) => {
                let ack = ack_of_failure(invite, response);
                self.output = Some(Output::Transmit(ack.clone()));
                self.state = if self.reliable {
                    State::Terminated // Timer D is zero.
                } else {
                    State::Completed { ack, timer_d: now.after_ms(TIMER_D_MS) }
                };
                true
            }
            (State::Completed { ack, .. }, 300..) => {
                self.output = Some(Output::Transmit(ack.clone()));
                false
            }
            (State::Accepted { .. }, 200..=299) => true,
            (State::Completed { .. } | State::Accepted { .. } | State::Terminated, _) => false,
        }
    }

    /// Time passed.
    pub fn handle_timeout(&mut self, now: Moment) {
        match &mut self.state {
            State::Calling { timer_b, .. } if *timer_b <= now => {
                self.state = State::Terminated;
                self.output = Some(Output::TimedOut);
            }
            State::Calling { invite, timer_a: Some(timer_a), .. } if timer_a.at <= now => {
                timer_a.double(now, u64::MAX); // Timer A has no ceiling; timer B ends it.
                self.output = Some(Output::Transmit(invite.clone()));
            }
            State::Completed { timer_d: until, .. } | State::Accepted { timer_m: until } => {
                if *until <= now {
                    self.state = State::Terminated;
                }
            }
            State::Calling { .. } | State::Proceeding { .. } | State::Terminated => (),
        }
    }

    /// When to call [`Self::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Moment> {
        match &self.state {
            State::Calling { timer_a, timer_b, .. } => {
                Some(timer_a.map_or(*timer_b, |timer_a| timer_a.at.min(*timer_b)))
            }
            State::Completed { timer_d: until, .. } | State::Accepted { timer_m: until } => {
                Some(*until)
            }
            State::Proceeding { .. } | State::Terminated => None,
        }
    }

    /// What is to be done.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.output.take()
    }

    /// Gives the transaction up without a word: the transport failed, or a CANCEL was not
    /// followed by any final response (RFC 3261 §9.1).
    pub fn abandon(&mut self) {
        self.state = State::Terminated;
    }

    /// Takes it that the far end has the INVITE: it is not repeated.
    pub fn hush(&mut self) {
        if let State::Calling { invite, .. } = &mut self.state {
            self.state = State::Proceeding { invite: std::mem::take(invite) };
        }
    }

    /// The INVITE, until a final response came.
    pub fn invite(&self) -> Option<&[u8]> {
        match &self.state {
            State::Calling { invite, .. } | State::Proceeding { invite } => Some(invite),
            State::Completed { .. } | State::Accepted { .. } | State::Terminated => None,
        }
    }

    /// Whether a provisional response came, and no final one: only then may it be cancelled
    /// (RFC 3261 §9.1).
    pub fn is_proceeding(&self) -> bool {
        matches!(self.state, State::Proceeding { .. })
    }

    /// Whether nothing has come back yet.
    pub fn is_calling(&self) -> bool {
        matches!(self.state, State::Calling { .. })
    }

    /// Whether nothing is left to absorb or to repeat.
    pub fn is_terminated(&self) -> bool {
        matches!(self.state, State::Terminated)
    }
}

/// The ACK of a final response other than 2xx (RFC 3261 §17.1.1.3): the INVITE's Request-URI,
/// top Via, From, Call-ID, CSeq number and Route, and the response's To.
pub fn ack_of_failure(invite: &[u8], response: &Response) -> Vec<u8> {
    like_invite(invite, "ACK", response.header(HeaderName::To))
}

/// The CANCEL of an INVITE (RFC 3261 §9.1): its Request-URI, top Via, From, To without a tag as
/// the INVITE had it, Call-ID, CSeq number and Route.
pub fn cancel_of(invite: &[u8]) -> Vec<u8> {
    like_invite(invite, "CANCEL", None)
}

fn like_invite(invite: &[u8], method: &str, to: Option<&[u8]>) -> Vec<u8> {
    let Some(invite) = Message::parse(invite).ok().and_then(Message::into_request) else {
        return Vec::new(); // We built it; a caller that gave noise gets nothing sent.
    };
    let mut out = Vec::with_capacity(512);
    out.extend_from_slice(format!("{method} {} SIP/2.0\r\n", invite.uri()).as_bytes());
    push_line(&mut out, "Via", invite.via_top().as_bytes());
    push_line(&mut out, "Max-Forwards", b"70");
    for route in invite.lines_of(HeaderName::Route) {
        push_line(&mut out, "Route", route);
    }
    push_line(&mut out, "From", invite.header(HeaderName::From).unwrap_or_default());
    push_line(&mut out, "To", to.or(invite.header(HeaderName::To)).unwrap_or_default());
    push_line(&mut out, "Call-ID", invite.call_id().as_bytes());
    push_line(&mut out, "CSeq", format!("{} {method}", invite.cseq().number).as_bytes());
    if method == "ACK" {
        // RFC 3261 §22.1: the ACK carries the credentials of its INVITE.
        for name in [HeaderName::Authorization, HeaderName::ProxyAuthorization] {
            for value in invite.lines_of(name) {
                push_line(&mut out, name.as_str(), value);
            }
        }
    }
    out.extend_from_slice(b"Content-Length: 0\r\n\r\n");
    out
}
