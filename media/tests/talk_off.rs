//! Talk-off: minutes of speech by espeak-ng, in many voices, must hold no digit.
//!
//! Needs `espeak-ng` on the path, which the node needs for its prompts anyway.

use std::process::Command;
use tandem_media::codec::g711;
use tandem_media::dtmf::{Digit, DtmfDetector};
use tandem_media::frame::Rate;
use tandem_media::wav;

const TEXTS: [(&str, &str); 5] = [
    (
        "en-us",
        "Welcome to the service line. For sales, press one. For support, press two. Otherwise \
         please hold the line, and one of our agents will be with you as soon as possible. Your \
         call may be recorded. Please leave a message after the tone. Seven, eight, nine, zero.",
    ),
    (
        "en-gb",
        "Oh no, you know I only owe you a few euros. Who knew? He moved through the blue room, \
         humming an old tune, and nobody would ever lure him away from the loom by the moor.",
    ),
    (
        "cmn-latn-pinyin",
        "huan1 ying2 zhi4 dian4 ke4 hu4 fu2 wu4 zhong1 xin1. pu3 tong1 hua4 qing3 an4 yi1. ren2 \
         gong1 fu2 wu4 qing3 an4 ling2. nin2 hao3, qing3 shao1 deng3, wei4 nin2 zhuan3 jie1.",
    ),
    (
        "de",
        "Willkommen bei unserem Kundendienst. Für eine neue Bestellung drücken Sie bitte die \
         Eins, für eine Störung die Zwei. Alle Leitungen sind zur Zeit belegt, bitte warten Sie.",
    ),
    // Letters spelled in a high Japanese voice: harmonics 3 and 4 of 310 Hz, 4 and 5 of 240 Hz.
    (
        "ja",
        "Alo, alo, alo. Eee, ooo, uuu, aaa, iii. Leo, Mia and Zoe are humming, mooing, cooing and \
         oohing. Who knew you two would do the blues review in June? Uno, due, tre, quattro.",
    ),
];

fn speech(voice: &str, pitch: u32, words_a_minute: u32, text: &str) -> Vec<i16> {
    let output = Command::new("espeak-ng")
        .args([
            "--stdout",
            "-v",
            voice,
            "-p",
            &pitch.to_string(),
            "-s",
            &words_a_minute.to_string(),
        ])
        .arg(text)
        .output()
        .expect("espeak-ng is installed");
    assert!(output.status.success(), "espeak-ng: {output:?}");
    let audio = wav::read(&output.stdout).expect("espeak-ng writes WAV");
    audio.to_mono(Rate::Khz8).expect("22,050 Hz is converted")
}

#[test]
fn speech_in_many_voices_holds_no_digit() {
    let mut seconds = 0;
    for (language, text) in TEXTS {
        for variant in ["", "+f1", "+f4", "+m3", "+m7"] {
            for (pitch, words_a_minute) in [(20, 140), (60, 170), (99, 200)] {
                let voice = format!("{language}{variant}");
                let pcm = speech(&voice, pitch, words_a_minute, text);
                seconds += pcm.len() / 8_000;
                for gain in [0.25, 2.0] {
                    let digits = digits_in(&pcm, gain);
                    assert_eq!(digits, [], "{voice} pitch {pitch} gain {gain}");
                }
            }
        }
    }
    assert!(seconds > 600, "only {seconds} s were spoken");
}

fn digits_in(pcm: &[i16], gain: f32) -> Vec<Digit> {
    let mut detector = DtmfDetector::new();
    let mut digits = Vec::new();
    for frame in pcm.chunks(160) {
        let line: Vec<i16> = frame
            .iter()
            .map(|sample| g711::alaw_decode(g711::alaw_encode((f32::from(*sample) * gain) as i16)))
            .collect();
        detector.handle_pcm(&line);
        digits.extend(std::iter::from_fn(|| detector.poll_digit()));
    }
    digits
}
