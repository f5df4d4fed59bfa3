//! Clips being played: which frame is next.

use super::plan::Source;
use crate::clip::Clip;
use crate::codec::{CodecKind, Encoder};
use crate::frame::{FRAME_MS, Rate};

/// A position in the clips of a [`Source::Play`].
#[derive(Debug)]
pub(super) struct Playing {
    seq: u64,
    clip: usize,
    frame: usize,
    done: bool,
    /// Ticks until the next packet, if it holds more than one frame.
    ticks: u8,
    /// For clips that were not prepared for the codec.
    encoder: Option<Encoder>,
}

/// What a tick of a playing gives.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Played {
    /// A payload of so many bytes was written.
    Frame(usize),
    /// The playing is over, told once.
    Over(u64),
    /// It was over before.
    Nothing,
}

impl Playing {
    pub(super) fn begin(source: &Source) -> Option<Box<Self>> {
        let Source::Play { seq, clips, repeat, from_ms } = source else {
            return None;
        };
        let mut frames = (*from_ms / u64::from(FRAME_MS)) as usize;
        let total: usize = clips.iter().map(Clip::frame_count).sum();
        if *repeat && total > 0 {
            frames %= total;
        }
        let mut playing =
            Self { seq: *seq, clip: 0, frame: 0, done: false, ticks: 0, encoder: None };
        while let Some(clip) = clips.get(playing.clip)
            && frames >= clip.frame_count()
        {
            frames -= clip.frame_count();
            playing.clip += 1;
        }
        playing.frame = frames;
        Some(Box::new(playing))
    }

    /// Whether it goes on.
    pub(super) fn is_over(&self) -> bool {
        self.done
    }

    /// 20 ms passed: the frames of the packet that is due now, one of `frames` ticks.
    pub(super) fn wait(&mut self, frames: u8) -> Option<u8> {
        if self.ticks == 0 {
            self.ticks = frames - 1;
            return Some(frames);
        }
        self.ticks -= 1;
        None
    }

    /// The next 20 ms, into `payload`.
    pub(super) fn next(
        &mut self,
        clips: &[Clip],
        repeat: bool,
        kind: CodecKind,
        payload: &mut [u8],
    ) -> Played {
        if self.done {
            return Played::Nothing;
        }
        // At most once around, to the clip where it began: a list of clips without a frame cannot
        // hold the thread.
        for _ in 0..clips.len() + 2 {
            match clips.get(self.clip) {
                Some(clip) if self.frame < clip.frame_count() => {
                    let bytes = self.frame(clip, kind, payload);
                    self.frame += 1;
                    return bytes.map_or(Played::Nothing, Played::Frame);
                }
                Some(_) => (self.clip, self.frame) = (self.clip + 1, 0),
                None if repeat && !clips.is_empty() => (self.clip, self.frame) = (0, 0),
                None => break,
            }
        }
        self.done = true;
        Played::Over(self.seq)
    }

    fn frame(&mut self, clip: &Clip, kind: CodecKind, payload: &mut [u8]) -> Option<usize> {
        // A clip that has been begun with an encoder is ended with it: a decoder would stumble.
        if self.frame == 0 {
            self.encoder = None;
        }
        if let (None, Some(frames)) = (&self.encoder, clip.frames(kind)) {
            let frame = frames.get(self.frame)?;
            payload.get_mut(..frame.len())?.copy_from_slice(frame);
            return Some(frame.len());
        }
        if self.encoder.as_ref().is_none_or(|encoder| encoder.kind() != kind) {
            self.encoder = Encoder::new(kind, Rate::Khz8).ok();
        }
        self.encoder.as_mut()?.encode(clip.pcm_frame(self.frame)?, payload).ok()
    }
}
