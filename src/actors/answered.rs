//! Requests that were answered a moment ago, and with what: who sends one again gets it again.
//!
//! Owns what is left of a server transaction (RFC 3261 §17.2.2) where nothing else holds it: the
//! BYE of a call that is forgotten, and each REGISTER of a phone that we know. Knows nothing of
//! calls and bindings, and keeps no more than it was given room for.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use tandem_sip::transaction::GIVE_UP_MS;
use tandem_sip::wire::{Head, Peer};

/// Timer J: how long a request over UDP may be repeated (RFC 3261 §17.2.2).
const REPEATED_WITHIN: Duration = Duration::from_millis(GIVE_UP_MS);

/// Which request it is: equal for a request, for what comes of it again, and for its response.
///
/// More than RFC 3261 §17.2.3 asks for: who uses a branch twice has made two requests if their
/// CSeq or Call-ID differ, and without the cookie the branch alone would be nothing.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Asked(Box<[u8]>);

impl Asked {
    /// By the head of the request or of the response.
    pub fn of(head: &Head) -> Self {
        let (via, cseq) = (head.via_top(), head.cseq());
        let parts = [
            cseq.method.as_str(),
            via.branch().unwrap_or_default(),
            &via.host().to_ascii_lowercase(),
            head.call_id(),
            head.from_tag().unwrap_or_default(),
        ];
        let mut key = Vec::with_capacity(160);
        for part in parts {
            key.extend_from_slice(part.as_bytes());
            // In none of the parts.
            key.push(b'\n');
        }
        key.extend_from_slice(&via.port().unwrap_or_default().to_be_bytes());
        key.extend_from_slice(&cseq.number.to_be_bytes());
        Self(key.into())
    }
}

/// What a request was answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It is being served: who repeats it hears nothing yet.
    Pending,
    /// This, and where it went: who repeats the request from elsewhere gets nothing there.
    Sent(Peer, Vec<u8>),
}

/// Places that are kept when few are used: growing again costs more than they take.
const PLACES_MIN: usize = 1_024;

/// The requests of the last 32 s.
#[derive(Debug)]
pub struct Answered {
    answers: HashMap<Asked, (Instant, Answer)>,
    in_order: VecDeque<(Instant, Asked)>,
    room: usize,
}

impl Answered {
    /// Keeps `room` requests at most. Past it the oldest goes, and who repeats it is somebody who
    /// asks for the first time.
    pub fn with_room(room: usize) -> Self {
        Self { answers: HashMap::new(), in_order: VecDeque::new(), room }
    }

    /// Keeps what the request is answered with. Its time begins anew.
    pub fn keep(&mut self, now: Instant, asked: Asked, answer: Answer) {
        self.make_room(now);
        self.answers.insert(asked.clone(), (now, answer));
        self.in_order.push_back((now, asked));
    }

    /// The request was not served after all: the next one like it is a first one.
    pub fn forget(&mut self, asked: &Asked) {
        self.answers.remove(asked);
    }

    /// What the request was answered with, if it was.
    pub fn get(&self, now: Instant, asked: &Asked) -> Option<&Answer> {
        let (since, answer) = self.answers.get(asked)?;
        (now.duration_since(*since) <= REPEATED_WITHIN).then_some(answer)
    }

    /// Forgets what is older than a repetition can be, and gives back the room of a peak once less
    /// than a quarter of it is used.
    pub fn forget_old(&mut self, now: Instant) {
        self.make_room(now);
        let places = (2 * self.in_order.len()).max(PLACES_MIN);
        if self.in_order.capacity() > 2 * places {
            self.in_order.shrink_to(places);
            self.answers.shrink_to(places);
        }
    }

