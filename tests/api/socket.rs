//! Connections of the WebSocket: how they begin, are lost, are taken up again and are ended.

use std::time::Duration;

use serde_json::{Value, json};
use tandem::api::Patience;
use tandem::api::backend::Backend as _;
use tandem_center::{AgentId, Center, Command};

use crate::script::Script;

fn signed_in(center: &Center, name: &str) -> bool {
    center.agent(&AgentId::parse(name).unwrap()).unwrap().session.is_some()
}

#[tokio::test]
async fn a_lost_client_resumes_behind_the_last_index_that_it_saw() {
    let script = Script::new();
    let (mut ana, welcome) = script.hello("ana", json!({})).await;
    ana.receives("snapshot").await;
    ana.does(json!({ "do": "ready" })).await;
    let seen = ana.happens("agent-state", json!({ "state": "ready" })).await["index"].clone();
    ana.leaves().await;
    script
        .until("the session waits", |center| {
            center.sessions().any(|session| session.deadline().is_some())
        })
        .await;

    let call = json!(script.alice_calls("sales").to_string());
    let resume = json!({ "session": welcome["session"], "resume_from": seen });
    let (mut ana, again) = script.hello("ana", resume).await;
    assert_eq!(again["session"], welcome["session"]);
    assert_eq!(again["resumed"], true);
    ana.happens("agent-state", json!({ "state": "ringing", "call": call })).await;
    ana.happens("offered", json!({})).await;
    ana.does(json!({ "do": "accept", "call": call })).await;
    script.backend.advance(60_000);
    assert!(script.backend.look(|center| signed_in(center, "ana")));
}

#[tokio::test]
async fn a_client_that_stays_away_is_logged_out_and_begins_anew() {
    let script = Script::new();
    let (mut ana, welcome) = script.hello("ana", json!({})).await;
    ana.receives("snapshot").await;
    ana.leaves().await;
    script
        .until("the session waits", |center| {
            center.sessions().any(|session| session.deadline().is_some())
        })
        .await;
    script.backend.advance(15_000);
    assert!(!script.backend.look(|center| signed_in(center, "ana")));
    let resume = json!({ "session": welcome["session"], "resume_from": 1 });
    let (_ana, again) = script.hello("ana", resume).await;
    assert_eq!(again["resumed"], false);
    assert_ne!(again["session"], welcome["session"]);
}

#[tokio::test]
async fn an_index_that_no_node_has_reached_gives_a_snapshot() {
    let script = Script::new();
    let (mut ana, _) = script.hello("ana", json!({ "resume_from": 1_000_000 })).await;
    let snapshot = ana.receives("snapshot").await;
    assert_eq!(snapshot["agents"][0]["id"], "ana");
    assert_eq!(snapshot["queues"][0]["dispositions"], json!({ "sold": "Sold" }));
}

#[tokio::test]
async fn a_session_of_another_is_not_taken_up() {
    let script = Script::new();
    let (mut ana, welcome) = script.hello("ana", json!({})).await;
    ana.receives("snapshot").await;
    let (_ben, other) = script.hello("ben", json!({ "session": welcome["session"] })).await;
    assert_eq!(other["resumed"], false);
    assert_ne!(other["session"], welcome["session"]);
    ana.is_silent().await;
}

#[tokio::test]
async fn a_second_connection_of_a_session_displaces_the_first() {
    let script = Script::new();
    let (mut first, welcome) = script.hello("ana", json!({})).await;
    first.receives("snapshot").await;
    let (mut second, again) = script.hello("ana", json!({ "session": welcome["session"] })).await;
    assert_eq!(again["resumed"], true);
    second.receives("snapshot").await;
    first.closes_because("signed-in-elsewhere").await;
    script.backend.advance(60_000);
    second.does(json!({ "do": "ready" })).await;
}

#[tokio::test]
async fn signing_in_elsewhere_ends_the_first_session() {
    let script = Script::new();
    let mut first = script.desk("ana").await;
    let mut second = script.desk("ana").await;
    first.happens("session-ended", json!({ "why": "signed-in-elsewhere" })).await;
    first.closes_because("signed-in-elsewhere").await;
    second.does(json!({ "do": "ready" })).await;
}

