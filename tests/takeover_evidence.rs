//! What is left of a call whose node died: one recording on one time line, and evidence that every
//! node's audit accepts, unless somebody has doctored it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should end")]

mod support;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use rusqlite::Connection;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use support::cluster::{Cluster, PHONE, others};
use support::line::Line;
use support::{Sipp, download, fresh_directory, get, program, wait_until};
use tandem_media::wav;

const HALF_A_MINUTE: Duration = Duration::from_secs(30);

/// What a crash may take of what was said before it.
const LOST_MS_MAX: u64 = 1_000;

/// How long nobody may record: the bound of the drills, for the slowest call.
const GAP_MS_MAX: u64 = 2_000;

/// Frames of 20 ms that the caller says, and after how many the node dies.
const FRAMES: u64 = 450;
const FRAMES_BEFORE: u64 = 200;

#[test]
fn a_recorded_call_that_moved_is_one_file_and_stands_every_audit() {
    let mut cluster = Cluster::start("127.0.0.16", 15);
    let (_, port) = PHONE.rsplit_once(':').unwrap();
    let _phone = Sipp::start("uas_agent.xml", &["-p", port, "-cp", "8892", "-d", "60000"]);
    let leader = cluster.leader();
    let [carrier, other] = others(leader);
    let _desk = cluster.desk_at(leader);
    let mut caller = Line::new("127.0.0.1", cluster.sip(carrier));
    let sdp = caller.sdp("sendrecv");
    caller.calls("caller", "sales", &sdp);
    let audio = caller.is_told(200).audio_address();
    caller.acks("");
    wait_until("the call is recorded", HALF_A_MINUTE, || {
        cluster.metric(carrier, "tandem_recordings_active") == Some(1.0)
    });
    std::thread::scope(|scope| {
        let saying = scope.spawn(|| caller.says(audio, FRAMES as u32));
        std::thread::sleep(Duration::from_millis(FRAMES_BEFORE * 20));
        cluster.nodes[carrier - 1].kill();
        saying.join().unwrap();
    });
    caller.hangs_up();
    for node in [leader, other] {
        cluster.records_are(node, 1);
    }
    cluster.restart(carrier);
    cluster.records_are(carrier, 1);

    one_file_on_one_time_line(&cluster, [leader, carrier, other]);
    for node in [leader, carrier, other] {
        audits_are_good(&cluster, node);
    }
    doctored_evidence_is_found_out(&cluster.nodes[other - 1].data);
}

