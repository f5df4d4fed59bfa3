//! Whether a trunk answers OPTIONS (RFC 3261 §11): a pure machine.
//!
//! Owns when to ask again and how many silences make a trunk unreached. Owns no socket and no clock,
//! and does not know what the request looks like.

use std::time::{Duration, Instant};

use tandem_sip::transaction::{Clock, NonInviteClient, Output};

/// How a trunk is probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// From one question to the next.
    pub every: Duration,
    /// By when an answer is to be there.
    pub answers_within: Duration,
    /// So many questions without an answer, one after the other, and the trunk is unreached.
    pub misses_max: u32,
}

/// The probing of one trunk.
#[derive(Debug)]
pub struct Probe {
    pace: Pace,
    state: State,
    /// Questions without an answer since the last one.
    misses: u32,
    /// Whether it is reached; none before there is anything to say.
    verdict: Option<bool>,
}

#[derive(Debug)]
enum State {
    Resting { until: Instant },
    Asking { call_id: String, clock: Clock, client: Box<NonInviteClient>, begun: Instant },
}

/// What came of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// The trunk answered.
    Answered,
    /// It did not, or said that it takes no calls.
    Missed,
}

impl Probe {
    /// The first question is asked at once.
    pub fn new(now: Instant, pace: Pace) -> Self {
        Self { pace, state: State::Resting { until: now }, misses: 0, verdict: None }
    }

    /// Whether it is time for a question.
    pub fn is_due(&self, now: Instant) -> bool {
        matches!(self.state, State::Resting { until } if until <= now)
    }

    /// A question that is to be sent: what [`Self::poll_transmit`] says from now on.
    pub fn ask(&mut self, now: Instant, call_id: String, request: Vec<u8>, reliable: bool) {
        let clock = Clock::start(now);
        let client = Box::new(NonInviteClient::new(clock.read(now), request, reliable));
        self.state = State::Asking { call_id, clock, client, begun: now };
    }

    /// A response with this Call-ID came.
    pub fn handle_response(&mut self, now: Instant, call_id: &str, status: u16) -> Option<Asked> {
        let State::Asking { call_id: ours, clock, client, .. } = &mut self.state else {
            return None;
        };
        if ours != call_id || !client.handle_response(clock.read(now), status) || status < 200 {
            return None;
        }
        // RFC 3261 §11.2: an INVITE would get the same. Any other answer is one of somebody who is
        // there, also that there is nobody without a number.
        let takes_calls = !matches!(status, 408 | 503);
        Some(self.conclude(takes_calls))
    }

    /// The question did not reach the network.
    pub fn handle_unreachable(&mut self, call_id: &str) -> Option<Asked> {
        let State::Asking { call_id: ours, .. } = &self.state else { return None };
        (ours == call_id).then(|| self.conclude(false))
    }

