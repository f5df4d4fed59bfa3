//! What a call costs: SIPp drives a release node on the same machine.
//!
//! Prints a table and writes `target/bench/results.json`, together with what the other benches
//! left beside it. Figures of the node are CPU-seconds from `/proc`, so they hold on a busy
//! machine; rates and delays do not. Run by `make bench`.

#![allow(clippy::print_stdout, reason = "a benchmark reports on standard output")]
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot run should end")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// One row of the table.
#[derive(Debug)]
struct Figure {
    name: &'static str,
    value: f64,
    unit: &'static str,
    reach: f64,
    /// True when a smaller value is better.
    less: bool,
    peer: &'static str,
}

fn main() {
    // `cargo test --benches` starts benches with --test: nothing to check there.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let mut figures = Vec::new();
    plain_calls(&mut figures);
    clean_rate(&mut figures);
    queued_calls(&mut figures);
    ivr_calls(&mut figures);
    memory(&mut figures);
    report(&figures);
}

fn plain_calls(figures: &mut Vec<Figure>) {
    let node = Node::start();
    let callee = Sipp::start("uas_answer.xml", &["-p", "5070", "-cp", "8890"]);
    let warm_up = ["-r", "100", "-m", "200"];
    Sipp::start("uac_b2bua.xml", &[&CALL_SERVICE[..], &warm_up[..]].concat()).finish();
    let (calls, before) = (4_000, node.cpu_seconds());
    let load = ["-r", "200", "-m", "4000", "-trace_rtt", "-rtt_freq", "1"];
    let caller = Sipp::start("uac_b2bua.xml", &[&CALL_SERVICE[..], &load[..]].concat());
    let times = caller.directory.clone();
    let failed = !caller.finish();
    let cost = (node.cpu_seconds() - before) / f64::from(calls) * 1_000.0;
    drop(callee);
    let peers = "OpenSIPS 0.22-0.36, Asterisk 2.9-3.3, RustPBX 2.8-3.9, FreeSWITCH 11";
    let name = "B2BUA call, every commit synced: CPU-s per 1,000";
    figures.push(Figure { name, value: cost, unit: "s", reach: 1.0, less: true, peer: peers });
    let delays = response_times(&times, 2);
    for (name, share, reach) in [
        ("INVITE to 200 at 200 calls/s, p50", 0.5, 10.0),
        ("INVITE to 200 at 200 calls/s, p99", 0.99, 40.0),
    ] {
        let value = if failed { f64::NAN } else { percentile(&delays, share) };
        let peer = "Asterisk 2-4, FreeSWITCH 30, RustPBX 75-130 (none syncs)";
        figures.push(Figure { name, value, unit: "ms", reach, less: true, peer });
    }
}

/// The highest of these rates that has no failed call at either end for 30 s; then twice that
/// rate for 45 s, and half of it again.
fn clean_rate(figures: &mut Vec<Figure>) {
    let mut clean = 0_u32;
    for rate in [250, 500, 750, 1_000, 1_500, 2_000] {
        let node = Node::start();
        if !runs_clean(rate, 30) {
            break;
        }
        clean = rate;
        drop(node);
    }
    let peer = "OpenSIPS 3,000, RustPBX 600, Asterisk 500, FreeSWITCH 175";
    let name = "calls/s with none failed at either end, 30 s";
    figures.push(Figure {
        name,
        value: clean.into(),
        unit: "1/s",
        reach: 1_000.0,
        less: false,
        peer,
    });
    if clean > 0 {
        overload(figures, clean);
    }
}

fn overload(figures: &mut Vec<Figure>, clean: u32) {
    let node = Node::start();
    let _callee = Sipp::start("uas_answer.xml", &["-p", "5070", "-cp", "8890"]);
    let (rate, calls) = ((clean * 2).to_string(), (clean * 2 * 45).to_string());
    let load = ["-r", &rate, "-m", &calls, "-l", "5000"];
    Sipp::start("uac_b2bua.xml", &[&CALL_SERVICE[..], &load[..]].concat()).finish();
    let ended = Instant::now();
    let (rate, calls) = ((clean / 2).to_string(), (clean / 2 * 5).to_string());
    let mut recovered = f64::INFINITY;
    while ended.elapsed() < Duration::from_secs(40) {
        let began = ended.elapsed().as_secs_f64();
        let load = ["-r", &rate, "-m", &calls, "-l", "5000"];
        if Sipp::start("uac_b2bua.xml", &[&CALL_SERVICE[..], &load[..]].concat()).finish() {
            recovered = began;
            break;
        }
    }
    drop(node);
    let name = "after twice that rate for 45 s: recovered within";
    let peer = "rsipstack does not recover, FreeSWITCH collapses for minutes";
    figures.push(Figure { name, value: recovered, unit: "s", reach: 5.0, less: true, peer });
}

