//! The state as key-value pairs, as a snapshot, and as a hash.
//!
//! A pair for every call, agent, session and so on, so that a command writes only what it
//! touched. Indexes are not stored. A snapshot is all pairs behind a version, which is the one that
//! the cluster has agreed on, so that every node reads it; what was written by a foreign program is
//! told from what is damaged, and neither is ever loaded in part. When the version rises, every pair
//! is written anew: all pairs of a store are of one version.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::agent::{Remembered, Results};
use crate::apply::Turn;
use crate::call::FlowKey;
use crate::flow::{Flow, FlowVersion};
use crate::hash::Hash;
use crate::queue::{Memory, Totals};
use crate::state::{Counts, FlowEntry, Node};
use crate::version::{self, Foreign};
use crate::{
    Agent, AgentId, Call, CallId, Center, Directory, HomeId, Index, Millis, NodeId, Queue, QueueId,
    Session, SessionId, Touched,
};

/// What a snapshot begins with.
const MAGIC: &[u8; 4] = b"TCtr";

/// Bytes of the directory in one value: the cache keeps values of more than about 128 kB apart
/// and never syncs them.
const CHUNK_BYTES: usize = 64 << 10;

/// Chunks of the largest directory.
const CHUNKS_MAX: usize = crate::directory::DIRECTORY_BYTES_MAX.div_ceil(CHUNK_BYTES);

/// A key and what is under it; None: nothing any more.
pub type Change = (Vec<u8>, Option<Vec<u8>>);

/// Why stored bytes are not a state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// Written by a program that this one does not understand.
    #[error("the state has {0}")]
    Foreign(#[from] Foreign),
    /// Not what was written.
    #[error("the state is damaged: {what}")]
    Corrupt { what: String },
}

/// What the rest of the state stands on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Meta {
    version: u8,
    index: Index,
    at: Millis,
}

/// One remembered result, with its place among the results of its agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct StoredResult {
    sequence: u64,
    result: Remembered,
}

/// One piece of the encoded directory.
#[derive(Serialize, Deserialize)]
struct Chunk<'a> {
    /// How many there are. One with a number from here on is a leftover.
    count: u32,
    bytes: &'a [u8],
}

mod tag {
    pub(super) const META: u8 = b'm';
    pub(super) const CALL: u8 = b'c';
    pub(super) const AGENT: u8 = b'a';
    pub(super) const SESSION: u8 = b's';
    pub(super) const QUEUE: u8 = b'q';
    pub(super) const NODE: u8 = b'n';
    pub(super) const HOME: u8 = b'h';
    pub(super) const FLOW: u8 = b'f';
    pub(super) const DIRECTORY: u8 = b'd';
    pub(super) const RESULT: u8 = b'r';
    pub(super) const REGISTRATION: u8 = b'p';
    pub(super) const COUNTS: u8 = b't';
    pub(super) const SERVED: u8 = b'l';
    pub(super) const TRUNK: u8 = b'k';
    /// Of version 4.
    #[cfg(feature = "next-version")]
    pub(super) const REHEARSED: u8 = b'v';
}

impl Center {
    /// The pairs to write after a command, deletions among them. The last is always the point
    /// that the state has reached, so all are to be written in one batch.
    #[must_use]
    pub fn changed(&self, touched: &Touched) -> Vec<Change> {
        if touched.version {
            let mut all = self.everything();
            all.merge(touched);
            return self.changed(&Touched { version: false, ..all });
        }
        let mut pairs = Vec::with_capacity(touched.calls.len() + 4);
        for id in &touched.calls {
            let call = self.calls.get(id).map(|call| encode(&**call));
            pairs.push((key_u64(tag::CALL, id.0), call));
        }
        for id in &touched.agents {
            let agent = self.agents.get(id).map(|agent| encode(&**agent));
            pairs.push((key(tag::AGENT, id.as_str()), agent));
        }
        for id in &touched.sessions {
            pairs.push((key_u64(tag::SESSION, id.0), self.sessions.get(id).map(encode)));
        }
        for id in &touched.queues {
            let own = self.queues.get(id).map(|queue| encode(&(&queue.totals, &queue.memory)));
            pairs.push((key(tag::QUEUE, id.as_str()), own));
        }
        for id in &touched.nodes {
            let node = self.nodes.get(id).map(|node| encode_node(self.version(), node));
            pairs.push((key_u64(tag::NODE, id.0), node));
        }
        for id in &touched.homes {
            pairs.push((key_u64(tag::HOME, id.0), self.homes.get(id).map(encode)));
        }
        for id in &touched.registrations {
            let registration = self.registrations.get(id).map(encode);
            pairs.push((key(tag::REGISTRATION, id.as_str()), registration));
        }
        for number in &touched.served {
            pairs.push((key(tag::SERVED, number), self.served.get(number).map(encode)));
        }
        for name in &touched.trunks {
            pairs.push((key(tag::TRUNK, name), self.trunks.get(name).map(encode)));
        }
        for id in &touched.flows {
            let text = self.flows.get(id).map(|entry| entry.text.as_bytes().to_vec());
            pairs.push((flow_key(id), text));
        }
        for (agent, slot) in &touched.results {
            pairs.push((result_key(agent, *slot), self.stored_result(agent, *slot)));
        }
        if touched.directory {
            let first = pairs.len();
            self.push_directory(&mut pairs);
            let leftovers = pairs.len() - first..CHUNKS_MAX;
            pairs.extend(leftovers.map(|number| (chunk_key(number), None)));
        }
        pairs.push((vec![tag::COUNTS], Some(encode(&self.counts))));
        #[cfg(feature = "next-version")]
        if self.version() >= 4 {
            pairs.push((vec![tag::REHEARSED], Some(encode(&self.rehearsed))));
        }
        let meta = Meta { version: self.version(), index: self.index, at: self.at };
        pairs.push((vec![tag::META], Some(encode(&meta))));
        pairs
    }

