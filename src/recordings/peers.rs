//! The other nodes, as far as recordings go: requests to their HTTP interface that prove the
//! cluster's secret.
//!
//! Every request is signed: method, target, sender, time and body, under a key that is derived from
//! the secret. A signature holds for some minutes, so the clocks of the nodes have to agree that
//! far; what it allows to repeat meanwhile changes nothing the second time. Nothing is encrypted: as
//! with the cluster's own connections, the network between the nodes has to be yours.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use reqwest::header::AUTHORIZATION;
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use super::part::{Part, PartId};
use crate::node::unix_ms;

/// Bytes of a part that are asked for at a time.
pub(super) const CHUNK_BYTES_MAX: u64 = 1 << 20;

/// How far the clocks of two nodes may differ.
const CLOCKS_APART_MAX: Duration = Duration::from_secs(300);

/// What the key is for, so that no other use of the secret has the same key.
const PURPOSE: &[u8] = b"tandem recordings between nodes 1";

/// A node that does not accept a connection in this time is down.
const CONNECT_WITHIN: Duration = Duration::from_secs(1);

/// How long an answer may take: a megabyte at 2 Mbit/s.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Bytes of an answer that is not audio.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// Signs and verifies requests between nodes.
#[derive(Clone)]
pub struct PeerKey([u8; 32]);

impl fmt::Debug for PeerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PeerKey(…)")
    }
}

/// What a node asks of another.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The method.
    pub method: &'a str,
    /// Path and query.
    pub target: &'a str,
    /// The body.
    pub body: &'a [u8],
}

impl PeerKey {
    /// The key of a cluster.
    pub fn from_secret(secret: &[u8]) -> Self {
        Self(mac(secret, PURPOSE).finalize().into_bytes().into())
    }

    /// The value of `Authorization` for a request of `node`.
    pub fn sign(&self, node: u64, at_ms: u64, asked: &Asked<'_>) -> String {
        let mac = self.request(node, at_ms, asked);
        format!("Node {node}.{at_ms}.{}", hex(&mac.finalize().into_bytes()))
    }

    /// The node that sent the request, if it is one of the cluster.
    pub fn verify(&self, authorization: &str, now_ms: u64, asked: &Asked<'_>) -> Option<u64> {
        let mut words = authorization.strip_prefix("Node ")?.split('.');
        let node = words.next()?.parse().ok()?;
        let at_ms: u64 = words.next()?.parse().ok()?;
        let signature = unhex(words.next()?)?;
        self.request(node, at_ms, asked).verify_slice(&signature).ok()?;
        let apart = u128::from(at_ms.abs_diff(now_ms));
        (apart <= CLOCKS_APART_MAX.as_millis()).then_some(node)
    }

    fn request(&self, node: u64, at_ms: u64, asked: &Asked<'_>) -> Hmac<Sha256> {
        let Asked { method, target, body } = asked;
        let body = hex(&Sha256::digest(body));
        mac(&self.0, format!("{node}\n{at_ms}\n{method}\n{target}\n{body}").as_bytes())
    }
}

fn mac(key: &[u8], message: &[u8]) -> Hmac<Sha256> {
    let mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.chain_update(message)
}

/// Bytes in hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> =
        text.chars().map(|digit| Some(digit.to_digit(16)? as u8)).collect();
    let pairs = digits?;
    let pairs = pairs.chunks_exact(2);
    pairs.remainder().is_empty().then(|| pairs.map(|pair| pair[0] << 4 | pair[1]).collect())
}

/// Why another node did not do what it was asked for.
#[derive(Debug, Error)]
pub(super) enum PeerError {
    /// It is not a member, or its HTTP address is not known.
    #[error("node {0} has no HTTP address in [[cluster.member]]")]
    NoAddress(u64),
    /// It cannot be reached, or is too slow.
    #[error(transparent)]
    Unreachable(#[from] reqwest::Error),
    /// It refuses.
    #[error("it answered {0}")]
    Refused(StatusCode),
    /// Its answer is none.
    #[error("its answer is not understood")]
    Garbled,
}

/// What a node says that was asked to keep a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Copied {
    /// It has it, verified.
    Yes,
    /// It is fetching it.
    Soon,
}

/// The other nodes of the cluster.
#[derive(Debug)]
pub(super) struct Peers {
    node: u64,
    addresses: BTreeMap<u64, SocketAddr>,
    members: Vec<u64>,
    key: PeerKey,
    client: Client,
}

