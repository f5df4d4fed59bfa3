//! Disks that fail under a node: what must stop it, what it may do without, and that nothing
//! acknowledged is lost either way.
//!
//! The node is a process of its own, in a mount namespace where one part of its directory is on a
//! disk that is too small. Needs root.

use crate::counter::{Node, Steps, count, counted, start, steps, stop, wait_for};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, mpsc};
use std::time::Duration;
use tandem::replica::ReplicaConfig;
use tandem_cluster::log::Write as LogWrite;
use tandem_cluster::records::{RecordSink, Records};
use tandem_cluster::rusqlite::{self, Transaction};
use tandem_cluster::snapshot::SnapshotFiles;
use tandem_cluster::{EngineLog, HardState, Log, Snapshot, SnapshotData};

const CHILD: &str = "TANDEM_TEST_DISK_CHILD";
const FROM: &str = "TANDEM_TEST_DISK_FROM";
const SNAPSHOT_ENTRIES: &str = "TANDEM_TEST_DISK_SNAPSHOT_ENTRIES";

/// Bytes of a name: each is in the log, the records, the cache and the snapshot once.
const NAME_BYTES: usize = 1000;

#[test]
fn a_full_disk_under_the_records_stops_the_node_and_loses_nothing() {
    let home = Home::begun();
    let disk = home.records_on("size=4m");
    let mut node = home.runs(&disk, 0, 200_000);
    let (acknowledged, last) = node.ends();
    assert!(acknowledged > 100, "the disk was too small to begin: {last}");
    let why = last.strip_prefix("fatal: ").unwrap_or_else(|| panic!("it says {last:?}"));
    assert!(why.contains("records.sqlite") && why.contains("full"), "{why}");
    assert_eq!(node.code(), Some(3));
    // As long as it is full, it does not stay up.
    let mut node = home.runs(&disk, acknowledged, 200_000);
    let (acknowledged, last) = node.ends();
    assert!(last.contains("records.sqlite") && last.contains("full"), "{last}");
    disk.remount("size=64m");
    home.holds(&disk, acknowledged);
}

#[test]
fn records_that_may_only_be_read_are_refused_at_the_start() {
    let home = Home::begun();
    let disk = home.records_on("size=64m");
    let mut node = home.runs(&disk, 0, 200_000);
    let acknowledged = node.acknowledges(50);
    node.kill();
    disk.remount("ro");
    let mut node = home.runs(&disk, acknowledged, 200_000);
    let (_, last) = node.ends();
    let why = last.strip_prefix("refused: ").unwrap_or_else(|| panic!("it says {last:?}"));
    assert!(why.contains("records.sqlite") && why.contains("readonly"), "{why}");
    disk.remount("rw");
    home.holds(&disk, acknowledged);
}

#[test]
fn a_full_disk_under_the_cache_costs_the_cache_and_nothing_else() {
    let home = Home::begun();
    let disk = Disk::mount(&home.node.join("cache"), "size=8m");
    let mut node = home.runs(&disk, 0, 200_000);
    let mut acknowledged = node.acknowledges(50);
    wait_for("the cache is in use", || disk.names().iter().any(|name| name == "db"));
    // It is full soon; then its files are removed.
    while !disk.names().is_empty() {
        assert!(acknowledged < 50_000, "it is not full after {acknowledged} names");
        acknowledged = node.acknowledges(50);
    }
    acknowledged = node.acknowledges(500);
    node.kill();
    home.holds(&disk, acknowledged);
}

#[test]
fn a_full_disk_under_the_snapshots_keeps_the_log_and_loses_nothing() {
    let home = Home::begun();
    let snapshots = home.node.join("snapshots");
    let disk = Disk::mount(&snapshots, "size=128k");
    // The snapshot with which the cluster began.
    let begun = disk.copies(&snapshots);
    let mut node = home.runs(&disk, 0, 200);
    let acknowledged = node.acknowledges(1_000);
    assert_eq!(disk.names(), begun, "no half snapshot either");
    disk.remount("size=64m");
    // It tries again by itself.
    wait_for("a snapshot", || disk.names().iter().any(|name| !begun.contains(name)));
    let acknowledged = acknowledged.max(node.acknowledges(500));
    node.kill();
    home.holds(&disk, acknowledged);
}

#[test]
fn a_panic_while_records_are_written_ends_the_node() {
    struct Panics;
    impl RecordSink for Panics {
        fn prepare(&mut self, _: &Transaction<'_>) -> rusqlite::Result<()> {
            Ok(())
        }

        fn write(&mut self, _: &Transaction<'_>, _: u64, row: &[u8]) -> rusqlite::Result<()> {
            assert_ne!(row, b"odd=1", "what row is this");
            Ok(())
        }
    }
    let data = tempfile::tempdir().unwrap();
    let (said, fatal) = mpsc::channel();
    let node = start(1, data.path(), &BTreeMap::new(), |config| {
        config.records = Some(Box::new(Panics));
        config.fatal = Arc::new(move |why| said.send(why.to_owned()).unwrap());
    })
    .unwrap();
    count(&node, "even");
    assert!(fatal.recv_timeout(Duration::from_millis(300)).is_err());
    count(&node, "odd");
    let why = fatal.recv_timeout(Duration::from_secs(10)).expect("it must not go on");
    assert!(why.contains("keeper") && why.contains("what row is this"), "{why}");
    stop(node);
}

