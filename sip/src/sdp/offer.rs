//! Offers, first and later ones (RFC 3264 §5, §8), and the writing of descriptions.

use std::net::IpAddr;

use super::{
    Capabilities, CodecKind, Direction, Local, SdpError,
    description::{Description, PROFILE},
};

/// The first payload type for DTMF events that we offer; where it is taken, the next free one.
const TELEPHONE_EVENT: u8 = 101;

/// The dynamic payload types (RFC 3551 §3).
const DYNAMIC: std::ops::RangeInclusive<u8> = 96..=127;

/// Makes a first offer: one audio stream with all that we can.
pub fn offer(capabilities: &Capabilities, local: &Local) -> Vec<u8> {
    let formats = Formats::of(capabilities, &[]);
    let mut out = Writer::session(local, "t=0 0\r\n");
    out.audio(local, &formats, capabilities.ptime_ms, local.direction);
    out.text.into_bytes()
}

/// Makes a later offer from what we said last, offer or answer: the same streams in their order,
/// those without us still disabled, and no payload type with another meaning (RFC 3264 §8).
pub fn reoffer(
    last: &[u8],
    capabilities: &Capabilities,
    local: &Local,
) -> Result<Vec<u8>, SdpError> {
    let last = Description::parse(last)?;
    let (audio, stream) = last.audio().ok_or(SdpError::NoAudio)?;
    let taken: Vec<(u8, Meaning)> = stream
        .formats()
        .iter()
        .filter_map(|format| {
            let codec = format.kind().map(Meaning::Codec);
            let meaning = codec.or(format.telephone_event_rate().map(Meaning::Event))?;
            Some((format.payload_type, meaning))
        })
        .collect();
    let formats = Formats::of(capabilities, &taken);
    let mut out = Writer::session(local, "t=0 0\r\n");
    for (at, stream) in last.streams().enumerate() {
        if at == audio {
            out.audio(local, &formats, capabilities.ptime_ms, local.direction);
        } else {
            out.disabled(&stream.media().media, &stream.media().proto, &stream.media().fmt);
        }
    }
    Ok(out.text.into_bytes())
}

/// What a payload type stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Meaning {
    Codec(CodecKind),
    /// DTMF events at this rate.
    Event(u32),
}

/// Payload types with their meanings, in the order of preference.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Formats(pub(super) Vec<(u8, Meaning)>);

impl Formats {
    /// All that we can; what has a payload type already keeps it.
    fn of(capabilities: &Capabilities, taken: &[(u8, Meaning)]) -> Self {
        let mut formats = Self::default();
        for kind in &capabilities.codecs {
            formats.add(Meaning::Codec(*kind), kind.payload_type(), taken);
        }
        if capabilities.telephone_event {
            let mut rates: Vec<u32> = capabilities.codecs.iter().map(|k| k.clock_rate()).collect();
            rates.sort_unstable();
            rates.dedup();
            for rate in rates {
                formats.add(Meaning::Event(rate), TELEPHONE_EVENT, taken);
            }
        }
        formats
    }

    fn add(&mut self, meaning: Meaning, preferred: u8, taken: &[(u8, Meaning)]) {
        let kept = taken.iter().find(|(_, its)| *its == meaning).map(|(number, _)| *number);
        let is_free = |number: &u8| {
            let used = taken.iter().chain(&self.0).any(|(other, _)| other == number);
            !used && !CodecKind::ALL.iter().any(|kind| kind.payload_type() == *number)
        };
        let own = Some(preferred)
            .filter(|number| !taken.iter().chain(&self.0).any(|(other, _)| other == number));
        if let Some(number) = kept.or(own).or_else(|| DYNAMIC.into_iter().find(is_free)) {
            self.0.push((number, meaning));
        }
    }
}

/// Writes a description.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) text: String,
}

impl Writer {
    /// The session's lines. `times` are whole lines.
    pub(super) fn session(local: &Local, times: &str) -> Self {
        let Local { ip, session_id, version, .. } = local;
        let family = family(*ip);
        let text = format!(
            "v=0\r\no=- {session_id} {version} IN {family} {ip}\r\ns=-\r\nc=IN {family} {ip}\r\n{times}"
        );
        Self { text }
    }

    /// Our audio stream.
    pub(super) fn audio(
        &mut self,
        local: &Local,
        formats: &Formats,
        ptime_ms: u16,
        direction: Direction,
    ) {
        let numbers: Vec<String> = formats.0.iter().map(|(number, _)| number.to_string()).collect();
        self.line(&format!("m=audio {} {PROFILE} {}", local.rtp_port, numbers.join(" ")));
        for (number, meaning) in &formats.0 {
            match meaning {
                Meaning::Codec(kind) => {
                    self.line(&format!("a=rtpmap:{number} {}", kind.encoding()));
                    if let Some(fmtp) = kind.own_fmtp() {
                        self.line(&format!("a=fmtp:{number} {fmtp}"));
                    }
                }
                Meaning::Event(rate) => {
                    self.line(&format!("a=rtpmap:{number} telephone-event/{rate}"));
                    // The keys and nothing else (RFC 4733 §2.4.1).
                    self.line(&format!("a=fmtp:{number} 0-15"));
                }
            }
        }
        self.line(&format!("a=ptime:{ptime_ms}"));
        self.line(&format!("a={}", direction.as_str()));
    }

    /// A stream that we do not take: its line with port 0 (RFC 3264 §6). A format must be named
    /// and means nothing.
    pub(super) fn disabled(&mut self, media: &str, proto: &str, formats: &str) {
        let first = formats.split_ascii_whitespace().next().unwrap_or("0");
        self.line(&format!("m={media} 0 {proto} {first}"));
    }

    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push_str("\r\n");
    }
}

fn family(ip: IpAddr) -> &'static str {
    match ip {
        IpAddr::V4(_) => "IP4",
        IpAddr::V6(_) => "IP6",
    }
}
