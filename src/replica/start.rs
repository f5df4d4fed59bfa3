//! Bringing a replica to where it was: which of log, snapshot, cache and records is believed.
//!
//! The log decides. The cache is used if it fits to it, and thrown away otherwise; whatever else
//! does not fit is an error that says what to do (`docs/cluster.md`).

use super::config::{ReplicaConfig, StartError};
use super::keeper::take_in_records;
use super::logger::logger;
use super::machine::Machine;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use tandem_cluster::cache::{Cache, Mark};
use tandem_cluster::driver::{begin, genesis};
use tandem_cluster::records::Records;
use tandem_cluster::snapshot::SnapshotFiles;
use tandem_cluster::store::{Store, StoreError};
use tandem_cluster::{
    Driver, EngineLog, Index, Log, Millis, NodeId, Options, SnapshotData, StartError as DriverError,
};

/// What the Raft thread begins with.
pub(super) struct Recovered<M> {
    pub(super) store: Store,
    pub(super) driver: Driver<EngineLog>,
    pub(super) machine: M,
    pub(super) files: SnapshotFiles,
    pub(super) cache: Option<Cache>,
    pub(super) records: Option<Records>,
    /// What the cache has already.
    pub(super) kept: Index,
}

/// Opens everything in the data directory.
pub(super) fn recover<M: Machine>(
    config: &mut ReplicaConfig,
    mut machine: M,
) -> Result<Recovered<M>, StartError> {
    check(config)?;
    let store = Store::open(&config.data, config.node)?;
    let files = SnapshotFiles::open(store.snapshots())?;
    let (mut log, opened) = EngineLog::open(&store.log()).map_err(DriverError::Log)?;
    if let Some(copy) = opened.torn {
        tracing::warn!(copy = %copy.display(), "the end of the log was torn and is cut off");
    }
    check_recovery(config, &store, log.is_new())?;
    if log.is_new() && !config.join {
        let genesis = genesis(&addresses(&config.members, config), Vec::new());
        files.write(&genesis, &machine.snapshot())?;
        begin(&mut log, &genesis).map_err(DriverError::Log)?;
    }
    let snapshot = log.snapshot().map_or(0, |snapshot| snapshot.get_metadata().index);
    let mut records = match config.records.take() {
        Some(sink) => Some(Records::open(&store.records(), sink)?),
        None => None,
    };
    if let Some(records) = &mut records {
        take_in_records(records, &files, snapshot)?;
        check_records(&store, records, snapshot, log.last_index())?;
    }
    let cached = from_cache(&store, &log, records.as_ref(), &mut machine)?;
    let (cache, (applied, applied_at)) = match cached {
        Some((cache, mark)) => (Some(cache), (mark.index, mark.at)),
        None => {
            let restored = from_snapshot(&files, &log, &mut machine)?;
            let cache = Cache::wiped(&store.cache());
            let lost = |error| tracing::warn!(%error, "there will be no cache of the state");
            (cache.map_err(lost).ok(), restored)
        }
    };
    tracing::info!(applied, snapshot, log = log.last_index(), "state recovered");
    let options = Options {
        election_ticks: config.election_ticks,
        heartbeat_ticks: config.heartbeat_ticks,
        seed: rand::random(),
        incarnation: (config.clock)(),
        applied,
        applied_at,
        ..Options::new(config.node)
    };
    let driver = Driver::new(&options, log, &logger())?;
    Ok(Recovered { store, driver, machine, files, cache, records, kept: applied })
}

fn check(config: &ReplicaConfig) -> Result<(), StartError> {
    let alone = config.members.keys().all(|node| *node == config.node) && !config.join;
    if !alone && config.secret.is_empty() {
        return Err(StartError::Missing("a secret that its members share"));
    }
    if !alone && config.listen.is_none() {
        return Err(StartError::Missing("an address at which each of its members listens"));
    }
    if !alone && !config.join && !config.members.contains_key(&config.node) {
        let members = config.members.keys().copied().collect();
        return Err(StartError::NotMember { node: config.node, members });
    }
    Ok(())
}

