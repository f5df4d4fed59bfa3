//! The table, and the file for machines.

use std::fmt::Write as _;
use std::time::Duration;

/// What one load brought.
#[derive(Clone, Debug, Default)]
pub(crate) struct Load {
    pub(crate) per_second: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) failed: u64,
    /// CPU of all three servers, and of nothing else.
    pub(crate) cpu_us_per_commit: f64,
}

impl Load {
    /// From what was counted and how long each commit took.
    pub(crate) fn new(mut micros: Vec<u32>, failed: u64, took: Duration, cpu: Duration) -> Self {
        micros.sort_unstable();
        let at = |part: f64| {
            let index = (micros.len() as f64 * part) as usize;
            f64::from(micros.get(index.min(micros.len().max(1) - 1)).copied().unwrap_or(0)) / 1e3
        };
        Self {
            per_second: micros.len() as f64 / took.as_secs_f64(),
            p50_ms: at(0.5),
            p99_ms: at(0.99),
            failed,
            cpu_us_per_commit: cpu.as_micros() as f64 / micros.len().max(1) as f64,
        }
    }

    /// The run in the middle, by rate.
    fn median(mut loads: Vec<Self>) -> Option<Self> {
        loads.sort_by(|one, other| one.per_second.total_cmp(&other.per_second));
        let middle = loads.len() / 2;
        (middle < loads.len()).then(|| loads.swap_remove(middle))
    }

    /// The best run.
    fn best(loads: Vec<Self>) -> Option<Self> {
        loads.into_iter().max_by(|one, other| one.per_second.total_cmp(&other.per_second))
    }
}

impl std::fmt::Display for Load {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { per_second, p50_ms, p99_ms, failed, cpu_us_per_commit } = self;
        write!(
            f,
            "{per_second:>8.0}/s  p50 {p50_ms:>6.2} ms  p99 {p99_ms:>7.2} ms  \
             {cpu_us_per_commit:>6.1} µs CPU a commit  {failed} failed"
        )
    }
}

/// How long failovers took.
struct Failovers {
    rounds: usize,
    median_ms: f64,
    max_ms: f64,
}

impl Failovers {
    fn new(mut times: Vec<Duration>) -> Option<Self> {
        times.sort_unstable();
        let ms = |time: &Duration| time.as_secs_f64() * 1e3;
        Some(Self {
            rounds: times.len(),
            median_ms: ms(times.get(times.len() / 2)?),
            max_ms: ms(times.last()?),
        })
    }
}

impl std::fmt::Display for Failovers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { rounds, median_ms, max_ms } = self;
        write!(f, "median {median_ms:.0} ms, max {max_ms:.0} ms of {rounds}")
    }
}

/// All results.
pub(crate) struct Report {
    lines: String,
}

impl Report {
    pub(crate) fn new() -> Self {
        Self { lines: String::new() }
    }

    /// One value, with what is to be reached (higher or lower is better by its name) and what
    /// the peer has.
    #[expect(clippy::too_many_arguments, reason = "a row of the table has so many columns")]
    pub(crate) fn value(
        &mut self,
        name: &str,
        value: f64,
        unit: &str,
        reach: Option<f64>,
        peer: Option<f64>,
    ) {
        let line = serde_json::json!({
            "name": name, "value": round(value), "unit": unit, "reach": reach,
            "peer": peer.map(round),
        });
        writeln!(self.lines, "{line}").unwrap();
    }

    pub(crate) fn commits(&mut self, proposers: usize, runs: &[(Load, Load, Option<Load>)]) {
        let ours = Load::median(runs.iter().map(|run| run.0.clone()).collect());
        let spread = Load::median(runs.iter().map(|run| run.1.clone()).collect());
        let (ours, spread) = (ours.expect("there was a run"), spread.expect("there was a run"));
        println!("{proposers:>5} proposers  at the leader {ours}");
        println!("{proposers:>5} proposers  spread        {spread}");
        // The best of the peer's rounds: on a busy machine it sometimes stalls for seconds.
        let peer = Load::best(runs.iter().filter_map(|run| run.2.clone()).collect());
        if let Some(peer) = &peer {
            let ratio = ours.per_second / peer.per_second;
            println!("{proposers:>5} clients    etcd 3.4      {peer}   → {ratio:.1}×");
            let reach = match proposers {
                1 => 1.5,
                100 => 3.0,
                _ => 6.0,
            };
            let name = format!("commits three nodes, {proposers} proposers, ratio to etcd");
            self.value(&name, ratio, "×", Some(reach), Some(1.0));
        }
        let of_peer = |value: fn(&Load) -> f64| peer.as_ref().map(value);
        let name = format!("commits three nodes, {proposers} proposers");
        self.value(&name, ours.per_second, "commits/s", None, of_peer(|p| p.per_second));
        let name = format!("commits three nodes, {proposers} proposers on all nodes");
        self.value(&name, spread.per_second, "commits/s", None, of_peer(|p| p.per_second));
        let name = format!("commit latency p50, {proposers} proposers");
        self.value(&name, ours.p50_ms, "ms", None, of_peer(|p| p.p50_ms));
        let name = format!("commit latency p99, {proposers} proposers");
        self.value(&name, ours.p99_ms, "ms", None, of_peer(|p| p.p99_ms));
        let name = format!("CPU of three servers a commit, {proposers} proposers");
        self.value(&name, ours.cpu_us_per_commit, "µs", None, of_peer(|p| p.cpu_us_per_commit));
    }

    pub(crate) fn failover(&mut self, ours: Vec<Duration>, peer: Vec<Duration>) {
        let ours = Failovers::new(ours).expect("there was one");
        println!("failover, kill -9 of the leader to the first new commit: {ours}");
        let peer = Failovers::new(peer);
        if let Some(peer) = &peer {
            println!("failover of etcd 3.4 with its own settings: {peer}");
        }
        let of_peer = |value: fn(&Failovers) -> f64| peer.as_ref().map(value);
        let peer_median = of_peer(|peer| peer.median_ms);
        self.value("failover median", ours.median_ms, "ms", Some(500.0), peer_median);
        self.value("failover max", ours.max_ms, "ms", Some(1500.0), of_peer(|peer| peer.max_ms));
    }

    pub(crate) fn write(&self) {
        let target = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
        let folder = target.join("bench");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("commits.json"), &self.lines).unwrap();
        println!("written: {}", folder.join("commits.json").display());
    }
}

fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// CPU time so far of the threads of a process that have one of these names.
pub(crate) fn cpu_of_threads(pid: u32, names: &[&str]) -> Duration {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let nanos = tasks.filter_map(|task| {
        let task = task.ok()?.path();
        let name = std::fs::read_to_string(task.join("comm")).ok()?;
        if !names.iter().any(|wanted| name.trim().starts_with(wanted)) {
            return None;
        }
        let schedule = std::fs::read_to_string(task.join("schedstat")).ok()?;
        schedule.split(' ').next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanos.sum())
}

/// CPU time of a process so far.
pub(crate) fn cpu(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after = stat.rsplit(')').next().unwrap_or_default();
    let ticks: u64 =
        after.split_whitespace().skip(11).take(2).filter_map(|word| word.parse::<u64>().ok()).sum();
    // USER_HZ is 100 on every Linux architecture that we run on.
    Duration::from_millis(ticks * 10)
}
