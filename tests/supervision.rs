//! A supervisor's phone in an agent's call: who hears whom in each mode, what the recording keeps,
//! and that all of it survives the node.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should end")]

mod support;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use support::cluster::{Cluster, others};
use support::inside::Inside;
use support::line::Line;
use support::side::{
    Side, both_hear, is_heard_by, is_over, only_is_heard_by, picks_up, talks_through_sales,
};
use support::{get, request, wait_until};
use tandem_center::{AgentId, CallId, Command, CommandId, QueueId, Rejected, SupervisionMode};

const PATIENCE: Duration = Duration::from_secs(10);

const HALF_A_MINUTE: Duration = Duration::from_secs(30);

/// The three, by their places among the sides.
const CALLER: usize = 0;
const ANA: usize = 1;
const SUE: usize = 2;

/// G.711 µ-law: what each of the three says.
const VOICES: [u8; 3] = [0x11, 0x22, 0x33];

/// The tests speak and listen in time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn gives(
    node: &Inside,
    command: impl FnOnce(CommandId) -> Command,
) -> Result<tandem_center::Reply, Rejected> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let command = command(CommandId::parse(&format!("s{count}")).unwrap());
    let (sender, receiver) = std::sync::mpsc::channel();
    node.node().propose_then(&command, move |answer| {
        drop(sender.send(answer));
    });
    receiver.recv_timeout(PATIENCE).unwrap().unwrap().reply
}

fn agent(name: &str) -> AgentId {
    AgentId::parse(name).unwrap()
}

fn supervises(
    node: &Inside,
    by: &str,
    mode: SupervisionMode,
) -> Result<tandem_center::Reply, Rejected> {
    let (agent, of) = (agent(by), agent("ana"));
    gives(node, |command| Command::Supervise { agent, of, mode, command })
}

/// A caller talks with ana through a recorded queue, and sue listens.
fn sue_listens(ip: &str) -> (Inside, CallId, [Side; 3]) {
    let entries = format!(
        "[[number]]\nnumber = \"sales\"\nqueue = \"sales\"\n\
         [[queue]]\nid = \"sales\"\nrecord = true\n[[queue]]\nid = \"support\"\n\
         [[agent]]\nid = \"ana\"\ndevice = \"sip:ana@{ip}:5070\"\nanswers_on = \"phone\"\n\
         always_ready = true\nqueues = [\"sales\"]\n\
         [[agent]]\nid = \"bob\"\ndevice = \"sip:bob@{ip}:5071\"\nanswers_on = \"phone\"\n\
         always_ready = true\nqueues = [\"support\"]\n\
         [[agent]]\nid = \"sue\"\ndevice = \"sip:sue@{ip}:5072\"\nanswers_on = \"phone\"\n\
         always_ready = true\nrole = \"supervisor\"\n"
    );
    let node = Inside::start(ip, &entries, &[]);
    let mut sue = node.phone_at(5072);
    let (call, caller, ana) = talks_through_sales(&node, VOICES[CALLER], VOICES[ANA]);
    let refused = supervises(&node, "bob", SupervisionMode::Listen);
    assert!(matches!(refused, Err(Rejected::NotYourAgent { .. })), "{refused:?}");
    supervises(&node, "sue", SupervisionMode::Listen).unwrap();
    let (sue_audio, from) = picks_up(&mut sue);
    assert!(from.contains("ana"), "the phone shows whom: {from}");
    wait_until("sue is there", PATIENCE, || {
        node.looks_at(|center| center.call(call).is_some_and(|call| call.supervised().is_some()))
    });
    let sue = Side { line: sue, audio: sue_audio, voice: VOICES[SUE] };
    (node, call, [caller, ana, sue])
}

