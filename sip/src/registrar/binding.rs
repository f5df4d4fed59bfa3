//! One binding: a contact of an address-of-record, and what is known of it.

use serde::{Deserialize, Serialize};

use crate::wire::{NameAddr, Peer, Uri};

/// A contact of an address-of-record.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Binding {
    /// The Contact with all its parameters, as it was registered.
    pub contact: NameAddr,
    /// Preference in thousandths: 1000 is the highest, and where nothing is said.
    pub q_thousandths: u16,
    /// When it ends, in Unix milliseconds.
    pub expires_at_ms: u64,
    /// When it was registered last, in Unix milliseconds.
    pub updated_at_ms: u64,
    /// The hop that it came through: behind an address translator the Contact's own address
    /// leads nowhere.
    pub peer: Peer,
    pub(super) call_id: String,
    pub(super) cseq: u32,
}

impl Binding {
    /// The Request-URI of a request for it.
    pub fn uri(&self) -> Uri {
        self.contact.uri()
    }
}

/// `q` (RFC 3261 §25.1): up to three digits behind the point, at most 1.
pub(super) fn q_thousandths(q: &str) -> Option<u16> {
    let (whole, rest) = q.split_once('.').unwrap_or((q, ""));
    let is_number = rest.len() <= 3 && rest.bytes().all(|byte| byte.is_ascii_digit());
    let whole = match whole {
        "0" => 0,
        "1" => 1_000,
        _ => return None,
    };
    let rest: u16 = is_number.then(|| format!("{rest:0<3}"))?.parse().ok()?;
    Some(whole + rest).filter(|q| *q <= 1_000)
}

#[cfg(test)]
mod tests {
    use super::q_thousandths;

    #[test]
    fn q_is_zero_to_one() {
        for (q, value) in [
            ("0", 0),
            ("1", 1000),
            ("0.7", 700),
            ("0.05", 50),
            ("0.333", 333),
            ("1.000", 1000),
            ("0.", 0),
        ] {
            assert_eq!(q_thousandths(q), Some(value), "{q}");
        }
        for q in ["", "2", "1.1", "0.1234", "-0.1", "0.x", ".5", "00.5"] {
            assert_eq!(q_thousandths(q), None, "{q}");
        }
    }
}
