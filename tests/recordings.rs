//! Recordings of real calls: over the kill of the node that writes, and over the loss of its disk.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should end")]

mod support;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use support::line::Line;
use support::{Node, Sipp, download, fresh_directory, get, request, wait_until};
use tandem_media::wav::{self, PART_HEADER_BYTES};

const HALF_A_MINUTE: Duration = Duration::from_secs(30);

/// A crash may take so much of what was said.
const LOST_MS_MAX: usize = 1_000;

#[test]
fn a_kill_takes_less_than_a_second_of_a_recording() {
    let folder = fresh_directory("killed");
    let node_http: SocketAddr = "127.0.0.41:8080".parse().unwrap();
    let config = configured(&folder, "node.toml", &[("127.0.0.1:", "127.0.0.41:")], 5_084);
    let mut node = Node::start(&config, &node_http.to_string());
    let (_phone, _desk) = ana(5_084, 8_894, 60_000, node_http);
    let mut caller = Line::new("127.0.0.1", "127.0.0.41:5060".parse().unwrap());
    let audio = is_recorded(&mut caller, node_http);

    let frames = 317;
    caller.says(audio, frames);
    node.kill();

    let mut node = Node::start_in(&config, &node_http.to_string(), &node.data.clone());
    node.wait_ready();
    let id = recordings(&node.data).remove(0);
    let token = token(node_http);
    let mut parts = Value::Null;
    wait_until("the file is complete", HALF_A_MINUTE, || {
        parts = json(node_http, &format!("/api/v1/recordings/{id}/parts"), &token);
        parts["parts"][0]["sha256"].is_string()
    });
    let (status, file) = download(node_http, &id, &token);
    assert_eq!(status, 200);
    let audio = wav::read(&file).unwrap();
    let said_ms = frames as usize * 20;
    let kept_ms = audio.channel(0).filter(|sample| *sample != 0).count() / 8;
    let lost_ms = said_ms.saturating_sub(kept_ms);
    assert!(kept_ms <= said_ms && lost_ms <= LOST_MS_MAX, "{lost_ms} ms of {said_ms} are lost");
    if let Some(file) = std::env::var_os("TANDEM_LOST_MS") {
        fs::write(file, lost_ms.to_string()).unwrap();
    }
}

#[test]
fn a_recording_outlives_the_disk_of_its_node_and_any_node_serves_it() {
    let folder = fresh_directory("copied");
    let http = |node: usize| -> SocketAddr { format!("127.0.0.5{node}:8080").parse().unwrap() };
    let start = |node: usize| {
        let file = format!("cluster/node{node}.toml");
        let addresses: Vec<_> =
            (1..=3).map(|n| (format!("127.0.0.1{n}"), format!("127.0.0.5{n}"))).collect();
        let addresses: Vec<_> = addresses.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        let config = configured(&folder, &file, &addresses, 5_083);
        Node::start_in(&config, &http(node).to_string(), &fresh_directory("copy"))
    };
    let mut nodes: Vec<_> = (1..=3).map(start).collect();
    nodes.iter_mut().for_each(Node::wait_ready);
    let (_phone, _desk) = ana(5_083, 8_893, 60_000, http(2));
    let mut caller = Line::new("127.0.0.1", "127.0.0.51:5060".parse().unwrap());
    let audio = is_recorded(&mut caller, http(1));
    caller.says(audio, 100);
    caller.hangs_up();

    wait_until("a second node has it", HALF_A_MINUTE, || {
        metric(http(1), "tandem_recording_copies_total") == Some(1.0)
    });
    let id = recordings(&nodes[0].data).remove(0);
    let written = fs::read(nodes[0].data.join("recordings").join(format!("{id}.0.wav"))).unwrap();
    let tokens = [2, 3].map(|node| token(http(node)));

    // Node 1 and its disk are lost. The copy is on node 2; node 3 has nothing of it.
    nodes[0].kill();
    fs::remove_dir_all(nodes[0].data.join("recordings")).unwrap();
    assert!(recordings(&nodes[2].data).is_empty());
    for (node, token) in [2, 3].into_iter().zip(&tokens) {
        let (status, file) = download(http(node), &id, token);
        assert_eq!(status, 200, "from node {node}");
        let audio = &written[PART_HEADER_BYTES..];
        assert!(!audio.is_empty() && file.ends_with(audio));
        assert_eq!(wav::read(&file).unwrap(), wav::read(&written).unwrap());
        let parts = json(http(node), &format!("/api/v1/recordings/{id}/parts"), token);
        assert_eq!(parts["parts"][0]["sha256"], sha256(&written), "{parts}");
        assert_eq!(parts["parts"][0]["places"], serde_json::json!([1, 2]), "{parts}");
    }

    // Both that have it are down: it is there, but not now. What never was is not there.
    nodes[1].kill();
    assert_eq!(download(http(3), &id, &tokens[1]).0, 503);
    assert_eq!(download(http(3), "0000000000000001", &tokens[1]).0, 404);
}

