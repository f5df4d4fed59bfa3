//! What the parties say and hear: frames that name their speaker, and the memory of arrivals.
//!
//! A frame of a party is G.711 µ-law whose first bytes are the party and a counter, so that a
//! relay within one codec brings it unchanged and each frame is known again at the other end.
//! What a node plays is a tone that rises with its position (see [`pitch_at`]), so that a prompt
//! says where it is.

use std::time::Instant;

use tandem_media::codec::g711::{ulaw_decode, ulaw_encode};
use tandem_media::rtp::{HEADER_BYTES, Header, Packet};
use tandem_media::telephone_event::{Keypad, Step};

/// Samples, and bytes of G.711, in 20 ms.
pub(crate) const FRAME_BYTES: usize = 160;

/// The payload type of keys in our descriptions.
const EVENT_TYPE: u8 = 101;

/// What a marked frame begins with.
const MARK: [u8; 2] = *b"TD";

/// Arrivals that one ear remembers: twelve minutes of 50 a second. Past it the drill is too long
/// to be judged, and says so.
const ARRIVALS_MAX: usize = 36_000;

/// Streams that one ear tells apart; the rest count as the last.
const STREAMS_MAX: usize = 16;

/// Where the rising tone begins and how fast it rises: 120 s stay below 3.3 kHz.
const PITCH_LOW: f64 = 400.0;
const PITCH_RISE: f64 = 24.0;

/// A level below this mean of absolute samples is silence (about −50 dBm0).
const QUIET: u32 = 60;

/// The mouth of a party.
#[derive(Debug)]
pub(crate) struct Mouth {
    party: u16,
    counter: u32,
    header: Header,
    keypad: Keypad,
    press: u32,
}

impl Mouth {
    pub(crate) fn new(party: u16) -> Self {
        let header = Header {
            marker: true,
            payload_type: 0,
            sequence: rand::random(),
            timestamp: rand::random(),
            ssrc: rand::random(),
        };
        Self { party, counter: 0, header, keypad: Keypad::default(), press: 0 }
    }

    /// Presses these keys, from the next frame on.
    pub(crate) fn press(&mut self, keys: &str) {
        self.keypad.press(keys);
    }

    /// The packet of the next 20 ms; nothing in the pause between two keys.
    pub(crate) fn speak(&mut self) -> Option<Vec<u8>> {
        let now = self.header.timestamp;
        self.header.timestamp = now.wrapping_add(FRAME_BYTES as u32);
        let (header, payload) = match self.keypad.step(8_000) {
            Some(Step::Pause) => return None,
            Some(Step::Packet { first, event }) => {
                if first {
                    self.press = now;
                }
                let header = Header {
                    marker: first,
                    payload_type: EVENT_TYPE,
                    timestamp: self.press,
                    ..self.header
                };
                (header, event.write().to_vec())
            }
            None => (Header { timestamp: now, ..self.header }, self.frame()),
        };
        self.header.sequence = self.header.sequence.wrapping_add(1);
        self.header.marker = false;
        let mut head = [0; HEADER_BYTES];
        header.write(&mut head);
        Some([&head[..], &payload].concat())
    }

    fn frame(&mut self) -> Vec<u8> {
        self.counter += 1;
        let mut frame = vec![0; FRAME_BYTES];
        frame[..2].copy_from_slice(&MARK);
        frame[2..4].copy_from_slice(&self.party.to_be_bytes());
        frame[4..8].copy_from_slice(&self.counter.to_be_bytes());
        for (at, byte) in frame.iter_mut().enumerate().skip(8) {
            *byte = if at / 8 % 2 == 0 { ulaw_encode(2_000) } else { ulaw_encode(-2_000) };
        }
        frame
    }
}

/// One frame that arrived.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Arrival {
    pub(crate) at: Instant,
    /// Which of the streams that this ear heard, in their order.
    pub(crate) stream: u8,
    pub(crate) sound: Sound,
}

/// What it was.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Sound {
    /// A frame of this party.
    Mark { party: u16, counter: u32 },
    /// A tone of this many hertz.
    Pitch(f32),
    /// Nothing to be heard.
    Quiet,
}

/// The ear of a party.
#[derive(Debug, Default)]
pub(crate) struct Ear {
    pub(crate) arrivals: Vec<Arrival>,
    /// Arrivals that did not fit.
    pub(crate) forgotten: u32,
    streams: Vec<u32>,
}

