//! One member of the cluster under test: a process with a replica, told by lines on its input
//! what to do.

use crate::BYTES;
use crate::report::Load;
use std::collections::BTreeMap;
use std::io::{BufRead, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tandem::replica::{Applied, Machine, Replica, ReplicaConfig, ReplicaHandle, RestoreError};
use tandem_cluster::{Committed, NodeId};
use tokio::task::JoinSet;

/// A map from proposer to its last value.
#[derive(Debug, Default)]
pub(crate) struct Map {
    values: BTreeMap<u64, Vec<u8>>,
    changed: std::collections::BTreeSet<u64>,
}

impl Machine for Map {
    type Reply = ();

    fn apply(&mut self, entry: &Committed) -> Applied<()> {
        if let Some((key, value)) = entry.data.split_first_chunk::<8>() {
            let key = u64::from_le_bytes(*key);
            self.values.insert(key, value.to_vec());
            self.changed.insert(key);
        }
        Applied { reply: (), records: Vec::new() }
    }

    fn take_changes(&mut self) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
        let changed = std::mem::take(&mut self.changed);
        let value = |key| Some(self.values[&key].clone());
        changed.into_iter().map(|key: u64| (key.to_le_bytes().to_vec(), value(key))).collect()
    }

    fn snapshot(&self) -> Vec<u8> {
        self.values.iter().flat_map(|(k, v)| [&k.to_le_bytes(), v.as_slice()].concat()).collect()
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), RestoreError> {
        for value in bytes.chunks(BYTES) {
            let (key, value) = value.split_at(8);
            self.values.insert(u64::from_le_bytes(key.try_into().unwrap()), value.to_vec());
        }
        self.changed = self.values.keys().copied().collect();
        Ok(())
    }

    fn restore_pairs(
        &mut self,
        pairs: &mut dyn Iterator<Item = (Vec<u8>, Vec<u8>)>,
    ) -> Result<(), RestoreError> {
        let key = |key: Vec<u8>| u64::from_le_bytes(key.try_into().unwrap());
        self.values = pairs.map(|(name, value)| (key(name), value)).collect();
        Ok(())
    }
}

/// `member NODE DATA [NODE=ADDRESS …]`
pub(crate) fn run(arguments: &[String]) {
    let node: NodeId = arguments[0].parse().unwrap();
    let members: BTreeMap<NodeId, SocketAddr> = arguments[2..]
        .iter()
        .map(|member| member.split_once('=').unwrap())
        .map(|(node, address)| (node.parse().unwrap(), address.parse().unwrap()))
        .collect();
    let mut config = ReplicaConfig::new(node, PathBuf::from(&arguments[1]));
    config.listen = members.get(&node).copied();
    config.members = members;
    config.secret = b"bench".to_vec();
    // Why a member ends is said there before it does.
    config.fatal = Arc::new(|why| {
        eprintln!("the replica cannot go on: {why}");
        std::process::abort();
    });
    let (handle, _replica) = Replica::start(config, Map::default()).unwrap();
    // One thread, as the proposers of a node share its threads with much else.
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let probing = Arc::new(AtomicBool::new(false));
    for line in std::io::stdin().lock().lines() {
        let line = line.unwrap();
        let words: Vec<_> = line.split_whitespace().collect();
        let number = |at: usize| words[at].parse::<u64>().unwrap();
        match words.as_slice() {
            ["leading"] => say(&handle.status().role.leading.to_string()),
            ["load", ..] => {
                let time = Duration::from_millis(number(2));
                let load = runtime.block_on(load(&handle, node, number(1), time));
                say(&format!(
                    "{} {} {} {}",
                    load.per_second, load.p50_ms, load.p99_ms, load.failed
                ));
            }
            ["pace", ..] => {
                let time = Duration::from_millis(number(2));
                let load = runtime.block_on(pace(&handle, number(1), time));
                say(&format!(
                    "{} {} {} {}",
                    load.per_second, load.p50_ms, load.p99_ms, load.failed
                ));
            }
            ["probe"] => {
                probing.store(true, Ordering::Relaxed);
                let (handle, probing) = (handle.clone(), Arc::clone(&probing));
                std::thread::spawn(move || probe(&handle, &probing));
            }
            ["enough"] => probing.store(false, Ordering::Relaxed),
            _ => break,
        }
    }
    // Killed by the end of its input.
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").unwrap();
    out.flush().unwrap();
}

fn value(key: u64) -> Vec<u8> {
    let mut value = vec![0x5a; BYTES];
    value[..8].copy_from_slice(&key.to_le_bytes());
    value
}

async fn load(handle: &ReplicaHandle<Map>, node: u64, proposers: u64, time: Duration) -> Load {
    let start = Instant::now();
    let until = start + time;
    let mut tasks = JoinSet::new();
    for proposer in 0..proposers {
        let handle = handle.clone();
        tasks.spawn(async move {
            let (mut micros, mut failed) = (Vec::new(), 0);
            while Instant::now() < until {
                let began = Instant::now();
                match handle.propose(value(node << 32 | proposer)).await {
                    Ok(_) => micros.push(began.elapsed().as_micros() as u32),
                    Err(_) => failed += 1,
                }
            }
            (micros, failed)
        });
    }
    let (mut all, mut failed) = (Vec::new(), 0);
    while let Some(done) = tasks.join_next().await {
        let (micros, fails) = done.unwrap();
        all.extend(micros);
        failed += fails;
    }
    Load::new(all, failed, start.elapsed(), Duration::ZERO)
}

/// Proposes 1,000 times a second, so many at once, whether or not the ones before are committed.
async fn pace(handle: &ReplicaHandle<Map>, burst: u64, time: Duration) -> Load {
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    let mut every = tokio::time::interval(Duration::from_millis(burst));
    let mut sent = 0;
    while start.elapsed() < time {
        every.tick().await;
        for _ in 0..burst {
            sent += 1;
            let proposal = handle.propose(value(sent % 500));
            let began = Instant::now();
            tasks.spawn(async move { proposal.await.is_ok().then(|| began.elapsed()) });
        }
    }
    let took = start.elapsed();
    let (mut all, mut failed) = (Vec::new(), 0);
    while let Some(done) = tasks.join_next().await {
        match done.unwrap() {
            Some(took) => all.push(took.as_micros() as u32),
            None => failed += 1,
        }
    }
    Load::new(all, failed, took, Duration::ZERO)
}

/// Proposes every 2 ms until the first is committed, and says when that was.
fn probe(handle: &ReplicaHandle<Map>, probing: &Arc<AtomicBool>) {
    while probing.load(Ordering::Relaxed) {
        let still = Arc::clone(probing);
        handle.propose_then(value(1), move |answer| {
            if answer.is_ok() && still.swap(false, Ordering::Relaxed) {
                say(&format!("committed {}", micros()));
            }
        });
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The clock that the processes share.
pub(crate) fn micros() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros()
}