/// Ana's phone (SIPp, which hangs up after so many ms) and her desk, ready.
fn ana(port: u16, control: u16, talk_ms: u32, http: SocketAddr) -> (Sipp, Desk) {
    let [port, control, talk_ms] = [port.into(), control.into(), talk_ms].map(|n| n.to_string());
    let phone = Sipp::start("uas_agent.xml", &["-p", &port, "-cp", &control, "-d", &talk_ms]);
    let script = fresh_directory("desk").join("script");
    fs::write(&script, "ready\nsleep 300\n").unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_tandem"))
        .args(["agent", "--server", &format!("http://{http}"), "--user", "ana", "--script"])
        .env("TANDEM_PASSWORD", "ana")
        .stdin(fs::File::open(script).unwrap())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let desk = Desk(child);
    wait_until("ana is ready", HALF_A_MINUTE, || {
        metric(http, "tandem_agents{state=\"ready\"}") == Some(1.0)
    });
    (phone, desk)
}

/// Calls the queue and is connected; the answer is where audio goes.
fn is_recorded(caller: &mut Line, http: SocketAddr) -> SocketAddr {
    let sdp = caller.sdp("sendrecv");
    caller.calls("caller", "sales", &sdp);
    let audio = caller.is_told(200).audio_address();
    caller.acks("");
    wait_until("the call is recorded", HALF_A_MINUTE, || {
        metric(http, "tandem_recordings_active") == Some(1.0)
    });
    audio
}

/// The recordings that have a part in this node's folder.
fn recordings(data: &Path) -> Vec<String> {
    let entries = fs::read_dir(data.join("recordings")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let ids = names.filter_map(|name| Some(name.strip_suffix(".0.wav")?.to_owned()));
    ids.collect()
}

/// A shipped configuration on other addresses, with SIPp for ana's phone.
fn configured(folder: &Path, shipped: &str, addresses: &[(&str, &str)], phone: u16) -> PathBuf {
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let text = fs::read_to_string(config.join(shipped)).unwrap();
    let mut text = addresses.iter().fold(text, |text, (from, to)| text.replace(from, to));
    let device = format!("device = \"sip:ana@127.0.0.1:{phone}\"");
    text = text
        .replacen("phone_password = \"ana\"", &device, 1)
        .replace("\"../flows\"", &format!("{:?}", config.join("flows")))
        .replace("\"../prompts\"", &format!("{:?}", config.join("prompts")));
    if !text.contains("[flows]") {
        for section in ["flows", "prompts"] {
            let place = config.join(section);
            text.push_str(&format!("\n[{section}]\ndirectory = {place:?}\n"));
        }
    }
    assert!(text.contains(&device), "the file is as this test knows it");
    let file = folder.join(shipped.replace('/', "-"));
    fs::write(&file, text).unwrap();
    file
}

fn token(http: SocketAddr) -> String {
    let credentials = r#"{"user":"sue","password":"sue"}"#;
    let (status, answer) = request(http, "POST", "/api/v1/login", None, credentials).unwrap();
    assert_eq!(status, 200, "{answer}");
    let answer: Value = serde_json::from_str(&answer).unwrap();
    answer["token"].as_str().unwrap().to_owned()
}

fn json(http: SocketAddr, path: &str, token: &str) -> Value {
    let body = get(http, path, Some(token)).map(|(_, body)| body).unwrap_or_default();
    serde_json::from_str(&body).unwrap_or_default()
}

fn metric(http: SocketAddr, name: &str) -> Option<f64> {
    let (_, text) = get(http, "/metrics", None).ok()?;
    text.lines().find_map(|line| line.strip_prefix(name))?.trim().parse().ok()
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Ends with the test.
struct Desk(Child);

impl Drop for Desk {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
