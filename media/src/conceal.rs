//! Concealment of lost frames, in the spirit of G.711 appendix I.
//!
//! What was heard last is repeated pitch by pitch, from a longer stretch the longer the loss,
//! so that it does not buzz; it fades after 10 ms and is silent after 60 ms, since by then any
//! guess is wrong. Unlike the appendix this delays nothing: both seams are blended afterwards.

use crate::frame::{Rate, saturate_f32};

/// The range of pitch, as periods: 200 Hz down to 62 Hz. A higher voice is found at a multiple
/// of its period, which serves as well.
const PITCH_MS_MIN: u32 = 5;
const PITCH_MS_MAX: u32 = 16;
/// The most periods that are repeated, with the ages of a loss at which one more is.
const PERIODS_MAX: usize = 3;
const PERIOD_MORE_MS: u32 = 10;
/// What is kept of the past: the periods, and a quarter to blend with.
const HISTORY_MS: u32 = PITCH_MS_MAX * PERIODS_MAX as u32 + PITCH_MS_MAX / 4;
/// What is compared to find the pitch.
const COMPARED_MS: u32 = 16;
/// The first search looks at about this rate.
const COARSE_HZ: usize = 8_000;
/// When fading begins, and when it ends.
const FADE_FROM_MS: u32 = 10;
const FADE_TO_MS: u32 = 60;
/// The blend into what is heard after a loss: a quarter of a period, and so much more for each
/// 10 ms lost, but never longer than this.
const BLEND_MORE_MS: u32 = 4;
const BLEND_MS_MAX: u32 = 10;

/// Remembers what was heard, to invent what is missing.
#[derive(Clone, Debug)]
pub struct Concealer {
    rate: Rate,
    /// The newest sample is the last.
    history: Box<[i16]>,
    state: State,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Frames arrive.
    Hearing,
    /// Frames are missing.
    Inventing(Invention),
}

/// A loss being filled from the history, which rests meanwhile.
#[derive(Clone, Copy, Debug)]
struct Invention {
    pitch: usize,
    reader: Reader,
    /// What was read before the periods became more, for the samples that it still blends.
    fading: Option<(Reader, usize)>,
    /// The jump from the last sample heard to the first invented.
    jump: f32,
    /// Samples invented so far.
    age: usize,
}

/// Reads the last periods round and round.
#[derive(Clone, Copy, Debug)]
struct Reader {
    periods: usize,
    position: usize,
}

impl Concealer {
    /// For PCM at `rate`.
    pub fn new(rate: Rate) -> Self {
        let history = vec![0; rate.samples(HISTORY_MS)].into();
        Self { rate, history, state: State::Hearing }
    }

    /// A frame arrived. Right after a loss its start is blended with what was invented.
    pub fn handle_frame(&mut self, pcm: &mut [i16]) {
        if let State::Inventing(mut invention) = self.state {
            let blended = self.blend_samples(&invention).min(pcm.len());
            for (n, sample) in pcm[..blended].iter_mut().enumerate() {
                let weight = (n + 1) as f32 / (blended + 1) as f32;
                let invented = invention.next(&self.history, self.rate);
                *sample = saturate_f32(f32::from(*sample) * weight + invented * (1.0 - weight));
            }
            self.state = State::Hearing;
        }
        self.remember(pcm);
    }

    /// A frame is missing: fills `pcm` with what it probably said.
    pub fn conceal(&mut self, pcm: &mut [i16]) {
        let mut invention = match self.state {
            State::Hearing => Invention::begin(&self.history, self.rate),
            State::Inventing(invention) => invention,
        };
        for sample in pcm {
            *sample = saturate_f32(invention.next(&self.history, self.rate));
        }
        self.state = State::Inventing(invention);
    }

    fn blend_samples(&self, invention: &Invention) -> usize {
        let tens = invention.age / self.rate.samples(10);
        let more = tens.saturating_sub(1) * self.rate.samples(BLEND_MORE_MS);
        (invention.pitch / 4 + more).min(self.rate.samples(BLEND_MS_MAX))
    }

    fn remember(&mut self, pcm: &[i16]) {
        let length = self.history.len();
        let new = &pcm[pcm.len().saturating_sub(length)..];
        self.history.copy_within(new.len().., 0);
        self.history[length - new.len()..].copy_from_slice(new);
    }
}

