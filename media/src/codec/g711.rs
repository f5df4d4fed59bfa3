//! G.711: µ-law and A-law, by table in both directions.
//!
//! The tables are computed at compile time from the decision values of ITU-T G.711 and
//! checked in the tests against all 256 codes and all 65,536 samples. Samples are 16 bits with
//! the 14 (µ-law) or 13 (A-law) bits of the recommendation on top.

/// The code of silence in µ-law.
pub const ULAW_SILENCE: u8 = 0xFF;
/// The code of silence in A-law.
pub const ALAW_SILENCE: u8 = 0xD5;

/// Added to a µ-law magnitude so that the segments double from a power of two (G.711 table 2).
const ULAW_BIAS: i32 = 0x84;
/// The largest magnitude that µ-law can say; above it the code clips.
const ULAW_CLIP: i32 = 32_635;

static ULAW_TO_PCM: [i16; 256] = decode_table(true);
static ALAW_TO_PCM: [i16; 256] = decode_table(false);
// Two bits of a sample are below the finest step of µ-law, three below that of A-law; one
// table layout serves both.
static PCM_TO_ULAW: [u8; 16_384] = encode_table(true);
static PCM_TO_ALAW: [u8; 16_384] = encode_table(false);

/// The sample of a µ-law code.
pub fn ulaw_decode(code: u8) -> i16 {
    ULAW_TO_PCM[usize::from(code)]
}

/// The µ-law code of a sample.
pub fn ulaw_encode(sample: i16) -> u8 {
    PCM_TO_ULAW[usize::from(sample as u16 >> 2)]
}

/// The sample of an A-law code.
pub fn alaw_decode(code: u8) -> i16 {
    ALAW_TO_PCM[usize::from(code)]
}

/// The A-law code of a sample.
pub fn alaw_encode(sample: i16) -> u8 {
    PCM_TO_ALAW[usize::from(sample as u16 >> 2)]
}

const fn ulaw_expand(code: u8) -> i16 {
    let code = !code;
    let exponent = (code >> 4) & 7;
    let mantissa = (code & 15) as i32;
    let magnitude = (((mantissa << 3) + ULAW_BIAS) << exponent) - ULAW_BIAS;
    if code & 0x80 != 0 { -magnitude as i16 } else { magnitude as i16 }
}

const fn alaw_expand(code: u8) -> i16 {
    let code = code ^ 0x55; // Every second bit is sent inverted (G.711 §2.2).
    let exponent = (code >> 4) & 7;
    let mantissa = (code & 15) as i32;
    let magnitude = match exponent {
        0 => (mantissa << 4) + 8,
        _ => ((mantissa << 4) + 0x108) << (exponent - 1),
    };
    if code & 0x80 != 0 { magnitude as i16 } else { -magnitude as i16 }
}

/// `sample` has 14 bits. A negative one is taken as one's complement, as in the reference
/// software (G.191), so that the two halves of the law mirror each other.
const fn ulaw_compress(sample: i32) -> u8 {
    let (sign, magnitude) = if sample < 0 { (0x80, !sample) } else { (0, sample) };
    let mut biased = (magnitude << 2) + ULAW_BIAS;
    if biased > ULAW_CLIP + ULAW_BIAS {
        biased = ULAW_CLIP + ULAW_BIAS;
    }
    let exponent = biased.ilog2() as i32 - 7;
    let mantissa = (biased >> (exponent + 3)) & 15;
    !(sign | (exponent << 4) as u8 | mantissa as u8)
}

/// `sample` has 14 bits; A-law ignores the lowest two of them.
const fn alaw_compress(sample: i32) -> u8 {
    let (sign, magnitude) = if sample < 0 { (0, !sample >> 2) } else { (0x80, sample >> 2) };
    let code = if magnitude < 16 {
        magnitude
    } else {
        let exponent = magnitude.ilog2() as i32 - 3;
        (exponent << 4) | ((magnitude >> (exponent - 1)) & 15)
    };
    (sign | code as u8) ^ 0x55
}

const fn decode_table(is_ulaw: bool) -> [i16; 256] {
    let mut table = [0; 256];
    let mut code = 0;
    while code < 256 {
        table[code] = if is_ulaw { ulaw_expand(code as u8) } else { alaw_expand(code as u8) };
        code += 1;
    }
    table
}

