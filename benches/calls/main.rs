//! What a call costs: SIPp drives a release node on the same machine.
//!
//! Prints a table and writes `target/bench/results.json`, together with what the other benches
//! left beside it. Figures of the node are CPU-seconds from `/proc`, so they hold on a busy
//! machine; rates and delays do not. Run by `make bench`; some of it with
//! `cargo bench --bench calls -- queue memory`.

#![allow(clippy::print_stdout, reason = "a benchmark reports on standard output")]
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot run should end")]

mod memory;
mod node;
mod overload;
mod report;
mod sipp;

use std::time::{Duration, Instant};

use node::Node;
use report::{Figure, Report};
use sipp::{Sipp, percentile, response_times};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    // `cargo test --benches` starts benches with --test: nothing to check there.
    if arguments.iter().any(|argument| argument == "--test") {
        return;
    }
    let wanted = |part: &str| arguments.is_empty() || arguments.iter().any(|a| a == part);
    let mut report = Report::default();
    if wanted("plain") {
        plain_calls(&mut report);
    }
    if wanted("queue") {
        queued_calls(&mut report);
    }
    if wanted("ivr") {
        ivr_calls(&mut report);
    }
    if wanted("recorded") {
        recorded_calls(&mut report);
    }
    if wanted("memory") {
        let clean = overload::clean_rate(&mut report);
        let node = Node::start();
        memory::memory(&mut report, &node);
        if clean > 0 {
            overload::overload(&mut report, &node, clean);
        }
    }
    report.finish();
}

fn plain_calls(report: &mut Report) {
    let node = Node::start();
    let callee = Sipp::callee(&[]);
    Sipp::call("service", "uac_b2bua.xml", &["-r", "100", "-m", "200"]).finish();
    let (calls, before) = (4_000, node.cpu_seconds());
    let load = ["-r", "200", "-m", "4000", "-trace_rtt", "-rtt_freq", "1"];
    let caller = Sipp::call("service", "uac_b2bua.xml", &load);
    let times = caller.directory.clone();
    let failed = !caller.finish();
    let cost = (node.cpu_seconds() - before) / f64::from(calls) * 1_000.0;
    drop(callee);
    report.push(Figure {
        name: "B2BUA call with media ports, at 200 calls/s: CPU-s per 1,000",
        value: if failed { f64::NAN } else { cost },
        unit: "s",
        reach: Some(1.0),
        less: true,
        peer: "OpenSIPS 0.22-0.36, Asterisk 2.9-3.3, RustPBX 2.8-3.9, FreeSWITCH 11",
    });
    let delays = response_times(&times, 2);
    for (name, share, reach) in [
        ("INVITE to 200 at 200 calls/s, p50", 0.5, 10.0),
        ("INVITE to 200 at 200 calls/s, p99", 0.99, 40.0),
    ] {
        let value = if failed { f64::NAN } else { percentile(&delays, share) };
        let peer = "Asterisk 2-4, FreeSWITCH 30, RustPBX 75-130 (none syncs)";
        report.push(Figure { name, value, unit: "ms", reach: Some(reach), less: true, peer });
    }
}

fn queued_calls(report: &mut Report) {
    let node = Node::start();
    let _agents = Sipp::start("uas_agent.xml", &["-p", "5080", "-cp", "8890", "-d", "1000"]);
    let warm_up = ["-r", "50", "-m", "100", "-l", "2000"];
    Sipp::call("queue", "uac_queue.xml", &warm_up).finish();
    let (calls, before) = (1_500, node.cpu_seconds());
    let load = ["-r", "50", "-m", "1500", "-l", "2000"];
    let good = Sipp::call("queue", "uac_queue.xml", &load).finish();
    let cost = (node.cpu_seconds() - before) / f64::from(calls) * 1_000.0;
    report.push(Figure {
        name: "queued call, answered and ended by an agent: CPU-s per 1,000",
        value: if good { cost } else { f64::NAN },
        unit: "s",
        reach: Some(2.0),
        less: true,
        peer: "Asterisk 7.2, RustPBX 7.8, FreeSWITCH 32",
    });
}

fn ivr_calls(report: &mut Report) {
    let node = Node::start();
    let (calls, before) = (400, node.cpu_seconds());
    let load = ["-r", "20", "-m", "400", "-l", "400"];
    let good = Sipp::call("ivr", "uac_ivr_dtmf.xml", &load).finish();
    let cost = (node.cpu_seconds() - before) / f64::from(calls) * 1_000.0;
    report.push(Figure {
        name: "IVR call collecting 4 digits: CPU-s per 1,000",
        value: if good { cost } else { f64::NAN },
        unit: "s",
        reach: Some(3.0),
        less: true,
        peer: "Asterisk 9.0, FreeSWITCH 16",
    });
}

/// 50 conversations of a recorded queue, both sides talking: the whole node, not the media engine
/// alone.
fn recorded_calls(report: &mut Report) {
    const CALLS: f64 = 50.0;
    let node = Node::start();
    let echo = ["-p", "5080", "-cp", "8890", "-rtp_echo", "-mp", "7000"];
    let agents = Sipp::start("uas_answer.xml", &echo);
    let load = ["-r", "25", "-m", "50", "-d", "40000", "-mp", "12000"];
    let callers = Sipp::call("recorded", "uac_media.xml", &load);
    std::thread::sleep(Duration::from_secs(10));
    let packets = || node.metric("tandem_rtp_packets_total");
    let written = || node.metric("tandem_recorded_bytes_total");
    let (packets_before, written_before) = (packets(), written());
    let (cpu, began) = (node.cpu_seconds(), Instant::now());
    std::thread::sleep(Duration::from_secs(20));
    let cores = (node.cpu_seconds() - cpu) / began.elapsed().as_secs_f64();
    let seconds = began.elapsed().as_secs_f64();
    // Each call is 50 packets/s from either side, in and out, and 16,000 samples of two bytes.
    let relayed = (packets() - packets_before) / (CALLS * seconds * 200.0);
    let recorded = (written() - written_before) / (CALLS * seconds * 32_000.0);
    let good = callers.finish() && relayed > 0.95 && recorded > 0.9;
    println!("recorded calls: {relayed:.3} of the packets, {recorded:.3} of the samples");
    drop(agents);
    report.push(Figure {
        name: "50 relayed calls of a recorded queue: cores of the node",
        value: if good { cores } else { f64::NAN },
        unit: "cores",
        reach: Some(0.15),
        less: true,
        peer: "Asterisk 0.30-0.36, FreeSWITCH 0.29",
    });
}
