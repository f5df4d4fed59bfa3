//! What callers hear that no flow names: music on hold and the tone of a far phone.
//!
//! Owns the melody that is played where no music is configured. It is made here, note by note, so
//! a node without a single sound file is a complete call centre.

use std::path::Path;

use anyhow::Context as _;
use tandem_media::clip::Clip;
use tandem_media::tone::{Country, Signal};

use crate::config::Config;

/// Samples of a second of a clip.
const RATE: f64 = 8_000.0;

/// Quarter notes of the melody, a pentatonic round in D: Hz, and length in quarters.
const MELODY: [(f64, f64); 16] = [
    (293.66, 1.0),
    (369.99, 1.0),
    (440.00, 1.0),
    (493.88, 1.0),
    (587.33, 2.0),
    (493.88, 1.0),
    (440.00, 1.0),
    (369.99, 1.0),
    (440.00, 1.0),
    (369.99, 1.0),
    (329.63, 1.0),
    (293.66, 2.0),
    (246.94, 1.0),
    (293.66, 1.0),
    (220.00, 1.0),
    (293.66, 3.0),
];

/// Seconds of a quarter note.
const QUARTER: f64 = 0.42;

/// Loudness of the melody: −20 dBm0, below speech, since one listens to it for minutes.
const AMPLITUDE: f64 = 2_000.0;

/// The music of the configuration, or the melody.
///
/// # Errors
/// The file cannot be read or is not audio.
pub fn music(config: &Config) -> anyhow::Result<Clip> {
    match &config.media.music {
        Some(file) => read_music(&config.input(file)),
        None => Clip::from_pcm(&melody()).context("the melody is a clip"),
    }
}

/// The tone of a phone that rings far away.
pub fn ringback() -> Clip {
    Clip::from_tone(Signal::Ringback, Country::Cn)
}

fn read_music(file: &Path) -> anyhow::Result<Clip> {
    let bytes = std::fs::read(file)
        .with_context(|| format!("the music {} cannot be read", file.display()))?;
    Clip::from_wav(&bytes).with_context(|| format!("the music {} cannot be played", file.display()))
}

/// Plucked notes: a sine with two overtones that fades, so that notes do not click.
fn melody() -> Vec<i16> {
    let mut pcm = Vec::new();
    for (hertz, quarters) in MELODY {
        let seconds = quarters * QUARTER;
        let samples = (seconds * RATE) as usize;
        pcm.extend((0..samples).map(|at| {
            let time = at as f64 / RATE;
            let wave = |overtone: f64| (std::f64::consts::TAU * hertz * overtone * time).sin();
            let tone = wave(1.0) + 0.3 * wave(2.0) + 0.1 * wave(3.0);
            let attack = (time / 0.01).min(1.0);
            let release = ((seconds - time) / 0.03).clamp(0.0, 1.0);
            (AMPLITUDE * tone * attack * release * (-1.5 * time).exp()) as i16
        }));
    }
    pcm
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_melody_is_quiet_and_goes_round_without_a_click() {
        let pcm = melody();
        let loudest = pcm.iter().map(|sample| sample.unsigned_abs()).max().unwrap();
        assert!((1_000..4_000).contains(&loudest), "{loudest}");
        assert!(pcm.windows(2).all(|pair| (i32::from(pair[0]) - i32::from(pair[1])).abs() < 2_500));
        assert_eq!((pcm[0], pcm[pcm.len() - 1]), (0, 0));
    }
}
