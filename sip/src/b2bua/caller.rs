//! Who calls: the number and name in an INVITE (RFC 3261 §20.20, RFC 3325, RFC 3323).

use crate::wire::{Head, HeaderName, NameAddr, Request, Scheme, Uri};

/// Who calls, as far as the INVITE says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Caller {
    /// The user of the URI without escapes and visual separators, or of a `tel:` URI; empty when
    /// there is none.
    pub number: String,
    /// The display name; empty when there is none.
    pub name: String,
    /// The caller does not want to be shown to the called (RFC 3323, RFC 3325 §7).
    pub private: bool,
}

/// Reads who calls. An identity that a network asserts counts where `trusted` says that the
/// request comes from such a network; anyone else can write what they like (RFC 3325 §5).
pub fn caller_of(invite: &Request, trusted: bool) -> Caller {
    let asserted = asserted(invite).filter(|_| trusted);
    let from = invite.from();
    let private = is_private(invite, &from);
    let shown = asserted.unwrap_or(from);
    Caller { number: number(&shown.uri()), name: shown.display().unwrap_or_default(), private }
}

/// The first asserted identity: a `tel:` one, which is a number for sure, before a SIP one.
fn asserted(invite: &Head) -> Option<NameAddr> {
    let asserted = invite.addresses(HeaderName::PAssertedIdentity);
    let tel = asserted.iter().find(|address| address.uri().scheme() == Scheme::Tel);
    tel.or(asserted.first()).cloned().or_else(|| {
        // What came before RFC 3325 and is still sent.
        invite.addresses(HeaderName::RemotePartyId).into_iter().next()
    })
}

/// `Privacy: id` or more, a Remote-Party-ID that says so, or an anonymous From.
fn is_private(invite: &Request, from: &NameAddr) -> bool {
    let privacy = invite.header_str(HeaderName::Privacy).unwrap_or_default();
    let asked = privacy
        .split([';', ','])
        .map(str::trim)
        .any(|word| ["id", "user", "header"].iter().any(|own| word.eq_ignore_ascii_case(own)));
    let old = invite.addresses(HeaderName::RemotePartyId);
    let old = old.iter().filter_map(|address| address.param("privacy"));
    let anonymous = from.uri().host().eq_ignore_ascii_case("anonymous.invalid");
    asked || anonymous || old.into_iter().any(|privacy| !privacy.eq_ignore_ascii_case("off"))
}

/// A telephone number without its visual separators (RFC 3966 §3), or another user as it is.
fn number(uri: &Uri) -> String {
    let user = String::from_utf8_lossy(&uri.user_unescaped().unwrap_or_default()).into_owned();
    // `;phone-context=…` may stand in a SIP URI's user (RFC 3261 §19.1.6).
    let user = user.split(';').next().unwrap_or_default();
    let is_separator = |character: char| matches!(character, '-' | '.' | '(' | ')');
    let plain: String = user.chars().filter(|character| !is_separator(*character)).collect();
    let digits = plain.strip_prefix('+').unwrap_or(&plain);
    let is_number = !digits.is_empty()
        && digits.chars().all(|character| character.is_ascii_digit() || "*#".contains(character));
    if is_number { plain } else { user.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Message;

    fn invite(from: &str, headers: &str) -> Request {
        let text = format!(
            "INVITE sip:b@example.com SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\n\
             From: {from};tag=a\r\nTo: <sip:b@example.com>\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\n\
             {headers}Content-Length: 0\r\n\r\n"
        );
        Message::parse(text.as_bytes()).unwrap().into_request().unwrap()
    }

    fn caller(number: &str, name: &str, private: bool) -> Caller {
        Caller { number: number.into(), name: name.into(), private }
    }

    const ASSERTED: &str =
        "P-Asserted-Identity: \"Li Wei\" <sip:+861012345678@carrier.example>\r\n";

    #[test]
    fn a_caller_has_a_number_and_a_name() {
        let call = invite("\"Ana \\\"A\\\"\" <sip:+49-30-(12).34@example.com;user=phone>", "");
        assert_eq!(caller_of(&call, false), caller("+49301234", "Ana \"A\"", false));
    }

    #[test]
    fn a_user_that_is_no_number_stays_as_it_is() {
        let call = invite("<sip:j.smith-jones%40home@example.com>", "");
        assert_eq!(caller_of(&call, false), caller("j.smith-jones@home", "", false));
        assert_eq!(caller_of(&invite("<sip:example.com>", ""), false), caller("", "", false));
    }

    #[test]
    fn an_asserted_identity_counts_from_a_trusted_network_only_3325_5() {
        let call = invite("<sip:100@example.com>", ASSERTED);
        assert_eq!(caller_of(&call, true), caller("+861012345678", "Li Wei", false));
        assert_eq!(caller_of(&call, false), caller("100", "", false));
    }

    #[test]
    fn of_two_asserted_identities_the_telephone_number_counts() {
        let both = "P-Asserted-Identity: <sip:li@carrier.example>, <tel:+86-10-1234>\r\n";
        assert_eq!(caller_of(&invite("<sip:x@y.example>", both), true).number, "+86101234");
    }

    #[test]
    fn a_caller_may_want_to_stay_unknown_3323() {
        for headers in ["Privacy: id\r\n", "Privacy: header;critical\r\n"] {
            assert!(caller_of(&invite("<sip:1@x.example>", headers), true).private);
        }
        let anonymous = invite("\"Anonymous\" <sip:anonymous@anonymous.invalid>", "");
        assert!(caller_of(&anonymous, false).private);
        let old = "Remote-Party-ID: <sip:1@x.example>;privacy=full\r\n";
        assert!(caller_of(&invite("<sip:2@x.example>", old), true).private);
        assert!(!caller_of(&invite("<sip:1@x.example>", "Privacy: none\r\n"), true).private);
    }
}
