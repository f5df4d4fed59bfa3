//! Mixing for three and more parties: each hears others, not itself.
//!
//! The sum of all is kept in 32 bits once; what a party hears is the sum less its own voice and less
//! those whom it is not to hear, saturated. So a mix costs one pass a party in and one out, and one
//! for each voice that is left out.

use crate::frame::{FRAME_SAMPLES_MAX, saturate};

/// The parties of one mix. Their sum cannot overflow 32 bits by far; past it a caller should
/// be asked to wait, since each party costs an encoder.
pub const PARTIES_MAX: usize = 64;

/// One frame of a mix, used again each 20 ms.
#[derive(Clone, Debug)]
pub struct Mixer {
    sum: Box<[i32]>,
    /// The samples of this frame.
    samples: usize,
}

impl Default for Mixer {
    fn default() -> Self {
        Self::new()
    }
}

impl Mixer {
    /// A mixer with room for the longest frame.
    pub fn new() -> Self {
        Self { sum: vec![0; FRAME_SAMPLES_MAX].into(), samples: 0 }
    }

    /// Begins a frame of so many samples, at most [`FRAME_SAMPLES_MAX`].
    pub fn begin(&mut self, samples: usize) {
        self.samples = samples.min(FRAME_SAMPLES_MAX);
        self.sum[..self.samples].fill(0);
    }

    /// Adds a party's voice. What is shorter than the frame counts as silence after its end,
    /// what is longer is cut. At most [`PARTIES_MAX`] parties may speak in a frame.
    pub fn add(&mut self, pcm: &[i16]) {
        for (sum, sample) in self.sum[..self.samples].iter_mut().zip(pcm) {
            *sum += i32::from(*sample);
        }
    }

    /// Writes what a party hears: all that was added but these voices, its own among them, each as
    /// it was added. Returns the samples written.
    pub fn hear(&self, without: &[&[i16]], pcm: &mut [i16]) -> usize {
        let sum = &self.sum[..self.samples];
        for (at, (out, sum)) in pcm.iter_mut().zip(sum).enumerate() {
            let left_out = without.iter().filter_map(|voice| voice.get(at)).copied();
            *out = saturate(sum - left_out.map(i32::from).sum::<i32>());
        }
        sum.len().min(pcm.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Signal, snr_db};

    #[test]
    fn each_hears_all_others_and_not_itself() {
        let voices: Vec<Vec<i16>> = [300.0, 700.0, 1_100.0, 1_900.0]
            .map(|hz| Signal::rate(8_000).tone(hz, 5_000.0).seconds(0.02))
            .into();
        let mut mixer = Mixer::new();
        mixer.begin(160);
        voices.iter().for_each(|voice| mixer.add(voice));
        for (own, voice) in voices.iter().enumerate() {
            let mut heard = [0; 160];
            assert_eq!(mixer.hear(&[voice], &mut heard), 160);
            let others: Vec<i16> = (0..160)
                .map(|n| (0..4).filter(|other| *other != own).map(|other| voices[other][n]).sum())
                .collect();
            assert_eq!(heard[..], others);
        }
    }

    #[test]
    fn loud_parties_saturate_and_a_listener_gets_back_exactly_the_others() {
        let mut mixer = Mixer::new();
        mixer.begin(2);
        for _ in 0..PARTIES_MAX {
            mixer.add(&[i16::MAX, i16::MIN]);
        }
        let mut heard = [0; 2];
        mixer.hear(&[], &mut heard);
        assert_eq!(heard, [i16::MAX, i16::MIN]);

        // The saturated sum never shows in what the loudest party itself hears.
        mixer.begin(2);
        mixer.add(&[30_000, -30_000]);
        mixer.add(&[20_000, -20_000]);
        mixer.hear(&[&[30_000, -30_000]], &mut heard);
        assert_eq!(heard, [20_000, -20_000]);
    }

    #[test]
    fn a_short_frame_is_silent_after_its_end_and_a_long_one_is_cut() {
        let mut mixer = Mixer::new();
        mixer.begin(4);
        mixer.add(&[1, 2]);
        mixer.add(&[10, 10, 10, 10, 10, 10]);
        let mut heard = [0; 4];
        assert_eq!(mixer.hear(&[&[1, 2]], &mut heard), 4);
        assert_eq!(heard, [10, 10, 10, 10]);
        let mut short = [0; 3];
        assert_eq!(mixer.hear(&[&[10, 10, 10, 10, 10, 10]], &mut short), 3);
        assert_eq!(short, [1, 2, 0]);
    }

    #[test]
    fn who_is_left_out_is_not_heard() {
        let mut mixer = Mixer::new();
        mixer.begin(2);
        for voice in [[100, 200], [10, 20], [1, 2]] {
            mixer.add(&voice);
        }
        let mut heard = [0; 2];
        mixer.hear(&[&[100, 200], &[1, 2]], &mut heard);
        assert_eq!(heard, [10, 20]);
    }

    #[test]
    fn nothing_of_the_last_frame_stays() {
        let mut mixer = Mixer::new();
        mixer.begin(160);
        mixer.add(&Signal::rate(8_000).noise(9_000.0, 1).seconds(0.02));
        mixer.begin(160);
        let voice = Signal::rate(8_000).tone(440.0, 9_000.0).seconds(0.02);
        mixer.add(&voice);
        let mut heard = [0; 160];
        mixer.hear(&[], &mut heard);
        assert!(snr_db(&voice, &heard) > 100.0);
    }
}