    fn make_room(&mut self, now: Instant) {
        while let Some((since, _)) = self.in_order.front()
            && (now.duration_since(*since) > REPEATED_WITHIN || self.in_order.len() >= self.room)
        {
            let Some((since, oldest)) = self.in_order.pop_front() else { break };
            // One that was kept again since has a later place in the order, too.
            if self.answers.get(&oldest).is_some_and(|(kept, _)| *kept == since) {
                self.answers.remove(&oldest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tandem_sip::wire::{Message, Request, Response, Transport};

    use super::*;

    fn request(method: &str, branch: &str, cseq: u32) -> Request {
        let text = format!(
            "{method} sip:tandem SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1:5060;branch={branch}\r\n\
             From: <sip:ana@tandem>;tag=a\r\nTo: <sip:tandem>;tag=b\r\nCall-ID: one\r\n\
             CSeq: {cseq} {method}\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
        );
        Message::parse(text.as_bytes()).unwrap().into_request().unwrap()
    }

    fn sent(bytes: &[u8]) -> Answer {
        let address = "192.0.2.1:5060".parse().unwrap();
        let peer =
            Peer { transport: Transport::Udp, remote: address, local: address, connection: None };
        Answer::Sent(peer, bytes.to_vec())
    }

    #[test]
    fn a_request_is_the_same_by_branch_sent_by_method_and_cseq_as_is_its_response() {
        let bye = request("BYE", "z9hG4bK1", 2);
        let asked = Asked::of(&bye);
        assert_eq!(asked, Asked::of(&request("BYE", "z9hG4bK1", 2)));
        let far = "198.51.100.7:9".parse().unwrap();
        let response = Response::to_request(&bye.with_source(far), 200, Some("b")).build();
        assert_eq!(asked, Asked::of(&response), "with `received` in its Via");
        for other in [
            request("BYE", "z9hG4bK2", 2),
            request("BYE", "z9hG4bK1", 3),
            request("OPTIONS", "z9hG4bK1", 2),
        ] {
            assert_ne!(asked, Asked::of(&other), "{other:?}");
        }
    }

    #[test]
    fn an_answer_is_kept_for_32_s_from_when_it_was_given() {
        let (began, asked) = (Instant::now(), Asked::of(&request("REGISTER", "z9hG4bK1", 1)));
        let mut answered = Answered::with_room(10);
        answered.keep(began, asked.clone(), Answer::Pending);
        let later = began + Duration::from_secs(20);
        answered.keep(later, asked.clone(), sent(b"200"));
        // What was kept first is over, and takes nothing with it.
        let much_later = began + Duration::from_secs(40);
        answered.keep(much_later, Asked::of(&request("REGISTER", "z9hG4bK2", 2)), sent(b"2"));
        assert_eq!(answered.get(much_later, &asked), Some(&sent(b"200")));
        assert_eq!(answered.get(later + Duration::from_secs(33), &asked), None);
        answered.forget(&asked);
        assert_eq!(answered.get(much_later, &asked), None);
    }

    #[test]
    fn the_room_of_a_peak_is_given_back_when_nobody_can_ask_any_more() {
        let (mut answered, began) = (Answered::with_room(65_536), Instant::now());
        for cseq in 0..20_000 {
            let asked = Asked::of(&request("BYE", "z9hG4bK1", cseq));
            answered.keep(began, asked, sent(b"SIP/2.0 200 OK"));
        }
        answered.forget_old(began + REPEATED_WITHIN);
        assert_eq!(answered.answers.len(), 20_000);
        answered.forget_old(began + REPEATED_WITHIN + Duration::from_millis(1));
        assert_eq!((answered.answers.len(), answered.in_order.len()), (0, 0));
        assert!(answered.in_order.capacity() <= 2 * PLACES_MIN);
        assert!(answered.answers.capacity() <= 2 * PLACES_MIN);
    }

    #[test]
    fn the_oldest_makes_room_for_the_newest() {
        let now = Instant::now();
        let mut answered = Answered::with_room(2);
        let asked: Vec<_> =
            (1..=3).map(|cseq| Asked::of(&request("BYE", "z9hG4bK1", cseq))).collect();
        for one in &asked {
            answered.keep(now, one.clone(), sent(b"200"));
        }
        assert_eq!(answered.get(now, &asked[0]), None);
        assert!(asked[1..].iter().all(|one| answered.get(now, one).is_some()));
        assert_eq!((answered.answers.len(), answered.in_order.len()), (2, 2));
    }
}
