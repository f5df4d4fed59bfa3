//! The detector of digits in speech: which windows in a row make a digit.
//!
//! Windows of 16 ms every 8 ms, judged by [`super::window`]. A digit needs three good windows in
//! a row, 32 ms, so a tone of 40 ms is always found and one of 20 ms never (Q.24 leaves the range
//! between open). It is reported once, as soon as it is sure, and again only after a pause.

use super::Digit;
use super::window::{Candidate, HOP, Half, correlate, recognise};

/// Good windows in a row that make a digit.
const HITS: u8 = 3;
/// Bad windows in a row that end it: a gap of 10 ms in a tone does not (Q.24 §2.4), a pause of
/// 30 ms does.
const MISSES: u8 = 4;
/// Digits found and not yet polled. Only a caller who pushes seconds of audio without polling
/// fills it; then the newest are dropped.
const FOUND_MAX: usize = 32;

/// Finds digits in one direction of a stream of 8 kHz PCM.
#[derive(Clone, Debug)]
pub struct DtmfDetector {
    /// The samples of the half window before, and of the one that fills.
    samples: [f32; 2 * HOP],
    filled: usize,
    before: Half,
    rising: Option<Rising>,
    held: Option<Held>,
    found: [Option<Digit>; FOUND_MAX],
}

/// Good windows that may become a digit.
#[derive(Clone, Copy, Debug)]
struct Rising {
    last: Candidate,
    hits: u8,
}

/// A digit that was reported and still sounds.
#[derive(Clone, Copy, Debug)]
struct Held {
    digit: Digit,
    misses: u8,
}

impl Default for DtmfDetector {
    fn default() -> Self {
        Self::new()
    }
}

impl DtmfDetector {
    /// A detector for a new stream.
    pub fn new() -> Self {
        Self {
            samples: [0.0; 2 * HOP],
            filled: 0,
            before: Half::SILENCE,
            rising: None,
            held: None,
            found: [None; FOUND_MAX],
        }
    }

    /// Listens to a piece of the stream, of any length.
    pub fn handle_pcm(&mut self, pcm: &[i16]) {
        let mut rest = pcm;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(HOP - self.filled));
            for (slot, sample) in self.samples[HOP + self.filled..].iter_mut().zip(now) {
                *slot = f32::from(*sample);
            }
            self.filled += now.len();
            rest = later;
            if self.filled == HOP {
                self.handle_window();
                self.samples.copy_within(HOP.., 0);
                self.filled = 0;
            }
        }
    }

    /// The next digit that was found.
    pub fn poll_digit(&mut self) -> Option<Digit> {
        let first = self.found[0].take()?;
        self.found.rotate_left(1);
        Some(first)
    }

    fn handle_window(&mut self) {
        let now = correlate(&self.samples[HOP..]);
        let candidate = recognise(&self.before, &now, &self.samples);
        self.before = now;
        if let (Some(held), Some(candidate)) = (&mut self.held, candidate)
            && held.digit == candidate.digit
        {
            held.misses = 0;
            self.rising = None;
            return;
        }
        if let Some(held) = &mut self.held {
            held.misses += 1;
            if held.misses == MISSES {
                self.held = None;
            }
        }
        let Some(candidate) = candidate else {
            self.rising = None;
            return;
        };
        let hits = match self.rising {
            Some(rising) if candidate.continues(rising.last) => rising.hits + 1,
            Some(_) | None => 1,
        };
        if hits < HITS {
            self.rising = Some(Rising { last: candidate, hits });
            return;
        }
        self.rising = None;
        self.held = Some(Held { digit: candidate.digit, misses: 0 });
        if let Some(slot) = self.found.iter_mut().find(|slot| slot.is_none()) {
            *slot = Some(candidate.digit);
        }
    }
}

#[cfg(test)]
mod tests;
