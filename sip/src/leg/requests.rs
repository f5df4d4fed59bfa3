//! What the far end asks for within a dialog besides INVITE and BYE: OPTIONS (RFC 3261 §11), INFO
//! with a key, REFER (RFC 3515), and what nobody here understands.

use std::io::Write as _;

use serde::{Deserialize, Serialize};

use super::{
    InfoDigit, LegEvent, Refer, Replaces,
    compose::{self, Content, text},
    line::{Draft, Line, Purpose},
};
use crate::{
    dialog::Dialog,
    transaction::{Moment, TransactionKey},
    wire::{Abilities, HeaderName, Method, NameAddr, Request, reason_phrase, validate_request},
};

/// How long a key is pressed that does not say, milliseconds.
const KEY_MS: u32 = 250;

/// What is understood within a dialog.
pub const ABILITIES: Abilities = Abilities {
    methods: &[
        Method::Invite,
        Method::Ack,
        Method::Cancel,
        Method::Bye,
        Method::Options,
        Method::Prack,
        Method::Info,
        Method::Refer,
        Method::Update,
    ],
    extensions: compose::EXTENSIONS,
    content_types: &[compose::SDP, "application/dtmf-relay", "application/dtmf"],
};

/// A transfer that the far end asked for (RFC 3515).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Transfer {
    None,
    /// The REFER waits for the node.
    Asked {
        key: TransactionKey,
        /// It does not want to know what becomes of it (RFC 4488 §4).
        quiet: bool,
    },
    /// It was accepted: the far end wants to know what becomes of it.
    Accepted,
}

/// Refuses what cannot be served. Says whether the request may be looked at.
///
/// A BYE is never refused: whatever it requires, the far end is gone.
pub(super) fn is_servable(
    now: Moment,
    line: &mut Line,
    key: &TransactionKey,
    request: &Request,
) -> bool {
    if *request.method() == Method::Bye {
        return true;
    }
    // An INFO of a package, whatever is in it: we asked for none (RFC 6086 §4.2.2). Keys come as
    // they came before there were packages.
    if *request.method() == Method::Info && request.header(HeaderName::InfoPackage).is_some() {
        line.respond(now, key, Content { headers: b"Recv-Info:\r\n", ..Content::status(469) });
        return false;
    }
    let Err(refusal) = validate_request(request, &ABILITIES) else { return true };
    let mut headers = Vec::new();
    for (name, value) in &refusal.headers {
        let value = if *name == HeaderName::Allow { compose::ALLOW } else { value };
        let _ = write!(headers, "{name}: {value}\r\n");
    }
    line.respond(now, key, Content { headers: &headers, ..Content::status(refusal.status) });
    false
}

/// Answers an OPTIONS, as if it came before the call (RFC 3261 §11.2).
pub(super) fn answer_options(now: Moment, line: &mut Line, key: &TransactionKey) {
    let mut headers = b"Accept: application/sdp\r\n".to_vec();
    compose::push_capabilities(&mut headers, &line.identity, "Server");
    line.respond(now, key, Content { headers: &headers, ..Content::status(200) });
}

/// Answers an INFO, and tells its key.
pub(super) fn answer_info(now: Moment, line: &mut Line, key: &TransactionKey, info: &Request) {
    line.respond(now, key, Content::status(200));
    if let Some(digit) = digit(info) {
        line.event(LegEvent::Digit(digit));
    }
}

/// `Signal=5` and `Duration=160` on lines of their own, or one character.
fn digit(info: &Request) -> Option<InfoDigit> {
    let body = std::str::from_utf8(info.body()).ok()?;
    if info.has_content_type("application/dtmf") {
        return Some(InfoDigit { digit: signal(body)?, duration_ms: KEY_MS });
    }
    if !info.has_content_type("application/dtmf-relay") {
        return None;
    }
    let field = |wanted: &str| {
        body.lines().filter_map(|line| line.split_once('=')).find_map(|(name, value)| {
            name.trim().eq_ignore_ascii_case(wanted).then(|| value.trim())
        })
    };
    let duration = field("Duration").and_then(|value| value.parse().ok());
    Some(InfoDigit { digit: signal(field("Signal")?)?, duration_ms: duration.unwrap_or(KEY_MS) })
}

/// A key by its character, or by its event number (RFC 4733 §3.2).
fn signal(text: &str) -> Option<char> {
    match text.trim() {
        "10" => Some('*'),
        "11" => Some('#'),
        "16" => Some('!'),
        one => {
            let mut characters = one.chars();
            let key = characters.next()?.to_ascii_uppercase();
            let is_key = matches!(key, '0'..='9' | '*' | '#' | 'A'..='D' | '!');
            (is_key && characters.next().is_none()).then_some(key)
        }
    }
}

