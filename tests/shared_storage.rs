//! Two machines over one disk: the active one is killed, frozen or cut from its disk, and the
//! standby goes on with its directory, its address and its calls.
//!
//! The disk is a folder that both processes reach by a path of their own.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should end")]
#![allow(clippy::print_stdout, reason = "what a takeover took is worth to be seen")]

mod support;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read as _;
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use support::line::Line;
use support::{Node, fresh_directory, get, request, wait_until};

const SIP: &str = "127.0.0.81:5060";
const PHONES: &str = "127.0.0.81";

/// What the specification promises for shared storage.
const TAKEN_OVER_WITHIN: Duration = Duration::from_secs(5);

const SOON: Duration = Duration::from_secs(15);
const AGENTS: usize = 40;
const VOICE: u8 = 0x66;

/// All tests here have the same service address.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

#[test]
fn nothing_that_was_acknowledged_is_lost_when_the_active_machine_is_killed() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let pair = Pair::new("fence_command = \"FENCE\"", "kill -9 $3; true");
    let (mut alpha, mut beta) = (pair.start("alpha"), pair.start("beta"));
    let (mut caller, audio) = calls_the_echo();
    caller.hears_itself(audio, VOICE);
    assert_eq!(readiness(&beta), (503, "standby: alpha holds the shared directory\n".into()));
    let clerk = Clerk::at(&alpha);
    wait_until("some commands are acknowledged", SOON, || clerk.acknowledged() >= 50);

    let fault = Instant::now();
    alpha.kill();
    wait_until("the standby is active", TAKEN_OVER_WITHIN, || readiness(&beta).0 == 200);
    println!("taken over {} ms after the kill", fault.elapsed().as_millis());
    let acknowledged = clerk.stops();
    assert_eq!(missing(&beta, &acknowledged), Vec::<String>::new());
    caller.hears_itself(audio, VOICE);
    caller.hangs_up();
    assert_eq!(records(&beta), 1);
    let fenced = fs::read_to_string(pair.folder.join("fenced")).unwrap();
    assert_eq!(fenced, format!("alpha 1 {}\n", alpha.pid()));

    // The machine is repaired, and stands by; and when the other is taken down, it takes over at
    // once, without fencing.
    let mut alpha = pair.start("alpha");
    assert_eq!(readiness(&alpha).0, 503);
    let told = Instant::now();
    beta.end();
    alpha.wait_ready();
    println!("taken over {} ms after SIGTERM", told.elapsed().as_millis());
    assert_eq!(missing(&alpha, &acknowledged), Vec::<String>::new());
    assert_eq!(fs::read_to_string(pair.folder.join("fenced")).unwrap(), fenced);
}

#[test]
fn a_frozen_machine_is_ended_by_its_kernel_before_the_other_takes_over() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let pair = Pair::new("fence_waived = true", "");
    let (alpha, beta) = (pair.start("alpha"), pair.start("beta"));
    let (mut caller, audio) = calls_the_echo();
    caller.hears_itself(audio, VOICE);
    let clerk = Clerk::at(&alpha);
    wait_until("some commands are acknowledged", SOON, || clerk.acknowledged() >= 50);

    let fault = Instant::now();
    alpha.freeze();
    wait_until("its kernel ends it", Duration::from_secs(2), || is_zombie(alpha.pid()));
    println!("ended by its kernel {} ms after it was frozen", fault.elapsed().as_millis());
    assert_eq!(readiness(&beta).0, 503, "not before the lease is over");
    wait_until("the standby is active", TAKEN_OVER_WITHIN, || readiness(&beta).0 == 200);
    println!("taken over {} ms after it was frozen", fault.elapsed().as_millis());
    assert_eq!(missing(&beta, &clerk.stops()), Vec::<String>::new());
    caller.hears_itself(audio, VOICE);
    caller.hangs_up();
    assert_eq!(records(&beta), 1);
}

