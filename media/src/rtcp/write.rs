//! The compound packet that a port sends (RFC 3550 §6.1, §6.4 to §6.6).

use super::{
    BLOCK_BYTES, GOODBYE, RECEIVER_REPORT, ReportBlock, SENDER_REPORT, SOURCE_DESCRIPTION,
};

/// The bytes of the longest packet that [`Report::write`] writes.
pub const REPORT_BYTES_MAX: usize = 28 + BLOCK_BYTES + (8 + 2 + CNAME_BYTES_MAX + 4) + 8;

/// The longest canonical name that we send; a longer one is cut.
const CNAME_BYTES_MAX: usize = 32;

/// What a port reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// Who reports.
    pub ssrc: u32,
    /// What it has sent, if it sends.
    pub sender: Option<SenderInfo>,
    /// What it has received, if anything.
    pub block: Option<ReportBlock>,
    /// The stream ends (§6.6).
    pub goodbye: bool,
}

/// What a port has sent (RFC 3550 §6.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SenderInfo {
    /// The time, as NTP writes it.
    pub ntp: u64,
    /// The same time on the stream's clock.
    pub timestamp: u32,
    /// Packets since the beginning.
    pub packets: u32,
    /// Payload bytes since the beginning.
    pub octets: u32,
}

impl Report {
    /// Writes the compound packet, with the canonical name, and returns its bytes.
    pub fn write(&self, cname: &str, out: &mut [u8; REPORT_BYTES_MAX]) -> usize {
        let mut writer = Writer { out, at: 0 };
        let blocks = u8::from(self.block.is_some());
        let begun = writer.begin(blocks, self.kind(), self.ssrc);
        if let Some(sender) = &self.sender {
            writer.put(&sender.ntp.to_be_bytes());
            writer.put(&sender.timestamp.to_be_bytes());
            writer.put(&sender.packets.to_be_bytes());
            writer.put(&sender.octets.to_be_bytes());
        }
        if let Some(block) = &self.block {
            writer.block(block);
        }
        writer.end(begun);
        writer.description(self.ssrc, cname);
        if self.goodbye {
            let begun = writer.begin(1, GOODBYE, self.ssrc);
            writer.end(begun);
        }
        writer.at
    }

    fn kind(&self) -> u8 {
        if self.sender.is_some() { SENDER_REPORT } else { RECEIVER_REPORT }
    }
}

struct Writer<'a> {
    out: &'a mut [u8; REPORT_BYTES_MAX],
    at: usize,
}

impl Writer<'_> {
    fn put(&mut self, bytes: &[u8]) {
        self.out[self.at..self.at + bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
    }

    /// Begins a part; its length is filled in when it ends.
    fn begin(&mut self, count: u8, kind: u8, ssrc: u32) -> usize {
        let begun = self.at;
        self.put(&[0x80 | count, kind, 0, 0]);
        self.put(&ssrc.to_be_bytes());
        begun
    }

    fn end(&mut self, begun: usize) {
        // In words, less one (§6.4.1).
        let words = ((self.at - begun) / 4 - 1) as u16;
        self.out[begun + 2..begun + 4].copy_from_slice(&words.to_be_bytes());
    }

    fn block(&mut self, block: &ReportBlock) {
        let [_, lost @ ..] = block.cumulative_lost.to_be_bytes();
        self.put(&block.ssrc.to_be_bytes());
        self.put(&[block.fraction_lost]);
        self.put(&lost);
        self.put(&block.highest_sequence.to_be_bytes());
        self.put(&block.jitter.to_be_bytes());
        self.put(&block.last_sender_report.to_be_bytes());
        self.put(&block.delay_since_sender_report.to_be_bytes());
    }

    fn description(&mut self, ssrc: u32, cname: &str) {
        let name = cname.as_bytes();
        let name = &name[..name.len().min(CNAME_BYTES_MAX)];
        let begun = self.begin(1, SOURCE_DESCRIPTION, ssrc);
        self.put(&[1, name.len() as u8]); // CNAME (§6.5.1).
        self.put(name);
        // The list of items ends with a zero and fills its word (§6.5).
        let filling = 4 - self.at % 4;
        self.put(&[0; 4][..filling]);
        self.end(begun);
    }
}
