//! G.722 at 64 kbit/s: two bands of adaptive differential PCM, 16 kHz wide.
//!
//! Each payload byte holds two samples: 6 bits of the lower band, 2 of the higher (mode 1 of
//! ITU-T G.722 §1.2). The blocks keep the names of the recommendation's §6. Integer
//! arithmetic throughout, so both ends stay in step bit by bit.

/// The impulse response of the quadrature mirror filters (G.722 table 11), every second
/// coefficient; the other half is the same backwards.
const QMF: [i32; 12] = [3, -11, 12, 32, -210, 951, 3876, -805, 362, -156, 53, -11];
/// The history of each half of a quadrature mirror filter.
const QMF_TAPS: usize = QMF.len();

/// Decision levels of the lower band's quantizer (Q6, table 14).
const DECISIONS_LOW: [i32; 29] = [
    35, 72, 110, 150, 190, 233, 276, 323, 370, 422, 473, 530, 587, 650, 714, 786, 858, 940, 1023,
    1121, 1219, 1339, 1458, 1612, 1765, 1980, 2195, 2557, 2919,
];
/// The decision level of the higher band's quantizer (Q2).
const DECISION_HIGH: i32 = 564;
/// Output values of the quantizers with 2, 4 and 6 bits (QQ2, QQ4, QQ6), by code.
const LEVELS_2: [i32; 4] = [-7408, -1616, 7408, 1616];
const LEVELS_4: [i32; 16] = [
    0, -20456, -12896, -8968, -6288, -4240, -2584, -1200, 20456, 12896, 8968, 6288, 4240, 2584,
    1200, 0,
];
const LEVELS_6: [i32; 64] = [
    -136, -136, -136, -136, -24808, -21904, -19008, -16704, -14984, -13512, -12280, -11192, -10232,
    -9360, -8576, -7856, -7192, -6576, -6000, -5456, -4944, -4464, -4008, -3576, -3168, -2776,
    -2400, -2032, -1688, -1360, -1040, -728, 24808, 21904, 19008, 16704, 14984, 13512, 12280,
    11192, 10232, 9360, 8576, 7856, 7192, 6576, 6000, 5456, 4944, 4464, 4008, 3576, 3168, 2776,
    2400, 2032, 1688, 1360, 1040, 728, 432, 136, -432, -136,
];
/// How a code moves the logarithmic step size: the lower band by its upper 4 bits (WL after
/// RL42), the higher by its 2 (WH after RH2).
const MOVES_LOW: [i32; 16] =
    [-60, 3042, 1198, 538, 334, 172, 58, -30, 3042, 1198, 538, 334, 172, 58, -30, -60];
const MOVES_HIGH: [i32; 4] = [798, -214, 798, -214];
/// The antilogarithm of the step size within an octave (ILB).
const ANTILOG: [i32; 32] = [
    2048, 2093, 2139, 2186, 2233, 2282, 2332, 2383, 2435, 2489, 2543, 2599, 2656, 2714, 2774, 2834,
    2896, 2960, 3025, 3091, 3158, 3228, 3298, 3371, 3444, 3520, 3597, 3676, 3756, 3838, 3922, 4008,
];

/// One direction of a stream, PCM in.
#[derive(Clone, Debug)]
pub struct Encoder {
    early: [i32; QMF_TAPS],
    late: [i32; QMF_TAPS],
    low: Band,
    high: Band,
}

impl Default for Encoder {
    fn default() -> Self {
        Self { early: [0; QMF_TAPS], late: [0; QMF_TAPS], low: Band::low(), high: Band::high() }
    }
}

impl Encoder {
    /// Encodes pairs of 16 kHz samples into a byte each; returns the bytes written. A sample
    /// without a partner, or without room for its byte, is left.
    pub fn encode(&mut self, pcm: &[i16], payload: &mut [u8]) -> usize {
        let mut written = 0;
        for (pair, byte) in pcm.chunks_exact(2).zip(payload) {
            *byte = self.encode_pair(i32::from(pair[0]), i32::from(pair[1]));
            written += 1;
        }
        written
    }

    fn encode_pair(&mut self, early: i32, late: i32) -> u8 {
        push(&mut self.early, early);
        push(&mut self.late, late);
        let odd = dot(&self.early, QMF);
        let even = dot_reversed(&self.late, QMF);
        let low = self.low.quantize_low((even + odd) >> 14);
        let high = self.high.quantize_high((even - odd) >> 14);
        (high << 6 | low) as u8
    }
}

/// One direction of a stream, PCM out.
#[derive(Clone, Debug)]
pub struct Decoder {
    sums: [i32; QMF_TAPS],
    differences: [i32; QMF_TAPS],
    low: Band,
    high: Band,
}

impl Default for Decoder {
    fn default() -> Self {
        Self {
            sums: [0; QMF_TAPS],
            differences: [0; QMF_TAPS],
            low: Band::low(),
            high: Band::high(),
        }
    }
}