/// The first process of a container is not killed by its own timer: so this one wakes up.
#[test]
fn a_machine_that_wakes_up_after_a_takeover_writes_not_one_byte() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let pair = Pair::new("fence_waived = true", "");
    let alpha = pair.start_under(&["unshare", "--pid", "--fork", "--kill-child"], "alpha");
    let beta = pair.start("beta");
    let clerk = Clerk::at(&alpha);
    wait_until("some commands are acknowledged", SOON, || clerk.acknowledged() >= 50);

    let inner = only_child(alpha.pid());
    signal(inner, rustix::process::Signal::STOP);
    wait_until("the standby is active", TAKEN_OVER_WITHIN, || readiness(&beta).0 == 200);
    assert_eq!(missing(&beta, &clerk.stops()), Vec::<String>::new());
    // It is still there, with everything open that it had.
    let open = written_by(inner, &pair.disk());
    assert!(open.len() >= 4, "log, records, cache and lease at least: {:?}", open.keys());
    let read = files_of(&pair.disk().join("generation-0000000002.beta"));
    assert!(read.len() > open.len(), "{read:?}");
    let both: Vec<_> = open.keys().filter(|inode| read.contains_key(inode)).collect();
    assert!(both.is_empty(), "open at both machines: {both:?} of {read:?}");
    assert!(!pair.disk().join("generation-0000000001.alpha").exists());

    let before: Vec<_> = open.values().map(hash).collect();
    signal(inner, rustix::process::Signal::CONT);
    wait_until("it ends", SOON, || !Path::new(&format!("/proc/{inner}")).exists());
    let said = alpha.log_text();
    // Whoever notices first ends the process.
    let reasons = [
        "does not hold the shared directory any more",
        "the lease of the shared directory is over",
    ];
    assert!(reasons.iter().any(|reason| said.contains(reason)), "{said}");
    let after: Vec<_> = open.values().map(hash).collect();
    assert_eq!(after, before, "not one byte, not even where nobody reads it");
    assert!(!pair.disk().join("generation-0000000001.alpha").exists());
    assert_eq!(readiness(&beta).0, 200);
}

#[test]
fn without_a_fencing_that_succeeds_nothing_is_taken_over() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let pair = Pair::new("fence_command = \"FENCE\"", "echo no such outlet >&2; exit 1");
    let (mut alpha, mut beta) = (pair.start("alpha"), pair.start("beta"));
    alpha.kill();
    let failed = "tandem_shared_fencings_total{result=\"failed\"}";
    wait_until("it was tried twice", SOON, || metric(&beta, failed) >= Some(2.0));
    assert_eq!(readiness(&beta).0, 503);
    let said = beta.log_text();
    assert!(said.contains("nothing is taken over") && said.contains("no such outlet"), "{said}");
    assert!(pair.disk().join("generation-0000000001.alpha").exists());

    pair.fences_by("true");
    beta.wait_ready();
    assert_eq!(metric(&beta, "tandem_shared_takeovers_total"), Some(1.0));
    assert_eq!(metric(&beta, "tandem_shared_active"), Some(1.0));
}

/// The folder that is the disk, and the configurations of two machines.
struct Pair {
    folder: PathBuf,
}

impl Pair {
    fn new(fencing: &str, fence: &str) -> Self {
        let folder = fresh_directory("shared");
        fs::create_dir(folder.join("disk")).unwrap();
        fs::create_dir(folder.join("flows")).unwrap();
        let pair = Self { folder };
        pair.fences_by(fence);
        for (name, last) in [("alpha", 81), ("beta", 82)] {
            let fence = pair.folder.join("fence");
            let fencing = fencing.replace("FENCE", fence.to_str().unwrap());
            let text = format!(
                "[node]\nid = 1\ndrain_seconds = 0\n[sip]\nudp = [\"{SIP}\"]\ntcp = [\"{SIP}\"]\n\
                 [http]\nlisten = \"127.0.0.{last}:8080\"\n[flows]\ndirectory = {:?}\n\
                 [cluster]\nsecret = \"for this test only\"\n\
                 [shared]\nname = \"{name}\"\n{fencing}\n\
                 [[number]]\nnumber = \"echo\"\necho = true\n\
                 [[agent]]\nid = \"sue\"\npassword = \"sue\"\nrole = \"supervisor\"\n\
                 [[agent_range]]\nprefix = \"a\"\nfirst = 0\ncount = {AGENTS}\ndigits = 2\n\
                 queues = []\nalways_ready = true\ndevice = \"sip:{{id}}@{PHONES}:5099\"\n",
                pair.folder.join("flows"),
            );
            fs::write(pair.folder.join(format!("{name}.toml")), text).unwrap();
            std::os::unix::fs::symlink("disk", pair.folder.join(name)).unwrap();
        }
        pair
    }

