//! A replicated state for tests: named counters, and a row of records for each step.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::{Duration, Instant};
use tandem::replica::{
    Applied, Machine, Replica, ReplicaConfig, ReplicaHandle, RestoreError, StartError,
};
use tandem_cluster::records::RecordSink;
use tandem_cluster::rusqlite::{self, Connection, Transaction};
use tandem_cluster::{Committed, Millis, NodeId, Role};

/// `name` is counted up by each entry that says it; `at` is when it last was.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) counts: BTreeMap<String, (u64, Millis)>,
    changed: BTreeSet<String>,
    pub(crate) role: Option<Role>,
    pub(crate) deadline: Option<Millis>,
}

impl Machine for Counters {
    type Reply = u64;

    fn apply(&mut self, entry: &Committed) -> Applied<u64> {
        let name = String::from_utf8_lossy(&entry.data).into_owned();
        if self.deadline.is_some_and(|at| at <= entry.at) {
            self.deadline = None;
        }
        if let Some(after) = name.strip_prefix("in ") {
            self.deadline = Some(entry.at + after.parse::<u64>().unwrap_or(0));
        }
        self.changed.insert(name.clone());
        let (count, at) = self.counts.entry(name.clone()).or_default();
        *count += 1;
        *at = entry.at;
        Applied { reply: *count, records: vec![format!("{name}={count}").into_bytes()] }
    }

    fn role_changed(&mut self, role: Role) {
        self.role = Some(role);
    }

    fn next_deadline(&self) -> Option<Millis> {
        self.deadline
    }

    fn tick_command(&self) -> Vec<u8> {
        b"tick".to_vec()
    }

    fn take_changes(&mut self) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
        let changed = std::mem::take(&mut self.changed);
        let value = |name: &String| {
            let (count, at) = self.counts[name];
            Some([count.to_le_bytes(), at.to_le_bytes()].concat())
        };
        changed.iter().map(|name| (name.clone().into_bytes(), value(name))).collect()
    }

    fn snapshot(&self) -> Vec<u8> {
        let line =
            |(name, (count, at)): (&String, &(u64, Millis))| format!("{count} {at} {name}\n");
        self.counts.iter().map(line).collect::<String>().into_bytes()
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), RestoreError> {
        let text = std::str::from_utf8(bytes).map_err(|error| RestoreError(error.to_string()))?;
        self.counts.clear();
        for line in text.lines() {
            let mut words = line.splitn(3, ' ');
            let mut word = || words.next().ok_or_else(|| RestoreError(line.to_owned()));
            let (count, at) = (word()?.parse().unwrap(), word()?.parse().unwrap());
            self.counts.insert(word()?.to_owned(), (count, at));
        }
        self.changed = self.counts.keys().cloned().collect();
        Ok(())
    }

    fn restore_pairs(
        &mut self,
        pairs: &mut dyn Iterator<Item = (Vec<u8>, Vec<u8>)>,
    ) -> Result<(), RestoreError> {
        self.counts.clear();
        for (name, value) in pairs {
            let word = |at: usize| u64::from_le_bytes(value[at..at + 8].try_into().unwrap());
            self.counts.insert(String::from_utf8(name).unwrap(), (word(0), word(8)));
        }
        Ok(())
    }
}

/// Writes rows into one table.
pub(crate) struct Steps;

impl RecordSink for Steps {
    fn prepare(&mut self, transaction: &Transaction<'_>) -> rusqlite::Result<()> {
        transaction.execute_batch("CREATE TABLE IF NOT EXISTS steps (at INTEGER, step TEXT)")
    }

    fn write(
        &mut self,
        transaction: &Transaction<'_>,
        index: u64,
        row: &[u8],
    ) -> rusqlite::Result<()> {
        let step = String::from_utf8_lossy(row);
        transaction.execute("INSERT INTO steps VALUES (?1, ?2)", (index as i64, step)).map(drop)
    }
}

/// The steps in a node's records, in order.
pub(crate) fn steps(data: &Path) -> Vec<String> {
    let connection = Connection::open(data.join("records.sqlite")).unwrap();
    let mut statement = connection.prepare("SELECT step FROM steps ORDER BY at").unwrap();
    let rows = statement.query_map([], |row| row.get(0)).unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}

pub(crate) type Node = (ReplicaHandle<Counters>, Replica);

/// Starts a node with what its directory has.
pub(crate) fn start(
    node: NodeId,
    data: &Path,
    members: &BTreeMap<NodeId, SocketAddr>,
    change: impl FnOnce(&mut ReplicaConfig),
) -> Result<Node, StartError> {
    let mut config = ReplicaConfig::new(node, data.join(format!("node{node}")));
    config.members = members.clone();
    config.listen = members.get(&node).copied();
    config.secret = b"secret".to_vec();
    config.records = Some(Box::new(Steps));
    change(&mut config);
    Replica::start(config, Counters::default())
}

/// Addresses on which nobody listens.
pub(crate) fn addresses(nodes: u64) -> BTreeMap<NodeId, SocketAddr> {
    let listeners: Vec<_> =
        (1..=nodes).map(|node| (node, TcpListener::bind("127.0.0.1:0").unwrap())).collect();
    listeners.iter().map(|(node, l)| (*node, l.local_addr().unwrap())).collect()
}

/// Waits until something is so.
pub(crate) fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < until, "waited for: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The node that leads, of these.
pub(crate) fn leader(nodes: &[&Node]) -> usize {
    let mut found = None;
    wait_for("a leader", || {
        found = nodes.iter().position(|node| node.0.status().role.leading);
        found.is_some()
    });
    found.unwrap()
}

/// Counts up at a node; tries again while there is no leader.
pub(crate) fn count(node: &Node, name: &str) -> u64 {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        match node.0.propose(name.as_bytes().to_vec()).wait() {
            Ok(answer) => return answer.reply,
            Err(error) => assert!(Instant::now() < until, "{error}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What a node has counted.
pub(crate) fn counted(node: &Node, name: &str) -> u64 {
    node.0.read_local(|counters| counters.counts.get(name).map_or(0, |count| count.0))
}

/// Ends a node as an operator would.
pub(crate) fn stop(node: Node) {
    node.0.shutdown();
    node.1.join();
}
