//! The INVITE server transaction (RFC 3261 §17.2.1 with RFC 6026 §7.1).
//!
//! It repeats provisional responses and failures. A 2xx is repeated by the dialog until its ACK
//! (RFC 3261 §13.3.1.4): here it only opens the time in which the INVITE may come again.

use serde::{Deserialize, Serialize};

use super::{GIVE_UP_MS, Moment, Output, Repeat, T1_MS, T2_MS, T4_MS};

/// The transaction. A new one has sent nothing.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct InviteServer {
    state: State,
    reliable: bool,
    #[serde(skip)]
    output: Option<Output>,
}

/// The states of RFC 6026 figure 7. A state holds exactly the data it needs, so a timer cannot
/// outlive its state.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
enum State {
    Proceeding { last: Option<Vec<u8>> },
    Accepted { timer_l: Moment },
    Completed { failure: Vec<u8>, timer_g: Option<Repeat>, timer_h: Moment },
    Confirmed { timer_i: Moment },
    Terminated,
}

impl InviteServer {
    /// For an INVITE that has just arrived, over a reliable transport or not.
    pub fn new(reliable: bool) -> Self {
        Self { state: State::Proceeding { last: None }, reliable, output: None }
    }

    /// Sends a response. Behind a final one only the same 2xx again means something; anything
    /// else is ignored.
    pub fn respond(&mut self, now: Moment, status: u16, bytes: Vec<u8>) {
        let next = match (&self.state, status) {
            (State::Proceeding { .. }, 100..=199) => {
                State::Proceeding { last: Some(bytes.clone()) }
            }
            (State::Proceeding { .. }, 200..=299) => {
                State::Accepted { timer_l: now.after_ms(GIVE_UP_MS) }
            }
            (State::Proceeding { .. }, _) => State::Completed {
                failure: bytes.clone(),
                timer_g: (!self.reliable).then(|| Repeat::every_ms(now, T1_MS)),
                timer_h: now.after_ms(GIVE_UP_MS),
            },
            // The dialog repeats its 2xx until the ACK arrives (RFC 6026 §7.1).
            (State::Accepted { .. }, 200..=299) => {
                self.output = Some(Output::Transmit(bytes));
                return;
            }
            (State::Accepted { .. }, _)
            | (State::Completed { .. } | State::Confirmed { .. } | State::Terminated, _) => return,
        };
        self.state = next;
        self.output = Some(Output::Transmit(bytes));
    }

    /// The INVITE came again.
    pub fn handle_retransmission(&mut self) {
        let again = match &self.state {
            State::Proceeding { last } => last.clone(),
            State::Completed { failure, .. } => Some(failure.clone()),
            // RFC 6026 §7.1: absorbed, the dialog repeats the 2xx by its own timer.
            State::Accepted { .. } | State::Confirmed { .. } | State::Terminated => None,
        };
        self.output = again.map(Output::Transmit);
    }

    /// An ACK came. Says whether it is for the transaction user, that is, of a 2xx.
    pub fn handle_ack(&mut self, now: Moment) -> bool {
        match &self.state {
            State::Accepted { .. } => return true,
            State::Completed { .. } if self.reliable => self.state = State::Terminated,
            State::Completed { .. } => {
                self.state = State::Confirmed { timer_i: now.after_ms(T4_MS) };
            }
            State::Proceeding { .. } | State::Confirmed { .. } | State::Terminated => (),
        }
        false
    }

    /// Time passed.
    pub fn handle_timeout(&mut self, now: Moment) {
        match &mut self.state {
            State::Accepted { timer_l: until } | State::Confirmed { timer_i: until } => {
                if *until <= now {
                    self.state = State::Terminated;
                }
            }
            State::Completed { timer_h, .. } if *timer_h <= now => {
                self.state = State::Terminated;
                self.output = Some(Output::TimedOut);
            }
            State::Completed { failure, timer_g: Some(timer_g), .. } if timer_g.at <= now => {
                timer_g.double(now, T2_MS);
                self.output = Some(Output::Transmit(failure.clone()));
            }
            State::Proceeding { .. } | State::Completed { .. } | State::Terminated => (),
        }
    }

    /// When to call [`Self::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Moment> {
        match &self.state {
            State::Proceeding { .. } | State::Terminated => None,
            State::Accepted { timer_l: until } | State::Confirmed { timer_i: until } => {
                Some(*until)
            }
            State::Completed { timer_g, timer_h, .. } => {
                Some(timer_g.map_or(*timer_h, |timer_g| timer_g.at.min(*timer_h)))
            }
        }
    }

    /// What is to be done.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.output.take()
    }

    /// Whether no final response has been sent.
    pub fn is_unanswered(&self) -> bool {
        matches!(self.state, State::Proceeding { .. })
    }

    /// Whether nothing is left to absorb or to repeat.
    pub fn is_terminated(&self) -> bool {
        matches!(self.state, State::Terminated)
    }
}