    fn disk(&self) -> PathBuf {
        fs::canonicalize(self.folder.join("disk")).unwrap()
    }

    /// What the fencing command does after it has noted whom it fences.
    fn fences_by(&self, body: &str) {
        let (new, file) = (self.folder.join("fence.new"), self.folder.join("fence"));
        let fenced = self.folder.join("fenced");
        let text = format!("#!/bin/sh\necho \"$*\" >> {}\n{body}\n", fenced.display());
        fs::write(&new, text).unwrap();
        fs::set_permissions(&new, fs::Permissions::from_mode(0o700)).unwrap();
        fs::rename(new, file).unwrap();
    }

    /// Starts a machine and waits until it is active or stands by.
    fn start(&self, name: &str) -> Node {
        self.start_under(&[], name)
    }

    fn start_under(&self, with: &[&str], name: &str) -> Node {
        let http = if name == "alpha" { "127.0.0.81:8080" } else { "127.0.0.82:8080" };
        let with: Vec<_> = with.iter().map(|word| (*word).to_owned()).collect();
        let config = self.folder.join(format!("{name}.toml"));
        let node = Node::start_under(&with, &config, http, &self.folder.join(name));
        wait_until("the machine is active or stands by", SOON, || {
            let (status, said) = readiness(&node);
            status == 200 || said.contains("holds the shared directory") && !said.contains("nobody")
        });
        node
    }
}

/// A supervisor who changes the states of agents, one command after the other, and notes what was
/// acknowledged.
struct Clerk {
    stop: Arc<AtomicBool>,
    noted: Arc<Mutex<BTreeMap<String, u64>>>,
    count: Arc<Mutex<u64>>,
    thread: JoinHandle<()>,
}

impl Clerk {
    fn at(node: &Node) -> Self {
        let (http, token) = (node.http, log_in(node).unwrap());
        let (stop, noted) =
            (Arc::new(AtomicBool::new(false)), Arc::<Mutex<BTreeMap<_, _>>>::default());
        let count = Arc::<Mutex<u64>>::default();
        let (stopped, notes, counted) = (Arc::clone(&stop), Arc::clone(&noted), Arc::clone(&count));
        let thread = std::thread::spawn(move || {
            for number in 0_u64.. {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                let agent = format!("a{:02}", number as usize % AGENTS);
                let body = format!(
                    "{{\"id\":\"c{number}\",\"command\":{{\"do\":\"not-ready\",\
                     \"agent\":\"{agent}\",\"reason\":\"n{number}\"}}}}"
                );
                match request(http, "POST", "/api/v1/commands", Some(&token), &body) {
                    Ok((200, _)) => {
                        notes.lock().unwrap().insert(agent, number);
                        *counted.lock().unwrap() += 1;
                    }
                    // The fault: from here on nothing is acknowledged.
                    Ok((0, _)) | Err(_) => return,
                    Ok((status, body)) => panic!("{status} {body}"),
                }
            }
        });
        Self { stop, noted, count, thread }
    }

    fn acknowledged(&self) -> u64 {
        *self.count.lock().unwrap()
    }

    /// The number of the last command that was acknowledged, for each agent.
    fn stops(self) -> BTreeMap<String, u64> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
        println!("{} commands were acknowledged", self.count.lock().unwrap());
        let noted = self.noted.lock().unwrap();
        noted.clone()
    }
}

