//! What a leg must know of the node that it speaks for.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::auth::Credentials;
use crate::wire::Peer;

/// Who we are on one leg. Everything here is chosen by the node before the leg begins, so that
/// what is committed determines what appears on the wire.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Identity {
    /// Our tag: token characters, unique, hard to guess.
    pub tag: String,
    /// What every branch of ours begins with behind the magic cookie: token characters, unique
    /// for the leg.
    pub branch_seed: String,
    /// The URI in our Contact, without angle brackets.
    pub contact: String,
    /// Our host and port in a Via.
    pub sent_by: String,
    /// What all legs of a node have in common.
    pub settings: Arc<Settings>,
}

/// What all legs of a node have in common.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Settings {
    /// The Server and User-Agent header.
    pub product: String,
    /// When our provisional responses are sent reliably (RFC 3262).
    pub reliable_provisional: ReliableProvisional,
    /// Session timers (RFC 4028); none: only those that the far end runs itself.
    pub session_timer: Option<SessionTimer>,
    /// Send requests where the far end's come from, and not where its Contact or Record-Route
    /// says: for peers behind a NAT. Off by default: RFC 3261 §12.2.1.1 and §18.1.
    pub symmetric: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            product: "Tandem".into(),
            reliable_provisional: ReliableProvisional::WhenRequired,
            session_timer: Some(SessionTimer::default()),
            symmetric: false,
        }
    }
}

/// When a provisional response is sent reliably.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ReliableProvisional {
    /// When the caller requires it.
    WhenRequired,
    /// When the caller supports it.
    WhenSupported,
}

/// Session timers (RFC 4028).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SessionTimer {
    /// The interval that we ask for, seconds.
    pub expires_seconds: u32,
    /// The shortest that we accept, seconds; at least 90 (RFC 4028 §5).
    pub min_se_seconds: u32,
}

impl Default for SessionTimer {
    /// 1,800 s is what RFC 4028 §4.2 recommends; 90 s is its floor.
    fn default() -> Self {
        Self { expires_seconds: 1_800, min_se_seconds: 90 }
    }
}

/// A call to be made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outgoing {
    /// Who we are.
    pub identity: Identity,
    /// The Call-ID: unique, derived from what is committed.
    pub call_id: String,
    /// The Request-URI.
    pub target: String,
    /// The From value without its tag: `"Ana" <sip:100@example.com>`.
    pub from: String,
    /// The To value.
    pub to: String,
    /// Route values to begin with, such as an outbound proxy's.
    pub routes: Vec<String>,
    /// The next hop, as resolved by the node.
    pub peer: Peer,
    /// Our offer; empty asks the far end for one.
    pub sdp: Vec<u8>,
    /// What to answer a 401 or 407 with.
    pub credentials: Option<Credentials>,
    /// Further headers of the INVITE. One that the leg writes itself, or with a line break in
    /// it, is left out.
    pub headers: Vec<(String, String)>,
    /// Hops left (RFC 3261 §8.1.1.6): 70, or one less than the other leg's.
    pub max_forwards: u8,
}