fn one_file_on_one_time_line(cluster: &Cluster, [leader, carrier, other]: [usize; 3]) {
    let token = cluster.log_in(leader, "sue").unwrap();
    let json = |node: usize, path: &str| -> Value {
        let body = get(cluster.http(node), path, Some(&token)).map(|(_, body)| body);
        serde_json::from_str(&body.unwrap_or_default()).unwrap_or_default()
    };
    let record = json(leader, "/api/v1/cdrs")["items"][0].clone();
    assert_eq!(record["takeovers"], 1, "{record}");
    let id = record["recording"].as_str().unwrap().to_owned();
    let parts = format!("/api/v1/recordings/{id}/parts");
    wait_until("both parts are complete", HALF_A_MINUTE, || {
        let parts = json(other, &parts)["parts"].clone();
        parts.as_array().is_some_and(|parts| {
            parts.len() == 2 && parts.iter().all(|part| part["sha256"].is_string())
        })
    });
    let view = json(other, &parts);
    assert_eq!(view["parts"][0]["node"], carrier as u64, "{view}");
    assert_ne!(view["parts"][1]["node"], carrier as u64, "{view}");
    let gaps = view["gaps"].as_array().unwrap();
    assert_eq!((gaps.len(), &gaps[0]["reason"]), (1, &Value::from("takeover")), "{view}");
    let gap_ms = gaps[0]["length_ms"].as_u64().unwrap();
    for node in [leader, carrier, other] {
        let (status, file) = download(cluster.http(node), &id, &token);
        assert_eq!(status, 200, "from node {node}");
        let audio = wav::read(&file).unwrap();
        // A tone of a constant: what is zero was not recorded.
        let samples: Vec<i16> = audio.channel(0).collect();
        let said = samples.iter().position(|sample| *sample != 0).unwrap();
        let end = samples.iter().rposition(|sample| *sample != 0).unwrap() + 1;
        let kept_ms = samples.iter().filter(|sample| **sample != 0).count() as u64 / 8;
        let said_ms = FRAMES * 20;
        let on_line_ms = (end - said) as u64 / 8;
        let apart = on_line_ms.abs_diff(said_ms);
        assert!(apart <= 200, "{said_ms} ms were said, and {on_line_ms} ms are on the time line");
        let silent_ms = said_ms.saturating_sub(kept_ms);
        assert!(silent_ms <= gap_ms + 200, "{silent_ms} ms are missing, the gap is {gap_ms} ms");
        assert!(gap_ms <= GAP_MS_MAX + LOST_MS_MAX, "the gap is {gap_ms} ms");
        // Of what was said before the kill, the crash took less than a second.
        let first_ms = view["parts"][0]["length_ms"].as_u64().unwrap();
        let before_ms = said as u64 / 8 + FRAMES_BEFORE * 20;
        let lost_ms = before_ms.saturating_sub(first_ms);
        assert!(lost_ms <= LOST_MS_MAX, "{lost_ms} ms before the kill are lost");
    }
    for (part, node) in view["parts"].as_array().unwrap().iter().zip([carrier, 0]) {
        let holder = if node > 0 { node } else { part["node"].as_u64().unwrap() as usize };
        let file = part["file"].as_str().unwrap();
        let folder = cluster.nodes[holder - 1].data.join("recordings");
        let bytes = fs::read(folder.join(format!("{file}.wav")))
            .or_else(|_| fs::read(folder.join(file)))
            .unwrap();
        let sum: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(part["sha256"], sum, "{view}");
    }
}

fn audits_are_good(cluster: &Cluster, node: usize) {
    let server = format!("http://{}", cluster.http(node));
    is_good(&audit(&["--server", &server]), "a running node");
    let data = &cluster.nodes[node - 1].data;
    is_good(&audit(&["--data", data.to_str().unwrap()]), "its directory");
}

/// A record that names another owner, one that hides the takeover, and a second end, as two nodes
/// would write it that both had the call.
fn doctored_evidence_is_found_out(data: &Path) {
    is_good(&audit(&["--data", copied(data).to_str().unwrap()]), "a copy");
    for doctor in [
        "UPDATE cdr SET node = node % 3 + 1",
        "UPDATE cdr SET takeovers = 0",
        "INSERT INTO doubles SELECT 9, call, whole FROM cdr",
    ] {
        let copy = copied(data);
        let records = Connection::open(copy.join("replica/records.sqlite")).unwrap();
        records.execute_batch(doctor).unwrap();
        drop(records);
        let output = audit(&["--data", copy.to_str().unwrap()]);
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(!output.status.success() && text.contains("WRONG"), "{doctor}: {text}");
    }
}

fn copied(data: &Path) -> std::path::PathBuf {
    let copy = fresh_directory("doctored");
    let done = Command::new("cp").arg("-r").arg(data.join(".")).arg(&copy).status().unwrap();
    assert!(done.success());
    copy
}

fn is_good(output: &Output, what: &str) {
    let said = [&output.stdout[..], &output.stderr].concat();
    assert!(output.status.success(), "{what}:\n{}", String::from_utf8_lossy(&said));
}

fn audit(arguments: &[&str]) -> Output {
    let arguments = [&["audit"], arguments].concat();
    Command::new(program()).args(arguments).env("TANDEM_PASSWORD", "admin").output().unwrap()
}
