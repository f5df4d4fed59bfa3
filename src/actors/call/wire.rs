//! What of a leg is committed: enough to go on with its dialog and its audio on another node.
//!
//! Owns the encoding that [`tandem_center`] carries without looking into it, and the identifiers
//! that are derived rather than carried: Call-ID, tag and branches of a leg follow from the call's
//! id, its salt and the leg's number.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use tandem_center::version::{self, Foreign};
use tandem_center::{CallId, LegNumber, Wire};
use tandem_sip::leg::LegExport;
use tandem_sip::sdp::Negotiated;

/// A leg, as committed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CommittedLeg {
    /// The dialog with its transactions.
    pub dialog: LegExport,
    /// The SIP Call-ID, by which its messages are routed.
    pub sip_call_id: String,
    /// Our address that the far end knows.
    pub sip: SocketAddr,
    /// Our RTP port.
    pub rtp_port: u16,
    /// The description that we sent last, or shall answer with.
    pub sdp_local: Vec<u8>,
    /// The far end's last description; empty while there is none.
    pub sdp_remote: Vec<u8>,
    /// What came of them.
    pub agreed: Option<Negotiated>,
    /// The version in our `o=` line (RFC 3264 §8).
    pub sdp_version: u64,
}

/// Why a committed leg cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// A build wrote it that this one does not understand.
    #[error("the leg was committed in {0}")]
    Foreign(#[from] Foreign),
    /// There is none.
    #[error("nothing was committed of the leg")]
    Missing,
    /// Bytes are missing or wrong.
    #[error("the committed leg cannot be read: {0}")]
    Corrupt(#[from] postcard::Error),
}

impl CommittedLeg {
    /// The bytes to be committed, in the version that the cluster has agreed on.
    pub fn encode(&self, version: u8) -> Wire {
        match version {
            #[cfg(feature = "next-version")]
            4.. => encoded(version, &(REHEARSED, self)),
            _ => encoded(version, self),
        }
    }

    /// Reads what [`Self::encode`] wrote.
    ///
    /// # Errors
    /// Another version or damaged bytes.
    pub fn decode(wire: &Wire) -> Result<Self, WireError> {
        let (&version, bytes) = wire.0.split_first().ok_or(WireError::Missing)?;
        version::check(version)?;
        Ok(match version {
            #[cfg(feature = "next-version")]
            4.. => postcard::from_bytes::<(u32, Self)>(bytes)?.1,
            _ => postcard::from_bytes(bytes)?,
        })
    }
}

/// What stands before a leg in version 4 of the rehearsal.
#[cfg(feature = "next-version")]
const REHEARSED: u32 = 0x7e4e;

fn encoded(version: u8, form: &impl Serialize) -> Wire {
    let bytes = postcard::to_extend(form, vec![version])
        .expect("a Vec takes all bytes, and every field has a postcard form");
    Wire::from(bytes)
}

/// The identifiers of one leg.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LegNames {
    /// The Call-ID, for legs that we begin.
    pub sip_call_id: String,
    /// Our tag.
    pub tag: String,
    /// What our branches begin with.
    pub branch_seed: String,
    /// The user part of our Contact: names the leg to whoever receives a request for it.
    pub contact_user: String,
}

impl LegNames {
    /// Derives the identifiers. Who does not know the salt cannot guess them (RFC 3261 §19.3).
    pub fn derive(call: CallId, salt: u64, leg: LegNumber) -> Self {
        let secret = |purpose: u64| mix(salt ^ mix(call.0 ^ mix(u64::from(leg.0) << 8 | purpose)));
        Self {
            sip_call_id: format!("{:x}-{}-{:016x}", call.0, leg.0, secret(1)),
            tag: format!("{:x}.{}.{:016x}", call.0, leg.0, secret(2)),
            branch_seed: format!("{:x}.{}.{:016x}", call.0, leg.0, secret(3)),
            contact_user: format!("{:x}.{}", call.0, leg.0),
        }
    }
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014): every bit of the input reaches every
/// bit of the output, and it is the same in every build.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leg_of_a_foreign_version_is_told_from_a_damaged_one() {
        let newer = CommittedLeg::decode(&Wire::from(vec![version::NEWEST + 1, 0])).unwrap_err();
        let said = format!("committed in version {}, this program reads", version::NEWEST + 1);
        assert!(newer.to_string().contains(&said), "{newer}");
        let cut = CommittedLeg::decode(&Wire::from(vec![version::NEWEST, 0])).unwrap_err();
        assert!(matches!(cut, WireError::Corrupt(_)), "{cut}");
        assert!(matches!(CommittedLeg::decode(&Wire::default()), Err(WireError::Missing)));
    }

    #[test]
    fn identifiers_are_the_same_on_every_node_and_differ_between_legs_and_salts() {
        let names = LegNames::derive(CallId(7), 42, LegNumber(1));
        assert_eq!(names, LegNames::derive(CallId(7), 42, LegNumber(1)));
        assert_ne!(names.tag, LegNames::derive(CallId(7), 43, LegNumber(1)).tag);
        assert_ne!(names.tag, LegNames::derive(CallId(7), 42, LegNumber(2)).tag);
        assert_ne!(names.sip_call_id, LegNames::derive(CallId(8), 42, LegNumber(1)).sip_call_id);
    }
}
