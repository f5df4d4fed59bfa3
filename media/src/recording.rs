//! Stereo recording of a call: one channel a side, as WAV.
//!
//! Takes each side's decoded frames as they arrive, lines them up on one time line, and gives
//! the bytes of a WAV file, about a second at a time, with the offset at which each belongs. A
//! frame's place comes from its RTP timestamp, so loss leaves a gap and reordering none; the
//! clock of arrival bounds how far the two may drift apart. The header is written again with
//! every second, so a file left by a crash plays as it is.

use crate::frame::Rate;
use crate::wav;
use std::time::{Duration, Instant};

/// Which channel a voice goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The first channel: the caller, by custom.
    Left,
    /// The second channel: the agent.
    Right,
}

/// Where a frame lies in its own stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timestamp {
    /// As in the RTP header.
    pub value: u32,
    /// The clock that it counts: see [`crate::codec::CodecKind::rtp_clock_hz`].
    pub clock_hz: u32,
}

/// Bytes to be written to the file at an offset. Offsets of the audio only rise; the header's
/// is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Write<'a> {
    /// From the start of the file.
    pub offset: u64,
    /// What belongs there.
    pub bytes: &'a [u8],
}

/// One recording. After every `handle_*` the outputs are drained with [`Self::poll_output`].
#[derive(Clone, Debug)]
pub struct Recording {
    rate: Rate,
    started: Instant,
}

impl Recording {
    /// Begins at `now`. The first output is the header.
    pub fn new(rate: Rate, now: Instant) -> Self {
        Self { rate, started: now }
    }

    /// A side said `pcm`, which arrived at `now`; without a timestamp it is placed by the time
    /// alone.
    pub fn handle_frame(
        &mut self,
        side: Side,
        timestamp: Option<Timestamp>,
        pcm: &[i16],
        now: Instant,
    ) {
        let _ =
            (side, timestamp, pcm, now, self.rate, self.started, wav::HEADER_BYTES, Duration::ZERO);
    }

    /// Time passed: what is old enough goes out although nobody speaks.
    pub fn handle_timeout(&mut self, now: Instant) {
        let _ = now;
    }

    /// When [`Self::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    /// The call is over: all that is left goes out, and the final header.
    pub fn finish(&mut self, now: Instant) {
        let _ = now;
    }

    /// The next bytes to write.
    pub fn poll_output(&mut self) -> Option<Write<'_>> {
        None
    }
}
