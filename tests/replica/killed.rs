//! kill -9 at any moment: what was acknowledged is there after the restart.

use crate::counter::{counted, start, steps, wait_for};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const CHILD: &str = "TANDEM_TEST_KILLED_CHILD";

/// The process that is killed: counts and says each answer. Not a test by itself.
#[test]
fn child() {
    let Some(data) = std::env::var_os(CHILD) else { return };
    let node = start(1, Path::new(&data), &BTreeMap::new(), |config| {
        config.snapshot_entries = 300;
        config.kept_entries = 50;
        config.cache_every = Duration::from_millis(10);
    })
    .unwrap();
    let stdout = std::io::stdout();
    let mut waiting = Vec::new();
    for _ in 0..1_000_000 {
        waiting.push(node.0.propose(b"a".to_vec()));
        if waiting.len() == 10 {
            for proposal in waiting.drain(..) {
                let line = match proposal.wait() {
                    Ok(answer) => format!("acknowledged {}", answer.reply),
                    Err(error) => error.to_string(),
                };
                writeln!(stdout.lock(), "\n{line}").unwrap();
            }
        }
    }
}

#[test]
fn what_was_acknowledged_survives_kill_9() {
    let data = tempfile::tempdir().unwrap();
    let mut acknowledged = 0;
    for round in 0..8_u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "killed::child", "--nocapture"])
            .env(CHILD, data.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let until = acknowledged + 200 + round * 37;
        while acknowledged < until {
            let line = lines.next().expect("the child goes on").unwrap();
            if let Some(count) = line.strip_prefix("acknowledged ") {
                acknowledged = count.parse().unwrap();
            }
        }
        child.kill().unwrap();
        for line in lines.map_while(Result::ok) {
            if let Some(count) = line.strip_prefix("acknowledged ") {
                acknowledged = count.parse().unwrap_or(acknowledged);
            }
        }
        child.wait().unwrap();
    }
    let node = start(1, data.path(), &BTreeMap::new(), |_| ()).unwrap();
    wait_for("what was acknowledged", || counted(&node, "a") >= acknowledged);
    let count = counted(&node, "a");
    crate::counter::stop(node);
    let expected: Vec<_> = (1..=count).map(|count| format!("a={count}")).collect();
    assert_eq!(steps(&data.path().join("node1")), expected, "each record once");
}
