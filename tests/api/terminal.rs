//! The commands of the terminal as people and scripts run them: real processes.

use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tandem_center::CallId;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use crate::script::Script;

const PATIENCE: Duration = Duration::from_secs(20);

fn tandem() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tandem"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// `tandem agent --script`, one line at a time.
struct Terminal {
    child: Child,
    input: Option<ChildStdin>,
    output: Lines<BufReader<ChildStdout>>,
}

impl Terminal {
    fn start(servers: &str, user: &str) -> Self {
        let mut child = tandem()
            .args(["agent", "--script", "--user", user, "--server", servers])
            .env("TANDEM_PASSWORD", user)
            .spawn()
            .unwrap();
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, input, output }
    }

    async fn types(&mut self, line: &str) {
        let input = self.input.as_mut().unwrap();
        input.write_all(format!("{line}\n").as_bytes()).await.unwrap();
    }

    /// Reads lines until one contains `text`.
    async fn says(&mut self, text: &str) -> String {
        let mut before = Vec::new();
        loop {
            let line = timeout(PATIENCE, self.output.next_line()).await;
            match line.unwrap_or_else(|_| panic!("{text:?} does not come after {before:#?}")) {
                Ok(Some(line)) if line.contains(text) => return line,
                Ok(Some(line)) => before.push(line),
                end => panic!("{end:?} before {text:?} after {before:#?}"),
            }
        }
    }

    async fn ends(mut self) -> i32 {
        drop(self.input.take());
        timeout(PATIENCE, self.child.wait()).await.unwrap().unwrap().code().unwrap()
    }
}

#[tokio::test]
async fn an_agent_takes_a_call_at_the_terminal() {
    let script = Script::new();
    let mut ana = Terminal::start(&script.base(), "ana");
    ana.says("* signed in at node 1").await;
    ana.says("reasons: lunch").await;
    ana.types("ready").await;
    ana.says("* ready").await;
    let call = script.alice_calls("sales");
    ana.says("* +4930123 Alice for Sales rings; `answer` takes it").await;
    ana.types("answer").await;
    ana.says("* reserved").await;
    script.phone_answers(call, 1);
    ana.says("* talking to +4930123 Alice").await;
    ana.types("hold").await;
    ana.says("* on hold by the agent").await;
    ana.types("retrieve").await;
    ana.says("* talking again").await;
    ana.types("hangup").await;
    ana.says("* the call is over: hung-up by the agent").await;
    ana.types("disposition sold two of them").await;
    ana.says("* noted: sold").await;
    ana.types("done").await;
    ana.says("* ready").await;
    ana.types("quit").await;
    ana.says("* signed out: signed-out").await;
    assert_eq!(ana.ends().await, 0);
}

#[tokio::test]
async fn a_script_waits_and_tells_by_its_exit_code_whether_it_went_well() {
    let script = Script::new();
    let mut ana = Terminal::start(&script.base(), "ana");
    ana.types("ready\nwait offered 20\nanswer\nwait talking 20\nhangup\nwait cleared").await;
    ana.says("* ready").await;
    let call = script.alice_calls("sales");
    ana.says("* reserved").await;
    script.phone_answers(call, 1);
    ana.says("* the call is over").await;
    assert_eq!(ana.ends().await, 0);

    let mut ben = Terminal::start(&script.base(), "ben");
    ben.types("hold\nwait offered 1").await;
    ben.says("! there is no call").await;
    ben.says("! offered did not happen within 1 seconds").await;
    assert_eq!(ben.ends().await, 1);
}

#[tokio::test]
async fn a_terminal_goes_on_at_the_next_node_and_misses_nothing() {
    let script = Script::new();
    let second = script.another_server();
    let both = format!("{},{}", script.base(), second.base());
    let mut ana = Terminal::start(&both, "ana");
    ana.types("ready").await;
    ana.says("* ready").await;
    script.api().stop().await;
    let call: CallId = script.alice_calls("sales");
    ana.says("* back at node 1").await;
    ana.says("rings; `answer` takes it").await;
    ana.types("answer").await;
    ana.says("* reserved").await;
    script.phone_answers(call, 1);
    ana.says("* talking to").await;
}

#[tokio::test]
async fn a_wrong_password_is_said_at_once() {
    let script = Script::new();
    let mut command = tandem();
    command.args(["agent", "--user", "ana", "--server", &script.base()]);
    let output = command.env("TANDEM_PASSWORD", "guess").output().await.unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("wrong name or password"));
}

async fn ctl(script: &Script, arguments: &[&str]) -> (i32, String) {
    let mut command = tandem();
    command.args(["ctl", "--user", "root", "--server", &script.base()]).args(arguments);
    let output = command.env("TANDEM_PASSWORD", "root").output().await.unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(text).unwrap())
}

#[tokio::test]
async fn an_operator_sees_the_centre_as_tables_and_as_json() {
    let script = Script::new();
    let _ana = script.ready_desk("ana").await;
    let call = script.alice_calls("sales").to_string();
    for (asked, said) in [
        ("status", "agents: 3 logged-out, 1 ringing"),
        ("members", "1     leader  yes"),
        ("nodes", "1     yes  1      0          yes    no"),
        ("calls", &*format!("{call}  +4930123  sales   queued")),
        ("agents", "ana    ana   ringing"),
        ("queues", "sales  1"),
    ] {
        let (code, text) = ctl(&script, &[asked]).await;
        assert!(code == 0 && text.contains(said), "{asked}: {text}");
        let (code, text) = ctl(&script, &["--json", asked]).await;
        assert_eq!((code, serde_json::from_str::<Value>(&text).is_ok()), (0, true), "{text}");
    }
    assert_eq!(ctl(&script, &["transfer", "1"]).await.0, 0);
    let (code, text) = ctl(&script, &["transfer", "9"]).await;
    assert!(code == 1 && text.contains("unavailable"), "{text}");
    for (node, why) in [("1", "conflict: node 1 is the only one"), ("9", "there is no node 9")] {
        let (code, text) = ctl(&script, &["drain", node]).await;
        assert!(code == 1 && text.contains(why), "{text}");
    }
}

#[tokio::test]
async fn a_configuration_is_checked_without_a_node() {
    let check = async |file: &str| {
        let output = tandem().args(["ctl", "check-config", file]).output().await.unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap(), String::from_utf8(text).unwrap())
    };
    for file in ["config/node.toml", "config/bench.toml", "config/cluster/node1.toml"] {
        let (code, text) = check(file).await;
        assert_eq!(code, 0, "{file}: {text}");
    }
    let file = std::env::temp_dir().join(format!("tandem-{}.toml", std::process::id()));
    std::fs::write(&file, "[sip]\nudpp = []\n").unwrap();
    let (code, text) = check(file.to_str().unwrap()).await;
    assert_eq!(code, 1);
    assert!(text.contains(":2:1: unknown key `udpp` in [sip]; the nearest"), "{text}");
    std::fs::remove_file(file).unwrap();
}

#[tokio::test]
async fn a_password_is_hashed_for_the_configuration() {
    let mut command = tandem();
    command.arg("hash-password").env("TANDEM_PASSWORD", "correct horse");
    let output = command.output().await.unwrap();
    let hash = String::from_utf8(output.stdout).unwrap();
    assert!(hash.starts_with("$argon2id$"), "{hash}");
    let entry = json!({ "agent": [{ "id": "x", "password_hash": hash.trim() }] });
    let text = toml::to_string(&entry).unwrap();
    tandem::config::Config::parse(&text, "x.toml".as_ref()).unwrap();
}