/// The leader copies its records after it made the snapshot, so that they are ahead of what the
/// receiver's log has until the entries come.
#[test]
fn a_node_that_dies_between_its_snapshot_and_the_entries_starts_again() {
    let data = tempfile::tempdir().unwrap();
    let leader = start(1, data.path(), &BTreeMap::new(), |_| ()).unwrap();
    for _ in 0..20 {
        count(&leader, "a");
    }
    stop(leader);
    let joining = || {
        start(2, data.path(), &BTreeMap::new(), |config| {
            (config.join, config.secret) = (true, b"secret".to_vec());
            config.listen = Some("127.0.0.1:0".parse().unwrap());
        })
    };
    stop(joining().unwrap());
    let noted = SnapshotData { at: 5, ..SnapshotData::default() };
    let mut snapshot = Snapshot { data: noted.encode().into(), ..Snapshot::default() };
    let metadata = snapshot.mut_metadata();
    (metadata.index, metadata.term) = (10, 2);
    metadata.mut_conf_state().voters.push(1);
    metadata.mut_conf_state().learners.push(2);
    let files = SnapshotFiles::open(data.path().join("node2/snapshots")).unwrap();
    files.write(&snapshot, b"7 5 a\n").unwrap();
    let records = Records::open(&data.path().join("node1/records.sqlite"), Box::new(Steps));
    let records = records.unwrap();
    assert!(records.applied() > 10);
    records.copy_to(&files.records_path(10)).unwrap();
    let (mut log, _) = EngineLog::open(&data.path().join("node2/log")).unwrap();
    let hard_state = HardState { term: 2, commit: 10, ..HardState::default() };
    let write = LogWrite { hard_state: Some(hard_state), ..LogWrite::default() };
    log.install(&snapshot, &write).unwrap();
    drop(log);
    for start in ["with the copy", "with the records taken in"] {
        let node = joining().unwrap_or_else(|error| panic!("{start}: {error}"));
        assert_eq!(counted(&node, "a"), 7, "{start}");
        stop(node);
    }
    assert_eq!(steps(&data.path().join("node2")).len(), 20);
}

/// The node whose disk fails. Not a test by itself.
#[test]
fn child() {
    let Some(data) = std::env::var_os(CHILD) else { return };
    let number = |name| std::env::var(name).unwrap().parse::<u64>().unwrap();
    let started = start(1, Path::new(&data), &BTreeMap::new(), |config: &mut ReplicaConfig| {
        config.snapshot_entries = number(SNAPSHOT_ENTRIES);
        config.kept_entries = 10;
        config.cache_every = Duration::from_millis(10);
        config.fatal = Arc::new(|why| {
            say(&format!("fatal: {why}"));
            std::process::exit(3);
        });
    });
    let node = match started {
        Ok(node) => node,
        Err(error) => return say(&format!("refused: {error}")),
    };
    if std::env::var_os(FROM).is_none() {
        return check(node, Path::new(&data));
    }
    let mut next = number(FROM);
    loop {
        let batch: Vec<_> =
            (next..next + 10).map(|at| (at, node.0.propose(name(at).into_bytes()))).collect();
        for (at, proposal) in batch {
            match proposal.wait() {
                Ok(_) => say(&format!("acknowledged {}", at + 1)),
                Err(error) => say(&error.to_string()),
            }
        }
        next += 10;
    }
}

/// Says what a node has: names without a gap, entries, rows of its records, and different ones.
fn check(node: Node, data: &Path) {
    count(&node, "last");
    let (names, entries) = node.0.read_local(|counters| {
        let names = (0..).take_while(|at| counters.counts.contains_key(&name(*at))).count();
        (names, counters.counts.values().map(|count| count.0).sum::<u64>())
    });
    stop(node);
    let steps = steps(&data.join("node1"));
    let different = steps.iter().collect::<BTreeSet<_>>().len();
    say(&format!("holds {names} {entries} {} {different}", steps.len()));
}

fn name(at: u64) -> String {
    format!("{at:0>NAME_BYTES$}")
}

fn say(line: &str) {
    writeln!(std::io::stdout().lock(), "\n{line}").unwrap();
}

/// The directory of a node that was started once.
struct Home {
    data: tempfile::TempDir,
    node: PathBuf,
}

impl Home {
    fn begun() -> Self {
        let data = tempfile::tempdir().unwrap();
        stop(start(1, data.path(), &BTreeMap::new(), |_| ()).unwrap());
        let node = data.path().join("node1");
        Self { data, node }
    }