impl Ear {
    pub(crate) fn hear(&mut self, datagram: &[u8], at: Instant) {
        let Ok(packet) = Packet::parse(datagram) else { return };
        if packet.header.payload_type != 0 {
            return;
        }
        if self.arrivals.len() == ARRIVALS_MAX {
            self.forgotten += 1;
            return;
        }
        let ssrc = packet.header.ssrc;
        let known = self.streams.iter().position(|stream| *stream == ssrc);
        let stream = known.unwrap_or_else(|| {
            if self.streams.len() < STREAMS_MAX {
                self.streams.push(ssrc);
            }
            self.streams.len() - 1
        });
        let sound = listen(&datagram[packet.payload]);
        self.arrivals.push(Arrival { at, stream: stream as u8, sound });
    }
}

fn listen(payload: &[u8]) -> Sound {
    if let [a, b, p1, p2, c1, c2, c3, c4, ..] = *payload
        && [a, b] == MARK
    {
        let party = u16::from_be_bytes([p1, p2]);
        return Sound::Mark { party, counter: u32::from_be_bytes([c1, c2, c3, c4]) };
    }
    pitch(payload).map_or(Sound::Quiet, Sound::Pitch)
}

/// The frequency of a pure tone, from its first and its last crossing of zero upwards.
fn pitch(payload: &[u8]) -> Option<f32> {
    let pcm: Vec<i16> = payload.iter().map(|code| ulaw_decode(*code)).collect();
    let level: u32 = pcm.iter().map(|sample| u32::from(sample.unsigned_abs())).sum();
    if pcm.is_empty() || level / (pcm.len() as u32) < QUIET {
        return None;
    }
    let mut crossings = pcm.windows(2).enumerate().filter_map(|(at, pair)| {
        let (low, high) = (f32::from(pair[0]), f32::from(pair[1]));
        (low < 0.0 && high >= 0.0).then(|| at as f32 + low / (low - high))
    });
    let first = crossings.next()?;
    let mut periods = 0;
    let mut last = first;
    for crossing in crossings {
        periods += 1;
        last = crossing;
    }
    (periods > 0).then(|| 8_000.0 * periods as f32 / (last - first))
}

/// The frequency of the rising tone at this position.
fn pitch_at(seconds: f64) -> f64 {
    PITCH_LOW + PITCH_RISE * seconds
}

/// Where the rising tone has this frequency, in seconds.
pub(crate) fn position_of(pitch: f32) -> f64 {
    (f64::from(pitch) - PITCH_LOW) / PITCH_RISE
}

/// The rising tone as samples of 8 kHz.
pub(crate) fn rising_tone(seconds: u32) -> Vec<i16> {
    let mut phase = 0.0_f64;
    (0..seconds * 8_000)
        .map(|sample| {
            phase += pitch_at(f64::from(sample) / 8_000.0) / 8_000.0;
            ((phase.fract() * std::f64::consts::TAU).sin() * 8_000.0) as i16
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_of_the_rising_tone_says_where_it_is() {
        let tone = rising_tone(110);
        for seconds in [1, 17, 60, 109] {
            let begin = seconds * 8_000;
            let frame: Vec<u8> =
                tone[begin..begin + FRAME_BYTES].iter().map(|s| ulaw_encode(*s)).collect();
            let found = position_of(pitch(&frame).unwrap());
            assert!((found - seconds as f64).abs() < 0.5, "{seconds} was heard as {found}");
        }
    }

    #[test]
    fn an_ear_knows_speakers_silence_and_streams() {
        let now = Instant::now();
        let mut ear = Ear::default();
        let (mut ana, mut ben) = (Mouth::new(7), Mouth::new(8));
        ear.hear(&ana.speak().unwrap(), now);
        ear.hear(&ben.speak().unwrap(), now);
        let mut silence = ana.speak().unwrap();
        silence[HEADER_BYTES..].fill(0xff);
        ear.hear(&silence, now);
        let heard: Vec<_> = ear.arrivals.iter().map(|a| (a.stream, a.sound)).collect();
        let mark = |party| Sound::Mark { party, counter: 1 };
        assert_eq!(heard, [(0, mark(7)), (1, mark(8)), (0, Sound::Quiet)]);
    }

    #[test]
    fn pressed_keys_are_sent_as_events_and_the_voice_goes_on_behind_them() {
        let mut mouth = Mouth::new(1);
        mouth.press("24");
        let packets: Vec<_> = (0..60).filter_map(|_| mouth.speak()).collect();
        let events = packets.iter().filter(|packet| packet[1] & 0x7f == EVENT_TYPE).count();
        assert!(events > 4, "{events}");
        assert_eq!(packets.last().map(Vec::len), Some(HEADER_BYTES + FRAME_BYTES));
    }
}
