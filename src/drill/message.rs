//! SIP messages as a plain phone reads them: text, looked at by name.
//!
//! Shares nothing with the program's own parser, so that a mistake there is not judged by
//! itself. Refuses what has no start line or no CSeq.

use std::net::SocketAddr;

/// A request or a response.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    text: String,
}

impl Message {
    pub(crate) fn read(datagram: &[u8]) -> Option<Self> {
        let message = Self { text: String::from_utf8(datagram.to_vec()).ok()? };
        let first = message.text.lines().next()?;
        let is_sip = first.starts_with("SIP/2.0 ") || first.ends_with(" SIP/2.0");
        (is_sip && message.cseq().is_some()).then_some(message)
    }

    /// The status of a response.
    pub(crate) fn status(&self) -> Option<u16> {
        self.text.strip_prefix("SIP/2.0 ")?.get(..3)?.parse().ok()
    }

    /// The number and the method of CSeq.
    pub(crate) fn cseq(&self) -> Option<(u32, &str)> {
        let (number, method) = self.header("CSeq").split_once(' ')?;
        Some((number.trim().parse().ok()?, method.trim()))
    }

    pub(crate) fn method(&self) -> &str {
        self.cseq().map_or("", |(_, method)| method)
    }

    /// The first header of this name; empty if there is none.
    pub(crate) fn header<'a>(&'a self, name: &'a str) -> &'a str {
        self.headers(name).next().unwrap_or("")
    }

    /// All headers of this name.
    pub(crate) fn headers<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let head = self.text.split("\r\n\r\n").next().unwrap_or("");
        let fields = head.lines().skip(1).filter_map(|line| line.split_once(':'));
        fields
            .filter(move |(field, _)| field.trim().eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
    }

    pub(crate) fn body(&self) -> &str {
        self.text.split_once("\r\n\r\n").map_or("", |(_, body)| body)
    }

    /// What names the transaction (RFC 3261 §17.2.3).
    pub(crate) fn branch(&self) -> &str {
        parameter(self.header("Via"), "branch")
    }

    /// Where audio for the sender of this message goes.
    pub(crate) fn audio(&self) -> Option<SocketAddr> {
        let value = |start: &str| {
            self.body().lines().find_map(|line| line.strip_prefix(start)).map(str::to_owned)
        };
        let port: u16 = value("m=audio ")?.split(' ').next()?.parse().ok()?;
        format!("{}:{port}", value("c=IN IP4 ")?.trim()).parse().ok()
    }

    /// How an answer to the description in this message is directed (RFC 3264 §6.1).
    pub(crate) fn answer_direction(&self) -> &'static str {
        let has = |direction: &str| self.body().lines().any(|line| line.trim() == direction);
        if has("a=sendonly") {
            "recvonly"
        } else if has("a=recvonly") {
            "sendonly"
        } else if has("a=inactive") {
            "inactive"
        } else {
            "sendrecv"
        }
    }
}

/// The value of a parameter of a header; empty if it is not there.
pub(crate) fn parameter<'a>(header: &'a str, name: &str) -> &'a str {
    let mut fields = header.split(';').filter_map(|field| field.split_once('='));
    fields.find(|(field, _)| field.trim() == name).map_or("", |(_, value)| value.trim())
}

/// The address between the angle brackets.
pub(crate) fn uri(header: &str) -> &str {
    let inside = header.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
    inside.map_or(header, |(uri, _)| uri)
}

/// The user of an address.
pub(crate) fn user(header: &str) -> &str {
    let uri = uri(header);
    let uri = uri.strip_prefix("sip:").unwrap_or(uri);
    uri.split_once('@').map_or("", |(user, _)| user)
}

/// Host and port of an address, where they are numbers.
pub(crate) fn host(header: &str) -> Option<SocketAddr> {
    let uri = uri(header);
    let behind = uri.split_once('@').map_or(uri, |(_, host)| host);
    let behind = behind.strip_prefix("sip:").unwrap_or(behind);
    let host = behind.split([';', '?', '>']).next()?;
    let with_port = if host.contains(':') { host.to_owned() } else { format!("{host}:5060") };
    with_port.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RINGING: &str = "SIP/2.0 183 Session Progress\r\n\
        Via: SIP/2.0/UDP 127.0.0.41:7;branch=z9hG4bK1;received=127.0.0.41\r\n\
        From: <sip:7001@127.0.0.41>;tag=a\r\nCSeq: 3 INVITE\r\n\
        Contact: <sip:x@127.0.0.31:5060;ob>\r\n\r\n\
        c=IN IP4 127.0.0.31\r\nm=audio 40000 RTP/AVP 0\r\na=sendonly\r\n";

    #[test]
    fn what_a_phone_needs_of_a_message_is_found() {
        let message = Message::read(RINGING.as_bytes()).unwrap();
        assert_eq!(message.status(), Some(183));
        assert_eq!(message.cseq(), Some((3, "INVITE")));
        assert_eq!(message.branch(), "z9hG4bK1");
        assert_eq!(user(message.header("From")), "7001");
        assert_eq!(host(message.header("Contact")), "127.0.0.31:5060".parse().ok());
        assert_eq!(message.audio(), "127.0.0.31:40000".parse().ok());
        assert_eq!(message.answer_direction(), "recvonly");
    }

    #[test]
    fn what_is_no_sip_is_not_read() {
        for text in ["", "\r\n\r\n", "SIP/2.0 200 OK\r\n\r\n", "GET / HTTP/1.1\r\nCSeq: 1 X\r\n"] {
            assert!(Message::read(text.as_bytes()).is_none(), "{text:?}");
        }
        assert!(Message::read(&[0xff, 0xfe]).is_none());
    }
}