    fn stored_result(&self, agent: &AgentId, slot: u8) -> Option<Vec<u8>> {
        let results = self.results.get(agent)?;
        let (sequence, result) = results.numbered().find(|(n, _)| Results::slot(*n) == slot)?;
        Some(encode(&StoredResult { sequence, result: result.clone() }))
    }

    fn push_directory(&self, pairs: &mut Vec<Change>) {
        let bytes = encode(&*self.directory);
        let count = count(bytes.chunks(CHUNK_BYTES).len());
        for (number, bytes) in bytes.chunks(CHUNK_BYTES).enumerate() {
            pairs.push((chunk_key(number), Some(encode(&Chunk { count, bytes }))));
        }
    }

    /// Every value of the state, as if all of them had changed.
    #[must_use]
    pub fn everything(&self) -> Touched {
        Touched {
            calls: self.calls.keys().copied().collect(),
            agents: self.agents.keys().cloned().collect(),
            sessions: self.sessions.keys().copied().collect(),
            queues: self.queues.keys().cloned().collect(),
            nodes: self.nodes.keys().copied().collect(),
            homes: self.homes.keys().copied().collect(),
            flows: self.flows.keys().cloned().collect(),
            registrations: self.registrations.keys().cloned().collect(),
            served: self.served.keys().cloned().collect(),
            trunks: self.trunks.keys().cloned().collect(),
            directory: true,
            version: false,
            results: self
                .results
                .iter()
                .flat_map(|(agent, results)| results.slots().map(|slot| (agent.clone(), slot)))
                .collect(),
        }
    }

    /// Every pair of the state.
    fn pairs(&self) -> Vec<Change> {
        let mut pairs = self.changed(&Touched { directory: false, ..self.everything() });
        self.push_directory(&mut pairs);
        pairs
    }

    /// The whole state as a snapshot.
    #[must_use]
    pub fn save(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.push(self.version());
        let pairs: Vec<(Vec<u8>, Vec<u8>)> =
            self.pairs().into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
        postcard::to_extend(&pairs, bytes).expect("a vector takes all bytes")
    }

    /// Reads what [`Center::save`] wrote.
    pub fn load(bytes: &[u8]) -> Result<Self, LoadError> {
        let Some((&version, rest)) = bytes.strip_prefix(MAGIC).and_then(<[u8]>::split_first) else {
            return Err(corrupt("it does not begin as a snapshot of the centre"));
        };
        version::check(version)?;
        let pairs: Vec<(&[u8], &[u8])> = decode("snapshot", rest)?;
        Self::from_pairs(pairs)
    }

    /// Builds the state from all pairs that [`Center::changed`] gave and that were not deleted,
    /// in any order. No pairs: a new centre.
    ///
    /// Does not refuse a state that [`Center::check_invariants`] finds wrong: every replica has
    /// the same one, and none could start. The node checks and raises an alarm.
    pub fn from_pairs<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        pairs: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Self, LoadError> {
        let pairs: Vec<(K, V)> = pairs.into_iter().collect();
        let mut loader = Loader::default();
        // The point says in which version all others are.
        let is_meta = |pair: &&(K, V)| pair.0.as_ref() == [tag::META];
        if let Some((_, meta)) = pairs.iter().find(is_meta) {
            loader.take_meta(meta.as_ref())?;
        }
        for (key, value) in &pairs {
            loader.take(key.as_ref(), value.as_ref())?;
        }
        loader.finish()
    }