fn runs_clean(rate: u32, seconds: u32) -> bool {
    let callee =
        Sipp::start("uas_answer.xml", &["-p", "5070", "-cp", "8890", "-trace_stat", "-fd", "1"]);
    let (rate_text, calls) = (rate.to_string(), (rate * seconds).to_string());
    let load = ["-r", &rate_text, "-m", &calls, "-l", "5000"];
    let good = Sipp::start("uac_b2bua.xml", &[&CALL_SERVICE[..], &load[..]].concat()).finish();
    std::thread::sleep(Duration::from_secs(3)); // Two rows of the callee's statistics.
    good && callee.failed_calls() == 0
}

fn queued_calls(figures: &mut Vec<Figure>) {
    let node = Node::start();
    let _agents = Sipp::start("uas_agent.xml", &["-p", "5080", "-cp", "8890", "-d", "1000"]);
    let caller = ["127.0.0.1:5060", "-s", "queue", "-p", "5061", "-cp", "8889"];
    let warm_up = ["-r", "50", "-m", "100", "-l", "2000"];
    Sipp::start("uac_queue.xml", &[&caller[..], &warm_up[..]].concat()).finish();
    let (calls, before) = (1_500, node.cpu_seconds());
    let load = ["-r", "50", "-m", "1500", "-l", "2000"];
    let good = Sipp::start("uac_queue.xml", &[&caller[..], &load[..]].concat()).finish();
    let cost = (node.cpu_seconds() - before) / f64::from(calls) * 1_000.0;
    let name = "queued call, answered and ended by an agent: CPU-s per 1,000";
    let peer = "Asterisk 7.2, RustPBX 7.8, FreeSWITCH 32";
    let value = if good { cost } else { f64::NAN };
    figures.push(Figure { name, value, unit: "s", reach: 2.0, less: true, peer });
}

fn ivr_calls(figures: &mut Vec<Figure>) {
    let node = Node::start();
    let (calls, before) = (400, node.cpu_seconds());
    let load = ["-r", "20", "-m", "400", "-l", "400"];
    let caller = ["127.0.0.1:5060", "-s", "ivr", "-p", "5061", "-cp", "8889"];
    let good = Sipp::start("uac_ivr_dtmf.xml", &[&caller[..], &load[..]].concat()).finish();
    let cost = (node.cpu_seconds() - before) / f64::from(calls) * 1_000.0;
    let value = if good { cost } else { f64::NAN };
    let name = "IVR call collecting 4 digits: CPU-s per 1,000";
    let peer = "Asterisk 9.0, FreeSWITCH 16";
    figures.push(Figure { name, value, unit: "s", reach: 3.0, less: true, peer });
}

fn memory(figures: &mut Vec<Figure>) {
    let node = Node::start();
    // The callee must outlive every call: what is then left half way would count as the node's.
    let callee = Sipp::start("uas_answer.xml", &["-p", "5070", "-cp", "8890", "-timeout", "1200"]);
    // The events of the last 6,500 calls and the newest 16 MiB of the log stay in memory: the start
    // is when they are full, so that what grows after it is a leak.
    let warm_up = ["-r", "400", "-m", "10000"];
    Sipp::start("uac_b2bua.xml", &[&CALL_SERVICE[..], &warm_up[..]].concat()).finish();
    std::thread::sleep(Duration::from_secs(40)); // Until no transaction is left (64·T1).
    let start = node.resident_kilobytes();
    let load = ["-r", "100", "-m", "500", "-d", "20000", "-l", "2000"];
    let talking = Sipp::start("uac_b2bua.xml", &[&CALL_SERVICE[..], &load[..]].concat());
    std::thread::sleep(Duration::from_secs(12));
    let during = node.resident_kilobytes();
    talking.finish();
    let name = "resident memory per established relayed call";
    let peer = "rtpengine 40, Asterisk 300, FreeSWITCH 920";
    let value = (during - start) / 500.0;
    figures.push(Figure { name, value, unit: "kB", reach: 80.0, less: true, peer });
    let many = ["-r", "400", "-m", "100000", "-l", "5000", "-timeout", "900"];
    Sipp::start("uac_b2bua.xml", &[&CALL_SERVICE[..], &many[..]].concat()).finish();
    drop(callee);
    std::thread::sleep(Duration::from_secs(40));
    let name = "resident memory after 100,000 calls, of that at the start";
    let value = node.resident_kilobytes() / start * 100.0;
    let peer = "RustPBX keeps 170 kB per finished call";
    figures.push(Figure { name, value, unit: "%", reach: 110.0, less: true, peer });
}