#[test]
fn a_supervisor_is_heard_by_nobody_by_the_agent_or_by_all() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let (node, call, mut sides) = sue_listens("127.0.0.61");
    only_is_heard_by(&mut sides, CALLER, &[ANA, SUE]);
    only_is_heard_by(&mut sides, ANA, &[CALLER, SUE]);
    only_is_heard_by(&mut sides, SUE, &[]);

    supervises(&node, "sue", SupervisionMode::Whisper).unwrap();
    only_is_heard_by(&mut sides, SUE, &[ANA]);
    only_is_heard_by(&mut sides, CALLER, &[ANA, SUE]);
    only_is_heard_by(&mut sides, ANA, &[CALLER, SUE]);

    supervises(&node, "sue", SupervisionMode::Barge).unwrap();
    only_is_heard_by(&mut sides, SUE, &[CALLER, ANA]);
    only_is_heard_by(&mut sides, CALLER, &[ANA, SUE]);

    supervises(&node, "sue", SupervisionMode::Listen).unwrap();
    only_is_heard_by(&mut sides, SUE, &[]);
    let [mut caller, mut ana, mut sue] = sides;
    sue.line.hangs_up();
    both_hear(&mut caller, &mut ana);
    caller.line.hangs_up();
    ana.line.is_hung_up();
    is_over(&node, call);
}

#[test]
fn a_supervisor_takes_the_call_over() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let (node, call, sides) = sue_listens("127.0.0.62");
    let [mut caller, mut ana, mut sue] = sides;
    let (by, of) = (agent("sue"), agent("ana"));
    gives(&node, |command| Command::TakeOver { agent: by, of, command }).unwrap();
    ana.line.is_hung_up();
    both_hear(&mut caller, &mut sue);
    caller.line.hangs_up();
    sue.line.is_hung_up();
    is_over(&node, call);
}

#[test]
fn what_is_whispered_is_not_in_the_recording() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let (node, call, mut sides) = sue_listens("127.0.0.63");
    supervises(&node, "sue", SupervisionMode::Whisper).unwrap();
    only_is_heard_by(&mut sides, SUE, &[ANA]);
    let [mut caller, mut ana, _sue] = sides;
    both_hear(&mut caller, &mut ana);
    caller.line.hangs_up();
    ana.line.is_hung_up();
    is_over(&node, call);
    let folder = node.flows.parent().unwrap().join("data/recordings");
    let read = || {
        let files = std::fs::read_dir(&folder).unwrap().filter_map(Result::ok);
        let wav = files
            .map(|file| file.path())
            .find(|path| path.extension().is_some_and(|extension| extension == "wav"))?;
        Some(tandem_media::wav::read(&std::fs::read(wav).ok()?).ok()?.channel(1).collect())
    };
    let said = |voice: u8| i32::from(tandem_media::codec::g711::ulaw_decode(voice));
    let mut samples: Vec<i16> = Vec::new();
    wait_until("what ana said is recorded", PATIENCE, || {
        samples = read().unwrap_or_default();
        samples.iter().any(|sample| i32::from(*sample) == said(VOICES[ANA]))
    });
    let whispered = samples.iter().filter(|sample| i32::from(**sample) == said(VOICES[SUE]));
    assert_eq!(whispered.count(), 0, "sue is in the recording");
}

#[test]
fn a_caller_who_waits_is_moved_to_a_queue_with_somebody_free() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let (node, _, _sides) = sue_listens("127.0.0.64");
    let (mut carol, mut bob) = (node.phone(), node.phone_at(5071));
    let offer = carol.sdp("sendrecv");
    carol.calls("carol", "sales", &offer);
    let answered = carol.is_told(200);
    carol.acks("");
    let call = node.looks_at(|center| center.calls().last().unwrap().id);
    let (by, queue) = (agent("sue"), QueueId::parse("support").unwrap());
    gives(&node, |command| Command::MoveToQueue { agent: by, call, queue, command }).unwrap();
    let (audio, _) = picks_up(&mut bob);
    let mut carol = Side { line: carol, audio: answered.audio(), voice: 0x44 };
    let mut bob = Side { line: bob, audio, voice: 0x55 };
    both_hear(&mut carol, &mut bob);
    bob.line.hangs_up();
    carol.line.is_hung_up();
    is_over(&node, call);
}

