//! Three members, their loads, and their leaders' deaths.

use crate::member::micros;
use crate::report::{Load, Report, cpu, cpu_of_threads};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// Longer than any answer takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// A member's process.
struct Member {
    child: Child,
    input: ChildStdin,
    lines: Receiver<String>,
}

impl Member {
    fn start(node: usize, data: &Path, members: &[String]) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .arg("member")
            .arg(node.to_string())
            .arg(data)
            .args(members)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, input, lines }
    }

    fn tell(&mut self, line: &str) {
        writeln!(self.input, "{line}").unwrap();
    }

    fn ask(&mut self, line: &str) -> String {
        self.tell(line);
        self.lines.recv_timeout(PATIENCE).expect("a member answers")
    }

    fn leads(&mut self) -> bool {
        self.ask("leading") == "true"
    }

    fn kill(mut self) {
        // SIGKILL.
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// Three members.
pub(crate) struct Cluster {
    folder: PathBuf,
    addresses: Vec<String>,
    members: Vec<Option<Member>>,
}

impl Cluster {
    pub(crate) fn start(folder: &Path) -> Self {
        let folder = folder.join(format!("tandem-{}", micros()));
        let addresses: Vec<_> =
            (1..=3).map(|node| format!("{node}=127.0.0.{}:17700", node + 20)).collect();
        let mut cluster = Self { folder, addresses, members: Vec::new() };
        for node in 1..=3 {
            let member = cluster.member(node);
            cluster.members.push(Some(member));
        }
        cluster.leader();
        cluster
    }

    fn member(&self, node: usize) -> Member {
        Member::start(node, &self.folder.join(node.to_string()), &self.addresses)
    }

    fn leader(&mut self) -> usize {
        let until = Instant::now() + PATIENCE;
        loop {
            for (at, member) in self.members.iter_mut().enumerate() {
                if member.as_mut().is_some_and(Member::leads) {
                    return at;
                }
            }
            assert!(Instant::now() < until, "a leader");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn cpu(&self) -> Duration {
        self.members.iter().flatten().map(|member| cpu(member.child.id())).sum()
    }

    /// All proposers at the leader.
    pub(crate) fn load(&mut self, proposers: usize, time: Duration) -> Load {
        let leader = self.leader();
        self.load_at(&[(leader, proposers)], time)
    }

    /// Proposers at all members.
    pub(crate) fn spread(&mut self, proposers: usize, time: Duration) -> Load {
        let leader = self.leader();
        let each = proposers / 3;
        let share = |at| if at == leader { proposers - 2 * each } else { each };
        let shares: Vec<_> = (0..3).map(|at| (at, share(at))).filter(|s| s.1 > 0).collect();
        self.load_at(&shares, time)
    }

    fn load_at(&mut self, shares: &[(usize, usize)], time: Duration) -> Load {
        let before = self.cpu();
        for (at, proposers) in shares {
            let member = self.members[*at].as_mut().unwrap();
            member.tell(&format!("load {proposers} {}", time.as_millis()));
        }
        let mut sum = Load::default();
        for (at, proposers) in shares {
            let member = self.members[*at].as_mut().unwrap();
            let line = member.lines.recv_timeout(PATIENCE + time).expect("a load ends");
            let words: Vec<f64> = line.split(' ').map(|word| word.parse().unwrap()).collect();
            sum.per_second += words[0];
            // Percentiles of members are weighed by their proposers.
            let part = *proposers as f64 / shares.iter().map(|s| s.1).sum::<usize>() as f64;
            sum.p50_ms += words[1] * part;
            sum.p99_ms = sum.p99_ms.max(words[2]);
            sum.failed += words[3] as u64;
        }
        let commits = sum.per_second * time.as_secs_f64();
        sum.cpu_us_per_commit = (self.cpu() - before).as_micros() as f64 / commits;
        sum
    }

    /// Kills the leader; from then to the first commit of another; then starts it again.
    pub(crate) fn failover(&mut self) -> Duration {
        let leader = self.leader();
        let member = self.members[leader].take().unwrap();
        for member in self.members.iter_mut().flatten() {
            member.tell("probe");
            // Committed by the old leader.
            member.lines.recv_timeout(PATIENCE).expect("a commit");
        }
        let killed = micros();
        member.kill();
        for member in self.members.iter_mut().flatten() {
            member.tell("probe");
        }
        let mut first = u128::MAX;
        for member in self.members.iter_mut().flatten() {
            let line = member.lines.recv_timeout(PATIENCE).expect("a commit after the election");
            first = first.min(line.strip_prefix("committed ").unwrap().parse().unwrap());
        }
        self.members[leader] = Some(self.member(leader + 1));
        // Long enough to be up and to have caught up.
        std::thread::sleep(Duration::from_millis(700));
        Duration::from_micros(first.saturating_sub(killed) as u64)
    }

    pub(crate) fn stop(mut self) {
        for member in self.members.iter_mut().filter_map(Option::take) {
            member.kill();
        }
    }
}

/// A node alone: one proposer, many, and a steady 1,000 commits/s whose CPU is counted.
pub(crate) fn single(folder: &Path, time: Duration, report: &mut Report) {
    let mut member = Member::start(1, &folder.join("single"), &[]);
    let until = Instant::now() + PATIENCE;
    while !member.leads() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(10));
    }
    let pid = member.child.id();
    let mut run = |what: &str| {
        let before = cpu(pid);
        let line = member.ask(&format!("{what} {}", time.as_millis()));
        let words: Vec<f64> = line.split(' ').map(|word| word.parse().unwrap()).collect();
        let used = cpu(pid) - before;
        let [per_second, p50_ms, p99_ms, failed] = words[..] else { panic!("{line}") };
        let cpu_us_per_commit = used.as_micros() as f64 / (per_second * time.as_secs_f64());
        Load { per_second, p50_ms, p99_ms, failed: failed as u64, cpu_us_per_commit }
    };
    for proposers in [1, 100, 1_000] {
        let load = run(&format!("load {proposers}"));
        println!("{proposers:>5} proposers  single node   {load}");
        let name = format!("commits single node, {proposers} proposers");
        report.value(&name, load.per_second, "commits/s", None, None);
    }
    for (burst, name) in [(10, "in bursts of 10"), (1, "one by one")] {
        let before = cpu_of_threads(pid, &REPLICA_THREADS);
        let mut load = run(&format!("pace {burst}"));
        let used = cpu_of_threads(pid, &REPLICA_THREADS) - before;
        load.cpu_us_per_commit = used.as_micros() as f64 / (load.per_second * time.as_secs_f64());
        println!(" 1000 a second {name:>15}   {load}");
        let reach = (burst > 1).then_some(40.0);
        let what = format!("CPU of the replica a commit at 1,000/s {name}, single node");
        report.value(&what, load.cpu_us_per_commit, "µs", reach, None);
        let what = format!("commit latency p50 at 1,000/s {name}, single node");
        report.value(&what, load.p50_ms, "ms", None, None);
    }
    member.kill();
}

/// Raft, and all that writes to the disk; not the proposers.
const REPLICA_THREADS: [&str; 4] = ["raft", "keeper", "sled", "re-metrics"];
