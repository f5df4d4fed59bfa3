//! Stereo recording of a call: one channel a side, as WAV.
//!
//! Takes each side's decoded frames as they arrive, lines them up on one time line, and gives
//! the bytes of a WAV file, a second at a time, with the offset at which each belongs. A
//! frame's place comes from its RTP timestamp, so loss leaves a gap and reordering none; the
//! clock of arrival bounds how far the two sides may drift apart. What is still open goes out
//! early, at every [`Recording::checkpoint`], and again when it is final. The header follows the
//! samples, so a file left by a crash plays as it is.

use crate::frame::{FRAME_MS_MAX, Rate};
use crate::wav;
use std::time::{Duration, Instant};

/// What is final goes out in pieces of this length.
const CHUNK_MS: u32 = 1_000;
/// How long a second is kept open for frames that come late, and how far a frame's timestamp
/// may lie from its arrival. What lies further begins a new time line at its arrival: a new
/// SSRC, a sender's leap.
const HOLD_MS: u32 = 400;
/// How far a side's time line may lie from the arrivals on average before it is nudged. Twice
/// what a jitter of three frames moves it by.
const DRIFT_MS: u32 = 60;
/// One nudge is a sample a frame: 0.6 %, a clock 60 times worse than the worst crystal, and
/// nobody hears it.
const NUDGE_SAMPLES: i64 = 1;
/// Smoothing of the distance to the arrivals: over about this many frames.
const DISTANCE_FRAMES: i64 = 64;
/// Two channels of two bytes.
const FRAME_BYTES: usize = 4;
/// A WAV file's lengths have 32 bits: 37 hours at 8 kHz. Then the recording is full and takes
/// no more; what it has stays valid.
const DATA_BYTES_MAX: u64 = u32::MAX as u64 - wav::PART_HEADER_BYTES as u64;

// A frame placed as far ahead as it may be must still fit behind a second that waits.
const _: () = assert!(HOLD_MS + HOLD_MS + FRAME_MS_MAX < CHUNK_MS);

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

/// Bytes to be written to the file at an offset. The audio comes without a gap; what went out
/// early comes again, and so does the header, at offset 0.
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
    sides: [Line; 2],
    /// Two seconds of the file, as it will be, by position modulo its length. Silent where
    /// nothing was placed.
    window: Box<[u8]>,
    /// The position, in samples, up to which bytes went out.
    written: u64,
    /// The position up to which bytes may go out.
    due: u64,
    /// Bytes of the window that went out and are to be silent before anything else happens.
    stale: Option<std::ops::Range<usize>>,
    stamp: wav::Stamp,
    header: [u8; wav::PART_HEADER_BYTES],
    header_is_due: bool,
    /// What goes out early, and may still change.
    early: std::ops::Range<u64>,
    /// The position behind the last sample that went out, early ones too.
    extent: u64,
    /// Something was said since the last checkpoint.
    is_fresh: bool,
    is_finished: bool,
    /// The first frame after a sleep, for which there is no room until what was before it has
    /// gone out.
    waiting: Option<Waiting>,
    frames_dropped: u64,
}

#[derive(Clone, Debug)]
struct Waiting {
    side: Side,
    position: u64,
    pcm: Box<[i16]>,
}

/// The time line of one side.
#[derive(Clone, Copy, Debug, Default)]
struct Line {
    anchor: Option<Anchor>,
    /// The position behind the last sample.
    next: u64,
}

/// A point where the sender's timestamps and our positions meet.
#[derive(Clone, Copy, Debug)]
struct Anchor {
    timestamp: Timestamp,
    position: u64,
    /// The smoothed distance of positions from arrivals, times [`DISTANCE_FRAMES`].
    distance: i64,
}

impl Recording {
    /// Begins at `now`. The first output is the header.
    pub fn new(rate: Rate, stamp: wav::Stamp, now: Instant) -> Self {
        Self {
            rate,
            started: now,
            sides: [Line::default(); 2],
            window: vec![0; 2 * rate.samples(CHUNK_MS) * FRAME_BYTES].into(),
            written: 0,
            due: 0,
            stale: None,
            stamp,
            header: wav::part_header(rate.hz(), 2, 0, &stamp),
            header_is_due: true,
            early: 0..0,
            extent: 0,
            is_fresh: false,
            is_finished: false,
            waiting: None,
            frames_dropped: 0,
        }
    }

