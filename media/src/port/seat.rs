//! A port's seat in a conference: its voice at a steady pace, and what it hears.
//!
//! The mix itself is [`crate::mix::Mixer`]'s; a seat only brings a voice to 8 kHz and 20 ms and
//! encodes what the others say.

use std::time::Instant;

use crate::codec::{CodecKind, Decoder, Encoder};
use crate::frame::{FRAME_SAMPLES_8K, FRAME_SAMPLES_MAX, Rate};
use crate::jitter::{Frame, JitterBuffer};

/// A party of a conference.
#[derive(Debug)]
pub(super) struct Seat {
    jitter: JitterBuffer,
    decoder: Decoder,
    encoder: Encoder,
    payload: Vec<u8>,
    /// Decoded and not mixed yet: a peer may send longer or shorter packets than ours.
    pcm: Vec<i16>,
    /// The frame that went into the mix.
    said: [i16; FRAME_SAMPLES_8K],
}

impl Seat {
    pub(super) fn new(kind: CodecKind) -> Option<Box<Self>> {
        Some(Box::new(Self {
            jitter: JitterBuffer::new(kind.rtp_clock_hz()),
            decoder: Decoder::new(kind, Rate::Khz8).ok()?,
            encoder: Encoder::new(kind, Rate::Khz8).ok()?,
            payload: Vec::new(),
            pcm: Vec::new(),
            said: [0; FRAME_SAMPLES_8K],
        }))
    }

    pub(super) fn restart(&mut self) {
        self.jitter.restart();
        self.pcm.clear();
    }

    /// A packet of the party.
    pub(super) fn insert(&mut self, sequence: u32, timestamp: u32, payload: &[u8], now: Instant) {
        self.jitter.insert(sequence, timestamp, payload, now);
    }

    /// What the party says in these 20 ms.
    pub(super) fn take(&mut self, now: Instant) -> &[i16; FRAME_SAMPLES_8K] {
        let mut frame = [0; FRAME_SAMPLES_MAX];
        // Four turns suffice for packets of 5 ms, the shortest that a codec of ours has.
        for _ in 0..4 {
            if self.pcm.len() >= FRAME_SAMPLES_8K {
                break;
            }
            let missing = FRAME_SAMPLES_8K - self.pcm.len();
            let samples = match self.jitter.pop(now, &mut self.payload) {
                Frame::Payload => self.decoder.decode(&self.payload, &mut frame).unwrap_or(0),
                Frame::Lost => {
                    self.decoder.conceal(&mut frame[..missing]);
                    missing
                }
                Frame::Silence => {
                    frame[..missing].fill(0);
                    missing
                }
            };
            self.pcm.extend_from_slice(&frame[..samples]);
        }
        self.pcm.resize(self.pcm.len().max(FRAME_SAMPLES_8K), 0);
        self.said.copy_from_slice(&self.pcm[..FRAME_SAMPLES_8K]);
        self.pcm.drain(..FRAME_SAMPLES_8K);
        &self.said
    }

    /// What went into the mix, to be left out of what the party hears.
    pub(super) fn said(&self) -> &[i16; FRAME_SAMPLES_8K] {
        &self.said
    }

    /// Encodes what the others say.
    pub(super) fn encode(&mut self, pcm: &[i16], payload: &mut [u8]) -> Option<usize> {
        self.encoder.encode(pcm, payload).ok()
    }
}
