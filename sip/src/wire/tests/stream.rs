//! Framing: RFC 3261 §18.3, §7.5, RFC 5626 §3.5.1.

use crate::wire::{Fault, MESSAGE_BYTES_MAX, StreamFramer};

fn message(call_id: &str, length: &str, body: &str) -> Vec<u8> {
    format!(
        "OPTIONS sip:b@h SIP/2.0\r\nVia: SIP/2.0/TCP h;branch=z9hG4bK1\r\nFrom: <sip:a@h>;tag=1\r\n\
         To: <sip:b@h>\r\nCall-ID: {call_id}\r\nCSeq: 1 OPTIONS\r\n{length}\r\n{body}"
    )
    .into()
}

fn next_id(framer: &mut StreamFramer) -> Option<String> {
    framer.next().unwrap().map(|message| message.head().call_id().to_owned())
}

#[test]
fn messages_are_cut_by_content_length_however_they_arrive() {
    let stream = [
        message("one", "Content-Length: 3\r\n", "abc"),
        message("two", "l: 0\r\n", ""),
        message("three", "Content-Length:\r\n 4\r\n", "\r\n\r\n"),
    ]
    .concat();
    for step in [1, 2, 3, 7, 100, 1_000] {
        let mut framer = StreamFramer::new();
        let mut ids = Vec::new();
        for chunk in stream.chunks(step) {
            framer.push(chunk);
            while let Some(id) = next_id(&mut framer) {
                ids.push(id);
            }
        }
        assert_eq!(ids, ["one", "two", "three"], "in steps of {step}");
        assert_eq!(framer.buffered_bytes(), 0);
    }
}

#[test]
fn keep_alives_between_messages_are_counted() {
    let mut framer = StreamFramer::new();
    framer.push(b"\r\n\r\n");
    assert_eq!((next_id(&mut framer), framer.take_pings()), (None, 1));
    framer.push(b"\r\n");
    assert_eq!((next_id(&mut framer), framer.take_pings()), (None, 0));
    framer.push(b"\r\n\r\n");
    framer.push(&message("one", "l: 0\r\n", ""));
    assert_eq!((next_id(&mut framer), framer.take_pings()), (Some("one".into()), 1));
    assert_eq!(framer.take_pings(), 0);
}

#[test]
fn a_stream_must_have_content_length() {
    let mut framer = StreamFramer::new();
    framer.push(&message("one", "", ""));
    let malformed = framer.next().unwrap_err();
    assert_eq!((malformed.fault(), malformed.status()), (Fault::Unframed, Some(400)));
    assert!(malformed.reply("192.0.2.1:5060".parse().unwrap()).is_some());
    assert!(framer.is_broken());
}

#[test]
fn a_bad_message_in_a_good_frame_leaves_the_stream_whole() {
    let mut framer = StreamFramer::new();
    let bad =
        String::from_utf8(message("bad", "l: 0\r\n", "")).unwrap().replace("1 OPTIONS", "1 BYE");
    framer.push(bad.as_bytes());
    framer.push(&message("good", "l: 0\r\n", ""));
    assert_eq!(framer.next().unwrap_err().fault(), Fault::CSeqMethod);
    assert!(!framer.is_broken());
    assert_eq!(next_id(&mut framer), Some("good".into()));
}

#[test]
fn what_never_ends_is_refused_when_it_is_too_long() {
    let mut framer = StreamFramer::new();
    framer.push(&message("one", "X: ", ""));
    let mut refused = None;
    for _ in 0..100 {
        framer.push(&[b'x'; 1_000]);
        match framer.next() {
            Ok(None) => (),
            Ok(Some(message)) => panic!("{message:?}"),
            Err(malformed) => {
                refused = Some(malformed);
                break;
            }
        }
        assert!(framer.buffered_bytes() <= MESSAGE_BYTES_MAX + 1_000);
    }
    assert_eq!(refused.unwrap().status(), Some(513));
    framer.push(&[b'x'; 1_000]);
    assert_eq!(framer.buffered_bytes(), 0, "nothing more is kept");
}

#[test]
fn a_length_beyond_the_limit_is_refused_before_the_body_comes() {
    let mut framer = StreamFramer::new();
    framer.push(&message("one", "Content-Length: 4000000000\r\n", ""));
    assert_eq!(framer.next().unwrap_err().status(), Some(513));
}

#[test]
fn noise_is_refused_without_an_answer() {
    let mut framer = StreamFramer::new();
    framer.push(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    let malformed = framer.next().unwrap_err();
    assert_eq!(malformed.status(), None);
    assert!(framer.is_broken());
}