/// Directory and configuration are of the same side of a recovery, if there was one.
fn check_recovery(config: &ReplicaConfig, store: &Store, is_new: bool) -> Result<(), StartError> {
    match (store.recovery()?, &config.recovery) {
        (None, None) => Ok(()),
        (Some(code), known) if known.as_ref() == Some(&code) => Ok(()),
        (Some(code), _) => Err(StartError::Recovered { code }),
        (None, Some(_)) if !is_new => Err(StartError::BeforeRecovery),
        (None, Some(_)) if !config.join => Err(StartError::BeginsAnew),
        (None, Some(code)) => Ok(store.recovered(code)?),
    }
}

/// The first voters, as the log keeps them.
fn addresses(
    members: &BTreeMap<NodeId, SocketAddr>,
    config: &ReplicaConfig,
) -> BTreeMap<NodeId, Vec<u8>> {
    let mut addresses: BTreeMap<_, _> =
        members.iter().map(|(node, address)| (*node, address.to_string().into_bytes())).collect();
    addresses.entry(config.node).or_default();
    addresses
}

fn check_records(
    store: &Store,
    records: &Records,
    snapshot: Index,
    last: Index,
) -> Result<(), StartError> {
    let applied = records.applied();
    // The leader copied them after it had made the snapshot that they came with.
    if applied > last && !records.are_received() {
        return Err(DriverError::LogLost { applied, last }.into());
    }
    if applied < snapshot && snapshot > tandem_cluster::driver::GENESIS_INDEX {
        let why = format!("it ends at entry {applied}, before the snapshot at {snapshot}");
        return Err(StoreError::Damaged { path: store.records(), why }.into());
    }
    Ok(())
}

/// The cache, if the state was restored from it.
fn from_cache<M: Machine>(
    store: &Store,
    log: &EngineLog,
    records: Option<&Records>,
    machine: &mut M,
) -> Result<Option<(Cache, Mark)>, StartError> {
    let doubt = |why: String| tracing::warn!(why, "the cache is not used and begun anew");
    let (cache, mark) = match Cache::open(&store.cache()) {
        Ok((cache, Some(mark))) => (cache, mark),
        Ok((_, None)) => return Ok(None),
        Err(error) => {
            doubt(error.to_string());
            return Ok(None);
        }
    };
    if mark.index > log.last_index() {
        return Err(DriverError::LogLost { applied: mark.index, last: log.last_index() }.into());
    }
    let term = log.term(mark.index).map_err(DriverError::Log)?;
    if term != Some(mark.term) {
        doubt(format!("entry {} has term {term:?}, the cache {}", mark.index, mark.term));
        return Ok(None);
    }
    if records.is_some_and(|records| records.applied() < mark.index) {
        doubt(format!("it is at entry {}, ahead of the records", mark.index));
        return Ok(None);
    }
    let restored = cache.pairs().map_err(|error| error.to_string()).and_then(|pairs| {
        machine.restore_pairs(&mut pairs.into_iter()).map_err(|error| error.to_string())
    });
    match restored {
        Ok(()) => Ok(Some((cache, mark))),
        Err(why) => {
            doubt(why);
            Ok(None)
        }
    }
}

/// Applied index and time of the newest snapshot, to which the machine was brought.
fn from_snapshot<M: Machine>(
    files: &SnapshotFiles,
    log: &EngineLog,
    machine: &mut M,
) -> Result<(Index, Millis), StartError> {
    let Some(noted) = log.snapshot() else { return Ok((0, 0)) };
    let index = noted.get_metadata().index;
    let (snapshot, state) = files.read(&noted)?;
    let data = SnapshotData::decode(&snapshot.data).map_err(DriverError::Log)?;
    machine.restore(&state).map_err(|error| StartError::Restore { index, error })?;
    Ok((index, data.at))
}
