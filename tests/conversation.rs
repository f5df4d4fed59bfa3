//! A person's call, with real softphones: menu, key, queue, agent at a desk, hold, recording,
//! record.
//!
//! baresip is both phones; each plays a tone of its own, so that the recording's channels can be
//! told apart by ear and by filter. The desk is `tandem agent`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should end")]

mod support;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use support::{Node, fresh_directory, get, request, wait_until};

/// An address of its own, so that it meets no other test's node.
const ADDRESS: &str = "127.0.0.5";
const HTTP: &str = "127.0.0.5:8080";

/// What the caller's and the agent's phone play, hertz.
const CALLER_TONE: f64 = 1_000.0;
const AGENT_TONE: f64 = 600.0;

#[test]
fn a_caller_reaches_an_agent_through_menu_and_queue_and_both_are_recorded() {
    let folder = fresh_directory("conversation");
    let node = Node::start(&config(&folder), HTTP);
    let mut ana = Phone::start(&folder, "ana", "127.0.0.51", AGENT_TONE);
    wait_until("ana's phone is registered", Duration::from_secs(20), || {
        metric("tandem_sip_registrations") >= 1.0
    });
    let desk = Desk::start(
        "ready\nwait established 40\nhold\nwait held 5\nsleep 1\nretrieve\nwait retrieved 5\nsleep 2\n\
         hangup\nwait cleared 5\ndisposition sold\ndone\n",
    );
    wait_until("ana is ready", Duration::from_secs(20), || {
        metric("tandem_agents{state=\"ready\"}") >= 1.0
    });
    let mut caller = Phone::start(&folder, "caller", "127.0.0.52", CALLER_TONE);
    caller.types(&format!("/dial sip:1000@{ADDRESS}:5060\n"));
    wait_until("the caller hears the menu", Duration::from_secs(20), || {
        metric("tandem_calls_active{phase=\"ivr\"}") >= 1.0
    });
    // Pressed until it is heard: a key before the answer goes nowhere.
    wait_until("the key is heard", Duration::from_secs(20), || {
        caller.types("1");
        std::thread::sleep(Duration::from_millis(500));
        metric("tandem_calls_active{phase=\"ivr\"}") < 1.0
    });
    desk.finishes();
    let cdr = record(&node);
    assert_eq!(cdr["outcome"], "answered", "{cdr}");
    assert_eq!(cdr["agent"], "ana", "{cdr}");
    assert_eq!(cdr["queue"], "sales", "{cdr}");
    assert_eq!(cdr["ended_by"], "agent", "{cdr}");
    assert_eq!(cdr["disposition"], "sold", "{cdr}");
    let recording = recorded(&node);
    let [left, right] = channels(&recording);
    assert!(share(&left, CALLER_TONE) > 0.5, "the caller is not on the left channel");
    assert!(share(&left, AGENT_TONE) < 0.1, "the agent is on the caller's channel");
    assert!(share(&right, AGENT_TONE) > 0.5, "the agent is not on the right channel");
    assert!(share(&right, CALLER_TONE) < 0.1, "the caller is on the agent's channel");
    ana.ends();
}

/// The demo's configuration on an address of its own.
fn config(folder: &Path) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("config/node.toml")).unwrap();
    let file = folder.join("node.toml");
    let mut text = text.replace("127.0.0.1", ADDRESS);
    // What the file says relative to its folder is still there.
    for (section, place) in [("[flows]", "flows"), ("[prompts]", "prompts")] {
        let place = root.join("config").join(place);
        text.push_str(&format!("\n{section}\ndirectory = {place:?}\n"));
    }
    fs::write(&file, text).unwrap();
    file
}

/// A baresip with a tone for a voice.
struct Phone {
    child: Child,
}

