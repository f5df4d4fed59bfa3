//! What every codec must do, over all codecs and rates.

use super::*;
use crate::frame::{FRAME_MS, FRAME_SAMPLES_MAX, PAYLOAD_BYTES_MAX};
use crate::testing::{Random, Signal, correlation, rms};

const RATES: [Rate; 3] = [Rate::Khz8, Rate::Khz16, Rate::Khz48];

/// One stream through an encoder and a decoder, frame by frame, every `lose`th one lost.
fn through(kind: CodecKind, rate: Rate, pcm: &[i16], lose: usize) -> Vec<i16> {
    let mut encoder = Encoder::new(kind, rate).unwrap();
    let mut decoder = Decoder::new(kind, rate).unwrap();
    let mut payload = [0; PAYLOAD_BYTES_MAX];
    let mut heard = Vec::new();
    for (number, frame) in pcm.chunks_exact(rate.frame_samples()).enumerate() {
        let bytes = encoder.encode(frame, &mut payload).unwrap();
        let mut out = vec![0; rate.frame_samples()];
        if lose > 0 && number % lose == lose - 1 {
            decoder.conceal(&mut out);
        } else {
            assert_eq!(decoder.decode(&payload[..bytes], &mut out), Ok(out.len()));
        }
        heard.extend(out);
    }
    heard
}

/// The best correlation over the delays that filters and look-ahead may cause.
fn best_correlation(sent: &[i16], heard: &[i16], rate: Rate) -> f64 {
    let window = rate.samples(400);
    let sent = &sent[rate.samples(200)..][..window];
    (0..rate.samples(20))
        .map(|delay| correlation(sent, &heard[rate.samples(200) + delay..][..window]))
        .fold(-1.0, f64::max)
}

#[test]
fn a_voice_survives_every_codec_at_every_rate() {
    for kind in CodecKind::ALL {
        for rate in RATES {
            let pcm = Signal::rate(rate.hz()).voice(140.0, 9_000.0).seconds(1.0);
            let heard = through(kind, rate, &pcm, 0);
            let alike = best_correlation(&pcm, &heard, rate);
            // Opus keeps what is heard, not the wave; filters delay by half samples, too.
            let least = if kind == CodecKind::Opus { 0.9 } else { 0.94 };
            assert!(alike > least, "{kind} at {rate:?}: {alike}");
            let level = rms(&heard[rate.samples(200)..]) / rms(&pcm);
            assert!((0.85..1.15).contains(&level), "{kind} at {rate:?}: {level}");
        }
    }
}

#[test]
fn lost_frames_sound_like_the_voice() {
    for kind in CodecKind::ALL {
        for rate in RATES {
            let pcm = Signal::rate(rate.hz()).voice(140.0, 9_000.0).seconds(1.0);
            let whole = through(kind, rate, &pcm, 0);
            let lossy = through(kind, rate, &pcm, 10);
            // The delay of codec and filters is in both, so they compare directly.
            for lost in [19, 29, 39] {
                let range = lost * rate.frame_samples()..(lost + 1) * rate.frame_samples();
                let alike = correlation(&whole[range.clone()], &lossy[range.clone()]);
                // libopus keeps the spectrum and lets the phase wander.
                assert!(alike > 0.8 || kind == CodecKind::Opus, "{kind} {rate:?} {lost}: {alike}");
                let level = rms(&lossy[range.clone()]) / rms(&whole[range]);
                assert!((0.4..1.3).contains(&level), "{kind} at {rate:?} frame {lost}: {level}");
            }
        }
    }
}

#[test]
fn opus_recovers_a_lost_frame_from_the_next() {
    // Speech that changes each frame, so that concealment alone must guess wrong.
    let rate = Rate::Khz16;
    let pcm = Signal::rate(16_000).sweep(200.0, 2_500.0, 9_000.0).seconds(2.0);
    let mut encoder = Encoder::new(CodecKind::Opus, rate).unwrap();
    let packets: Vec<Vec<u8>> = pcm
        .chunks_exact(320)
        .map(|frame| {
            let mut payload = [0; PAYLOAD_BYTES_MAX];
            let bytes = encoder.encode(frame, &mut payload).unwrap();
            payload[..bytes].to_vec()
        })
        .collect();
    let hear = |with_next: bool| {
        let mut decoder = Decoder::new(CodecKind::Opus, rate).unwrap();
        let mut heard = Vec::new();
        for (number, packet) in packets.iter().enumerate() {
            let mut out = [0; 320];
            if number % 5 == 4 {
                let next = packets.get(number + 1).filter(|_| with_next).map(Vec::as_slice);
                decoder.recover(next, &mut out);
            } else {
                decoder.decode(packet, &mut out).unwrap();
            }
            heard.extend(out);
        }
        best_correlation(&pcm, &heard, rate)
    };
    let (concealed, recovered) = (hear(false), hear(true));
    assert!(recovered > 0.9 && recovered > concealed, "{recovered} {concealed}");
}

#[test]
fn any_bytes_decode_or_are_refused() {
    let mut random = Random::new(23);
    for kind in CodecKind::ALL {
        for rate in RATES {
            let mut decoder = Decoder::new(kind, rate).unwrap();
            let mut pcm = [0; FRAME_SAMPLES_MAX];
            for _ in 0..300 {
                let payload: Vec<u8> =
                    (0..random.next() % 1_500).map(|_| random.next() as u8).collect();
                match decoder.decode(&payload, &mut pcm) {
                    Ok(samples) => assert!(samples <= rate.samples(FRAME_MS_MAX)),
                    Err(DecodeError::Empty) => assert!(payload.is_empty()),
                    Err(DecodeError::TooLong { samples, samples_max }) => {
                        assert!(samples > samples_max);
                    }
                    Err(DecodeError::Corrupt) => assert_eq!(kind, CodecKind::Opus),
                }
            }
        }
    }
}

#[test]
fn a_short_buffer_is_never_overrun() {
    for kind in CodecKind::ALL {
        let mut encoder = Encoder::new(kind, Rate::Khz8).unwrap();
        let pcm = Signal::rate(8_000).voice(140.0, 9_000.0).seconds(0.02);
        let mut payload = [0; PAYLOAD_BYTES_MAX];
        let bytes = encoder.encode(&pcm, &mut payload).unwrap();
        let mut decoder = Decoder::new(kind, Rate::Khz8).unwrap();
        assert_eq!(
            decoder.decode(&payload[..bytes], &mut [0; 100]),
            Err(DecodeError::TooLong { samples: 160, samples_max: 100 })
        );
        if let Some(bytes) = kind.payload_bytes(FRAME_MS) {
            assert_eq!(
                encoder.encode(&pcm, &mut [0; 10]),
                Err(CodecError::Overflow { bytes, bytes_max: 10 })
            );
        }
    }
}

#[test]
fn rfc3551_names_types_and_clocks() {
    assert_eq!(CodecKind::from_static_payload_type(9), Some(CodecKind::G722));
    assert_eq!(CodecKind::from_static_payload_type(96), None);
    assert_eq!(CodecKind::from_encoding_name("OPUS"), Some(CodecKind::Opus));
    assert_eq!(CodecKind::from_encoding_name("G729"), None);
    assert_eq!(CodecKind::G722.rtp_timestamp_step(20), 160);
    assert_eq!(CodecKind::Opus.rtp_timestamp_step(20), 960);
}