/// Agents whose state is older than what was acknowledged.
fn missing(node: &Node, acknowledged: &BTreeMap<String, u64>) -> Vec<String> {
    let token = log_in(node).unwrap();
    let (_, body) = get(node.http, "/api/v1/agents", Some(&token)).unwrap();
    let agents: serde_json::Value = serde_json::from_str(&body).unwrap();
    let agents = agents["items"].as_array().or(agents.as_array()).unwrap();
    let reason = |id: &str| {
        let agent = agents.iter().find(|agent| agent["id"] == id)?;
        agent["reason"].as_str()?.strip_prefix('n')?.parse::<u64>().ok()
    };
    let is_old = |(agent, number): &(&String, &u64)| reason(agent) < Some(**number);
    acknowledged
        .iter()
        .filter(is_old)
        .map(|(agent, number)| format!("{agent}: n{number}"))
        .collect()
}

fn log_in(node: &Node) -> Option<String> {
    let credentials = r#"{"user":"sue","password":"sue"}"#;
    let (_, answer) = request(node.http, "POST", "/api/v1/login", None, credentials).ok()?;
    let answer: serde_json::Value = serde_json::from_str(&answer).ok()?;
    Some(answer["token"].as_str()?.to_owned())
}

fn records(node: &Node) -> usize {
    let token = log_in(node).unwrap();
    let mut count = 0;
    wait_until("the record is there", SOON, || {
        let (_, body) = get(node.http, "/api/v1/cdrs", Some(&token)).unwrap();
        let body: serde_json::Value = serde_json::from_str(&body).unwrap_or_default();
        count = body["items"].as_array().map_or(0, Vec::len);
        count > 0
    });
    count
}

fn calls_the_echo() -> (Line, SocketAddr) {
    let mut caller = Line::new(PHONES, SIP.parse().unwrap());
    let offer = caller.sdp("sendrecv");
    caller.calls("alice", "echo", &offer);
    let answered = caller.is_told(200);
    caller.acks("");
    (caller, answered.audio())
}

fn readiness(node: &Node) -> (u16, String) {
    get(node.http, "/readyz", None).unwrap_or_default()
}

fn metric(node: &Node, name: &str) -> Option<f64> {
    let (_, text) = get(node.http, "/metrics", None).ok()?;
    text.lines().find_map(|line| line.strip_prefix(name))?.trim().parse().ok()
}

fn signal(pid: u32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

fn is_zombie(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z'))
}

fn only_child(pid: u32) -> u32 {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    children.trim().parse().unwrap()
}

/// What a process has open for writing on the disk, by inode; opened here, too, so that it can be
/// read when the process is gone.
fn written_by(pid: u32, disk: &Path) -> BTreeMap<u64, File> {
    let mut open = BTreeMap::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd")).unwrap() {
        let path = entry.unwrap().path();
        let number = path.file_name().unwrap().to_str().unwrap().to_owned();
        let info = fs::read_to_string(format!("/proc/{pid}/fdinfo/{number}")).unwrap();
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap().trim();
        let writes = u32::from_str_radix(flags, 8).unwrap() & 0o3 != 0;
        let target = fs::read_link(&path).unwrap();
        if writes && target.starts_with(disk) {
            let file = File::open(&path).unwrap();
            open.insert(file.metadata().unwrap().ino(), file);
        }
    }
    open
}

/// Every file below a folder, by inode.
fn files_of(folder: &Path) -> BTreeMap<u64, PathBuf> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.append(&mut files_of(&path));
        } else if let Ok(metadata) = fs::metadata(&path) {
            files.insert(metadata.ino(), path);
        }
    }
    files
}

fn hash(file: &File) -> (u64, u32) {
    use std::io::Seek as _;
    let mut bytes = Vec::new();
    let mut file = file;
    file.rewind().unwrap();
    file.read_to_end(&mut bytes).unwrap();
    (bytes.len() as u64, crc32fast::hash(&bytes))
}
