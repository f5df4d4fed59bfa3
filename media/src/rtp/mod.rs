//! RTP packets: parsing and writing (RFC 3550 §5), and the arithmetic of sequence numbers.
//!
//! Nothing is copied: a parsed packet points into the datagram. Does not know what a payload
//! means.

use std::ops::Range;

use thiserror::Error;

/// The bytes of a header without contributors and extension (RFC 3550 §5.1).
pub const HEADER_BYTES: usize = 12;

/// The longest datagram that is taken as RTP. What is longer does not cross an Ethernet in one
/// piece, and no codec of ours sends it.
pub const DATAGRAM_BYTES_MAX: usize = 1_500;

/// The fields of a header that a port reads and writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The start of a talk spurt, or of a telephone-event.
    pub marker: bool,
    /// The payload type, below 128.
    pub payload_type: u8,
    /// The sequence number.
    pub sequence: u16,
    /// The media clock at the first sample.
    pub timestamp: u32,
    /// Who sends.
    pub ssrc: u32,
}

/// A header and where the payload is in its datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// The header's fields.
    pub header: Header,
    /// The payload without padding; it begins at or after byte 12, so that a new header fits in
    /// front of it.
    pub payload: Range<usize>,
}

/// Why a datagram is not an RTP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NotRtp {
    /// Its second byte says RTCP (RFC 5761 §4).
    #[error("RTCP on the RTP port")]
    Rtcp,
    /// The version is not 2: STUN, DTLS or noise.
    #[error("version {version} instead of 2")]
    Version {
        /// The two bits that were found.
        version: u8,
    },
    /// Shorter than its header says, or longer than any packet of ours.
    #[error("{bytes} bytes cannot hold the packet")]
    Length {
        /// The datagram's bytes.
        bytes: usize,
    },
}

impl Packet {
    /// Reads a datagram.
    pub fn parse(datagram: &[u8]) -> Result<Self, NotRtp> {
        let length = NotRtp::Length { bytes: datagram.len() };
        let fixed: &[u8; HEADER_BYTES] = datagram.first_chunk().ok_or(length)?;
        let version = fixed[0] >> 6;
        if version != 2 {
            return Err(NotRtp::Version { version });
        }
        if datagram.len() > DATAGRAM_BYTES_MAX {
            return Err(length);
        }
        // RTCP packet types 192–223 are the payload types 64–95 with the marker set.
        if (192..=223).contains(&fixed[1]) {
            return Err(NotRtp::Rtcp);
        }
        let payload = payload_range(datagram).ok_or(length)?;
        Ok(Self { header: Header::read(fixed), payload })
    }
}

impl Header {
    /// Writes a header without contributors and extension.
    pub fn write(&self, out: &mut [u8; HEADER_BYTES]) {
        out[0] = 0x80;
        out[1] = u8::from(self.marker) << 7 | self.payload_type & 0x7F;
        out[2..4].copy_from_slice(&self.sequence.to_be_bytes());
        out[4..8].copy_from_slice(&self.timestamp.to_be_bytes());
        out[8..12].copy_from_slice(&self.ssrc.to_be_bytes());
    }

    /// Puts this header in front of a payload that is already in the datagram, over whatever
    /// header, contributors and extension are there, and returns what is to be sent.
    ///
    /// Extensions and contributors are agreed on per leg (RFC 8285 §5), so they do not cross.
    pub fn rewrite(&self, datagram: &mut [u8], payload: Range<usize>) -> Range<usize> {
        let start = payload.start - HEADER_BYTES;
        if let Some(room) = datagram[start..].first_chunk_mut() {
            self.write(room);
        }
        start..payload.end
    }

    fn read(fixed: &[u8; HEADER_BYTES]) -> Self {
        let [_, second, s0, s1, t0, t1, t2, t3, i0, i1, i2, i3] = *fixed;
        Self {
            marker: second & 0x80 != 0,
            payload_type: second & 0x7F,
            sequence: u16::from_be_bytes([s0, s1]),
            timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
            ssrc: u32::from_be_bytes([i0, i1, i2, i3]),
        }
    }
}

/// How far `to` is after `from`, from −32,768 to 32,767: negative when it is before.
pub fn sequence_distance(from: u16, to: u16) -> i16 {
    to.wrapping_sub(from) as i16
}

/// How far `to` is after `from` on a media clock that wraps: negative when it is before.
pub fn timestamp_distance(from: u32, to: u32) -> i32 {
    to.wrapping_sub(from) as i32
}