impl Peers {
    /// `members` are all nodes, with the addresses that are known.
    pub(super) fn new(
        node: u64,
        members: &[(u64, Option<SocketAddr>)],
        key: PeerKey,
    ) -> Result<Self, reqwest::Error> {
        // Another part of the node may have chosen already; either choice is good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            .no_proxy()
            .tls_certs_only([])
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_WITHIN)
            .timeout(ANSWER_WITHIN)
            .tcp_nodelay(true)
            .build()?;
        let others = members.iter().filter(|(id, _)| *id != node);
        let addresses = others.filter_map(|(id, address)| Some((*id, (*address)?))).collect();
        Ok(Self {
            node,
            addresses,
            members: members.iter().map(|(id, _)| *id).collect(),
            key,
            client,
        })
    }

    pub(super) fn key(&self) -> &PeerKey {
        &self.key
    }

    pub(super) fn is_member(&self, node: u64) -> bool {
        self.members.contains(&node)
    }

    /// The other nodes with an address, beginning behind this one, so that each node copies to
    /// another one.
    pub(super) fn ring(&self) -> Vec<u64> {
        let behind = self.addresses.range(self.node..).map(|(id, _)| *id);
        behind.chain(self.addresses.range(..self.node).map(|(id, _)| *id)).collect()
    }

    /// The other nodes, with an address or without.
    pub(super) fn others(&self) -> impl Iterator<Item = u64> {
        self.members.iter().copied().filter(|id| *id != self.node)
    }

    /// The parts of a recording that `node` knows.
    pub(super) async fn parts(&self, node: u64, recording: &str) -> Result<Vec<Part>, PeerError> {
        let target = format!("/node/v1/recordings/{recording}");
        json(self.request(node, Method::GET, &target, Vec::new())?).await
    }

    /// Some bytes of a file that `node` has; fewer at its end.
    pub(super) async fn bytes(
        &self,
        node: u64,
        id: &PartId,
        from: u64,
        bytes: u64,
    ) -> Result<Vec<u8>, PeerError> {
        let bytes = bytes.min(CHUNK_BYTES_MAX);
        let target = format!("/node/v1/parts/{id}?from={from}&bytes={bytes}");
        let answer = self.request(node, Method::GET, &target, Vec::new())?.send().await?;
        if answer.status() != StatusCode::OK {
            return Err(PeerError::Refused(answer.status()));
        }
        if answer.content_length().is_none_or(|length| length > bytes) {
            return Err(PeerError::Garbled);
        }
        Ok(answer.bytes().await?.to_vec())
    }

    /// Tells `node` what is known of a part.
    pub(super) async fn tell(&self, node: u64, part: &Part) -> Result<(), PeerError> {
        let answer = self.post(node, "/node/v1/told", part)?.send().await?;
        match answer.status() {
            StatusCode::NO_CONTENT => Ok(()),
            status => Err(PeerError::Refused(status)),
        }
    }

    /// Asks `node` to keep a copy of a part of this node's.
    pub(super) async fn copy(&self, node: u64, part: &Part) -> Result<Copied, PeerError> {
        let answer = self.post(node, "/node/v1/copies", part)?.send().await?;
        match answer.status() {
            StatusCode::OK => Ok(Copied::Yes),
            StatusCode::ACCEPTED => Ok(Copied::Soon),
            status => Err(PeerError::Refused(status)),
        }
    }

    fn post(&self, node: u64, target: &str, part: &Part) -> Result<RequestBuilder, PeerError> {
        let body = serde_json::to_vec(part).map_err(|_| PeerError::Garbled)?;
        let request = self.request(node, Method::POST, target, body)?;
        Ok(request.header("content-type", "application/json"))
    }

    fn request(
        &self,
        node: u64,
        method: Method,
        target: &str,
        body: Vec<u8>,
    ) -> Result<RequestBuilder, PeerError> {
        let address = self.addresses.get(&node).ok_or(PeerError::NoAddress(node))?;
        let asked = Asked { method: method.as_str(), target, body: &body };
        let signature = self.key.sign(self.node, unix_ms(), &asked);
        let request = self.client.request(method, format!("http://{address}{target}"));
        Ok(request.header(AUTHORIZATION, signature).body(body))
    }
}

async fn json<T: DeserializeOwned>(request: RequestBuilder) -> Result<T, PeerError> {
    let mut answer = request.send().await?;
    if answer.status() != StatusCode::OK {
        return Err(PeerError::Refused(answer.status()));
    }
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        if body.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err(PeerError::Garbled);
        }
        body.extend_from_slice(&chunk);
    }
    serde_json::from_slice(&body).map_err(|_| PeerError::Garbled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_node_that_knows_the_secret_is_believed_and_only_for_what_it_asked() {
        let key = PeerKey::from_secret(b"secret of the cluster");
        let asked = Asked { method: "POST", target: "/node/v1/told", body: b"{}" };
        let signed = key.sign(2, 1_000_000, &asked);
        let verify = |key: &PeerKey, at_ms, method, target, body: &[u8]| {
            key.verify(&signed, at_ms, &Asked { method, target, body })
        };
        let target = "/node/v1/told";
        assert_eq!(verify(&key, 1_299_000, "POST", target, b"{}"), Some(2));
        assert_eq!(verify(&key, 1_301_000, "POST", target, b"{}"), None);
        assert_eq!(verify(&key, 699_000, "POST", target, b"{}"), None);
        assert_eq!(verify(&key, 1_000_000, "GET", target, b"{}"), None);
        assert_eq!(verify(&key, 1_000_000, "POST", "/node/v1/copies", b"{}"), None);
        assert_eq!(verify(&key, 1_000_000, "POST", target, b"{ }"), None);
        let other = PeerKey::from_secret(b"secret of another");
        assert_eq!(verify(&other, 1_000_000, "POST", target, b"{}"), None);
        for wrong in ["", "Node", "Node 2", "Node 2.1000000.", "Node 2.1000000.0", "Node 2.1.zz"] {
            assert_eq!(key.verify(wrong, 1_000_000, &asked), None);
        }
    }
}
