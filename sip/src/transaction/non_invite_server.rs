//! The non-INVITE server transaction (RFC 3261 §17.2.2).

use serde::{Deserialize, Serialize};

use super::{GIVE_UP_MS, Moment, Output};

/// The transaction. A new one has sent nothing.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NonInviteServer {
    state: State,
    reliable: bool,
    #[serde(skip)]
    output: Option<Output>,
}

/// The states of RFC 3261 figure 8.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
enum State {
    Trying,
    Proceeding { last: Vec<u8> },
    Completed { last: Vec<u8>, timer_j: Moment },
    Terminated,
}

impl NonInviteServer {
    /// For a request that has just arrived, over a reliable transport or not.
    pub fn new(reliable: bool) -> Self {
        Self { state: State::Trying, reliable, output: None }
    }

    /// Sends a response; behind a final one, nothing.
    pub fn respond(&mut self, now: Moment, status: u16, bytes: Vec<u8>) {
        if !self.is_unanswered() {
            return;
        }
        self.state = match status {
            ..=199 => State::Proceeding { last: bytes.clone() },
            _ if self.reliable => State::Terminated, // Timer J is zero.
            _ => State::Completed { last: bytes.clone(), timer_j: now.after_ms(GIVE_UP_MS) },
        };
        self.output = Some(Output::Transmit(bytes));
    }

    /// The request came again.
    pub fn handle_retransmission(&mut self) {
        self.output = match &self.state {
            State::Trying | State::Terminated => None,
            State::Proceeding { last } | State::Completed { last, .. } => {
                Some(Output::Transmit(last.clone()))
            }
        };
    }

    /// Time passed.
    pub fn handle_timeout(&mut self, now: Moment) {
        if self.poll_timeout().is_some_and(|timer_j| timer_j <= now) {
            self.state = State::Terminated;
        }
    }

    /// When to call [`Self::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Moment> {
        match &self.state {
            State::Completed { timer_j, .. } => Some(*timer_j),
            State::Trying | State::Proceeding { .. } | State::Terminated => None,
        }
    }

    /// What is to be done.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.output.take()
    }

    /// Whether no final response has been sent.
    pub fn is_unanswered(&self) -> bool {
        matches!(self.state, State::Trying | State::Proceeding { .. })
    }

    /// Whether nothing is left to repeat.
    pub fn is_terminated(&self) -> bool {
        matches!(self.state, State::Terminated)
    }
}
