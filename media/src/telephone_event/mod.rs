//! DTMF as RTP events, sent and received (RFC 4733).
//!
//! The packets of one key press share a timestamp, and the last of them is sent three times; a
//! [`Listener`] makes one press of them whatever is lost, a [`Keypad`] presses keys. Tones in
//! the audio are the business of [`crate::dtmf`].

mod keypad;
mod listener;

pub use keypad::{Keypad, Step};
pub use listener::{Listener, Press};

use crate::dtmf::Digit;

/// The bytes of an event's payload (RFC 4733 §2.3).
pub const EVENT_BYTES: usize = 4;

/// The payload of one packet (RFC 4733 §2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// The event code; up to 15 a key.
    pub code: u8,
    /// The key is up again.
    pub end: bool,
    /// How long it has been pressed, in ticks of the stream's clock.
    pub duration: u16,
}

impl Event {
    /// Reads a payload; more than one event in it (RFC 4733 §2.6 forbids that for DTMF) counts
    /// as the first.
    pub fn read(payload: &[u8]) -> Option<Self> {
        let [code, flags, high, low] = *payload.first_chunk::<EVENT_BYTES>()?;
        Some(Self { code, end: flags & 0x80 != 0, duration: u16::from_be_bytes([high, low]) })
    }

    /// Writes the payload, at −10 dBm0, the level of a telephone's keys (RFC 4733 §2.3.4).
    pub fn write(&self) -> [u8; EVENT_BYTES] {
        let [high, low] = self.duration.to_be_bytes();
        [self.code, u8::from(self.end) << 7 | 10, high, low]
    }

    /// The key, if the event is one.
    pub fn key(&self) -> Option<char> {
        Digit::from_event_code(self.code).map(Digit::as_char)
    }
}