    /// A hash of the state without its index: equal on every replica that applied the same
    /// commands. Reads the whole state; meant for tests and audits.
    #[must_use]
    pub fn state_hash(&self) -> u64 {
        let mut hash = Hash::default();
        for (key, value) in self.pairs() {
            if key != [tag::META] {
                hash.write(&key);
                hash.write(&value.unwrap_or_default());
            }
        }
        hash.write(&self.at.0.to_be_bytes());
        hash.finish()
    }
}

/// A state that is being put together.
#[derive(Default)]
struct Loader {
    center: Center,
    meta: Option<Meta>,
    counts: Option<Counts>,
    chunks: BTreeMap<u32, (u32, Vec<u8>)>,
    results: BTreeMap<AgentId, BTreeMap<u64, Remembered>>,
}

impl Loader {
    fn take(&mut self, key: &[u8], value: &[u8]) -> Result<(), LoadError> {
        let Some((&tag, id)) = key.split_first() else { return Err(corrupt("an empty key")) };
        let center = &mut self.center;
        match tag {
            tag::META => (),
            tag::CALL => {
                let call: Call = decode("call", value)?;
                center.calls.insert(CallId(number(id)?), Arc::new(call));
            }
            tag::AGENT => {
                let agent: Agent = decode("agent", value)?;
                center.agents.insert(agent.id.clone(), Arc::new(agent));
            }
            tag::SESSION => {
                let session: Session = decode("session", value)?;
                center.sessions.insert(SessionId(number(id)?), session);
            }
            tag::QUEUE => {
                let id = QueueId::parse(text(id)?).map_err(|error| corrupt(&error.to_string()))?;
                let (totals, memory): (Totals, Memory) = decode("queue", value)?;
                center.queues.insert(id.clone(), Queue { totals, memory, ..Queue::new(id) });
            }
            tag::NODE => {
                let node = decode_node(center.version(), value)?;
                center.nodes.insert(NodeId(number(id)?), node);
            }
            tag::HOME => {
                center.homes.insert(HomeId(number(id)?), decode("home", value)?);
            }
            tag::REGISTRATION => {
                let id = AgentId::parse(text(id)?).map_err(|error| corrupt(&error.to_string()))?;
                center.registrations.insert(id, decode("registration", value)?);
            }
            tag::SERVED => {
                center.served.insert(text(id)?.into(), decode("served caller", value)?);
            }
            tag::TRUNK => {
                center.trunks.insert(text(id)?.into(), decode("trunk", value)?);
            }
            tag::FLOW => self.take_flow(id, value)?,
            tag::DIRECTORY => {
                let id = id.try_into().map_err(|_| corrupt("a directory key"))?;
                let Chunk { count, bytes } = decode("directory", value)?;
                self.chunks.insert(u32::from_be_bytes(id), (count, bytes.to_vec()));
            }
            tag::RESULT => self.take_result(id, value)?,
            tag::COUNTS => self.counts = Some(decode("counts", value)?),
            #[cfg(feature = "next-version")]
            tag::REHEARSED => center.rehearsed = decode("rehearsal", value)?,
            other => return Err(corrupt(&format!("a key of unknown kind {other:#04x}"))),
        }
        Ok(())
    }

    fn take_meta(&mut self, value: &[u8]) -> Result<(), LoadError> {
        let Some(&version) = value.first() else { return Err(corrupt("no version")) };
        version::check(version)?;
        self.meta = Some(decode("meta", value)?);
        self.center.version = version;
        Ok(())
    }

    fn take_flow(&mut self, id: &[u8], value: &[u8]) -> Result<(), LoadError> {
        let (name, version) = split_name(id)?;
        let key = FlowKey { name: name.into(), version: FlowVersion(number(version)?) };
        let text = text(value)?;
        let flow = Flow::parse(name, text)
            .map_err(|errors| corrupt(&format!("flow {name}: {errors:?}")))?;
        let entry = FlowEntry { text: text.into(), flow: Arc::new(flow), calls: 0 };
        self.center.flows.insert(key, entry);
        Ok(())
    }

    fn take_result(&mut self, id: &[u8], value: &[u8]) -> Result<(), LoadError> {
        let (agent, _) = split_name(id)?;
        let agent = AgentId::parse(agent).map_err(|error| corrupt(&error.to_string()))?;
        let StoredResult { sequence, result } = decode("result", value)?;
        self.results.entry(agent).or_default().insert(sequence, result);
        Ok(())
    }

