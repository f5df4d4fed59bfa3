//! The non-INVITE client transaction (RFC 3261 §17.1.2).

use serde::{Deserialize, Serialize};

use super::{GIVE_UP_MS, Moment, Output, Repeat, T1_MS, T2_MS, T4_MS};

/// The transaction. A new one has its request to send.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NonInviteClient {
    state: State,
    reliable: bool,
    #[serde(skip)]
    output: Option<Output>,
}

/// The states of RFC 3261 figure 6.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
enum State {
    Trying { request: Vec<u8>, timer_e: Option<Repeat>, timer_f: Moment },
    Proceeding { request: Vec<u8>, timer_e: Option<Repeat>, timer_f: Moment },
    Completed { timer_k: Moment },
    Terminated,
}

impl NonInviteClient {
    /// Sends the request.
    pub fn new(now: Moment, request: Vec<u8>, reliable: bool) -> Self {
        let output = Some(Output::Transmit(request.clone()));
        let timer_e = (!reliable).then(|| Repeat::every_ms(now, T1_MS));
        let state = State::Trying { request, timer_e, timer_f: now.after_ms(GIVE_UP_MS) };
        Self { state, reliable, output }
    }

    /// A response came. Says whether it is for the transaction user.
    pub fn handle_response(&mut self, now: Moment, status: u16) -> bool {
        match (&mut self.state, status) {
            (State::Trying { request, timer_e, timer_f }, ..=199) => {
                self.state = State::Proceeding {
                    request: std::mem::take(request),
                    timer_e: *timer_e,
                    timer_f: *timer_f,
                };
                true
            }
            (State::Proceeding { .. }, ..=199) => true,
            (State::Trying { .. } | State::Proceeding { .. }, _) => {
                self.state = if self.reliable {
                    State::Terminated // Timer K is zero.
                } else {
                    State::Completed { timer_k: now.after_ms(T4_MS) }
                };
                true
            }
            (State::Completed { .. } | State::Terminated, _) => false,
        }
    }

    /// Time passed.
    pub fn handle_timeout(&mut self, now: Moment) {
        match &mut self.state {
            State::Trying { timer_f, .. } | State::Proceeding { timer_f, .. }
                if *timer_f <= now =>
            {
                self.state = State::Terminated;
                self.output = Some(Output::TimedOut);
            }
            State::Trying { request, timer_e: Some(timer_e), .. } if timer_e.at <= now => {
                timer_e.double(now, T2_MS);
                self.output = Some(Output::Transmit(request.clone()));
            }
            State::Proceeding { request, timer_e: Some(timer_e), .. } if timer_e.at <= now => {
                *timer_e = Repeat::every_ms(now, T2_MS);
                self.output = Some(Output::Transmit(request.clone()));
            }
            State::Completed { timer_k } if *timer_k <= now => self.state = State::Terminated,
            State::Trying { .. }
            | State::Proceeding { .. }
            | State::Completed { .. }
            | State::Terminated => (),
        }
    }

    /// When to call [`Self::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Moment> {
        match &self.state {
            State::Trying { timer_e, timer_f, .. } | State::Proceeding { timer_e, timer_f, .. } => {
                Some(timer_e.map_or(*timer_f, |timer_e| timer_e.at.min(*timer_f)))
            }
            State::Completed { timer_k } => Some(*timer_k),
            State::Terminated => None,
        }
    }

    /// What is to be done.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.output.take()
    }

    /// The request, until a final response came.
    pub fn request(&self) -> Option<&[u8]> {
        match &self.state {
            State::Trying { request, .. } | State::Proceeding { request, .. } => Some(request),
            State::Completed { .. } | State::Terminated => None,
        }
    }

    /// Gives the transaction up without a word: the transport failed (RFC 3261 §17.1.4).
    pub fn abandon(&mut self) {
        self.state = State::Terminated;
    }

    /// Whether nothing is left to absorb or to repeat.
    pub fn is_terminated(&self) -> bool {
        matches!(self.state, State::Terminated)
    }
}
