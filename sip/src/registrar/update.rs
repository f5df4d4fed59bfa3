//! What a REGISTER asks for, and what it makes of the bindings (RFC 3261 §10.3, steps 6 and 7).

use super::{Arrival, Binding, CONTACT_BYTES_MAX, CONTACTS_MAX, Rules, binding::q_thousandths};
use crate::wire::{HeaderName, NameAddr, Request, Uri};

/// Below this a registrar may call an interval too brief, in seconds (RFC 3261 §10.3, step 7).
const BRIEF_SECONDS: u32 = 3_600;

/// What is asked for.
#[derive(Debug)]
pub(super) enum Update {
    /// `Contact: *` with `Expires: 0`.
    RemoveAll,
    /// These contacts; none is a question.
    Change(Vec<Change>),
}

/// One contact.
#[derive(Debug)]
pub(super) struct Change {
    contact: NameAddr,
    uri: Uri,
    /// Zero removes it.
    seconds: u32,
}

/// Why nothing was changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Failure {
    /// `*` not alone or not with 0, or a contact that cannot be kept.
    BadRequest,
    /// No address-of-record of ours.
    NotFound,
    /// Somebody else's, or too many contacts.
    Forbidden,
    /// A shorter life than is allowed.
    TooBrief { min_seconds: u32 },
    /// An older REGISTER of the same phone than the last one.
    OutOfOrder,
    /// No place for another address-of-record.
    Full,
}

impl Failure {
    pub(super) fn status(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::NotFound => 404,
            Self::Forbidden => 403,
            Self::TooBrief { .. } => 423,
            Self::OutOfOrder => 500,
            Self::Full => 503,
        }
    }
}

impl Update {
    /// Reads the contacts.
    pub(super) fn read(request: &Request, rules: &Rules) -> Result<Self, Failure> {
        if request.has_star_contact() {
            let alone = request.values(HeaderName::Contact).count() == 1;
            return match alone && request.expires() == Some(0) {
                true => Ok(Self::RemoveAll),
                false => Err(Failure::BadRequest),
            };
        }
        let contacts = request.contacts();
        if contacts.iter().any(|contact| contact.as_bytes().len() > CONTACT_BYTES_MAX) {
            return Err(Failure::BadRequest);
        }
        let change = |contact: NameAddr| {
            let seconds = seconds(&contact, request, rules)?;
            Ok(Change { uri: contact.uri(), contact, seconds })
        };
        contacts.into_iter().map(change).collect::<Result<_, _>>().map(Self::Change)
    }

    /// Whether a binding may come of it that was not there.
    pub(super) fn adds(&self) -> bool {
        match self {
            Self::RemoveAll => false,
            Self::Change(changes) => changes.iter().any(|change| change.seconds > 0),
        }
    }

    /// The bindings after it.
    pub(super) fn apply(
        self,
        mut bindings: Vec<Binding>,
        request: &Request,
        arrival: &Arrival<'_>,
    ) -> Result<Vec<Binding>, Failure> {
        bindings.retain(|binding| binding.expires_at_ms > arrival.now_ms);
        match self {
            Self::RemoveAll => {
                bindings.iter().try_for_each(|binding| check_order(binding, request))?;
                Ok(Vec::new())
            }
            Self::Change(changes) => {
                for change in &changes {
                    let same = bindings.iter().find(|binding| binding.uri() == change.uri);
                    same.map_or(Ok(()), |binding| check_order(binding, request))?;
                }
                for change in changes {
                    bindings.retain(|binding| binding.uri() != change.uri);
                    if change.seconds > 0 {
                        bindings.push(change.binding(request, arrival));
                    }
                }
                match bindings.len() <= CONTACTS_MAX {
                    true => Ok(bindings),
                    false => Err(Failure::Forbidden),
                }
            }
        }
    }
}

impl Change {
    fn binding(self, request: &Request, arrival: &Arrival<'_>) -> Binding {
        Binding {
            q_thousandths: self.contact.param("q").and_then(q_thousandths).unwrap_or(1_000),
            contact: self.contact,
            expires_at_ms: arrival.now_ms + u64::from(self.seconds) * 1_000,
            updated_at_ms: arrival.now_ms,
            peer: arrival.peer,
            call_id: request.call_id().to_owned(),
            cseq: request.cseq().number,
        }
    }
}

/// A REGISTER of the same phone (Call-ID) must be newer than the one before.
fn check_order(binding: &Binding, request: &Request) -> Result<(), Failure> {
    let is_newer = binding.call_id != request.call_id() || binding.cseq < request.cseq().number;
    is_newer.then_some(()).ok_or(Failure::OutOfOrder)
}

/// How long the contact shall live: its parameter, else Expires, else as usual; what is no number
/// of 32 bits is as usual, too (RFC 3261 §10.2.1.1, §20.19).
fn seconds(contact: &NameAddr, request: &Request, rules: &Rules) -> Result<u32, Failure> {
    let asked = match contact.param("expires") {
        Some(text) => text.parse().ok(),
        None => request.expires(),
    };
    let seconds = asked.unwrap_or(rules.expires_usual_seconds);
    let min_seconds = rules.expires_min_seconds;
    if seconds > 0 && seconds < min_seconds && seconds < BRIEF_SECONDS {
        return Err(Failure::TooBrief { min_seconds });
    }
    Ok(seconds.min(rules.expires_max_seconds))
}