const fn encode_table(is_ulaw: bool) -> [u8; 16_384] {
    let mut table = [0; 16_384];
    let mut index = 0;
    while index < 16_384 {
        let sample = (((index as u16) << 2) as i16 >> 2) as i32;
        table[index] = if is_ulaw { ulaw_compress(sample) } else { alaw_compress(sample) };
        index += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The decision and output values of one half of a law, from the tables of G.711: segments
    /// of 16 equal steps, each segment's steps twice those of the one before.
    struct Law {
        /// Lower edges of the intervals, ascending; the code's number is the index.
        edges: Vec<i32>,
        /// The output value of each interval: its middle.
        values: Vec<i32>,
    }

    /// Table 2a: first segment with step 2 after a half interval, values ×4 for 16 bits.
    fn ulaw() -> Law {
        let mut edges = vec![0];
        let mut edge = 1;
        for segment in 0..8 {
            let step = 2 << segment;
            // The very first interval is 0..1, half as wide as its neighbours.
            for _ in 0..if segment == 0 { 15 } else { 16 } {
                edges.push(edge);
                edge += step;
            }
        }
        let mut ends = edges[1..].to_vec();
        ends.push(edge);
        let values = edges
            .iter()
            .zip(&ends)
            .map(|(&from, &to)| if from == 0 { 0 } else { (from + to) * 2 })
            .collect();
        Law { edges: edges.iter().map(|edge| edge * 4).collect(), values }
    }

    /// Table 1a: two segments with step 2, then doubling; values ×8 for 16 bits.
    fn alaw() -> Law {
        let (mut edges, mut ends, mut edge) = (Vec::new(), Vec::new(), 0);
        for segment in 0..8 {
            let step = if segment == 0 { 2 } else { 1 << segment };
            for _ in 0..16 {
                edges.push(edge * 8);
                edge += step;
                ends.push(edge * 8);
            }
        }
        let values = edges.iter().zip(&ends).map(|(from, to)| (from + to) / 2).collect();
        Law { edges, values }
    }

    impl Law {
        fn interval(&self, magnitude: i32) -> usize {
            self.edges.partition_point(|&edge| edge <= magnitude) - 1
        }
    }

    #[test]
    fn g711_every_ulaw_code_decodes_to_the_middle_of_its_interval() {
        let law = ulaw();
        for number in 0..128 {
            let value = law.values[number] as i16;
            assert_eq!(ulaw_decode(!(number as u8)), value, "positive {number}");
            assert_eq!(ulaw_decode(!(number as u8 | 0x80)), -value, "negative {number}");
        }
    }

    #[test]
    fn g711_every_alaw_code_decodes_to_the_middle_of_its_interval() {
        let law = alaw();
        for number in 0..128 {
            let value = law.values[number] as i16;
            assert_eq!(alaw_decode((number as u8 | 0x80) ^ 0x55), value, "positive {number}");
            assert_eq!(alaw_decode(number as u8 ^ 0x55), -value, "negative {number}");
        }
    }

    #[test]
    fn g711_every_sample_encodes_to_the_interval_that_holds_it() {
        let (ulaw, alaw) = (ulaw(), alaw());
        for sample in i16::MIN..=i16::MAX {
            let wide = i32::from(sample);
            let (magnitude, negative) = if wide < 0 { (!wide, true) } else { (wide, false) };
            let number = ulaw.interval(magnitude) as u8;
            assert_eq!(ulaw_encode(sample), !(number | if negative { 0x80 } else { 0 }));
            let number = alaw.interval(magnitude) as u8;
            assert_eq!(alaw_encode(sample), (number | if negative { 0 } else { 0x80 }) ^ 0x55);
        }
    }

    #[test]
    fn every_code_survives_a_round_trip() {
        for code in 0..=255 {
            // µ-law's negative zero becomes the positive one: no sample tells them apart.
            let expected = if code == 0x7F { 0xFF } else { code };
            assert_eq!(ulaw_encode(ulaw_decode(code)), expected);
            assert_eq!(alaw_encode(alaw_decode(code)), code);
        }
    }

    #[test]
    fn silence_is_silent() {
        assert_eq!((ulaw_decode(ULAW_SILENCE), ulaw_encode(0)), (0, ULAW_SILENCE));
        assert_eq!((alaw_decode(ALAW_SILENCE), alaw_encode(0)), (8, ALAW_SILENCE));
    }
}
