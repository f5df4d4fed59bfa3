//! The node under load: a release build in a process of its own, with `config/bench.toml`.
//!
//! Owns its process and its data directory. What it costs is read from `/proc`.

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long the last transaction of a call may live (64·T1, RFC 3261 §17), and some seconds for
/// what follows it: then nothing of the call is left.
pub(crate) const UNTIL_FORGOTTEN: Duration = Duration::from_secs(40);

/// A node with a fresh data directory.
pub(crate) struct Node {
    child: Child,
    data: PathBuf,
}

impl Node {
    pub(crate) fn start() -> Self {
        let data = fresh_directory("node");
        let log = fs::File::create(data.with_extension("log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_tandem"))
            .args(["run", "--config", "config/bench.toml", "--data"])
            .arg(&data)
            .env("RUST_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let node = Self { child, data };
        let deadline = Instant::now() + Duration::from_secs(30);
        while std::net::TcpStream::connect("127.0.0.1:8080").is_err() {
            assert!(Instant::now() < deadline, "the node does not start");
            std::thread::sleep(Duration::from_millis(50));
        }
        std::thread::sleep(Duration::from_secs(2));
        node
    }

    /// User and system time of all its threads (proc(5), in ticks of 10 ms).
    pub(crate) fn cpu_seconds(&self) -> f64 {
        let text = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let after_name = text.rsplit_once(')').unwrap().1;
        let fields: Vec<_> = after_name.split_whitespace().collect();
        let ticks = |field: usize| fields[field].parse::<f64>().unwrap();
        (ticks(11) + ticks(12)) / 100.0
    }

    pub(crate) fn resident_kilobytes(&self) -> f64 {
        let text = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = text.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// The sum of a metric over its labels, from `/metrics`.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let mut stream = std::net::TcpStream::connect("127.0.0.1:8080").unwrap();
        stream.write_all(b"GET /metrics HTTP/1.0\r\nHost: bench\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let of_name =
            |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{']));
        let value = |line: &str| line.rsplit(' ').next().and_then(|word| word.parse::<f64>().ok());
        text.lines().filter(of_name).filter_map(value).sum()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.data);
    }
}

pub(crate) fn fresh_directory(name: &str) -> PathBuf {
    let nanos =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("bench-{name}-{nanos}"));
    fs::create_dir_all(&directory).unwrap();
    directory
}