impl Invention {
    fn begin(history: &[i16], rate: Rate) -> Self {
        let pitch = find_pitch(history, rate);
        let end = history.len();
        let jump = f32::from(history[end - 1]) - f32::from(history[end - 1 - pitch]);
        Self { pitch, reader: Reader { periods: 1, position: 0 }, fading: None, jump, age: 0 }
    }

    fn next(&mut self, history: &[i16], rate: Rate) -> f32 {
        let (from, to) = (rate.samples(FADE_FROM_MS), rate.samples(FADE_TO_MS));
        if self.age >= to {
            return 0.0;
        }
        let is_longer = self.age > 0 && self.age.is_multiple_of(rate.samples(PERIOD_MORE_MS));
        if is_longer && self.reader.periods < PERIODS_MAX {
            let phase = self.reader.position % self.pitch;
            self.fading = Some((self.reader, self.pitch / 4));
            self.reader = Reader { periods: self.reader.periods + 1, position: phase };
        }
        let mut value = self.reader.next(history, self.pitch);
        let quarter = (self.pitch / 4) as f32;
        if let Some((reader, left)) = &mut self.fading {
            let weight = *left as f32 / (quarter + 1.0);
            value += (reader.next(history, self.pitch) - value) * weight;
            *left -= 1;
            if *left == 0 {
                self.fading = None;
            }
        }
        value += self.jump * (1.0 - self.age as f32 / quarter).max(0.0);
        let gain = 1.0 - self.age.saturating_sub(from) as f32 / (to - from) as f32;
        self.age += 1;
        value * gain
    }
}

impl Reader {
    fn next(&mut self, history: &[i16], pitch: usize) -> f32 {
        let length = self.periods * pitch;
        let start = history.len() - length;
        let quarter = pitch / 4;
        let mut value = f32::from(history[start + self.position]);
        // Towards its end the stretch turns into what came before its start, so that going
        // round is seamless.
        let into = (self.position + quarter).saturating_sub(length);
        if self.position + quarter >= length {
            let before = f32::from(history[start - quarter + into]);
            let weight = (into + 1) as f32 / (quarter + 1) as f32;
            value += (before - value) * weight;
        }
        self.position = (self.position + 1) % length;
        value
    }
}

/// The period, in samples, at which the end of the history is most like what came before it.
fn find_pitch(history: &[i16], rate: Rate) -> usize {
    let (shortest, longest) = (rate.samples(PITCH_MS_MIN), rate.samples(PITCH_MS_MAX));
    let compared = &history[history.len() - rate.samples(COMPARED_MS)..];
    let step = (rate.hz() as usize / COARSE_HZ).max(1);
    let coarse = best_lag(history, compared, (shortest..=longest).step_by(step), step);
    let (from, to) = (coarse.saturating_sub(step).max(shortest), (coarse + step).min(longest));
    best_lag(history, compared, from..=to, 1)
}

