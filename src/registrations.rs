//! Where the phones are that have registered.
//!
//! Owns the encoding of replicated bindings, which [`tandem_center`] carries without looking into
//! them, and the choice of the contact that a call goes to.

use tandem_center::Wire;
use tandem_sip::registrar::Registered;

use crate::routes::Contact;

/// The version of the encoding: its first byte.
const VERSION: u8 = 1;

/// The bytes to be committed; none where there is no phone any more.
pub fn encode(registered: &Registered) -> Wire {
    if registered.bindings.is_empty() {
        return Wire::default();
    }
    let bytes = postcard::to_extend(registered, vec![VERSION])
        .expect("a Vec takes all bytes, and every field has a postcard form");
    Wire::from(bytes)
}

/// Reads what [`encode`] wrote; none if another build wrote it differently: the phone registers
/// again within minutes.
pub fn decode(wire: &Wire) -> Option<Registered> {
    let (version, bytes) = wire.0.split_first()?;
    (*version == VERSION).then(|| postcard::from_bytes(bytes).ok()).flatten()
}

/// Where a call for these bindings goes now: the highest q, then the latest.
pub fn contact(registered: &Registered, now_ms: u64) -> Option<Contact> {
    let alive = registered.bindings.iter().filter(|binding| binding.expires_at_ms > now_ms);
    let best = alive.max_by_key(|binding| (binding.q_thousandths, binding.updated_at_ms))?;
    Some(Contact { uri: best.uri().as_str().to_owned(), peer: best.peer })
}
