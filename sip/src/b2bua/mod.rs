//! What passes from one leg of a call to the other (RFC 7092), and what must not.
//!
//! Pure functions over a request or a status: the number of hops that are left, who calls, which
//! headers go on, and what a refusal of one leg means on the other. Which leg talks to which is
//! decided elsewhere.

mod caller;

use crate::wire::{HeaderName, Request};

pub use caller::{Caller, caller_of};

/// Hops of a call that does not say (RFC 3261 §8.1.1.6).
pub const MAX_FORWARDS: u8 = 70;

/// Headers that go on at most, and bytes of each: a caller must not make our INVITE too large for
/// a datagram.
const RELAYED_MAX: usize = 8;
const RELAYED_BYTES_MAX: usize = 256;

/// Hops that the call may still make behind us: one less than the caller's (RFC 3261 §16.6). None
/// is to be answered with 483: two systems that send each other's calls back would otherwise go
/// on for ever, since each leg is a call of its own.
pub fn hops_left(invite: &Request) -> Option<u8> {
    match invite.header(HeaderName::MaxForwards) {
        None => Some(MAX_FORWARDS),
        Some(_) => invite.max_forwards().unwrap_or(0).min(MAX_FORWARDS).checked_sub(1),
    }
}

/// What one leg's refusal means on the other one.
///
/// What is about the person who was called goes on: busy, not there, unknown, does not want. What
/// is about the request that we wrote, or about us, is our failure and not the caller's.
pub fn relayed_status(status: u16) -> u16 {
    match status {
        // A redirection that nobody followed, and cancellations that the caller did not ask for.
        300..=399 | 481 | 487 | 491 => 480,
        // Our credentials or our account: the caller has others (RFC 3261 §22.3).
        401 | 407 | 402 => 502,
        403 | 404 | 408 | 410 | 480 | 482..=486 | 488 | 433 => status,
        // No common media, in other words.
        406 | 415 => 488,
        400..=499 => 500,
        502 | 504 => status,
        580 => 488,
        // RFC 3261 §16.7: a 503 would say that we are overloaded.
        500..=599 => 500,
        600..=699 => status,
        _ => 500,
    }
}

/// Headers of a caller's INVITE that go on to the called: what is said between the two ends, and
/// nothing that is about a hop, a dialog or an account. Values that are not UTF-8, too long or
/// too many are left out.
pub fn relayed_headers(invite: &Request) -> Vec<(String, String)> {
    let goes_on = |(name, text, value): (HeaderName, &str, &[u8])| {
        let value = std::str::from_utf8(value).ok().filter(|v| v.len() <= RELAYED_BYTES_MAX)?;
        is_end_to_end(name).then(|| (canonical(name, text), value.to_owned()))
    };
    invite.headers().filter_map(goes_on).take(RELAYED_MAX).collect()
}

fn canonical(name: HeaderName, text: &str) -> String {
    if name == HeaderName::Other { text } else { name.as_str() }.to_owned()
}

fn is_end_to_end(name: HeaderName) -> bool {
    matches!(
        name,
        HeaderName::AcceptLanguage
            | HeaderName::Diversion
            | HeaderName::HistoryInfo
            | HeaderName::InReplyTo
            | HeaderName::Organization
            | HeaderName::Priority
            | HeaderName::SessionId
            | HeaderName::Subject
            | HeaderName::UserToUser
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Message;

    fn invite(headers: &str) -> Request {
        let text = format!(
            "INVITE sip:b@example.com SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\n\
             From: <sip:a@example.com>;tag=a\r\nTo: <sip:b@example.com>\r\nCall-ID: c\r\n\
             CSeq: 1 INVITE\r\n{headers}Content-Length: 0\r\n\r\n"
        );
        Message::parse(text.as_bytes()).unwrap().into_request().unwrap()
    }

    #[test]
    fn each_leg_takes_a_hop_16_6() {
        assert_eq!(hops_left(&invite("Max-Forwards: 70\r\n")), Some(69));
        assert_eq!(hops_left(&invite("Max-Forwards: 1\r\n")), Some(0));
        assert_eq!(hops_left(&invite("Max-Forwards: 0\r\n")), None);
        assert_eq!(hops_left(&invite("")), Some(70));
        // More than anyone needs is not believed.
        assert_eq!(hops_left(&invite("Max-Forwards: 255\r\n")), Some(69));
    }

    #[test]
    fn what_is_about_the_called_goes_on() {
        for status in [403, 404, 408, 410, 480, 482, 483, 484, 485, 486, 488, 600, 603, 604, 607] {
            assert_eq!(relayed_status(status), status);
        }
    }

    #[test]
    fn what_is_about_us_is_our_failure() {
        for (theirs, ours) in
            [(400, 500), (420, 500), (421, 500), (501, 500), (505, 500), (513, 500)]
        {
            assert_eq!(relayed_status(theirs), ours);
        }
        for challenge in [401, 407] {
            assert_eq!(relayed_status(challenge), 502);
        }
    }

    #[test]
    fn a_503_does_not_go_on_16_7() {
        assert_eq!(relayed_status(503), 500);
    }

    #[test]
    fn every_status_means_a_refusal_of_the_other_leg() {
        for status in 0..=u16::MAX {
            assert!((400..700).contains(&relayed_status(status)), "{status}");
            assert!(!matches!(relayed_status(status), 401 | 407 | 481 | 487 | 503), "{status}");
        }
    }

    #[test]
    fn only_what_is_said_between_the_ends_goes_on() {
        let invite = invite(
            "s: Order 12\r\nUser-to-User: 00aa\r\nAuthorization: Digest x\r\nRoute: <sip:p;lr>\r\n\
             Diversion: <sip:c@example.com>;reason=unconditional\r\nP-Charging-Vector: x\r\n",
        );
        let headers = relayed_headers(&invite);
        let names: Vec<_> = headers.iter().map(|(name, _)| &**name).collect();
        assert_eq!(names, ["Subject", "User-to-User", "Diversion"]);
        assert_eq!(headers[0].1, "Order 12");
    }

    #[test]
    fn what_is_too_long_or_too_much_stays_behind() {
        let long = format!("Subject: {}\r\n", "x".repeat(257));
        assert_eq!(relayed_headers(&invite(&long)), []);
        assert_eq!(relayed_headers(&invite(&"History-Info: <sip:a@b>\r\n".repeat(20))).len(), 8);
    }
}