    /// A side said `pcm`, which arrived at `now`; without a timestamp it is placed behind what
    /// that side said last, or at its arrival after a pause.
    pub fn handle_frame(
        &mut self,
        side: Side,
        timestamp: Option<Timestamp>,
        pcm: &[i16],
        now: Instant,
    ) {
        if self.is_finished || pcm.is_empty() {
            return;
        }
        self.sweep();
        self.make_due(now);
        let arrival = self.position(now);
        let room = self.written + self.window_samples();
        let line = &mut self.sides[side as usize];
        let position = match timestamp.filter(|timestamp| timestamp.clock_hz > 0) {
            Some(timestamp) => line.place(timestamp, arrival, self.rate),
            None => line.append(arrival, self.rate),
        };
        let end = position + pcm.len() as u64;
        if end <= room {
            line.next = line.next.max(end);
            let late = self.written.saturating_sub(position).min(pcm.len() as u64) as usize;
            self.put(side, position + late as u64, &pcm[late..]);
        } else if self.waiting.is_none() && end - position <= self.rate.samples(CHUNK_MS) as u64 {
            line.next = line.next.max(end);
            self.waiting = Some(Waiting { side, position, pcm: pcm.into() });
        } else {
            self.frames_dropped += 1;
        }
    }

    /// Time passed: what is old enough goes out although nobody speaks.
    pub fn handle_timeout(&mut self, now: Instant) {
        if !self.is_finished {
            self.make_due(now);
        }
    }

    /// What was said so far goes out, though later frames may still change it: after a crash
    /// only what came behind this is lost.
    pub fn checkpoint(&mut self) {
        if self.is_finished || !std::mem::take(&mut self.is_fresh) {
            return;
        }
        let said = self.sides.iter().map(|line| line.next).fold(self.written, u64::max);
        self.early = self.written..said.min(self.written + self.window_samples());
    }

    /// When [`Self::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.is_finished {
            return None;
        }
        let samples = self.written + self.rate.samples(CHUNK_MS + HOLD_MS) as u64;
        let micros = samples * 1_000_000 / u64::from(self.rate.hz());
        Some(self.started + Duration::from_micros(micros))
    }

    /// The call is over: all that is left goes out, and the final header.
    pub fn finish(&mut self, now: Instant) {
        if self.is_finished {
            return;
        }
        self.make_due(now);
        let end = self.sides.iter().map(|line| line.next).fold(self.position(now), u64::max);
        self.due = end.max(self.written).min(self.samples_max());
        self.is_finished = true;
    }

    /// The next bytes to write.
    pub fn poll_output(&mut self) -> Option<Write<'_>> {
        self.sweep();
        self.admit();
        if self.header_is_due {
            self.header_is_due = false;
            let bytes = self.extent * FRAME_BYTES as u64;
            self.header = wav::part_header(self.rate.hz(), 2, bytes, &self.stamp);
            return Some(Write { offset: 0, bytes: &self.header });
        }
        let chunk = self.rate.samples(CHUNK_MS) as u64;
        let samples = (self.due - self.written).min(chunk);
        if samples == 0 || (samples < chunk && !self.is_finished) {
            return self.poll_early();
        }
        // Seconds go out whole but for the last, so none wraps around the window's end.
        let start = (self.written % self.window_samples()) as usize * FRAME_BYTES;
        let range = start..start + samples as usize * FRAME_BYTES;
        let offset = offset(self.written);
        self.written += samples;
        self.extent = self.extent.max(self.written);
        self.stale = Some(range.clone());
        self.header_is_due = true;
        Some(Write { offset, bytes: &self.window[range] })
    }

    /// What goes out early, in two pieces where the window's end lies between.
    fn poll_early(&mut self) -> Option<Write<'_>> {
        let from = self.early.start.max(self.written);
        if from >= self.early.end {
            return None;
        }
        let start = from % self.window_samples();
        let samples = (self.early.end - from).min(self.window_samples() - start);
        self.early.start = from + samples;
        self.extent = self.extent.max(self.early.start);
        self.header_is_due = true;
        let start = start as usize * FRAME_BYTES;
        let bytes = &self.window[start..start + samples as usize * FRAME_BYTES];
        Some(Write { offset: offset(from), bytes })
    }

    /// Whether the file has reached the length that its header can say.
    pub fn is_full(&self) -> bool {
        self.written + self.rate.samples(CHUNK_MS) as u64 > self.samples_max()
    }

    /// Frames for which there was no room: the outputs were not drained, or time ran backwards.
    pub fn frames_dropped(&self) -> u64 {
        self.frames_dropped
    }

    fn position(&self, now: Instant) -> u64 {
        let micros = now.saturating_duration_since(self.started).as_micros() as u64;
        micros * u64::from(self.rate.hz()) / 1_000_000
    }

    fn window_samples(&self) -> u64 {
        2 * self.rate.samples(CHUNK_MS) as u64
    }

    fn samples_max(&self) -> u64 {
        DATA_BYTES_MAX / FRAME_BYTES as u64
    }

    /// Lets out the whole seconds that no frame may reach any more.
    fn make_due(&mut self, now: Instant) {
        let closed = self.position(now).saturating_sub(self.rate.samples(HOLD_MS) as u64);
        let closed = closed.min(self.samples_max());
        let chunk = self.rate.samples(CHUNK_MS) as u64;
        self.due = self.due.max(closed / chunk * chunk);
    }

    /// Makes silent what went out.
    fn sweep(&mut self) {
        if let Some(range) = self.stale.take() {
            self.window[range].fill(0);
        }
    }

    /// Places the frame that waits, as soon as its second is open.
    fn admit(&mut self) {
        let room = self.written + self.window_samples();
        if let Some(waiting) =
            self.waiting.take_if(|waiting| waiting.position + waiting.pcm.len() as u64 <= room)
        {
            self.put(waiting.side, waiting.position, &waiting.pcm);
        }
    }

    fn put(&mut self, side: Side, position: u64, pcm: &[i16]) {
        self.is_fresh = true;
        let channel = side as usize * 2;
        let start = (position % self.window_samples()) as usize;
        let (first, second) = pcm.split_at(pcm.len().min(self.window_samples() as usize - start));
        for (from, samples) in [(start, first), (0, second)] {
            let frames = self.window[from * FRAME_BYTES..].chunks_exact_mut(FRAME_BYTES);
            for (frame, sample) in frames.zip(samples) {
                frame[channel..channel + 2].copy_from_slice(&sample.to_le_bytes());
            }
        }
    }
}

