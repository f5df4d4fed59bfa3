//! The callers and the called: SIPp processes with the scenarios of `tests/scenarios`.
//!
//! Owns their processes and directories. What they saw is read from their statistics files.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::node::fresh_directory;

/// What calls to a number begin with.
const CALLER: [&str; 5] = ["127.0.0.1:5060", "-p", "5061", "-cp", "8889"];

/// One SIPp.
pub(crate) struct Sipp {
    child: Child,
    pub(crate) directory: PathBuf,
}

impl Sipp {
    /// Callers of a number.
    pub(crate) fn call(number: &str, scenario: &str, load: &[&str]) -> Self {
        Self::start(scenario, &[&CALLER[..], &["-s", number], load].concat())
    }

    /// The called party of calls that are put through: it must outlive all of them.
    pub(crate) fn callee(more: &[&str]) -> Self {
        let usual = ["-p", "5070", "-cp", "8890", "-timeout", "1500"];
        Self::start("uas_answer.xml", &[&usual[..], more].concat())
    }

    pub(crate) fn start(scenario: &str, arguments: &[&str]) -> Self {
        let directory = fresh_directory("sipp");
        let scenarios = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
        for file in [scenario, "tone.ulaw"] {
            fs::copy(scenarios.join(file), directory.join(file)).unwrap();
        }
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
    pub(crate) fn finish(mut self) -> bool {
        self.child.wait().unwrap().success()
    }

    /// Waits for the end, and reads a column of the statistics of the whole run.
    pub(crate) fn finish_with<const N: usize>(mut self, columns: [&str; N]) -> [f64; N] {
        self.child.wait().unwrap();
        columns.map(|column| self.statistic(column))
    }

    /// A column of the last line of its statistics file so far; it needs `-trace_stat -fd 1`.
    pub(crate) fn statistic(&self, column: &str) -> f64 {
        let file = files_ending(&self.directory, ".csv").pop();
        let text = file.map(|file| fs::read_to_string(file).unwrap()).unwrap_or_default();
        let mut lines = text.lines();
        let header: Vec<_> = lines.next().unwrap_or_default().split(';').collect();
        let at = header.iter().position(|name| *name == column);
        let value = at.zip(lines.next_back()).and_then(|(at, last)| last.split(';').nth(at));
        value.and_then(|value| value.parse().ok()).unwrap_or(f64::NAN)
    }
}

impl Drop for Sipp {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Milliseconds of one response-time counter of a SIPp run with `-trace_rtt`.
pub(crate) fn response_times(directory: &Path, counter: u32) -> Vec<f64> {
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

pub(crate) fn percentile(sorted: &[f64], share: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    sorted.get((last as f64 * share) as usize).copied().unwrap_or(f64::NAN)
}

fn files_ending(directory: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.to_string_lossy().ends_with(ending)).collect()
}