impl Decoder {
    /// Decodes each byte into two 16 kHz samples; returns the samples written. Bytes without
    /// room for their samples are left.
    pub fn decode(&mut self, payload: &[u8], pcm: &mut [i16]) -> usize {
        let mut written = 0;
        for (byte, pair) in payload.iter().zip(pcm.chunks_exact_mut(2)) {
            let (early, late) = self.decode_byte(*byte);
            pair.copy_from_slice(&[early, late]);
            written += 2;
        }
        written
    }

    fn decode_byte(&mut self, code: u8) -> (i16, i16) {
        let low_code = usize::from(code & 0x3F);
        let high_code = usize::from(code >> 6);
        let fine = (self.low.step * LEVELS_6[low_code]) >> 15;
        let low = (self.low.estimate + fine).clamp(-16_384, 16_383);
        self.low.adapt_low(low_code >> 2);
        let coarse = (self.high.step * LEVELS_2[high_code]) >> 15;
        let high = (self.high.estimate + coarse).clamp(-16_384, 16_383);
        self.high.adapt_high(high_code);

        push(&mut self.sums, low + high);
        push(&mut self.differences, low - high);
        let early = dot_reversed(&self.differences, QMF) >> 11;
        let late = dot(&self.sums, QMF) >> 11;
        (crate::frame::saturate(early), crate::frame::saturate(late))
    }
}

/// The adaptive predictor and quantizer step of one band.
#[derive(Clone, Debug, Default)]
struct Band {
    /// The quantizer's step (DET) and its logarithm (NB).
    step: i32,
    step_log: i32,
    /// What the predictor expects next (S), and its part from the zeros (SZ).
    estimate: i32,
    zeros: i32,
    /// The pole section: coefficients (A), past outputs (R) and past partial sums (P).
    poles: [i32; 2],
    outputs: [i32; 2],
    partials: [i32; 2],
    /// The zero section: coefficients (B) and past differences (D).
    zero_weights: [i32; 6],
    differences: [i32; 6],
}

impl Band {
    /// The reset state of §6.2.1.2.3: DETL is 32.
    fn low() -> Self {
        Self { step: 32, ..Self::default() }
    }

    /// The reset state: DETH is 8.
    fn high() -> Self {
        Self { step: 8, ..Self::default() }
    }

    /// SUBTRA, QUANTL: the 6-bit code of a sample, then adaptation to it.
    fn quantize_low(&mut self, sample: i32) -> usize {
        let error = limit(sample - self.estimate);
        let magnitude = if error < 0 { !error } else { error };
        let interval =
            DECISIONS_LOW.partition_point(|&level| (level * self.step) >> 12 <= magnitude);
        // The codes count down from the outermost interval; the two innermost negative ones
        // are 63 and 62, so that 000000 to 000011 never go on the line (table 15).
        let code = match (error < 0, interval) {
            (true, 0 | 1) => 63 - interval,
            (true, _) => 33 - interval,
            (false, _) => 61 - interval,
        };
        self.adapt_low(code >> 2);
        code
    }

    /// SUBTRA, QUANTH: the 2-bit code of a sample, then adaptation to it.
    fn quantize_high(&mut self, sample: i32) -> usize {
        let error = limit(sample - self.estimate);
        let magnitude = if error < 0 { !error } else { error };
        let is_outer = magnitude >= (DECISION_HIGH * self.step) >> 12;
        let code = match (error < 0, is_outer) {
            (true, true) => 0,
            (true, false) => 1,
            (false, true) => 2,
            (false, false) => 3,
        };
        self.adapt_high(code);
        code
    }

    /// INVQAL, LOGSCL, SCALEL and the predictor, for the upper 4 bits of a lower band's code.
    fn adapt_low(&mut self, code: usize) {
        let difference = (self.step * LEVELS_4[code]) >> 15;
        self.step_log = (((self.step_log * 127) >> 7) + MOVES_LOW[code]).clamp(0, 18_432);
        self.step = antilog(self.step_log, 8);
        self.predict(difference);
    }

    /// INVQAH, LOGSCH, SCALEH and the predictor, for a higher band's code.
    fn adapt_high(&mut self, code: usize) {
        let difference = (self.step * LEVELS_2[code]) >> 15;
        self.step_log = (((self.step_log * 127) >> 7) + MOVES_HIGH[code]).clamp(0, 22_528);
        self.step = antilog(self.step_log, 10);
        self.predict(difference);
    }

    /// Block 4: adapts the predictor to a quantized difference and predicts the next sample.
    fn predict(&mut self, difference: i32) {
        let output = limit(self.estimate + difference); // RECONS
        let partial = limit(self.zeros + difference); // PARREC
        self.adapt_poles(partial);
        self.adapt_zeros(difference);

        self.outputs = [output, self.outputs[0]];
        self.partials = [partial, self.partials[0]];
        // FILTEP: the outputs are doubled, since the weights have 14 fractional bits.
        let poles = limit(
            self.poles
                .iter()
                .zip(&self.outputs)
                .map(|(weight, output)| (weight * limit(output * 2)) >> 15)
                .sum(),
        );
        // FILTEZ
        self.zeros = limit(
            self.zero_weights
                .iter()
                .zip(&self.differences)
                .map(|(weight, difference)| (weight * limit(difference * 2)) >> 15)
                .sum(),
        );
        self.estimate = limit(poles + self.zeros); // PREDIC
    }

