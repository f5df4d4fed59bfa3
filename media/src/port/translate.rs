//! A relay between two codecs: samples in, frames of 20 ms out, on the far peer's clock.

use crate::codec::{CodecKind, Encoder};
use crate::frame::{FRAME_MS, FRAME_SAMPLES_MAX, PAYLOAD_BYTES_MAX, Rate};
use crate::rtp::{Header, timestamp_distance};
use crate::session::Origin;

/// Samples that wait for a whole frame: the longest packet and the rest of one before.
const PENDING_MAX: usize = 2 * FRAME_SAMPLES_MAX;
/// How far the far clock may be from where the samples say it is before we follow it: a pause
/// or a loss that was not concealed, in milliseconds.
const SKEW_MS_MAX: u32 = 60;

/// Encodes what another port decoded.
#[derive(Debug)]
pub(super) struct Translator {
    encoder: Encoder,
    rate: Rate,
    origin: Origin,
    pending: Vec<i16>,
    /// Where the first pending sample stands on the far clock.
    timestamp: u32,
    clock_hz: u32,
    sequence: u16,
}

impl Translator {
    pub(super) fn new(kind: CodecKind, rate: Rate, clock_hz: u32, origin: Origin) -> Option<Self> {
        let encoder = Encoder::new(kind, rate).ok()?;
        let pending = Vec::new();
        Some(Self { encoder, rate, origin, pending, timestamp: 0, clock_hz, sequence: 0 })
    }

    /// Whether it can go on with samples of this rate and stream.
    pub(super) fn fits(&self, kind: CodecKind, rate: Rate, origin: Origin) -> bool {
        self.encoder.kind() == kind && self.rate == rate && self.origin == origin
    }

    /// Adds the samples of a packet; its header stands at the last `own` of them.
    pub(super) fn push(&mut self, pcm: &[i16], timestamp: u32, concealed: usize) {
        let begins = timestamp.wrapping_sub(self.ticks(concealed));
        let expected = self.timestamp.wrapping_add(self.ticks(self.pending.len()));
        let skew = timestamp_distance(expected, begins).unsigned_abs();
        if skew > self.clock_hz / 1_000 * SKEW_MS_MAX {
            self.pending.clear();
            self.timestamp = begins;
        }
        let room = PENDING_MAX - self.pending.len().min(PENDING_MAX);
        self.pending.extend_from_slice(&pcm[..pcm.len().min(room)]);
    }

    /// The next frame: its header on the far clock, and the bytes of its payload.
    pub(super) fn next(&mut self, payload: &mut [u8]) -> Option<(Header, usize)> {
        let samples = self.rate.frame_samples();
        let frame = self.pending.get(..samples)?;
        let room = payload.len().min(PAYLOAD_BYTES_MAX);
        let encoded = self.encoder.encode(frame, &mut payload[..room]);
        self.pending.drain(..samples);
        let header = Header {
            marker: false,
            payload_type: 0,
            sequence: self.sequence,
            timestamp: self.timestamp,
            ssrc: self.origin.ssrc,
        };
        self.sequence = self.sequence.wrapping_add(1);
        self.timestamp = self.timestamp.wrapping_add(self.clock_hz / 1_000 * FRAME_MS);
        encoded.ok().map(|bytes| (header, bytes))
    }

    /// Samples as ticks of the far clock.
    fn ticks(&self, samples: usize) -> u32 {
        (samples as u64 * u64::from(self.clock_hz) / u64::from(self.rate.hz())) as u32
    }
}
