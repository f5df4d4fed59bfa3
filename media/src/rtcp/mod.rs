//! RTCP packets and the report interval (RFC 3550 §6).
//!
//! Writes the compound packet that a port sends (a report, its CNAME, a BYE) and reads the parts
//! of the peer's that a port uses. Unknown parts are passed over; nothing is copied.

mod read;
mod write;

pub use read::{NotRtcp, Part, parts};
pub use write::{REPORT_BYTES_MAX, Report, SenderInfo};

/// How often a port reports. The 5 s of RFC 3550 §6.2; the randomisation of §6.3.1 is the
/// engine's, which spreads its ports over the interval.
pub const REPORT_INTERVAL: std::time::Duration = std::time::Duration::from_secs(5);

const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const SOURCE_DESCRIPTION: u8 = 202;
const GOODBYE: u8 = 203;

/// The bytes of a report block (RFC 3550 §6.4.1).
const BLOCK_BYTES: usize = 24;

/// What one side has received of the other's stream (RFC 3550 §6.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReportBlock {
    /// Whose stream.
    pub ssrc: u32,
    /// Lost since the report before, in 256ths.
    pub fraction_lost: u8,
    /// Lost since the beginning; 24 bits, signed.
    pub cumulative_lost: i32,
    /// The highest sequence number, with its wraps.
    pub highest_sequence: u32,
    /// Interarrival jitter, in timestamp units.
    pub jitter: u32,
    /// The middle 32 bits of the NTP time in the last sender report.
    pub last_sender_report: u32,
    /// The delay since then, in 65,536ths of a second.
    pub delay_since_sender_report: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: ReportBlock = ReportBlock {
        ssrc: 7,
        fraction_lost: 64,
        cumulative_lost: -3,
        highest_sequence: 65_537,
        jitter: 12,
        last_sender_report: 0x0002_0003,
        delay_since_sender_report: 65_536,
    };
    const INFO: SenderInfo =
        SenderInfo { ntp: 0x0102_0304_0506_0708, timestamp: 8_000, packets: 50, octets: 8_000 };

    #[test]
    fn a_report_is_read_as_it_was_written() {
        let report = Report { ssrc: 9, sender: Some(INFO), block: Some(BLOCK), goodbye: true };
        let mut buffer = [0; REPORT_BYTES_MAX];
        let bytes = report.write("a1b2c3", &mut buffer);
        let read: Vec<Part> = parts(&buffer[..bytes]).unwrap().collect();
        assert_eq!(
            read,
            [
                Part::SenderReport { ssrc: 9, ntp: INFO.ntp },
                Part::Block(BLOCK),
                Part::Goodbye { ssrc: 9 }
            ]
        );
    }

    #[test]
    fn another_implementation_reads_our_reports() {
        let report = Report { ssrc: 9, sender: Some(INFO), block: Some(BLOCK), goodbye: true };
        let mut buffer = [0; REPORT_BYTES_MAX];
        let bytes = report.write("a1b2c3", &mut buffer);
        let compound = rtcp_types::Compound::parse(&buffer[..bytes]).unwrap();
        let packets: Vec<_> = compound.map(Result::unwrap).collect();
        let [
            rtcp_types::Packet::Sr(sr),
            rtcp_types::Packet::Sdes(sdes),
            rtcp_types::Packet::Bye(bye),
        ] = packets.as_slice()
        else {
            panic!("{packets:?}");
        };
        assert_eq!((sr.ssrc(), sr.ntp_timestamp(), sr.rtp_timestamp()), (9, INFO.ntp, 8_000));
        assert_eq!((sr.packet_count(), sr.octet_count()), (50, 8_000));
        let block = sr.report_blocks().next().unwrap();
        assert_eq!((block.ssrc(), block.fraction_lost()), (7, 64));
        assert_eq!(block.cumulative_lost(), 0xFF_FFFD, "24 bits of −3");
        assert_eq!((block.interarrival_jitter(), block.extended_sequence_number()), (12, 65_537));
        let chunk = sdes.chunks().next().unwrap();
        assert_eq!(chunk.items().next().unwrap().value(), b"a1b2c3");
        assert_eq!(bye.ssrcs().collect::<Vec<_>>(), [9]);
    }

    #[test]
    fn a_receiver_report_without_anything_received_is_valid() {
        let report = Report { ssrc: 9, sender: None, block: None, goodbye: false };
        let mut buffer = [0; REPORT_BYTES_MAX];
        let bytes = report.write("", &mut buffer);
        assert_eq!(parts(&buffer[..bytes]).unwrap().count(), 0);
        assert!(rtcp_types::Compound::parse(&buffer[..bytes]).unwrap().all(|part| part.is_ok()));
    }

    #[test]
    fn what_is_not_rtcp_is_refused() {
        let mut good = [0; REPORT_BYTES_MAX];
        let report = Report { ssrc: 9, sender: Some(INFO), block: Some(BLOCK), goodbye: false };
        let bytes = report.write("x", &mut good);
        assert!(parts(&good[..bytes - 1]).is_err(), "a part is cut off");
        assert!(parts(&[]).is_err());
        let mut wrong = good;
        wrong[0] = 0x40;
        assert!(parts(&wrong[..bytes]).is_err(), "version 1");
        let mut wrong = good;
        wrong[1] = 204;
        assert!(parts(&wrong[..bytes]).is_err(), "a compound begins with a report");
    }

    #[test]
    fn no_datagram_panics_the_reader() {
        let mut state = 1_u32;
        let mut random = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        for length in (0..25).cycle().take(100_000) {
            let mut datagram: Vec<u8> = (0..4 * length).map(|_| random()).collect();
            if let [first, kind, high, low, ..] = datagram.as_mut_slice() {
                (*first, *kind, *high) = (0x80 | *first & 0x3F, SENDER_REPORT + *kind % 2, 0);
                *low %= 25;
            }
            if let Ok(parts) = parts(&datagram) {
                assert!(parts.count() <= 64);
            }
        }
    }
}
