//! Messages that are none: whether and how they are answered (RFC 3261 §8.2, §18.3, §21.4.1).

use std::net::SocketAddr;

use super::{
    Fault, HeaderName, NameAddr, Via,
    head::{Line, Rejected},
    message::Kind,
};

/// A message that cannot be read. A request is answered if it can be; a response, an ACK and
/// noise are discarded.
#[derive(Debug)]
pub struct Malformed {
    fault: Fault,
    bytes: Vec<u8>,
    lines: Vec<Line>,
    answerable: bool,
}

impl Malformed {
    pub(super) fn new(rejected: Rejected, kind: Kind) -> Self {
        let Rejected { fault, bytes, lines } = rejected;
        // An answer finds its way only by a Via.
        let has_via = lines.iter().any(|line| line.name == HeaderName::Via);
        let answerable = kind == Kind::Request { is_ack: false } && has_via;
        Self { fault, bytes, lines, answerable }
    }

    /// What is discarded.
    pub(super) fn silent(fault: Fault) -> Self {
        Self { fault, bytes: Vec::new(), lines: Vec::new(), answerable: false }
    }

    pub(super) fn with_fault(self, fault: Fault) -> Self {
        Self { fault, ..self }
    }

    /// What is wrong.
    pub fn fault(&self) -> Fault {
        self.fault
    }

    /// The status that answers it; none is silence.
    pub fn status(&self) -> Option<u16> {
        self.answerable.then(|| self.fault.status().0)
    }

    /// The answer to what came from `source`; none is silence. Headers that the answer repeats
    /// are repeated as they came, whatever is wrong with them. Equal requests get equal answers
    /// (RFC 3261 §8.2.7).
    pub fn reply(&self, source: SocketAddr) -> Option<Vec<u8>> {
        let status = self.status()?;
        let (_, reason) = self.fault.status();
        let mut out = format!("SIP/2.0 {status} {reason}\r\n").into_bytes();
        let mut top = true;
        for line in &self.lines {
            let value = line.value.of(&self.bytes);
            match repeated(line.name) {
                Repeat::Not => continue,
                Repeat::Via if top => {
                    top = false;
                    let via = Via::parse(value).map(|via| via.with_source(source));
                    push(&mut out, line.name, via.as_ref().map_or(value, Via::as_bytes));
                }
                Repeat::To => match NameAddr::parse(value) {
                    Ok(to) if to.tag().is_none() => {
                        push(&mut out, line.name, to.with_tag(&self.tag()).as_bytes());
                    }
                    Ok(_) | Err(_) => push(&mut out, line.name, value),
                },
                Repeat::Via | Repeat::AsItIs => push(&mut out, line.name, value),
            }
        }
        out.extend(b"Content-Length: 0\r\n\r\n");
        Some(out)
    }

    /// A tag that depends on nothing but the message (FNV-1a).
    fn tag(&self) -> String {
        let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        format!("{:016x}", self.bytes.iter().fold(0xcbf2_9ce4_8422_2325, step))
    }
}

enum Repeat {
    Not,
    Via,
    To,
    AsItIs,
}

#[expect(clippy::wildcard_enum_match_arm, reason = "RFC 3261 §8.2.6.2 names the five")]
fn repeated(name: HeaderName) -> Repeat {
    match name {
        HeaderName::Via => Repeat::Via,
        HeaderName::To => Repeat::To,
        HeaderName::From | HeaderName::CallId | HeaderName::CSeq => Repeat::AsItIs,
        _ => Repeat::Not,
    }
}

fn push(out: &mut Vec<u8>, name: HeaderName, value: &[u8]) {
    out.extend(name.as_str().as_bytes());
    out.extend(b": ");
    out.extend(value);
    out.extend(b"\r\n");
}
