//! Header names: the known ones as an enum, with their compact forms (RFC 3261 §7.3.3).
//!
//! The table is the IANA registry's as far as this project or its peers use it. Any other name
//! is [`HeaderName::Other`]; the message keeps it as it came.

use std::fmt;

/// A header's name, compared without case.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum HeaderName {
    Accept,
    AcceptEncoding,
    AcceptLanguage,
    AlertInfo,
    Allow,
    AllowEvents,
    AnswerMode,
    AuthenticationInfo,
    Authorization,
    CallId,
    CallInfo,
    Contact,
    ContentDisposition,
    ContentEncoding,
    ContentLanguage,
    ContentLength,
    ContentType,
    CSeq,
    Date,
    Diversion,
    ErrorInfo,
    Event,
    Expires,
    From,
    Geolocation,
    GeolocationRouting,
    HistoryInfo,
    Identity,
    InReplyTo,
    InfoPackage,
    Join,
    MaxBreadth,
    MaxForwards,
    MimeVersion,
    MinExpires,
    MinSe,
    Organization,
    PAccessNetworkInfo,
    PAssertedIdentity,
    PCalledPartyId,
    PChargingVector,
    PEarlyMedia,
    PPreferredIdentity,
    Path,
    Priority,
    Privacy,
    ProxyAuthenticate,
    ProxyAuthorization,
    ProxyRequire,
    RAck,
    Reason,
    RecordRoute,
    RecvInfo,
    ReferSub,
    ReferTo,
    ReferredBy,
    RejectContact,
    RemotePartyId,
    Replaces,
    ReplyTo,
    RequestDisposition,
    Require,
    RetryAfter,
    Route,
    RSeq,
    SecurityClient,
    SecurityServer,
    SecurityVerify,
    Server,
    ServiceRoute,
    SessionExpires,
    SipEtag,
    SipIfMatch,
    SessionId,
    Subject,
    SubscriptionState,
    Supported,
    TargetDialog,
    Timestamp,
    To,
    Unsupported,
    UserAgent,
    UserToUser,
    Via,
    Warning,
    WwwAuthenticate,
    AcceptContact,
    /// A name that is not in this table.
    Other,
}

/// Each known name: canonical form, compact form or 0.
const NAMES: &[(HeaderName, &str, u8)] = &[
    (HeaderName::Accept, "Accept", 0),
    (HeaderName::AcceptEncoding, "Accept-Encoding", 0),
    (HeaderName::AcceptLanguage, "Accept-Language", 0),
    (HeaderName::AlertInfo, "Alert-Info", 0),
    (HeaderName::Allow, "Allow", 0),
    (HeaderName::AllowEvents, "Allow-Events", b'u'),
    (HeaderName::AnswerMode, "Answer-Mode", 0),
    (HeaderName::AuthenticationInfo, "Authentication-Info", 0),
    (HeaderName::Authorization, "Authorization", 0),
    (HeaderName::CallId, "Call-ID", b'i'),
    (HeaderName::CallInfo, "Call-Info", 0),
    (HeaderName::Contact, "Contact", b'm'),
    (HeaderName::ContentDisposition, "Content-Disposition", 0),
    (HeaderName::ContentEncoding, "Content-Encoding", b'e'),
    (HeaderName::ContentLanguage, "Content-Language", 0),
    (HeaderName::ContentLength, "Content-Length", b'l'),
    (HeaderName::ContentType, "Content-Type", b'c'),
    (HeaderName::CSeq, "CSeq", 0),
    (HeaderName::Date, "Date", 0),
    (HeaderName::Diversion, "Diversion", 0),
    (HeaderName::ErrorInfo, "Error-Info", 0),
    (HeaderName::Event, "Event", b'o'),
    (HeaderName::Expires, "Expires", 0),
    (HeaderName::From, "From", b'f'),
    (HeaderName::Geolocation, "Geolocation", 0),
    (HeaderName::GeolocationRouting, "Geolocation-Routing", 0),
    (HeaderName::HistoryInfo, "History-Info", 0),
    (HeaderName::Identity, "Identity", b'y'),
    (HeaderName::InReplyTo, "In-Reply-To", 0),
    (HeaderName::InfoPackage, "Info-Package", 0),
    (HeaderName::Join, "Join", 0),
    (HeaderName::MaxBreadth, "Max-Breadth", 0),
    (HeaderName::MaxForwards, "Max-Forwards", 0),
    (HeaderName::MimeVersion, "MIME-Version", 0),
    (HeaderName::MinExpires, "Min-Expires", 0),
    (HeaderName::MinSe, "Min-SE", 0),
    (HeaderName::Organization, "Organization", 0),
    (HeaderName::PAccessNetworkInfo, "P-Access-Network-Info", 0),
    (HeaderName::PAssertedIdentity, "P-Asserted-Identity", 0),
    (HeaderName::PCalledPartyId, "P-Called-Party-ID", 0),
    (HeaderName::PChargingVector, "P-Charging-Vector", 0),
    (HeaderName::PEarlyMedia, "P-Early-Media", 0),
    (HeaderName::PPreferredIdentity, "P-Preferred-Identity", 0),
    (HeaderName::Path, "Path", 0),
    (HeaderName::Priority, "Priority", 0),
    (HeaderName::Privacy, "Privacy", 0),
    (HeaderName::ProxyAuthenticate, "Proxy-Authenticate", 0),
    (HeaderName::ProxyAuthorization, "Proxy-Authorization", 0),
    (HeaderName::ProxyRequire, "Proxy-Require", 0),
    (HeaderName::RAck, "RAck", 0),
    (HeaderName::Reason, "Reason", 0),
    (HeaderName::RecordRoute, "Record-Route", 0),
    (HeaderName::RecvInfo, "Recv-Info", 0),
    (HeaderName::ReferSub, "Refer-Sub", 0),
    (HeaderName::ReferTo, "Refer-To", b'r'),
    (HeaderName::ReferredBy, "Referred-By", b'b'),
    (HeaderName::RejectContact, "Reject-Contact", b'j'),
    (HeaderName::RemotePartyId, "Remote-Party-ID", 0),
    (HeaderName::Replaces, "Replaces", 0),
    (HeaderName::ReplyTo, "Reply-To", 0),
    (HeaderName::RequestDisposition, "Request-Disposition", b'd'),
    (HeaderName::Require, "Require", 0),
    (HeaderName::RetryAfter, "Retry-After", 0),
    (HeaderName::Route, "Route", 0),
    (HeaderName::RSeq, "RSeq", 0),
    (HeaderName::SecurityClient, "Security-Client", 0),
    (HeaderName::SecurityServer, "Security-Server", 0),
    (HeaderName::SecurityVerify, "Security-Verify", 0),
    (HeaderName::Server, "Server", 0),
    (HeaderName::ServiceRoute, "Service-Route", 0),
    (HeaderName::SessionExpires, "Session-Expires", b'x'),
    (HeaderName::SipEtag, "SIP-ETag", 0),
    (HeaderName::SipIfMatch, "SIP-If-Match", 0),
    (HeaderName::SessionId, "Session-ID", 0),
    (HeaderName::Subject, "Subject", b's'),
    (HeaderName::SubscriptionState, "Subscription-State", 0),
    (HeaderName::Supported, "Supported", b'k'),
    (HeaderName::TargetDialog, "Target-Dialog", 0),
    (HeaderName::Timestamp, "Timestamp", 0),
    (HeaderName::To, "To", b't'),
    (HeaderName::Unsupported, "Unsupported", 0),
    (HeaderName::UserAgent, "User-Agent", 0),
    (HeaderName::UserToUser, "User-to-User", 0),
    (HeaderName::Via, "Via", b'v'),
    (HeaderName::Warning, "Warning", 0),
    (HeaderName::WwwAuthenticate, "WWW-Authenticate", 0),
    (HeaderName::AcceptContact, "Accept-Contact", b'a'),
];

