//! The parts of a peer's compound packet that a port uses (RFC 3550 §6.1 and appendix A.2).

use thiserror::Error;

use super::{BLOCK_BYTES, GOODBYE, RECEIVER_REPORT, ReportBlock, SENDER_REPORT};

/// Something that a peer reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// A sender report's time, which our next report gives back.
    SenderReport {
        /// Who sends.
        ssrc: u32,
        /// The time there.
        ntp: u64,
    },
    /// What the peer received of one stream.
    Block(ReportBlock),
    /// A stream ends.
    Goodbye {
        /// Whose.
        ssrc: u32,
    },
}

/// Why a datagram is not RTCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NotRtcp {
    /// The version is not 2, or it does not begin with a report (appendix A.2).
    #[error("it does not begin with a report")]
    NoReport,
    /// The lengths of its parts do not add up.
    #[error("its parts do not fill {bytes} bytes")]
    Length {
        /// The datagram's bytes.
        bytes: usize,
    },
}

/// The parts of a compound packet, in order. Nothing of it counts if any length is wrong.
pub fn parts(datagram: &[u8]) -> Result<impl Iterator<Item = Part> + '_, NotRtcp> {
    let [first, kind, ..] = datagram else {
        return Err(NotRtcp::NoReport);
    };
    if first >> 6 != 2 || !(SENDER_REPORT..=RECEIVER_REPORT).contains(kind) {
        return Err(NotRtcp::NoReport);
    }
    let length = NotRtcp::Length { bytes: datagram.len() };
    let mut rest = datagram;
    while !rest.is_empty() {
        rest = split(rest).ok_or(length)?.1;
    }
    Ok(Packets { rest: datagram }.flat_map(packet_parts))
}

struct Packets<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Packets<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (packet, rest) = split(self.rest)?;
        self.rest = rest;
        Some(packet)
    }
}

/// The first packet of a compound and what follows it.
fn split(compound: &[u8]) -> Option<(&[u8], &[u8])> {
    let [first, _, high, low, ..] = compound else {
        return None;
    };
    let bytes = 4 * (1 + usize::from(u16::from_be_bytes([*high, *low])));
    (first >> 6 == 2).then(|| compound.split_at_checked(bytes)).flatten()
}

fn packet_parts(packet: &[u8]) -> impl Iterator<Item = Part> + '_ {
    let (count, kind) = match packet {
        [first, kind, ..] => (usize::from(first & 0x1F), *kind),
        _ => (0, 0),
    };
    let body = packet.get(4..).unwrap_or_default();
    let sender = (kind == SENDER_REPORT)
        .then(|| {
            let ntp = body.get(4..12)?.first_chunk().copied().map(u64::from_be_bytes)?;
            Some(Part::SenderReport { ssrc: word(body, 0)?, ntp })
        })
        .flatten();
    let blocks = match kind {
        SENDER_REPORT => body.get(24..).unwrap_or_default(),
        RECEIVER_REPORT => body.get(4..).unwrap_or_default(),
        _ => &[],
    };
    let blocks = blocks.chunks_exact(BLOCK_BYTES).take(count).filter_map(block);
    let leaving = if kind == GOODBYE { body } else { &[] };
    let goodbyes = leaving.chunks_exact(4).take(count).filter_map(|ssrc| word(ssrc, 0));
    sender
        .into_iter()
        .chain(blocks.map(Part::Block))
        .chain(goodbyes.map(|ssrc| Part::Goodbye { ssrc }))
}

fn block(bytes: &[u8]) -> Option<ReportBlock> {
    let losses = word(bytes, 4)?;
    Some(ReportBlock {
        ssrc: word(bytes, 0)?,
        fraction_lost: (losses >> 24) as u8,
        // 24 bits with a sign.
        cumulative_lost: (losses << 8) as i32 >> 8,
        highest_sequence: word(bytes, 8)?,
        jitter: word(bytes, 12)?,
        last_sender_report: word(bytes, 16)?,
        delay_since_sender_report: word(bytes, 20)?,
    })
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_be_bytes)
}