fn payload_range(datagram: &[u8]) -> Option<Range<usize>> {
    let first = *datagram.first()?;
    let contributors = usize::from(first & 0x0F);
    let mut start = HEADER_BYTES + 4 * contributors;
    if first & 0x10 != 0 {
        let extension: &[u8; 4] = datagram.get(start..)?.first_chunk()?;
        start += 4 + 4 * usize::from(u16::from_be_bytes([extension[2], extension[3]]));
    }
    let mut end = datagram.len();
    if first & 0x20 != 0 {
        let padding = usize::from(*datagram.last()?);
        end = end.checked_sub(padding).filter(|_| padding > 0)?;
    }
    (start <= end).then_some(start..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: Header = Header {
        marker: true,
        payload_type: 8,
        sequence: 0xFFFE,
        timestamp: 0xDEAD_BEEF,
        ssrc: 0x0102_0304,
    };

    #[test]
    fn what_is_written_is_read() {
        let mut datagram = packet(HEADER, b"sound");
        let parsed = Packet::parse(&datagram).unwrap();
        assert_eq!(parsed, Packet { header: HEADER, payload: 12..17 });
        let next = Header { marker: false, sequence: 0xFFFF, ..HEADER };
        assert_eq!(next.rewrite(&mut datagram, parsed.payload), 0..17);
        assert_eq!(Packet::parse(&datagram).unwrap().header, next);
    }

    #[test]
    fn contributors_extension_and_padding_are_not_payload() {
        let mut datagram = packet(HEADER, b"");
        datagram[0] = 0x80 | 0x20 | 0x10 | 2;
        datagram.extend([9; 8]); // Two contributors.
        datagram.extend([0xBE, 0xDE, 0, 1, 1, 2, 3, 4]); // An extension of one word.
        datagram.extend(b"sound");
        datagram.extend([0, 0, 3]); // Three bytes of padding (RFC 3550 §5.1).
        let parsed = Packet::parse(&datagram).unwrap();
        assert_eq!(&datagram[parsed.payload.clone()], b"sound");

        let sent = HEADER.rewrite(&mut datagram, parsed.payload);
        let datagram = &datagram[sent];
        assert_eq!(datagram[0], 0x80, "the new header stands directly before the payload");
        assert_eq!(Packet::parse(datagram).unwrap().payload, 12..17);
    }

    #[test]
    fn what_is_not_rtp_is_refused_with_a_reason() {
        let good = packet(HEADER, b"sound");
        let with = |byte: usize, value: u8| {
            let mut bad = good.clone();
            bad[byte] = value;
            Packet::parse(&bad)
        };
        assert_eq!(with(0, 0x00), Err(NotRtp::Version { version: 0 }));
        assert_eq!(with(1, 200), Err(NotRtp::Rtcp));
        assert_eq!(with(0, 0x8F), Err(NotRtp::Length { bytes: 17 }), "15 contributors");
        assert_eq!(with(0, 0x90), Err(NotRtp::Length { bytes: 17 }), "an extension of its own");
        assert_eq!(with(0, 0xA0), Err(NotRtp::Length { bytes: 17 }), "'d' bytes of padding");
        assert_eq!(Packet::parse(&good[..11]), Err(NotRtp::Length { bytes: 11 }));
        assert_eq!(Packet::parse(&[0x80; 1_501]), Err(NotRtp::Length { bytes: 1_501 }));
    }

    #[test]
    fn no_datagram_panics_the_parser() {
        let mut state = 1_u32;
        let mut random = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        for length in (0..64).cycle().take(200_000) {
            let mut datagram: Vec<u8> = (0..length).map(|_| random()).collect();
            if let Some(first) = datagram.first_mut() {
                *first = 0x80 | *first & 0x3F;
            }
            if let Ok(parsed) = Packet::parse(&datagram) {
                let sent = parsed.header.rewrite(&mut datagram, parsed.payload);
                assert!(sent.end <= datagram.len());
            }
        }
    }

    #[test]
    fn distances_wrap() {
        assert_eq!(sequence_distance(0xFFFF, 1), 2);
        assert_eq!(sequence_distance(1, 0xFFFF), -2);
        assert_eq!(timestamp_distance(u32::MAX, 159), 160);
    }

    fn packet(header: Header, payload: &[u8]) -> Vec<u8> {
        let mut datagram = vec![0; HEADER_BYTES];
        header.write(datagram.first_chunk_mut().unwrap());
        datagram.extend(payload);
        datagram
    }
}
