//! What a line says and hears: RTP, spoken for by hand. No signalling.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::{HEARD_AT_ONCE, Line, PATIENCE};

impl Line {
    /// Says so many frames of 20 ms of a constant tone of G.711 µ-law, in time.
    pub fn says(&self, to: SocketAddr, frames: u32) {
        let begun = Instant::now();
        for frame in 0..frames {
            let due = begun + Duration::from_millis(20) * frame;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let mut packet = vec![0x80, 0];
            packet.extend((frame as u16).to_be_bytes());
            packet.extend((frame * 160).to_be_bytes());
            packet.extend(7_u32.to_be_bytes());
            packet.extend([0x10; 160]);
            self.rtp.send_to(&packet, to).unwrap();
        }
    }

    /// Sends audio of this sample until `heard` holds; 50 packets a second.
    pub fn speaks_until(&mut self, to: SocketAddr, sample: u8, mut heard: impl FnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !heard() {
            assert!(Instant::now() < deadline, "nobody hears {sample:#x}");
            self.speaks(to, sample);
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Sends audio of this sample until it comes back.
    pub fn hears_itself(&mut self, to: SocketAddr, sample: u8) {
        let deadline = Instant::now() + PATIENCE;
        while !self.has_heard(sample) {
            assert!(Instant::now() < deadline, "no echo of {sample:#x}");
            self.speaks(to, sample);
        }
    }

    /// Talks and listens until something is over, and for half a second more; the longest time
    /// without hearing anything.
    pub fn talks_until(
        &mut self,
        (to, sample): (SocketAddr, u8),
        within: Duration,
        mut is_over: impl FnMut() -> bool,
    ) -> Duration {
        let deadline = Instant::now() + within;
        let (mut heard, mut longest, mut until) = (Instant::now(), Duration::ZERO, None);
        while until.is_none_or(|until| Instant::now() < until) {
            assert!(Instant::now() < deadline, "it does not end");
            if until.is_none() && is_over() {
                until = Some(Instant::now() + Duration::from_millis(500));
            }
            self.speaks(to, sample);
            let frame = Instant::now() + Duration::from_millis(20);
            while Instant::now() < frame {
                if self.hears().is_some() {
                    longest = longest.max(heard.elapsed());
                    heard = Instant::now();
                }
            }
        }
        longest.max(heard.elapsed())
    }

    /// Whether this very audio came: a packet of only this sample, among those that wait.
    pub fn has_heard(&self, sample: u8) -> bool {
        let only = |heard: Vec<u8>| heard.iter().all(|byte| *byte == sample);
        std::iter::from_fn(|| self.hears()).take(HEARD_AT_ONCE).any(only)
    }

    /// The same without waiting for any, and without leaving one behind.
    pub fn has_come(&self, sample: u8) -> bool {
        self.rtp.set_nonblocking(true).unwrap();
        let only = |heard: &Vec<u8>| heard.iter().all(|byte| *byte == sample);
        let come = std::iter::from_fn(|| self.hears()).filter(only).count();
        self.rtp.set_nonblocking(false).unwrap();
        come > 0
    }

    /// Sends one packet of 20 ms.
    pub fn speaks(&mut self, to: SocketAddr, sample: u8) {
        self.rtp_sequence = self.rtp_sequence.wrapping_add(1);
        let sequence = self.rtp_sequence;
        let timestamp = u32::from(sequence) * 160;
        let mut packet = vec![0x80, 0];
        packet.extend(sequence.to_be_bytes());
        packet.extend(timestamp.to_be_bytes());
        packet.extend(0x1234_5678_u32.to_be_bytes());
        packet.extend([sample; 160]);
        self.rtp.send_to(&packet, to).unwrap();
    }

    /// The samples of the next packet, if one is there or comes within 20 ms.
    pub fn hears(&self) -> Option<Vec<u8>> {
        let mut buffer = [0; 2_048];
        let (length, _) = self.rtp.recv_from(&mut buffer).ok()?;
        (length > 12).then(|| buffer[12..length].to_vec())
    }
}
