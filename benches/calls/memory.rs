//! What calls take of the node's memory, and what they leave.

use std::time::Duration;

use crate::node::{Node, UNTIL_FORGOTTEN};
use crate::report::{Figure, Report};
use crate::sipp::Sipp;

/// Memory of 500 calls that talk, and what 100,000 calls leave of theirs.
pub(crate) fn memory(report: &mut Report, node: &Node) {
    let callee = Sipp::callee(&[]);
    // The events of the last 6,500 calls and the newest 16 MiB of the log stay in memory: the start
    // is when they are full, so that what grows after it is a leak.
    Sipp::call("service", "uac_b2bua.xml", &["-r", "400", "-m", "10000"]).finish();
    std::thread::sleep(UNTIL_FORGOTTEN);
    let start = node.resident_kilobytes();
    let load = ["-r", "100", "-m", "500", "-d", "20000", "-l", "2000"];
    let talking = Sipp::call("service", "uac_b2bua.xml", &load);
    std::thread::sleep(Duration::from_secs(12));
    let during = node.resident_kilobytes();
    talking.finish();
    report.push(Figure {
        name: "resident memory per established relayed call",
        value: (during - start) / 500.0,
        unit: "kB",
        reach: Some(80.0),
        less: true,
        peer: "rtpengine 40, Asterisk 300, FreeSWITCH 920",
    });
    let many = ["-r", "1000", "-m", "100000", "-l", "5000"];
    Sipp::call("service", "uac_b2bua.xml", &many).finish();
    drop(callee);
    std::thread::sleep(UNTIL_FORGOTTEN);
    let after = node.resident_kilobytes();
    println!("resident memory: {start} kB at the start, {after} kB after 100,000 calls more");
    report.push(Figure {
        name: "resident memory after 100,000 calls at 1,000/s, of that at the start",
        value: after / start * 100.0,
        unit: "%",
        reach: Some(110.0),
        less: true,
        peer: "RustPBX keeps 170 kB per finished call",
    });
}
