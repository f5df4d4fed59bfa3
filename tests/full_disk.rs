//! The disk of a node fills up under a call, and has room again.
//!
//! The disk is a small one in memory, in a mount namespace of its own; the node is a process in
//! it. Below 256 MB new calls are refused, below 64 MB nothing is committed any more
//! (docs/cluster.md).

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should end")]

mod support;

use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use support::line::Line;
use support::{Node, fresh_directory, get, request, wait_until};

const IP: &str = "127.0.0.29";
const HTTP: &str = "127.0.0.29:8080";

/// The disk, and what is left on it at each stage.
const DISK_MB: u64 = 400;
const LOW_MB: u64 = 150;
const FULL_MB: u64 = 0;

/// The node looks once a second; and a write may be under way.
const SOON: Duration = Duration::from_secs(10);
const VOICE: u8 = 0x66;

#[test]
fn a_full_disk_keeps_new_calls_out_and_lets_those_in_progress_go_on_and_end() {
    let folder = fresh_directory("full-disk");
    let config = configuration(&folder);
    let disk = Disk::mount(&folder.join("data"));
    let mut node = Node::start_under(&disk.enter(), &config, HTTP, &disk.at);
    node.wait_ready();
    let sip: SocketAddr = format!("{IP}:5060").parse().unwrap();
    let [mut leaves, mut stays, mut holds] = [(); 3].map(|()| Line::new(IP, sip));
    calls_the_echo(&mut holds);
    calls_the_echo(&mut leaves);
    let audio = calls_the_echo(&mut stays);

    disk.fill_up_to(LOW_MB);
    wait_until("the node takes no more calls", SOON, || readiness(&node) == 503);
    is_refused(sip);
    stays.hears_itself(audio, VOICE);
    leaves.hangs_up();

    disk.fill_up_to(FULL_MB);
    wait_until("the node commits nothing more", SOON, || {
        node.log_text().contains("nothing is committed any more")
    });
    is_refused(sip);
    stays.hears_itself(audio, VOICE);
    // Nor can what it asks for be promised.
    let offer = holds.sdp("sendonly");
    holds.reinvites(&offer);
    // Its end cannot be written yet, so it is not confirmed before there is room.
    stays.says_bye();
    assert!(!stays.hears_within(200, Duration::from_secs(2)), "an end that is not committed");

    disk.empty();
    stays.is_told(200);
    holds.is_told(200);
    holds.acks("");
    holds.hangs_up();
    wait_until("the node takes calls again", SOON, || readiness(&node) == 200);
    let mut next = Line::new(IP, sip);
    calls_the_echo(&mut next);
    next.hangs_up();
    assert_eq!(records(&node), ["ivr-completed"; 4]);

    node.kill();
    let mut node = Node::start_under(&disk.enter(), &config, HTTP, &disk.at);
    node.wait_ready();
    assert_eq!(records(&node), ["ivr-completed"; 4], "what was committed is there after a restart");
}

/// Where the node takes the caller's audio.
fn calls_the_echo(caller: &mut Line) -> SocketAddr {
    let offer = caller.sdp("sendrecv");
    caller.calls("alice", "echo", &offer);
    let answered = caller.is_told(200);
    caller.acks("");
    answered.audio()
}

fn is_refused(sip: SocketAddr) {
    let mut caller = Line::new(IP, sip);
    let offer = caller.sdp("sendrecv");
    caller.calls("bob", "echo", &offer);
    let refusal = caller.is_told(503);
    assert!(!refusal.header("Retry-After").is_empty(), "{refusal:?}");
}

fn readiness(node: &Node) -> u16 {
    get(node.http, "/readyz", None).map_or(0, |(status, _)| status)
}

/// The outcomes of all calls, once there are four.
fn records(node: &Node) -> Vec<String> {
    let credentials = r#"{"user":"sue","password":"sue"}"#;
    let (status, answer) = request(node.http, "POST", "/api/v1/login", None, credentials).unwrap();
    assert_eq!(status, 200, "{answer}");
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    let token = answer["token"].as_str().unwrap().to_owned();
    let mut outcomes = Vec::new();
    wait_until("four records are there", SOON, || {
        let (_, body) = get(node.http, "/api/v1/cdrs", Some(&token)).unwrap();
        let body: serde_json::Value = serde_json::from_str(&body).unwrap_or_default();
        let items = body["items"].as_array().cloned().unwrap_or_default();
        outcomes =
            items.iter().map(|cdr| cdr["outcome"].as_str().unwrap_or("").to_owned()).collect();
        outcomes.len() == 4
    });
    outcomes
}

fn configuration(folder: &Path) -> PathBuf {
    fs::create_dir(folder.join("flows")).unwrap();
    let file = folder.join("node.toml");
    let text = format!(
        "[node]\nid = 1\n[sip]\nudp = [\"{IP}:5060\"]\ntcp = [\"{IP}:5060\"]\n\
         [media]\naddress = \"{IP}\"\n[http]\nlisten = \"{HTTP}\"\n\
         [flows]\ndirectory = {:?}\n[[number]]\nnumber = \"echo\"\necho = true\n\
         [[agent]]\nid = \"sue\"\npassword = \"sue\"\nrole = \"supervisor\"\n",
        folder.join("flows")
    );
    fs::write(&file, text).unwrap();
    file
}

/// A small disk that only processes see that enter its namespace; it lives as long as its holder.
struct Disk {
    holder: Child,
    at: PathBuf,
}

impl Disk {
    fn mount(at: &Path) -> Self {
        fs::create_dir(at).unwrap();
        let mount = format!("mount -t tmpfs -o size={DISK_MB}m tmpfs \"$0\" && exec sleep 600");
        let holder = Command::new("unshare")
            .args(["--mount", "sh", "-c", &mount])
            .arg(at)
            .stdin(Stdio::null())
            .spawn()
            .expect("unshare is part of util-linux");
        let disk = Self { holder, at: at.into() };
        wait_until("the disk is mounted (the test needs root)", SOON, || {
            let free = disk.free_mb();
            free > 0 && free <= DISK_MB
        });
        disk
    }

    /// What starts a program that sees the disk.
    fn enter(&self) -> Vec<String> {
        ["nsenter", "--mount", "--target", &self.holder.id().to_string()].map(Into::into).into()
    }

    /// The disk as we see it, who are not in its namespace.
    fn seen_here(&self) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.id()));
        root.join(self.at.strip_prefix("/").unwrap())
    }

    fn free_mb(&self) -> u64 {
        let disk = rustix::fs::statvfs(self.seen_here());
        disk.map_or(0, |disk| (disk.f_bavail * disk.f_frsize) >> 20)
    }

    fn fill_up_to(&self, left_mb: u64) {
        let ballast = self.seen_here().join("ballast");
        let mut ballast = fs::File::options().append(true).create(true).open(ballast).unwrap();
        // The last piece may find less room than it needs.
        while self.free_mb() > left_mb && ballast.write_all(&[1; 1 << 20]).is_ok() {}
    }

    fn empty(&self) {
        fs::remove_file(self.seen_here().join("ballast")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