/// Known names by their length: a name is compared with a handful instead of all.
const NAME_BYTES_MAX: usize = 22;

/// Index into [`BY_LENGTH`] where names of each length begin.
const STARTS: [u8; NAME_BYTES_MAX + 2] = starts();

/// Positions in [`NAMES`], ordered by the name's length.
const BY_LENGTH: [u8; NAMES.len()] = by_length();

const fn starts() -> [u8; NAME_BYTES_MAX + 2] {
    let mut out = [0; NAME_BYTES_MAX + 2];
    let mut at = 0;
    while at < NAMES.len() {
        let mut longer = NAMES[at].1.len() + 1;
        while longer < out.len() {
            out[longer] += 1;
            longer += 1;
        }
        at += 1;
    }
    out
}

const fn by_length() -> [u8; NAMES.len()] {
    let mut out = [0; NAMES.len()];
    let mut next = starts();
    let mut at = 0;
    while at < NAMES.len() {
        let length = NAMES[at].1.len();
        out[next[length] as usize] = at as u8;
        next[length] += 1;
        at += 1;
    }
    out
}

impl HeaderName {
    /// Reads a name in any case, or in its compact form.
    pub fn from_bytes(name: &[u8]) -> Self {
        match name {
            [letter] => {
                let letter = letter.to_ascii_lowercase();
                let known = NAMES.iter().find(|(_, _, compact)| *compact == letter && letter != 0);
                known.map_or(Self::Other, |(name, _, _)| *name)
            }
            _ if name.len() > NAME_BYTES_MAX => Self::Other,
            _ => {
                let (from, to) = (STARTS[name.len()] as usize, STARTS[name.len() + 1] as usize);
                let first = name.first().map(u8::to_ascii_lowercase);
                BY_LENGTH[from..to]
                    .iter()
                    .map(|&at| &NAMES[at as usize])
                    .filter(|(_, known, _)| {
                        known.as_bytes().first().map(u8::to_ascii_lowercase) == first
                    })
                    .find(|(_, known, _)| known.as_bytes().eq_ignore_ascii_case(name))
                    .map_or(Self::Other, |(name, _, _)| *name)
            }
        }
    }

    /// The canonical form; empty for [`HeaderName::Other`].
    pub fn as_str(self) -> &'static str {
        NAMES.get(self as usize).map_or("", |(_, name, _)| name)
    }
}

impl fmt::Display for HeaderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_in_any_case() {
        for (at, (name, text, compact)) in NAMES.iter().enumerate() {
            assert_eq!(*name as usize, at, "the table is in the order of the enum");
            assert_eq!(HeaderName::from_bytes(text.as_bytes()), *name);
            assert_eq!(HeaderName::from_bytes(text.to_uppercase().as_bytes()), *name);
            assert_eq!(HeaderName::from_bytes(text.to_lowercase().as_bytes()), *name);
            if *compact != 0 {
                assert_eq!(HeaderName::from_bytes(&[*compact]), *name);
                assert_eq!(HeaderName::from_bytes(&[compact.to_ascii_uppercase()]), *name);
            }
        }
    }

    #[test]
    fn other_names_are_other() {
        for name in
            ["", "z", "X-Asterisk", "Vi", "Viaa", "\0", "A-Very-Long-Name-Of-No-Known-Header"]
        {
            assert_eq!(HeaderName::from_bytes(name.as_bytes()), HeaderName::Other);
        }
        assert_eq!(HeaderName::Other.as_str(), "");
    }
}