impl Phone {
    /// `ana` registers and answers by itself; anyone else only calls. Each has an address of its
    /// own: baresip takes several ports, and those of 127.0.0.1 are everybody's.
    fn start(folder: &Path, name: &str, address: &str, hertz: f64) -> Self {
        let home = folder.join(name);
        fs::create_dir_all(&home).unwrap();
        let voice = home.join("voice.wav");
        let made = Command::new("sox")
            .args(["-n", "-r", "8000", "-c", "1", "-b", "16"])
            .arg(&voice)
            .args(["synth", "90", "sine", &hertz.to_string(), "vol", "0.4"])
            .status();
        assert!(made.unwrap().success());
        let config = format!(
            "module_path /usr/lib/baresip/modules\nsip_listen {address}:5060\n\
             net_interface {address}\naudio_player aufile,{}\naudio_source aufile,{}\n\
             audio_alert aufile,/dev/null\nmodule stdio.so\nmodule g711.so\nmodule aufile.so\n\
             module account.so\nmodule menu.so\n",
            home.join("heard.wav").display(),
            voice.display(),
        );
        fs::write(home.join("config"), config).unwrap();
        let account = if name == "ana" {
            "auth_user=ana;auth_pass=ana;answermode=auto;regint=60"
        } else {
            "regint=0"
        };
        let account = format!("<sip:{name}@{ADDRESS}:5060>;{account};audio_codecs=pcma,pcmu\n");
        fs::write(home.join("accounts"), account).unwrap();
        fs::write(home.join("contacts"), "").unwrap();
        let log = fs::File::create(home.join("log")).unwrap();
        let child = Command::new("baresip")
            .args(["-f".as_ref(), home.as_os_str()])
            .stdin(Stdio::piped())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("baresip is installed (make test installs it)");
        Self { child }
    }

    fn types(&mut self, keys: &str) {
        let keyboard = self.child.stdin.as_mut().expect("stdin is a pipe");
        keyboard.write_all(keys.as_bytes()).unwrap();
        keyboard.flush().unwrap();
    }

    fn ends(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Phone {
    fn drop(&mut self) {
        self.ends();
    }
}

/// `tandem agent`, following a script.
struct Desk {
    child: Child,
}

impl Desk {
    fn start(script: &str) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_tandem"))
            .args(["agent", "--server", &format!("http://{HTTP}"), "--user", "ana", "--script"])
            .env("TANDEM_PASSWORD", "ana")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
        Self { child }
    }

    /// Every line of the script was done.
    fn finishes(self) {
        let output = self.child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "the desk's script failed:\n{said}");
        assert!(said.contains("reason sales"), "no screen pop with the IVR's data:\n{said}");
    }
}

fn metric(name: &str) -> f64 {
    let (_, text) = get(HTTP.parse().unwrap(), "/metrics", None).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|value| value.trim().parse().ok()).unwrap_or(0.0)
}

/// The only call-detail record, as the API gives it.
fn record(node: &Node) -> serde_json::Value {
    let credentials = r#"{"user":"sue","password":"sue"}"#;
    let (status, answer) = request(node.http, "POST", "/api/v1/login", None, credentials).unwrap();
    assert_eq!(status, 200, "{answer}");
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    let token = answer["token"].as_str().unwrap().to_owned();
    let mut found = serde_json::Value::Null;
    wait_until("the record is there", Duration::from_secs(10), || {
        let (_, body) = get(node.http, "/api/v1/cdrs?queue=sales", Some(&token)).unwrap();
        let body: serde_json::Value = serde_json::from_str(&body).unwrap_or_default();
        found = body["items"][0].clone();
        // The disposition is a record of its own and follows the call's.
        !found["disposition"].is_null()
    });
    found
}

fn recorded(node: &Node) -> PathBuf {
    let folder = node.data.join("recordings");
    let mut files = Vec::new();
    wait_until("the recording is there", Duration::from_secs(10), || {
        files = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.len() == 1
    });
    // Its last second is written when the call is over.
    std::thread::sleep(Duration::from_secs(2));
    files.remove(0)
}

/// The samples of both channels of a part of a recording.
fn channels(file: &Path) -> [Vec<f64>; 2] {
    let bytes = fs::read(file).unwrap();
    assert_eq!((&bytes[..4], bytes[22]), (&b"RIFF"[..], 2), "stereo WAV");
    let frames = bytes[tandem_media::wav::PART_HEADER_BYTES..].chunks_exact(4);
    let sample =
        |frame: &[u8], at: usize| f64::from(i16::from_le_bytes([frame[at], frame[at + 1]]));
    [
        frames.clone().map(|frame| sample(frame, 0)).collect(),
        frames.map(|frame| sample(frame, 2)).collect(),
    ]
}

/// How much of the signal's power is at this frequency, in windows of 20 ms (Goertzel 1958).
fn share(samples: &[f64], hertz: f64) -> f64 {
    let step = 2.0 * (std::f64::consts::TAU * hertz / 8_000.0).cos();
    let (mut at_tone, mut all) = (0.0, 1.0);
    for window in samples.chunks_exact(160) {
        let (mut last, mut before) = (0.0, 0.0);
        for sample in window {
            (last, before) = (sample + step * last - before, last);
            all += sample * sample;
        }
        at_tone += (last * last + before * before - step * last * before) / 80.0;
    }
    at_tone / all
}