    /// Time passed.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<Asked> {
        let State::Asking { clock, client, begun, .. } = &mut self.state else { return None };
        if now >= *begun + self.pace.answers_within {
            return Some(self.conclude(false));
        }
        client.handle_timeout(clock.read(now));
        None
    }

    /// What is to be sent, first time or again.
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        let State::Asking { client, .. } = &mut self.state else { return None };
        match client.poll_output()? {
            Output::Transmit(bytes) => Some(bytes),
            // 32 s, the longest time that may be configured for an answer.
            Output::TimedOut => None,
        }
    }

    /// Whether the trunk is reached; none as long as it is not known.
    pub fn verdict(&self) -> Option<bool> {
        self.verdict
    }

    fn conclude(&mut self, answered: bool) -> Asked {
        if let State::Asking { begun, .. } = self.state {
            self.state = State::Resting { until: begun + self.pace.every };
        }
        self.misses = if answered { 0 } else { self.misses.saturating_add(1) };
        if answered {
            self.verdict = Some(true);
            return Asked::Answered;
        }
        if self.misses >= self.pace.misses_max {
            self.verdict = Some(false);
        }
        Asked::Missed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Script {
        probe: Probe,
        now: Instant,
        asked: u32,
    }

    impl Script {
        fn new() -> Self {
            let now = Instant::now();
            let pace = Pace {
                every: Duration::from_secs(10),
                answers_within: Duration::from_secs(3),
                misses_max: 2,
            };
            Self { probe: Probe::new(now, pace), now, asked: 0 }
        }

        fn after_ms(&mut self, ms: u64) -> &mut Self {
            self.now += Duration::from_millis(ms);
            self
        }

        /// Asks, and sends it.
        fn asks(&mut self) -> &mut Self {
            assert!(self.probe.is_due(self.now), "it is not time yet");
            self.asked += 1;
            self.probe.ask(self.now, self.asked.to_string(), b"OPTIONS".to_vec(), false);
            self.sends()
        }

        fn sends(&mut self) -> &mut Self {
            assert_eq!(self.probe.handle_timeout(self.now), None);
            assert_eq!(self.probe.poll_transmit().as_deref(), Some(&b"OPTIONS"[..]));
            self.is_silent()
        }

        fn is_silent(&mut self) -> &mut Self {
            assert_eq!(self.probe.poll_transmit(), None);
            self
        }

        fn is_told(&mut self, status: u16) -> Option<Asked> {
            self.probe.handle_response(self.now, &self.asked.to_string(), status)
        }

        fn misses(&mut self) -> Option<bool> {
            self.after_ms(3_000);
            assert_eq!(self.probe.handle_timeout(self.now), Some(Asked::Missed));
            self.is_silent();
            self.probe.verdict()
        }
    }

    #[test]
    fn a_question_is_repeated_until_its_answer_and_the_next_comes_in_its_time_17_1_2() {
        let mut trunk = Script::new();
        trunk.asks().after_ms(500).sends().after_ms(1_000).sends();
        assert_eq!(trunk.is_told(100), None);
        assert_eq!(trunk.is_told(200), Some(Asked::Answered));
        assert_eq!(trunk.is_told(200), None, "it comes twice");
        assert_eq!(trunk.probe.verdict(), Some(true));
        trunk.after_ms(8_499).is_silent();
        assert!(!trunk.probe.is_due(trunk.now));
        trunk.after_ms(1).asks();
    }

    #[test]
    fn so_many_silences_make_it_unreached_and_one_answer_reached_again() {
        let mut trunk = Script::new();
        assert_eq!(trunk.asks().misses(), None, "once is chance");
        assert_eq!(trunk.after_ms(7_000).asks().misses(), Some(false));
        assert_eq!(trunk.after_ms(7_000).asks().misses(), Some(false));
        trunk.after_ms(7_000).asks();
        assert_eq!(trunk.is_told(404), Some(Asked::Answered), "who says so is there");
        assert_eq!(trunk.probe.verdict(), Some(true));
        assert_eq!(trunk.after_ms(10_000).asks().misses(), Some(true));
    }

    #[test]
    fn who_says_that_no_call_would_be_taken_is_no_better_than_who_is_silent_11_2() {
        let mut trunk = Script::new();
        for _ in 0..2 {
            trunk.asks();
            assert_eq!(trunk.is_told(503), Some(Asked::Missed));
            trunk.after_ms(10_000);
        }
        assert_eq!(trunk.probe.verdict(), Some(false));
    }

    #[test]
    fn an_answer_to_an_older_question_is_none() {
        let mut trunk = Script::new();
        trunk.asks().misses();
        trunk.after_ms(7_000).asks();
        assert_eq!(trunk.probe.handle_response(trunk.now, "1", 200), None);
        assert_eq!(trunk.probe.handle_unreachable("1"), None);
        assert_eq!(trunk.probe.handle_unreachable("2"), Some(Asked::Missed));
        assert_eq!(trunk.probe.verdict(), Some(false));
    }
}