/// The dialog side of a transfer.
impl Transfer {
    /// A REFER: to be decided by the node (RFC 3515 §2.4.2).
    pub(super) fn handle_refer(
        &mut self,
        now: Moment,
        line: &mut Line,
        asked: (TransactionKey, &Request),
    ) {
        let (key, request) = asked;
        let refer = match self {
            // One at a time.
            Self::Asked { .. } => Err(491),
            Self::None | Self::Accepted => refer(request).ok_or(400),
        };
        match refer {
            Ok(refer) => {
                let wish = request.header_str(HeaderName::ReferSub).unwrap_or_default();
                let wish = wish.split(';').next().unwrap_or_default().trim();
                *self = Self::Asked { key, quiet: wish.eq_ignore_ascii_case("false") };
                line.event(LegEvent::Refer(refer));
            }
            Err(status) => {
                line.respond(now, &key, Content::status(status));
            }
        }
    }

    /// Accepts it, with the NOTIFY that must follow at once (RFC 3515 §2.4.4). Says whether there
    /// was one.
    pub(super) fn accept(&mut self, now: Moment, line: &mut Line, dialog: &mut Dialog) -> bool {
        let Self::Asked { key, quiet } = self else { return false };
        let (key, quiet) = (key.clone(), *quiet);
        let mut headers = Vec::new();
        compose::push_contact(&mut headers, &line.identity);
        if quiet {
            headers.extend_from_slice(b"Refer-Sub: false\r\n");
        }
        line.respond(now, &key, Content { headers: &headers, ..Content::status(202) });
        if quiet {
            *self = Self::None;
            return true;
        }
        *self = Self::Accepted;
        self.notify(now, line, dialog, 100)
    }

    /// Refuses it. Says whether there was one.
    pub(super) fn refuse(&mut self, now: Moment, line: &mut Line, status: u16) -> bool {
        let Self::Asked { key, .. } = std::mem::replace(self, Self::None) else { return false };
        line.respond(now, &key, Content::status(status));
        true
    }

    /// Tells what became of it. Says whether anyone wants to know.
    pub(super) fn notify(
        &mut self,
        now: Moment,
        line: &mut Line,
        dialog: &mut Dialog,
        status: u16,
    ) -> bool {
        if !matches!(self, Self::Accepted) {
            return false;
        }
        let state = if status < 200 {
            "active;expires=60"
        } else {
            *self = Self::None;
            "terminated;reason=noresource"
        };
        let mut headers = format!("Event: refer\r\nSubscription-State: {state}\r\n").into_bytes();
        compose::push_contact(&mut headers, &line.identity);
        let body = format!("SIP/2.0 {status} {}\r\n", reason_phrase(status));
        let draft = Draft {
            method: Method::Notify,
            purpose: Purpose::Notify,
            headers: &headers,
            content_type: "message/sipfrag;version=2.0",
            body: body.as_bytes(),
        };
        line.request(now, dialog, draft);
        true
    }

    /// The dialog ends.
    pub(super) fn close(&mut self, now: Moment, line: &mut Line) {
        self.refuse(now, line, 487);
    }
}

/// RFC 3515 §2.4.2: exactly one Refer-To.
fn refer(request: &Request) -> Option<Refer> {
    let mut values = request.lines_of(HeaderName::ReferTo);
    let value = values.next().filter(|_| values.next().is_none())?;
    let uri = NameAddr::parse(value).ok()?.uri();
    // One that cannot be read is not as if there were none: that is another transfer.
    let replaces = match uri.headers().find(|(name, _)| name.eq_ignore_ascii_case("Replaces")) {
        Some((_, value)) => Some(parse_replaces(&unescape(value))?),
        None => None,
    };
    Some(Refer {
        target: uri.without_headers().as_str().to_owned(),
        replaces,
        referred_by: request.header(HeaderName::ReferredBy).map(text),
    })
}

/// `call-id;to-tag=a;from-tag=b;early-only` (RFC 3891 §6.1).
pub(super) fn parse_replaces(value: &str) -> Option<Replaces> {
    let mut parts = value.split(';').map(str::trim);
    let call_id = parts.next().filter(|call_id| !call_id.is_empty())?.to_owned();
    let (mut to_tag, mut from_tag, mut early_only) = (None, None, false);
    for part in parts {
        match part.split_once('=') {
            Some((name, tag)) if name.trim().eq_ignore_ascii_case("to-tag") => {
                to_tag = Some(tag.trim().to_owned());
            }
            Some((name, tag)) if name.trim().eq_ignore_ascii_case("from-tag") => {
                from_tag = Some(tag.trim().to_owned());
            }
            Some(_) => (),
            None => early_only |= part.eq_ignore_ascii_case("early-only"),
        }
    }
    Some(Replaces { call_id, to_tag: to_tag?, from_tag: from_tag?, early_only })
}

/// Resolves `%xx`. What is no escape stays.
fn unescape(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let escaped = after
            .get(..2)
            .filter(|_| *first == b'%')
            .and_then(|two| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok());
        out.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &after[2..] } else { after };
    }
    compose::text(&out)
}