/// Where a sample stands in the file.
fn offset(position: u64) -> u64 {
    wav::PART_HEADER_BYTES as u64 + position * FRAME_BYTES as u64
}

impl Line {
    /// The place of a frame by its timestamp.
    fn place(&mut self, timestamp: Timestamp, arrival: u64, rate: Rate) -> u64 {
        let hold = rate.samples(HOLD_MS) as i64;
        let known = self.anchor.filter(|anchor| anchor.timestamp.clock_hz == timestamp.clock_hz);
        if let Some(mut anchor) = known {
            // Timestamps wrap; frames come in either order.
            let ticks = timestamp.value.wrapping_sub(anchor.timestamp.value) as i32;
            let samples = i64::from(ticks) * i64::from(rate.hz()) / i64::from(timestamp.clock_hz);
            let position = anchor.position as i64 + samples;
            let distance = position - arrival as i64;
            if distance.abs() <= hold && position >= 0 {
                if ticks > 0 {
                    let nudge = anchor.nudge(distance, rate);
                    let position = (position + nudge).max(0) as u64;
                    self.anchor = Some(Anchor { timestamp, position, ..anchor });
                    return position;
                }
                return position as u64;
            }
        }
        // Behind what is there, so that nothing is lost, but never further off than allowed.
        let position = arrival.max(self.next.min(arrival + hold as u64));
        self.anchor = Some(Anchor { timestamp, position, distance: 0 });
        position
    }

    /// The place of a frame without a timestamp.
    fn append(&mut self, arrival: u64, rate: Rate) -> u64 {
        self.anchor = None;
        let (drift, hold) = (rate.samples(DRIFT_MS) as u64, rate.samples(HOLD_MS) as u64);
        if self.next + drift < arrival { arrival } else { self.next.min(arrival + hold) }
    }
}

impl Anchor {
    /// What to move the time line by, after a frame that lies at a distance from its arrival.
    fn nudge(&mut self, distance: i64, rate: Rate) -> i64 {
        self.distance += distance - self.distance / DISTANCE_FRAMES;
        let drift = rate.samples(DRIFT_MS) as i64;
        let mean = self.distance / DISTANCE_FRAMES;
        if mean > drift {
            -NUDGE_SAMPLES
        } else if mean < -drift {
            NUDGE_SAMPLES
        } else {
            0
        }
    }
}

#[cfg(test)]
mod tests;