    /// Puts the records on a disk of their own.
    fn records_on(&self, options: &str) -> Disk {
        let small = self.data.path().join("small");
        std::fs::create_dir(&small).unwrap();
        let records = self.node.join("records.sqlite");
        std::fs::remove_file(&records).unwrap();
        std::os::unix::fs::symlink(small.join("records.sqlite"), &records).unwrap();
        Disk::mount(&small, options)
    }

    /// Starts the node, which proposes names from a number on.
    fn runs(&self, disk: &Disk, from: u64, snapshot_entries: u64) -> Running {
        self.spawns(disk, Some(from), snapshot_entries)
    }

    /// After a start, all names before this are there, and each entry has its row, once.
    fn holds(&self, disk: &Disk, acknowledged: u64) {
        let mut node = self.spawns(disk, None, 200_000);
        let (_, said) = node.ends();
        let numbers: Vec<u64> = said.split(' ').filter_map(|word| word.parse().ok()).collect();
        let [names, entries, rows, different] = numbers[..] else { panic!("it says {said:?}") };
        assert!(names >= acknowledged, "{acknowledged} were acknowledged, {names} are there");
        assert_eq!((rows, different), (entries, entries));
        assert_eq!(node.code(), Some(0));
    }

    fn spawns(&self, disk: &Disk, from: Option<u64>, snapshot_entries: u64) -> Running {
        let mut command = Command::new("nsenter");
        command.args(["--mount", "--target", &disk.holder.id().to_string()]);
        command.arg(std::env::current_exe().unwrap());
        command.args(["--exact", "failing::child", "--nocapture"]);
        command.env(CHILD, self.data.path());
        command.env(SNAPSHOT_ENTRIES, snapshot_entries.to_string());
        if let Some(from) = from {
            command.env(FROM, from.to_string());
        }
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Running { child, lines, acknowledged: from.unwrap_or(0) }
    }
}

/// The process of a node.
struct Running {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
    acknowledged: u64,
}

impl Running {
    /// Waits for so many acknowledgements more; all that came so far.
    fn acknowledges(&mut self, more: u64) -> u64 {
        let until = self.acknowledged + more;
        while self.acknowledged < until {
            let line = self.lines.next().expect("the node goes on").unwrap();
            assert!(!line.starts_with("fatal"), "{line}");
            self.note(&line);
        }
        self.acknowledged
    }

    /// Reads to its end: what was acknowledged, and what else it said.
    fn ends(&mut self) -> (u64, String) {
        let mut last = String::new();
        while let Some(Ok(line)) = self.lines.next() {
            if ["fatal: ", "refused: ", "holds "].iter().any(|word| line.starts_with(word)) {
                last.clone_from(&line);
            }
            self.note(&line);
        }
        (self.acknowledged, last)
    }

    fn note(&mut self, line: &str) {
        if let Some(number) = line.strip_prefix("acknowledged ") {
            self.acknowledged = number.parse().unwrap_or(self.acknowledged);
        }
    }

    fn code(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A disk that only processes see that enter its namespace; it lives as long as its holder.
struct Disk {
    holder: Child,
    at: PathBuf,
}

impl Disk {
    fn mount(at: &Path, options: &str) -> Self {
        let mount = "mount -t tmpfs -o \"$1\" tmpfs \"$0\" && exec sleep 600";
        let holder = Command::new("unshare")
            .args(["--mount", "sh", "-c", mount])
            .args([at.as_os_str(), options.as_ref()])
            .stdin(Stdio::null())
            .spawn()
            .expect("unshare is part of util-linux");
        let disk = Self { holder, at: at.into() };
        let mounts = format!("/proc/{}/mounts", disk.holder.id());
        let mounted = format!("tmpfs {} tmpfs", at.display());
        wait_for("the disk is mounted (the test needs root)", || {
            std::fs::read_to_string(&mounts).is_ok_and(|mounts| mounts.contains(&mounted))
        });
        disk
    }

    fn remount(&self, options: &str) {
        let done = Command::new("nsenter")
            .args(["--mount", "--target", &self.holder.id().to_string()])
            .args(["mount", "-o", &format!("remount,{options}")])
            .arg(&self.at)
            .status();
        assert!(done.unwrap().success());
    }

    /// The disk as we see it, who are not in its namespace.
    fn seen_here(&self) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.id()));
        root.join(self.at.strip_prefix("/").unwrap())
    }

    fn names(&self) -> Vec<String> {
        let files = std::fs::read_dir(self.seen_here()).unwrap();
        files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect()
    }

    /// Puts what is in a folder on it, and says what that is.
    fn copies(&self, folder: &Path) -> Vec<String> {
        for file in std::fs::read_dir(folder).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), self.seen_here().join(file.file_name())).unwrap();
        }
        self.names()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
