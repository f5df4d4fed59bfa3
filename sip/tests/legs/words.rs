//! What a leg did, in short words that a test can list.

use tandem_sip::{leg::LegEvent, wire::Message};

/// `INVITE+sdp`, `200 BYE` …
pub(crate) fn word_of(message: &Message) -> String {
    let sdp = if message.head().has_content_type("application/sdp") { "+sdp" } else { "" };
    match message {
        Message::Request(request) => format!("{}{sdp}", request.method()),
        Message::Response(response) => {
            format!("{} {}{sdp}", response.status(), response.cseq().method)
        }
    }
}

/// `Answered+sdp`, `Refused 486`, `Ended WeHungUp` …
pub(crate) fn word_of_event(event: &LegEvent) -> String {
    let with = |name: &str, sdp: &Option<Vec<u8>>| {
        format!("{name}{}", if sdp.is_some() { "+sdp" } else { "" })
    };
    match event {
        LegEvent::Ringing { status, sdp, reliable } => {
            let how = if *reliable { " reliably" } else { "" };
            with(&format!("Ringing {status}{how}"), sdp)
        }
        LegEvent::Answered { sdp } => with("Answered", sdp),
        LegEvent::Refused(refused) => format!("Refused {}", refused.status),
        LegEvent::Cancelled => "Cancelled".into(),
        LegEvent::Acked { sdp } => with("Acked", sdp),
        LegEvent::Reoffered { sdp } => with("Reoffered", sdp),
        LegEvent::ReofferAnswered { sdp } => with("ReofferAnswered", sdp),
        LegEvent::ReofferRefused { status } => format!("ReofferRefused {status}"),
        LegEvent::ByeReceived => "ByeReceived".into(),
        LegEvent::Ended { cause } => format!("Ended {cause:?}"),
        LegEvent::Digit(digit) => format!("Digit {}", digit.digit),
        LegEvent::Refer(refer) => format!("Refer {}", refer.target),
        LegEvent::Terminated => "Terminated".into(),
    }
}