#[tokio::test]
async fn what_is_no_frame_is_answered_with_what_is_wrong() {
    let script = Script::new();
    let mut ana = script.desk("ana").await;
    for (text, code) in [
        ("{", "bad-request"),
        ("[]", "bad-request"),
        (r#"{"type":"dance"}"#, "unknown-frame"),
        (r#"{"type":"command","id":"1","command":{"do":"dance"}}"#, "unknown-command"),
        (r#"{"type":"command","id":"1","command":{"do":"hold"}}"#, "bad-request"),
        (r#"{"type":"command","id":"","command":{"do":"ready"}}"#, "bad-request"),
        (r#"{"type":"hello","version":1}"#, "bad-request"),
    ] {
        ana.sends_text(text.to_owned()).await;
        assert_eq!(ana.receives("error").await["error"]["code"], code, "{text}");
    }
    ana.does(json!({ "do": "ready" })).await;
}

#[tokio::test]
async fn hello_is_refused_without_a_good_token_or_version() {
    let script = Script::new();
    for (hello, code) in [
        (json!({ "type": "hello", "version": 2, "token": "x" }), "wrong-version"),
        (json!({ "type": "hello", "version": 1 }), "not-logged-in"),
        (json!({ "type": "hello", "version": 1, "token": "a.b.c" }), "not-logged-in"),
    ] {
        let mut desk = script.connected().await;
        desk.sends(hello).await;
        assert_eq!(desk.receives("error").await["error"]["code"], code);
        desk.closes_because("refused").await;
    }
}

#[tokio::test]
async fn a_command_before_hello_is_told_that_hello_is_needed() {
    let script = Script::new();
    let mut desk = script.connected().await;
    desk.sends(json!({ "type": "command", "id": "1", "command": { "do": "ready" } })).await;
    let error = desk.receives("error").await;
    assert_eq!(error["error"]["code"], "not-signed-in");
    assert_eq!(error["error"]["needed"], "after hello");
}

#[tokio::test]
async fn a_frame_that_is_too_large_ends_the_connection() {
    let script = Script::new();
    let mut ana = script.desk("ana").await;
    ana.sends_text("x".repeat(20_000)).await;
    ana.ends().await;
}

#[tokio::test]
async fn a_client_that_only_sends_nonsense_is_ended() {
    let script = Script::new();
    let mut ana = script.desk("ana").await;
    for _ in 0..20 {
        ana.sends_text("nonsense".to_owned()).await;
        ana.receives("error").await;
    }
    ana.sends_text("nonsense".to_owned()).await;
    ana.closes_because("too-many-errors").await;
}

#[tokio::test]
async fn a_client_that_says_nothing_is_ended() {
    let script = Script::with(|api| {
        api.patience.hello = Duration::from_millis(100);
    });
    script.connected().await.closes_because("silent").await;
}

#[tokio::test]
async fn a_client_that_does_not_read_is_let_go_and_resumes() {
    let patience = Patience { send: Duration::from_millis(200), ..Patience::default() };
    let script = Script::with(|api| api.patience = patience);
    let sue = script.desk("sue").await;
    let closed = || script.metrics.cti_closed_total.with_label_values(&["too-slow"]).get();
    // More than the buffers of the sockets hold; the client reads nothing of it.
    let long_name = "x".repeat(500);
    let mut seen = 0;
    for _ in 0..400 {
        seen = script.backend.events().head();
        for _ in 0..100 {
            let call = script.calls(&long_name, "sales");
            script.leg_hangs_up(call, 0);
            script.gives(Command::Cleared { calls: vec![call] });
        }
        if closed() > 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(closed(), 1, "the client is never let go");
    let (mut again, _) = script.hello("sue", json!({ "resume_from": seen })).await;
    again.happens("call-began", json!({})).await;
    drop(sue); // It was there all the time, and read nothing.
}

#[tokio::test]
async fn a_node_that_drains_sends_its_clients_elsewhere_and_their_sessions_wait() {
    let script = Script::new();
    let mut ana = script.desk("ana").await;
    ana.does(json!({ "do": "ready" })).await;
    ana.happens("agent-state", json!({})).await;
    script.api().drain(true);
    ana.closes_because("going-away").await;
    script
        .until("the session waits", |center| {
            center.sessions().any(|session| session.deadline().is_some())
        })
        .await;
    let server = script.logged_in("ana").await;
    assert!(server.connect().await.is_err());
}

#[tokio::test]
async fn one_client_more_than_there_are_places_is_refused_until_one_leaves() {
    let script = Script::with(|api| api.sessions_max = 1);
    let ana = script.desk("ana").await;
    let server = script.logged_in("ben").await;
    assert!(server.connect().await.unwrap_err().to_string().contains("503"));
    ana.leaves().await;
    for _ in 0..100 {
        if server.connect().await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the place is not free again");
}

#[tokio::test]
async fn a_sign_in_waits_for_a_leader() {
    let script = Script::new();
    script.backend.set_leader(false);
    let backend = script.backend.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(300)).await;
        backend.set_leader(true);
    });
    let (_ana, welcome) = script.hello("ana", json!({})).await;
    assert_eq!(welcome["agent"], "ana");
    let _: &Value = &welcome["session"];
}