/// A caller talks with ana at one node of three, and sue whispers: their node dies.
#[test]
fn a_supervised_call_goes_on_at_another_node_with_its_supervisor() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let cluster = Cluster::start_with("127.0.0.5", 15, |_, text| {
        let ready = "answers_on = \"phone\"\nalways_ready = true";
        text.replacen("answers_on = \"phone\"", ready, 1).replacen(
            "role = \"supervisor\"",
            &format!("role = \"supervisor\"\ndevice = \"sip:sue@127.0.0.1:5086\"\n{ready}"),
            1,
        )
    });
    let mut cluster = cluster;
    let leader = cluster.leader();
    let [carrier, other] = others(leader);
    let mut caller = Line::new("127.0.0.1", cluster.sip(carrier));
    let mut ana = Line::at("127.0.0.1:5085".parse().unwrap(), cluster.sip(carrier));
    let mut sue = Line::at("127.0.0.1:5086".parse().unwrap(), cluster.sip(carrier));
    let offer = caller.sdp("sendrecv");
    caller.calls("alice", "sales", &offer);
    let answered = caller.is_told(200);
    caller.acks("");
    let (ana_audio, _) = picks_up(&mut ana);
    assert_eq!(asks(&cluster, leader, "ana", "listen")["code"], "wrong-role");
    wait_until("sue is called", PATIENCE, || {
        asks(&cluster, leader, "sue", "whisper")["result"]["is"] != Value::Null
    });
    let (sue_audio, _) = picks_up(&mut sue);
    let [caller_voice, ana_voice, sue_voice] = VOICES;
    let mut sides = [
        Side { line: caller, audio: answered.audio(), voice: caller_voice },
        Side { line: ana, audio: ana_audio, voice: ana_voice },
        Side { line: sue, audio: sue_audio, voice: sue_voice },
    ];
    whispers(&mut sides);

    cluster.nodes[carrier - 1].kill();
    cluster.wait_for_owned_call(&[leader, other]);
    whispers(&mut sides);
    assert_eq!(asks(&cluster, other, "sue", "barge")["result"]["is"], "done");
    only_is_heard_by(&mut sides, SUE, &[CALLER, ANA]);
    let token = cluster.log_in(leader, "sue").unwrap();
    let (_, calls) = get(cluster.http(leader), "/api/v1/calls", Some(&token)).unwrap();
    let calls: Value = serde_json::from_str(&calls).unwrap();
    let supervision = &calls["items"][0]["supervision"];
    assert_eq!((&supervision["by"], &supervision["mode"]), (&json!("sue"), &json!("barge")));
    let command = json!({ "do": "take-over", "agent": "ana" });
    assert_eq!(commands(&cluster, other, "sue", &command)["result"]["is"], "done");
    let [mut caller, mut ana, mut sue] = sides;
    ana.line.is_hung_up();
    both_hear(&mut caller, &mut sue);
    caller.line.hangs_up();
    sue.line.is_hung_up();
    cluster.records_are(other, 1);
    let (_, cdrs) = get(cluster.http(other), "/api/v1/cdrs", Some(&token)).unwrap();
    let cdrs: Value = serde_json::from_str(&cdrs).unwrap();
    assert_eq!(cdrs["items"][0]["supervisors"], json!(["sue"]));
    assert_eq!(cdrs["items"][0]["takeovers"], 1);
    let log = cluster.nodes[leader - 1].log_text();
    let lines = |what: &str| log.lines().filter(|line| line.contains(what)).count();
    assert!(lines("a supervisor's command was refused") > 0, "{log}");
    assert!(lines("a supervisor's command was done") > 0, "{log}");
}

/// Who hears whom while sue whispers.
fn whispers(sides: &mut [Side; 3]) {
    is_heard_by(sides, CALLER, &[ANA, SUE]);
    is_heard_by(sides, ANA, &[CALLER, SUE]);
    only_is_heard_by(sides, SUE, &[ANA]);
}

fn asks(cluster: &Cluster, node: usize, by: &str, mode: &str) -> Value {
    commands(cluster, node, by, &json!({ "do": "supervise", "agent": "ana", "mode": mode }))
}

/// A command over HTTP, by somebody whose password is the name.
fn commands(cluster: &Cluster, node: usize, by: &str, command: &Value) -> Value {
    let mut token = None;
    wait_until("the node takes the log-in", HALF_A_MINUTE, || {
        token = cluster.log_in(node, by);
        token.is_some()
    });
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let id = format!("h{}", COUNT.fetch_add(1, Ordering::Relaxed));
    let body = json!({ "id": id, "command": command });
    let answer = request(
        cluster.http(node),
        "POST",
        "/api/v1/commands",
        token.as_deref(),
        &body.to_string(),
    );
    serde_json::from_str(&answer.unwrap().1).unwrap()
}
