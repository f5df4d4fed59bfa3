//! How many calls a second are served without a failure, and what twice as many do to the node.

use std::time::{Duration, Instant};

use crate::node::{Node, UNTIL_FORGOTTEN};
use crate::report::{Figure, Report};
use crate::sipp::Sipp;

/// How long more is offered than the node can take.
const OVERLOAD_SECONDS: u32 = 45;

/// Seconds without a failed call after which the node has recovered.
const CLEAN_SECONDS: u32 = 5;

/// The highest rate that has no failed call at either end for 30 s.
pub(crate) fn clean_rate(report: &mut Report) -> u32 {
    let mut clean = 0_u32;
    for rate in [250, 500, 1_000, 1_500, 2_000, 2_500, 3_000, 3_500, 4_000] {
        let _node = Node::start();
        if !runs_clean(rate, 30) {
            break;
        }
        clean = rate;
    }
    report.push(Figure {
        name: "calls/s with none failed at either end, 30 s",
        value: clean.into(),
        unit: "1/s",
        reach: Some(1_000.0),
        less: false,
        peer: "OpenSIPS 3,000, RustPBX 600, Asterisk 500, FreeSWITCH 175",
    });
    clean
}

fn runs_clean(rate: u32, seconds: u32) -> bool {
    let callee = Sipp::callee(&["-trace_stat", "-fd", "1"]);
    let (rate_text, calls) = (rate.to_string(), (rate * seconds).to_string());
    let load = ["-r", &rate_text, "-m", &calls, "-trace_stat", "-fd", "1"];
    let caller = Sipp::call("service", "uac_b2bua.xml", &load);
    let [failed, offered] = caller.finish_with(["FailedCall(C)", "CallRate(C)"]);
    std::thread::sleep(Duration::from_secs(3)); // Two rows of the callee's statistics.
    // A caller that was too slow itself has not shown the rate.
    let is_offered = offered >= 0.95 * f64::from(rate);
    is_offered && failed == 0.0 && callee.statistic("FailedCall(C)") == 0.0
}

/// Twice the clean rate for 45 s at a node that is warm, and half of it until it is served again.
pub(crate) fn overload(report: &mut Report, node: &Node, clean: u32) {
    let callee = Sipp::callee(&["-trace_stat", "-fd", "1"]);
    let resident = node.resident_kilobytes();
    let (rate, calls) = ((clean * 2).to_string(), (clean * 2 * OVERLOAD_SECONDS).to_string());
    // No bound of the caller's own: who waits for its calls to end does not overload anybody.
    let load = ["-r", &rate, "-m", &calls, "-l", "200000", "-trace_stat", "-fd", "1"];
    let began = Instant::now();
    let [created, failed, refused] = Sipp::call("service", "uac_overload.xml", &load)
        .finish_with(["TotalCallCreated", "FailedCall(C)", "refused(C)"]);
    let offered = created / began.elapsed().as_secs_f64();
    let recovered = seconds_until_clean(clean / 2);
    let failed = failed + callee.statistic("FailedCall(C)");
    drop(callee);
    std::thread::sleep(UNTIL_FORGOTTEN);
    let grown = node.resident_kilobytes() / resident * 100.0;
    let peer = "rsipstack does not recover, FreeSWITCH collapses for minutes";
    let row = |name, value, unit, reach| Figure { name, value, unit, reach, less: true, peer };
    report.push(row("twice that rate for 45 s: offered", offered, "1/s", None));
    report.push(row("refused with 503 and Retry-After", refused / created * 100.0, "%", None));
    report.push(row("failed otherwise, at either end", failed, "calls", Some(0.0)));
    report.push(row("then half the rate: recovered within", recovered, "s", Some(5.0)));
    report.push(row("resident memory 40 s later, of that before", grown, "%", Some(110.0)));
}

/// When the first of some seconds in a row began in which no call was refused or lost.
fn seconds_until_clean(rate: u32) -> f64 {
    let (rate_text, calls) = (rate.to_string(), rate.to_string());
    let (ended, mut since, mut clean) = (Instant::now(), 0.0, 0);
    while ended.elapsed() < Duration::from_secs(60) {
        if clean == 0 {
            since = ended.elapsed().as_secs_f64();
        }
        let load = ["-r", &rate_text, "-m", &calls];
        let good = Sipp::call("service", "uac_b2bua.xml", &load).finish();
        clean = if good { clean + 1 } else { 0 };
        if clean == CLEAN_SECONDS {
            return since;
        }
    }
    f64::INFINITY
}