/// The lag with the highest normalised correlation, looking at every `step`th sample.
fn best_lag(
    history: &[i16],
    compared: &[i16],
    lags: impl Iterator<Item = usize>,
    step: usize,
) -> usize {
    let start = history.len() - compared.len();
    let score = |lag: usize| {
        let earlier = &history[start - lag..][..compared.len()];
        let (mut product, mut energy) = (0.0, 1.0);
        for (a, b) in compared.iter().zip(earlier).step_by(step) {
            let (a, b) = (f32::from(*a), f32::from(*b));
            product += a * b;
            energy += b * b;
        }
        product / energy.sqrt()
    };
    let mut best = (f32::MIN, 1);
    for lag in lags {
        let score = score(lag);
        if score > best.0 {
            best = (score, lag);
        }
    }
    best.1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Random, Signal, rms, snr_db};

    const RATES: [Rate; 3] = [Rate::Khz8, Rate::Khz16, Rate::Khz48];

    /// Passes a stream with some frames lost.
    fn through(rate: Rate, pcm: &[i16], is_lost: impl Fn(usize) -> bool) -> Vec<i16> {
        let mut concealer = Concealer::new(rate);
        let mut heard = pcm.to_vec();
        for (number, frame) in heard.chunks_exact_mut(rate.frame_samples()).enumerate() {
            if is_lost(number) {
                concealer.conceal(frame);
            } else {
                concealer.handle_frame(frame);
            }
        }
        heard
    }

    #[test]
    fn a_lost_frame_of_a_steady_voice_is_guessed_closely_at_any_pitch() {
        for rate in RATES {
            for hz in [70.0, 95.0, 123.0, 180.0, 240.0, 330.0] {
                let pcm = Signal::rate(rate.hz()).voice(hz, 9_000.0).seconds(1.0);
                let heard = through(rate, &pcm, |frame| frame % 10 == 9);
                let frame = rate.frame_samples();
                for lost in (9..50).step_by(10) {
                    // The first half: later it fades on purpose.
                    let range = lost * frame..lost * frame + frame / 2;
                    let snr = snr_db(&pcm[range.clone()], &heard[range]);
                    assert!(snr > 8.0, "{rate:?} {hz} Hz frame {lost}: {snr} dB");
                }
            }
        }
    }

    #[test]
    fn a_whole_loss_is_nearer_to_the_voice_than_silence_is() {
        for rate in RATES {
            let pcm = Signal::rate(rate.hz()).voice(110.0, 9_000.0).noise(200.0, 1).seconds(1.0);
            let heard = through(rate, &pcm, |frame| frame % 10 == 9);
            let frame = rate.frame_samples();
            let range = frame * 9..frame * 10;
            assert!(snr_db(&pcm[range.clone()], &heard[range]) > 6.0, "{rate:?}");
        }
    }

    #[test]
    fn a_long_loss_fades_and_is_silent_after_60_ms() {
        for rate in RATES {
            let pcm = Signal::rate(rate.hz()).voice(110.0, 9_000.0).seconds(1.0);
            let heard = through(rate, &pcm, |frame| frame >= 25);
            let lost = &heard[25 * rate.frame_samples()..];
            let level = |ms: u32| rms(&lost[rate.samples(ms)..rate.samples(ms + 10)]);
            let levels = [0, 10, 20, 30, 40, 50].map(level);
            assert!(levels.is_sorted_by(|a, b| *a > *b * 0.95), "{rate:?}: {levels:?}");
            assert!(levels[0] > 0.7 * rms(&pcm), "{rate:?}: {levels:?}");
            assert!(lost[rate.samples(60)..].iter().all(|sample| *sample == 0));
        }
    }

    #[test]
    fn no_seam_clicks() {
        for rate in RATES {
            let pcm = Signal::rate(rate.hz()).voice(137.0, 9_000.0).seconds(2.0);
            let steepest = |pcm: &[i16]| {
                pcm.windows(2).map(|pair| (i32::from(pair[1]) - i32::from(pair[0])).abs()).max()
            };
            let natural = steepest(&pcm).unwrap();
            for burst in 1..4 {
                let heard = through(rate, &pcm, |frame| frame % 20 >= 20 - burst);
                let found = steepest(&heard).unwrap();
                assert!(f64::from(found) < 1.3 * f64::from(natural), "{rate:?} {found} {natural}");
            }
        }
    }

    #[test]
    fn what_arrives_is_untouched_but_for_the_blend() {
        let pcm = Signal::rate(8_000).noise(9_000.0, 3).seconds(1.0);
        assert!(through(Rate::Khz8, &pcm, |_| false) == pcm);
        let heard = through(Rate::Khz8, &pcm, |frame| frame == 10);
        assert!(heard[..1_600] == pcm[..1_600]);
        assert!(heard[11 * 160 + 80..] == pcm[11 * 160 + 80..]);
    }

    #[test]
    fn silence_stays_silent_and_a_loss_before_any_frame_is_silence() {
        let pcm = [0; 8_000];
        assert!(through(Rate::Khz8, &pcm, |frame| frame % 3 == 0) == pcm);
    }

    #[test]
    fn frames_of_any_length_pass() {
        let mut random = Random::new(5);
        for rate in RATES {
            let mut concealer = Concealer::new(rate);
            for _ in 0..2_000 {
                let samples = random.next() as usize % rate.samples(120);
                let mut pcm: Vec<i16> = (0..samples).map(|_| random.next() as i16).collect();
                if random.next().is_multiple_of(2) {
                    concealer.handle_frame(&mut pcm);
                } else {
                    concealer.conceal(&mut pcm);
                }
            }
        }
    }
}
