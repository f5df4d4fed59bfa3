//! Real processes for the tests of the node: a `tandem` of its own and SIPp beside it.
//!
//! Every process is started here and ended by its id when the value is dropped.

#![allow(dead_code, reason = "each test file uses its own part of the support")]
#![allow(
    unreachable_pub,
    missing_debug_implementations,
    reason = "a module of several test programs"
)]
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test that cannot go on should end")]

pub mod cluster;
pub mod inside;
pub mod line;
pub mod side;
pub mod socket;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running node.
pub struct Node {
    child: Child,
    pub http: SocketAddr,
    pub data: PathBuf,
    pub log: PathBuf,
}

impl Node {
    /// Starts a node with this configuration file and a fresh data directory, and waits until it
    /// says that it is ready.
    pub fn start(config: &Path, http: &str) -> Self {
        let data = fresh_directory("node");
        let mut node = Self::start_in(config, http, &data);
        node.wait_ready();
        node
    }

    /// Starts a node on an existing data directory, without waiting.
    pub fn start_in(config: &Path, http: &str, data: &Path) -> Self {
        Self::start_under(&[], config, http, data)
    }

    /// The same, by a program that begins with these words and starts the node.
    pub fn start_under(with: &[String], config: &Path, http: &str, data: &Path) -> Self {
        let log = data.with_extension("log");
        let output = fs::OpenOptions::new().create(true).append(true).open(&log).unwrap();
        let node = program();
        let words: Vec<_> = with.iter().map(AsRef::as_ref).chain([node.as_os_str()]).collect();
        let child = Command::new(words[0])
            .args(&words[1..])
            .args(["run", "--config"])
            .arg(config)
            .arg("--data")
            .arg(data)
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .expect("the node starts");
        Self { child, http: http.parse().unwrap(), data: data.into(), log }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for `/readyz` to answer 200.
    pub fn wait_ready(&mut self) {
        wait_until("the node is ready", Duration::from_secs(30), || {
            if let Ok(Some(status)) = self.child.try_wait() {
                panic!("the node ended with {status}:\n{}", self.log_text());
            }
            matches!(get(self.http, "/readyz", None), Ok((200, _)))
        });
    }

    /// SIGKILL, as a power cut would end it.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// SIGSTOP: the process is there and does nothing.
    pub fn freeze(&self) {
        self.signal(rustix::process::Signal::STOP);
    }

    /// SIGCONT.
    pub fn thaw(&self) {
        self.signal(rustix::process::Signal::CONT);
    }

    /// SIGTERM; waits until the node has ended in order.
    pub fn end(&mut self) {
        self.begin_end();
        wait_until("the node ends", Duration::from_secs(30), || self.has_ended());
    }

    /// SIGTERM.
    pub fn begin_end(&self) {
        self.signal(rustix::process::Signal::TERM);
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_some())
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    pub fn log_text(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let text = self.log_text();
            let tail: Vec<_> = text.lines().rev().take(60).collect();
            eprintln!("--- the node's last lines");
            tail.iter().rev().for_each(|line| eprintln!("{line}"));
        }
    }
}

/// A SIPp process of one scenario in `tests/scenarios`.
pub struct Sipp {
    child: Child,
    name: String,
    output: PathBuf,
}

impl Sipp {
    /// Starts SIPp with this scenario and these further arguments.
    pub fn start(scenario: &str, arguments: &[&str]) -> Self {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
        let output = fresh_directory("sipp");
        let file = fs::File::create(output.join("screen")).unwrap();
        let child = Command::new("sipp")
            .current_dir(&directory)
            .args(["-sf", scenario])
            .args(["-i", "127.0.0.1", "-bind_local", "-mi", "127.0.0.1", "-ci", "127.0.0.1"])
            .args(["-nostdin", "-buff_size", "4194304", "-timeout", "120", "-trace_err"])
            .arg("-error_file")
            .arg(output.join("errors"))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .expect("sipp is installed (make test installs it)");
        Self { child, name: scenario.into(), output }
    }

    /// Waits for the end; panics unless every call was good.
    pub fn finishes(mut self, within: Duration) {
        let deadline = Instant::now() + within;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                let errors = fs::read_to_string(self.output.join("errors")).unwrap_or_default();
                assert!(
                    status.success(),
                    "{} ended with {status}\n{}",
                    self.name,
                    errors.chars().take(4_000).collect::<String>()
                );
                return;
            }
            assert!(Instant::now() < deadline, "{} did not end within {within:?}", self.name);
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Sipp {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program under test: the one that was built with the tests, or the one that `TANDEM_BIN`
/// names.
pub fn program() -> PathBuf {
    std::env::var_os("TANDEM_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_tandem").into()).into()
}

/// A new, empty directory under `target/tests`.
pub fn fresh_directory(name: &str) -> PathBuf {
    let unique = format!(
        "{name}-{}-{}",
        std::process::id(),
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos()
    );
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(unique);
    fs::create_dir_all(&directory).unwrap();
    directory
}

/// Polls a condition until it holds; panics with its name when it does not in time.
pub fn wait_until(what: &str, within: Duration, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + within;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {within:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A plain HTTP GET: the status and the body.
pub fn get(to: SocketAddr, path: &str, token: Option<&str>) -> std::io::Result<(u16, String)> {
    request(to, "GET", path, token, "")
}

/// The status and the bytes of a recording.
pub fn download(http: SocketAddr, id: &str, token: &str) -> (u16, Vec<u8>) {
    let mut stream = TcpStream::connect(http).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    write!(
        stream,
        "GET /api/v1/recordings/{id} HTTP/1.1\r\nHost: {http}\r\nConnection: close\r\n\
         Authorization: Bearer {token}\r\n\r\n"
    )
    .unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap();
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), answer.split_off(end + 4))
}

/// A plain HTTP request with a JSON body: the status and the body.
pub fn request(
    to: SocketAddr,
    method: &str,
    path: &str,
    token: Option<&str>,
    body: &str,
) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(2))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let authorization =
        token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n{authorization}\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let text = String::from_utf8_lossy(&answer);
    let status = text.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let body = if head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        unchunk(body)
    } else {
        body.into()
    };
    Ok((status, body))
}

fn unchunk(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let Ok(size) = usize::from_str_radix(size.trim(), 16) else { break };
        if size == 0 || rest.len() < size {
            break;
        }
        whole.push_str(&rest[..size]);
        body = rest[size..].trim_start_matches("\r\n");
    }
    whole
}
