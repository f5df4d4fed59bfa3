//! Answers: ours to an offer, and theirs to ours (RFC 3264 §6, §7).

use super::{
    Capabilities, Codec, CodecKind, Local, Negotiated, SdpError, TelephoneEvent,
    description::{Description, Format, Stream},
    offer::{Formats, Meaning, Writer},
};

/// Answers an offer: the first codec of it that we can, with the offerer's payload types; all
/// other streams declined in their places.
pub fn answer(
    offer: &[u8],
    capabilities: &Capabilities,
    local: &Local,
) -> Result<(Vec<u8>, Negotiated), SdpError> {
    let offer = Description::parse(offer)?;
    let (audio, stream) = offer.audio().ok_or(SdpError::NoAudio)?;
    let formats = stream.formats();
    let (chosen, kind) = first_codec(&formats, |kind| capabilities.codecs.contains(&kind))
        .ok_or(SdpError::NoCommonCodec)?;
    let event = match capabilities.telephone_event {
        true => best_event(&formats, kind),
        false => None,
    };
    let event = event.map(|(format, clock_rate)| TelephoneEvent {
        send_payload_type: format.payload_type,
        receive_payload_type: format.payload_type,
        clock_rate,
    });
    let codec = Codec {
        kind,
        send_payload_type: chosen.payload_type,
        receive_payload_type: chosen.payload_type,
        clock_rate: kind.clock_rate(),
        fmtp: chosen.fmtp.to_owned(),
    };
    let negotiated = negotiated(&stream, codec, event, local)?;
    let mut lines = Formats(vec![(chosen.payload_type, Meaning::Codec(kind))]);
    if let Some(event) = event {
        lines.0.push((event.receive_payload_type, Meaning::Event(event.clock_rate)));
    }
    let mut out = Writer::session(local, &times(&offer));
    for (at, stream) in offer.streams().enumerate() {
        if at == audio {
            out.audio(local, &lines, capabilities.ptime_ms, negotiated.direction);
        } else {
            out.disabled(&stream.media().media, &stream.media().proto, &stream.media().fmt);
        }
    }
    Ok((out.text.into_bytes(), negotiated))
}

/// Reads the answer to our offer. `local` is what the offer was made with.
pub fn accept(offer: &[u8], answer: &[u8], local: &Local) -> Result<Negotiated, SdpError> {
    let (offer, answer) = (Description::parse(offer)?, Description::parse(answer)?);
    let (audio, offered) = offer.audio().ok_or(SdpError::NoAudio)?;
    if answer.streams().count() != offer.streams().count() {
        return Err(SdpError::Mismatch("another number of streams"));
    }
    let stream = answer.stream(audio).ok_or(SdpError::NoAudio)?;
    if stream.media().media != offered.media().media
        || stream.media().proto != offered.media().proto
    {
        return Err(SdpError::Mismatch("another kind of stream"));
    }
    if stream.media().port == 0 {
        return Err(SdpError::NoCommonCodec);
    }
    let (ours, theirs) = (offered.formats(), stream.formats());
    let offered_kind = |kind| ours.iter().any(|format| format.kind() == Some(kind));
    let (chosen, kind) = first_codec(&theirs, offered_kind).ok_or(SdpError::NoCommonCodec)?;
    // Each side receives what its own description says (RFC 3264 §6.1).
    let own = first_codec(&ours, |own| own == kind).ok_or(SdpError::NoCommonCodec)?;
    let codec = Codec {
        kind,
        send_payload_type: chosen.payload_type,
        receive_payload_type: own.0.payload_type,
        clock_rate: kind.clock_rate(),
        fmtp: chosen.fmtp.to_owned(),
    };
    let event = best_event(&theirs, kind).and_then(|(format, clock_rate)| {
        let own = ours.iter().find(|own| own.telephone_event_rate() == Some(clock_rate))?;
        Some(TelephoneEvent {
            send_payload_type: format.payload_type,
            receive_payload_type: own.payload_type,
            clock_rate,
        })
    });
    negotiated(&stream, codec, event, local)
}

fn negotiated(
    stream: &Stream<'_>,
    codec: Codec,
    telephone_event: Option<TelephoneEvent>,
    local: &Local,
) -> Result<Negotiated, SdpError> {
    let remote_rtp = stream.rtp()?;
    Ok(Negotiated {
        remote_rtp,
        remote_rtcp: stream.rtcp(remote_rtp),
        codec,
        telephone_event,
        direction: local.direction.answering(stream.direction()),
        ptime_ms: stream.ptime_ms(),
    })
}

fn first_codec<'a>(
    formats: &[Format<'a>],
    allowed: impl Fn(CodecKind) -> bool,
) -> Option<(Format<'a>, CodecKind)> {
    let codec = |format: &Format<'a>| Some((*format, format.kind().filter(|kind| allowed(*kind))?));
    formats.iter().find_map(codec)
}

/// Events at the codec's rate (RFC 4733 §2.4.1); else the first, as some offer only 8,000 Hz.
fn best_event<'a>(formats: &[Format<'a>], kind: CodecKind) -> Option<(Format<'a>, u32)> {
    let event = |format: &Format<'a>| Some((*format, format.telephone_event_rate()?));
    let mut events = formats.iter().filter_map(event);
    let first = events.clone().next();
    events.find(|(_, rate)| *rate == kind.clock_rate()).or(first)
}

/// An answer's times are the offer's (RFC 3264 §6).
fn times(offer: &Description) -> String {
    let lines: String = offer
        .times()
        .iter()
        .map(|time| format!("t={} {}\r\n", time.start_time, time.stop_time))
        .collect();
    if lines.is_empty() { "t=0 0\r\n".to_owned() } else { lines }
}
