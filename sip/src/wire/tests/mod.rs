//! Tests of the wire layer by RFC section. The torture messages are in `sip/tests`.

mod addresses;
mod build;
mod head;
mod refusals;
mod stream;
mod uris;

use super::{Message, Request, Response};

/// A request with these lines behind the mandatory ones, and a body.
fn request(start: &str, lines: &str, body: &str) -> Request {
    let method = start.split(' ').next().unwrap();
    let text = format!(
        "{start} SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1:5062;branch=z9hG4bK1;rport\r\n\
         From: <sip:alice@example.com>;tag=a1\r\nTo: <sip:bob@example.com>\r\nCall-ID: c1\r\n\
         CSeq: 7 {method}\r\n{lines}Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    parsed(text.as_bytes()).into_request().unwrap()
}

fn parsed(bytes: &[u8]) -> Message {
    Message::parse(bytes).unwrap_or_else(|malformed| panic!("{}", malformed.fault()))
}

fn text(response: &Response) -> String {
    String::from_utf8(response.to_bytes()).unwrap()
}
