//! A session description as offer and answer need it: which streams, from where, which formats.

use std::net::{IpAddr, SocketAddr};

use sdp_types::{Attribute, Media, Session, Time};

use super::{CodecKind, Direction, PTIME_MS_USUAL, SDP_BYTES_MAX, STREAMS_MAX, SdpError};

/// The profile that we speak.
pub(super) const PROFILE: &str = "RTP/AVP";

/// The shortest and the longest packet that we make, in milliseconds, whatever is asked.
const PTIME_MS: std::ops::RangeInclusive<u16> = 10..=60;

/// A parsed description.
#[derive(Debug)]
pub(super) struct Description {
    session: Session,
}

/// One media stream of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stream<'a> {
    session: &'a Session,
    media: &'a Media,
}

/// One format of a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Format<'a> {
    pub(super) payload_type: u8,
    encoding: Option<&'a str>,
    pub(super) fmtp: &'a str,
}

impl Description {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, SdpError> {
        if bytes.len() > SDP_BYTES_MAX {
            return Err(SdpError::TooLarge);
        }
        // Free text (s=, i=) may be in any character set; it is not needed.
        let text = String::from_utf8_lossy(bytes);
        let session = Session::parse(text.as_bytes())
            .map_err(|error| SdpError::Malformed(error.to_string()))?;
        if session.medias.len() > STREAMS_MAX {
            return Err(SdpError::TooLarge);
        }
        Ok(Self { session })
    }

    /// When the session is, which an answer repeats (RFC 3264 §6).
    pub(super) fn times(&self) -> &[Time] {
        &self.session.times
    }

    pub(super) fn streams(&self) -> impl Iterator<Item = Stream<'_>> {
        self.session.medias.iter().map(|media| Stream { session: &self.session, media })
    }

    pub(super) fn stream(&self, at: usize) -> Option<Stream<'_>> {
        self.session.medias.get(at).map(|media| Stream { session: &self.session, media })
    }

    /// The first audio stream that is in use, and its place.
    pub(super) fn audio(&self) -> Option<(usize, Stream<'_>)> {
        self.streams().enumerate().find(|(_, stream)| stream.is_usable())
    }
}

impl<'a> Stream<'a> {
    /// The line `m=` itself.
    pub(super) fn media(&self) -> &'a Media {
        self.media
    }

    /// Audio, not disabled (port 0, RFC 3264 §5.1), in our profile.
    fn is_usable(&self) -> bool {
        self.media.media == "audio" && self.media.port != 0 && self.media.proto == PROFILE
    }

    /// The formats in the order of preference. What is no payload type is left out.
    pub(super) fn formats(&self) -> Vec<Format<'a>> {
        self.media
            .fmt
            .split_ascii_whitespace()
            .filter_map(|word| word.parse::<u8>().ok().filter(|number| *number < 128))
            .map(|payload_type| Format {
                payload_type,
                encoding: self.about("rtpmap", payload_type),
                fmtp: self.about("fmtp", payload_type).unwrap_or_default(),
            })
            .collect()
    }

    /// The value of `a=name:payload-type value`.
    fn about(&self, name: &str, payload_type: u8) -> Option<&'a str> {
        self.media.attributes.iter().filter(|attribute| attribute.attribute == name).find_map(
            |attribute| {
                let (number, value) = attribute.value.as_deref()?.split_once(' ')?;
                (number.parse() == Ok(payload_type)).then(|| value.trim())
            },
        )
    }

    /// Which way the other side wants it: the stream's attribute, the session's, or both ways;
    /// an unspecified address is how RFC 2543 put on hold (RFC 3264 §8.4).
    pub(super) fn direction(&self) -> Direction {
        let find = |attributes: &[Attribute]| {
            attributes.iter().find_map(|a| Direction::from_attribute(&a.attribute))
        };
        let said = find(&self.media.attributes)
            .or_else(|| find(&self.session.attributes))
            .unwrap_or(Direction::SendRecv);
        match self.ip() {
            Some(ip) if ip.is_unspecified() => Direction::new(said.sends(), false),
            Some(_) | None => said,
        }
    }

    fn ip(&self) -> Option<IpAddr> {
        let connection = self.media.connections.first().or(self.session.connection.as_ref())?;
        connection.connection_address.parse().ok()
    }

    /// Where its RTP goes. Names are not looked up, and audio for a group is not ours to send.
    pub(super) fn rtp(&self) -> Result<SocketAddr, SdpError> {
        let ip = self.ip().filter(|ip| !ip.is_multicast()).ok_or(SdpError::NoAddress)?;
        Ok(SocketAddr::new(ip, self.media.port))
    }

    /// Where its RTCP goes: as the attribute says (RFC 3605 §2.1), else to the next port.
    pub(super) fn rtcp(&self, rtp: SocketAddr) -> Option<SocketAddr> {
        let mut words = self.attribute("rtcp").unwrap_or_default().split_ascii_whitespace();
        let port = words.next().and_then(|port| port.parse::<u16>().ok()).filter(|port| *port != 0);
        let ip =
            words.nth(2).and_then(|ip| ip.parse().ok()).filter(|ip: &IpAddr| !ip.is_multicast());
        let port = port.or_else(|| rtp.port().checked_add(1))?;
        Some(SocketAddr::new(ip.unwrap_or(rtp.ip()), port))
    }

    /// How much audio the other side wants in a packet.
    pub(super) fn ptime_ms(&self) -> u16 {
        let number = |name| self.attribute(name).and_then(|value| value.trim().parse::<u16>().ok());
        let wanted = number("ptime").filter(|ms| *ms > 0).unwrap_or(PTIME_MS_USUAL);
        let limit = number("maxptime").filter(|ms| *ms > 0).unwrap_or(*PTIME_MS.end());
        // Codecs work in steps of 10 ms.
        (wanted.min(limit) / 10 * 10).clamp(*PTIME_MS.start(), *PTIME_MS.end())
    }

    fn attribute(&self, name: &str) -> Option<&'a str> {
        let found = self.media.attributes.iter().find(|attribute| attribute.attribute == name)?;
        found.value.as_deref()
    }
}

impl Format<'_> {
    /// The codec; rtpmap says more than the static table.
    pub(super) fn kind(&self) -> Option<CodecKind> {
        match self.encoding {
            Some(encoding) => CodecKind::from_encoding(encoding),
            None => CodecKind::from_static(self.payload_type),
        }
    }

    /// The rate, when these are DTMF events.
    pub(super) fn telephone_event_rate(&self) -> Option<u32> {
        let (name, rest) = self.encoding?.split_once('/')?;
        let rate = rest.split('/').next()?.trim().parse().ok()?;
        name.eq_ignore_ascii_case("telephone-event").then_some(rate)
    }
}