    /// UPPOL2, then UPPOL1, whose bound depends on it.
    fn adapt_poles(&mut self, partial: i32) {
        let [same_1, same_2] = self.partials.map(|past| (past < 0) == (partial < 0));
        let turned = limit(self.poles[0] * 4);
        let turned = if same_1 { limit(-turned) } else { turned };
        let second =
            (turned >> 7) + if same_2 { 128 } else { -128 } + ((self.poles[1] * 32_512) >> 15);
        let second = second.clamp(-12_288, 12_288);
        let first = limit(if same_1 { 192 } else { -192 } + ((self.poles[0] * 32_640) >> 15));
        let bound = limit(15_360 - second);
        self.poles = [first.clamp(-bound, bound), second];
    }

    /// UPZERO and DELAYA.
    fn adapt_zeros(&mut self, difference: i32) {
        let gain = if difference == 0 { 0 } else { 128 };
        for (weight, past) in self.zero_weights.iter_mut().zip(&self.differences) {
            let same = (*past < 0) == (difference < 0);
            *weight = limit(if same { gain } else { -gain } + ((*weight * 32_640) >> 15));
        }
        push_front(&mut self.differences, difference);
    }
}

/// SCALEL, SCALEH: the step for its logarithm.
fn antilog(log: i32, shift: i32) -> i32 {
    let mantissa = ANTILOG[(log >> 6 & 31) as usize];
    let shift = shift - (log >> 11);
    (if shift < 0 { mantissa << -shift } else { mantissa >> shift }) << 2
}

/// The saturation of all 16-bit operations of the recommendation.
fn limit(value: i32) -> i32 {
    value.clamp(-32_768, 32_767)
}

fn push(history: &mut [i32; QMF_TAPS], value: i32) {
    history.copy_within(1.., 0);
    history[QMF_TAPS - 1] = value;
}

fn push_front(history: &mut [i32; 6], value: i32) {
    history.copy_within(..5, 1);
    history[0] = value;
}

fn dot(history: &[i32; QMF_TAPS], weights: [i32; QMF_TAPS]) -> i32 {
    history.iter().zip(weights).map(|(value, weight)| value * weight).sum()
}

fn dot_reversed(history: &[i32; QMF_TAPS], weights: [i32; QMF_TAPS]) -> i32 {
    history.iter().zip(weights.iter().rev()).map(|(value, weight)| value * weight).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Signal, snr_db};
    use ezk_g722::libg722::{Bitrate, decoder, encoder};

    /// The oracle starts with steps of zero, against §6.2.1.2.3; both then agree on all else.
    fn as_the_oracle_starts(low: &mut Band, high: &mut Band) {
        (low.step, high.step) = (0, 0);
    }

    #[test]
    fn the_encoder_agrees_with_another_implementation_bit_by_bit() {
        for (name, pcm) in Signal::zoo_16k() {
            let mut ours = Encoder::default();
            as_the_oracle_starts(&mut ours.low, &mut ours.high);
            let mut payload = vec![0; pcm.len() / 2];
            assert_eq!(ours.encode(&pcm, &mut payload), payload.len());
            let oracle = encoder::Encoder::new(Bitrate::Mode1_64000, false, false).encode(&pcm);
            assert!(payload == oracle, "{name}");
        }
    }

    #[test]
    fn the_decoder_agrees_with_another_implementation_on_any_bytes() {
        let mut random = crate::testing::Random::new(7);
        let payload: Vec<u8> = (0..100_000).map(|_| random.next() as u8).collect();
        let mut ours = Decoder::default();
        as_the_oracle_starts(&mut ours.low, &mut ours.high);
        let mut pcm = vec![0; payload.len() * 2];
        assert_eq!(ours.decode(&payload, &mut pcm), pcm.len());
        let oracle = decoder::Decoder::new(Bitrate::Mode1_64000, false, false).decode(&payload);
        assert!(pcm == oracle);
    }

    #[test]
    fn wide_band_audio_survives_a_round_trip() {
        let pcm = Signal::rate(16_000).tone(440.0, 6_000.0).tone(5_500.0, 3_000.0).seconds(1.0);
        let mut payload = vec![0; pcm.len() / 2];
        Encoder::default().encode(&pcm, &mut payload);
        let mut heard = vec![0; pcm.len()];
        Decoder::default().decode(&payload, &mut heard);
        // The two filters delay by 22 samples (§4).
        assert!(snr_db(&pcm[1_000..15_000], &heard[1_022..15_022]) > 15.0);
    }

    #[test]
    fn a_short_buffer_is_filled_and_no_more() {
        let mut payload = [0; 3];
        assert_eq!(Encoder::default().encode(&[1; 100], &mut payload), 3);
        let mut pcm = [0; 5];
        assert_eq!(Decoder::default().decode(&[0xFA; 100], &mut pcm), 4);
    }
}