const CALL_SERVICE: [&str; 7] = ["127.0.0.1:5060", "-s", "service", "-p", "5061", "-cp", "8889"];

/// A release node with `config/bench.toml` and a fresh data directory.
struct Node {
    child: Child,
    data: PathBuf,
}

impl Node {
    fn start() -> Self {
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
    fn cpu_seconds(&self) -> f64 {
        let text = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let after_name = text.rsplit_once(')').unwrap().1;
        let fields: Vec<_> = after_name.split_whitespace().collect();
        let ticks = |field: usize| fields[field].parse::<f64>().unwrap();
        (ticks(11) + ticks(12)) / 100.0
    }

    fn resident_kilobytes(&self) -> f64 {
        let text = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = text.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.data);
    }
}

struct Sipp {
    child: Child,
    directory: PathBuf,
}

impl Sipp {
    fn start(scenario: &str, arguments: &[&str]) -> Self {
        let directory = fresh_directory("sipp");
        let scenarios = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
        fs::copy(scenarios.join(scenario), directory.join(scenario)).unwrap();
        let screen = fs::File::create(directory.join("screen")).unwrap();
        let child = Command::new("sipp")
            .current_dir(&directory)
            .args(["-sf", scenario, "-i", "127.0.0.1", "-bind_local", "-mi", "127.0.0.1"])
            .args(["-ci", "127.0.0.1", "-nostdin", "-buff_size", "4194304"])
            .args(if arguments.contains(&"-timeout") { &[][..] } else { &["-timeout", "300"][..] })
            .args(if arguments.contains(&"-l") { &[][..] } else { &["-l", "5000"][..] })
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(screen.try_clone().unwrap())
            .stderr(screen)
            .spawn()
            .expect("sipp is installed by make bench");
        Self { child, directory }
    }

    /// Waits for the end: true when no call failed.
    fn finish(mut self) -> bool {
        self.child.wait().unwrap().success()
    }

    /// Failed calls so far by its statistics file.
    fn failed_calls(&self) -> u64 {
        let file = files_ending(&self.directory, ".csv").pop();
        let text = file.map(|file| fs::read_to_string(file).unwrap()).unwrap_or_default();
        let mut lines = text.lines();
        let header: Vec<_> = lines.next().unwrap_or_default().split(';').collect();
        let Some(last) = lines.next_back() else { return 0 };
        let column = header.iter().position(|name| *name == "FailedCall(C)").unwrap_or(0);
        last.split(';').nth(column).and_then(|value| value.parse().ok()).unwrap_or(0)
    }
}

impl Drop for Sipp {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Milliseconds of one response-time counter of a SIPp run with `-trace_rtt`.
fn response_times(directory: &Path, counter: u32) -> Vec<f64> {
    let mut times = Vec::new();
    for file in files_ending(directory, "_rtt.csv") {
        for line in fs::read_to_string(file).unwrap().lines() {
            let fields: Vec<_> = line.split(';').collect();
            if fields.get(2).is_some_and(|field| *field == counter.to_string()) {
                times.extend(fields[1].parse::<f64>());
            }
        }
    }
    times.sort_by(f64::total_cmp);
    times
}

fn percentile(sorted: &[f64], share: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    sorted.get((last as f64 * share) as usize).copied().unwrap_or(f64::NAN)
}

fn files_ending(directory: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.to_string_lossy().ends_with(ending)).collect()
}

fn fresh_directory(name: &str) -> PathBuf {
    let nanos =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("bench-{name}-{nanos}"));
    fs::create_dir_all(&directory).unwrap();
    directory
}

/// Prints the table, and joins it with the lines of the other benches in one file.
fn report(figures: &[Figure]) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench");
    fs::create_dir_all(&directory).unwrap();
    let mut rows = Vec::new();
    println!("{:<62} {:>10} {:>6} {:>9}  peers", "measure", "value", "unit", "reach");
    for figure in figures {
        let Figure { name, value, unit, reach, less, peer } = figure;
        let reached = if *less { value <= reach } else { value >= reach };
        let mark = if reached { "" } else { "  NOT REACHED" };
        println!("{name:<62} {value:>10.2} {unit:>6} {reach:>9}  {peer}{mark}");
        rows.push(serde_json::json!({
            "name": name, "value": value, "unit": unit, "reach": reach, "peer": peer,
        }));
    }
    for other in ["commits.json", "rtp_load.json", "simulation.json"] {
        let text = fs::read_to_string(directory.join(other)).unwrap_or_default();
        rows.extend(text.lines().filter_map(|line| serde_json::from_str(line).ok()));
    }
    let whole = serde_json::to_string_pretty(&rows).unwrap();
    fs::write(directory.join("results.json"), whole).unwrap();
}