    fn finish(mut self) -> Result<Center, LoadError> {
        let Some(meta) = self.meta else {
            let is_empty = self.center.calls.is_empty()
                && self.center.agents.is_empty()
                && self.chunks.is_empty();
            return if is_empty { Ok(Center::new()) } else { Err(corrupt("meta is missing")) };
        };
        (self.center.index, self.center.at) = (meta.index, meta.at);
        let directory = self.directory()?;
        self.center.directory_hash = directory.hash();
        self.center.directory = Arc::new(directory);
        for (agent, results) in self.results {
            self.center.results.insert(agent, Results::of_numbered(results));
        }
        // A program that did not count wrote it: counting begins here.
        self.center.counts = self.counts.unwrap_or_else(|| {
            let alive = self.center.calls.values().filter(|call| !call.has_ended());
            Counts { begun: alive.count() as u64, ended: 0, since: meta.index }
        });
        let mut turn = Turn::new(meta.index, meta.at);
        self.center.rebuild_indexes(&mut turn);
        Ok(self.center)
    }

    fn directory(&self) -> Result<Directory, LoadError> {
        let Some((count, _)) = self.chunks.get(&0) else { return Ok(Directory::default()) };
        let mut bytes = Vec::new();
        for number in 0..*count {
            match self.chunks.get(&number) {
                Some((of, chunk)) if of == count => bytes.extend_from_slice(chunk),
                Some(_) | None => return Err(corrupt("a part of the directory is missing")),
            }
        }
        decode("directory", &bytes)
    }
}

fn corrupt(what: &str) -> LoadError {
    LoadError::Corrupt { what: what.to_owned() }
}

/// A node as `version` stores it. Values that differ between versions have such a pair of functions.
fn encode_node(version: u8, node: &Node) -> Vec<u8> {
    match version {
        #[cfg(feature = "next-version")]
        4.. => encode(&(node.reads, node.up, node.draining, node.witness)),
        _ => encode(&(node.up, node.draining, node.reads, node.witness)),
    }
}

fn decode_node(version: u8, value: &[u8]) -> Result<Node, LoadError> {
    let (up, draining, reads, witness) = match version {
        #[cfg(feature = "next-version")]
        4.. => {
            let (reads, up, draining, witness) = decode("node", value)?;
            (up, draining, reads, witness)
        }
        _ => decode("node", value)?,
    };
    Ok(Node { up, draining, reads, witness, calls: 0 })
}

fn encode<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    postcard::to_allocvec(value).expect("our values have no sequences of unknown length")
}

fn decode<'a, T: Deserialize<'a>>(what: &str, bytes: &'a [u8]) -> Result<T, LoadError> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        Ok((_, rest)) => Err(corrupt(&format!("{what}: {} bytes too many", rest.len()))),
        Err(error) => Err(corrupt(&format!("{what}: {error}"))),
    }
}

fn key(tag: u8, id: &str) -> Vec<u8> {
    [&[tag], id.as_bytes()].concat()
}

fn key_u64(tag: u8, id: u64) -> Vec<u8> {
    [&[tag][..], &id.to_be_bytes()].concat()
}

/// A name cannot contain a zero byte, so it ends there.
fn flow_key(flow: &FlowKey) -> Vec<u8> {
    [&[tag::FLOW], flow.name.as_bytes(), &[0], &flow.version.0.to_be_bytes()].concat()
}

fn result_key(agent: &AgentId, slot: u8) -> Vec<u8> {
    [&[tag::RESULT], agent.as_str().as_bytes(), &[0, slot]].concat()
}

fn chunk_key(number: usize) -> Vec<u8> {
    [&[tag::DIRECTORY][..], &count(number).to_be_bytes()].concat()
}

fn count(of: usize) -> u32 {
    u32::try_from(of).unwrap_or(u32::MAX)
}

fn number(bytes: &[u8]) -> Result<u64, LoadError> {
    Ok(u64::from_be_bytes(bytes.try_into().map_err(|_| corrupt("a number in a key"))?))
}

fn text(bytes: &[u8]) -> Result<&str, LoadError> {
    std::str::from_utf8(bytes).map_err(|_| corrupt("a text that is not UTF-8"))
}

fn split_name(bytes: &[u8]) -> Result<(&str, &[u8]), LoadError> {
    let end = bytes.iter().position(|byte| *byte == 0).ok_or_else(|| corrupt("a name in a key"))?;
    Ok((text(&bytes[..end])?, &bytes[end + 1..]))
}
