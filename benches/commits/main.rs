//! Commits per second and failover, three processes on loopback with a real disk, beside etcd.
//!
//! `cargo bench --bench commits [-- quick]` prints a table and writes
//! `target/bench/commits.json`, one JSON object a line.
//!
//! What is compared: a commit of 256 B that a majority has written with fdatasync. Tandem's
//! proposers are tasks in the process of the leader, since that is where they are in production
//! (a node's actors propose to its own replica); `spread` has them in all three. etcd has no such
//! place: its clients talk gRPC over loopback, HTTP/2 frames and protobuf by hand so that the
//! client costs little, on one connection for each hundred of them, all to the leader. Both
//! clusters run all the time, one of them idle; the disk is the same. A member's state is a map,
//! as etcd's is; Tandem also writes it to its cache. Of three rounds ours is the one in the middle
//! and etcd's the best.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark prints")]
#![allow(clippy::unwrap_used, reason = "a benchmark may panic")]

mod etcd;
mod member;
mod ours;
mod report;

use report::Report;
use std::time::Duration;

/// Bytes of a proposal, key included.
pub(crate) const BYTES: usize = 256;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.get(1).is_some_and(|argument| argument == "member") {
        return member::run(&arguments[2..]);
    }
    if !arguments.iter().any(|argument| argument == "--bench" || argument == "quick") {
        // `cargo test --all-targets` starts benches too: nothing to check there.
        return;
    }
    let quick = arguments.iter().any(|argument| argument == "quick");
    let only = |name: &str| {
        !arguments.iter().any(|a| a.starts_with("only="))
            || arguments.contains(&format!("only={name}"))
    };
    let (rounds, seconds, kills): (usize, Duration, usize) =
        if quick { (1, Duration::from_secs(2), 3) } else { (3, Duration::from_secs(5), 20) };
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("commits");
    drop(std::fs::remove_dir_all(&folder));
    std::fs::create_dir_all(&folder).unwrap();
    let mut report = Report::new();
    if only("single") {
        ours::single(&folder, seconds, &mut report);
    }
    if only("three") {
        let mut tandem = ours::Cluster::start(&folder);
        let mut etcd = etcd::Cluster::start(&folder);
        for proposers in [1, 100, 1_000] {
            let mut runs = Vec::new();
            for _ in 0..rounds {
                let peer = etcd.as_mut().map(|etcd| etcd.load(proposers, seconds));
                let ours = tandem.load(proposers, seconds);
                runs.push((ours, tandem.spread(proposers, seconds), peer));
            }
            report.commits(proposers, &runs);
        }
        if let Some(etcd) = etcd.take() {
            etcd.stop();
        }
        tandem.stop();
    }
    if only("failover") {
        let mut tandem = ours::Cluster::start(&folder);
        let times: Vec<_> = (0..kills).map(|_| tandem.failover()).collect();
        tandem.stop();
        let mut peer = Vec::new();
        if let Some(mut etcd) = etcd::Cluster::start(&folder) {
            // Fewer rounds, since each takes seconds.
            peer = (0..kills.div_ceil(4)).map(|_| etcd.failover()).collect();
            etcd.stop();
        }
        report.failover(times, peer);
    }
    report.write();
    drop(std::fs::remove_dir_all(&folder));
}
