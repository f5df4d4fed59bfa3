//! What agents do at their desks, as call flows.

use serde_json::Value;
use serde_json::json;
use tandem::cli::client::Server;
use tandem_center::AgentId;

use crate::script::Script;

#[tokio::test]
async fn a_queued_call_is_accepted_held_retrieved_hung_up_and_disposed_of() {
    let script = Script::new();
    let mut ana = script.ready_desk("ana").await;
    let id = script.alice_calls("sales");
    let call = json!(id.to_string());

    ana.happens("agent-state", json!({ "state": "ringing", "call": call })).await;
    let offered = ana.happens("offered", json!({ "agent": "ana", "at_phone": false })).await;
    assert_eq!(offered["call"]["id"], call);
    assert_eq!(offered["call"]["caller"], json!({ "number": "+4930123", "name": "Alice" }));
    assert_eq!(offered["call"]["queue_name"], "Sales");

    assert_eq!(ana.does(json!({ "do": "accept", "call": call })).await, json!({ "is": "done" }));
    ana.happens("agent-state", json!({ "state": "reserved" })).await;
    script.phone_answers(id, 1);
    ana.happens("agent-state", json!({ "state": "talking", "call": call })).await;
    ana.happens("established", json!({ "agent": "ana" })).await;

    ana.does(json!({ "do": "hold", "call": call })).await;
    ana.happens("agent-state", json!({ "state": "held" })).await;
    ana.happens("held", json!({ "call": call, "by": "agent" })).await;
    ana.does(json!({ "do": "retrieve", "call": call })).await;
    ana.happens("agent-state", json!({ "state": "talking" })).await;
    ana.happens("retrieved", json!({ "call": call, "by": "agent" })).await;

    script.backend.advance(60_000);
    ana.does(json!({ "do": "hang-up", "call": call })).await;
    ana.happens("agent-state", json!({ "state": "wrap-up", "call": call })).await;
    ana.happens("cleared", json!({ "call": call, "by": "agent", "cause": "hung-up" })).await;
    let sold = json!({ "do": "dispose", "call": call, "disposition": "sold", "note": "two" });
    ana.does(sold).await;
    ana.happens("disposed", json!({ "call": call, "disposition": "sold" })).await;
    ana.does(json!({ "do": "end-wrap-up" })).await;
    ana.happens("agent-state", json!({ "state": "ready" })).await;

    let sue = script.logged_in("sue").await;
    let page: Value = sue.get("/api/v1/cdrs?number=%2B4930*&outcome=answered").await.unwrap();
    let cdr = &page["items"][0];
    assert_eq!(cdr["call"], call);
    assert_eq!((&cdr["agent"], &cdr["queue"]), (&json!("ana"), &json!("sales")));
    assert_eq!((&cdr["disposition"], &cdr["note"]), (&json!("sold"), &json!("two")));
    assert_eq!(cdr["talk_ms"], 60_000);
}

#[tokio::test]
async fn an_offer_that_nobody_accepts_sets_the_agent_not_ready() {
    let script = Script::new();
    let mut ana = script.ready_desk("ana").await;
    let call = json!(script.alice_calls("sales").to_string());
    ana.happens("agent-state", json!({ "state": "ringing" })).await;
    ana.happens("offered", json!({})).await;
    script.backend.advance(15_000);
    ana.happens("agent-state", json!({ "state": "not-ready", "reason": "no answer" })).await;
    ana.happens("offer-ended", json!({ "call": call, "why": "no-answer" })).await;
}

#[tokio::test]
async fn a_call_offered_at_the_phone_is_accepted_by_lifting_it() {
    let script = Script::new();
    let mut ben = script.ready_desk("ben").await;
    let call = script.alice_calls("sales");
    ben.happens("agent-state", json!({ "state": "reserved" })).await;
    ben.happens("offered", json!({ "at_phone": true })).await;
    script.phone_rings(call, 1);
    ben.happens("agent-state", json!({ "state": "ringing" })).await;
    let error = ben.is_refused(json!({ "do": "accept", "call": call.to_string() })).await;
    assert_eq!(error["code"], "wrong-phase");
    script.phone_answers(call, 1);
    ben.happens("agent-state", json!({ "state": "talking" })).await;
    ben.happens("established", json!({})).await;
    script.leg_hangs_up(call, 0);
    ben.happens("agent-state", json!({ "state": "wrap-up" })).await;
    ben.happens("cleared", json!({ "by": "caller" })).await;
}

#[tokio::test]
async fn an_agent_dials_out_through_the_trunk() {
    let script = Script::new();
    let mut ana = script.desk("ana").await;
    let result = ana.does(json!({ "do": "dial", "to": "9171555" })).await;
    assert_eq!(result["is"], "dialing");
    let call = tandem_center::CallId::parse(result["call"].as_str().unwrap()).unwrap();
    ana.happens("agent-state", json!({ "state": "reserved" })).await;
    ana.happens("dialing", json!({ "agent": "ana" })).await;
    script.phone_answers(call, 0);
    ana.happens("agent-state", json!({ "state": "talking" })).await;
    ana.happens("delivered", json!({ "call": result["call"] })).await;
    script.phone_answers(call, 1);
    ana.happens("established", json!({})).await;
    ana.happens("agent-state", json!({ "state": "talking" })).await;

    let mut ben = script.desk("ben").await;
    let error = ben.is_refused(json!({ "do": "dial", "to": "171555" })).await;
    assert_eq!(error["code"], "cannot-dial");
}

#[tokio::test]
async fn a_command_in_a_wrong_state_is_told_what_was_and_what_was_needed() {
    let script = Script::new();
    let mut ana = script.ready_desk("ana").await;
    let error = ana.is_refused(json!({ "do": "end-wrap-up" })).await;
    assert_eq!(error["code"], "wrong-state");
    assert_eq!(error["state"], "ready");
    assert!(error["needed"].as_str().unwrap().contains("wrap-up"), "{error}");
    let error = ana.is_refused(json!({ "do": "not-ready", "reason": "tired" })).await;
    assert_eq!(error["code"], "not-allowed");
    let error = ana.is_refused(json!({ "do": "hold", "call": "00000000000000aa" })).await;
    assert_eq!(error["code"], "not-found");
    let error = ana.is_refused(json!({ "do": "hold", "call": "yesterday's" })).await;
    assert_eq!(error["code"], "bad-request");
}

#[tokio::test]
async fn a_command_under_the_same_id_is_done_once() {
    let script = Script::new();
    let mut ana = script.desk("ana").await;
    let dial =
        json!({ "type": "command", "id": "once", "command": { "do": "dial", "to": "9171" } });
    ana.sends(dial.clone()).await;
    let first = ana.receives("reply").await;
    ana.sends(dial.clone()).await;
    assert_eq!(ana.receives("reply").await["result"], first["result"]);

    // The same by HTTP, as after a lost connection.
    let server = script.logged_in("ana").await;
    let frame = json!({ "id": "once", "command": { "do": "dial", "to": "9171" } });
    let reply: Value = server.post("/api/v1/commands", &frame).await.unwrap();
    assert_eq!(reply["result"], first["result"]);
    assert_eq!(script.backend.look(|center| center.calls().count()), 1);
}

#[tokio::test]
async fn only_a_supervisor_sets_the_state_of_another() {
    let script = Script::new();
    let mut ana = script.ready_desk("ana").await;
    let mut ben = script.desk("ben").await;
    let lunch = json!({ "do": "not-ready", "reason": "lunch", "agent": "ana" });
    let error = ben.is_refused(lunch.clone()).await;
    assert_eq!(error["code"], "wrong-role");
    assert_eq!((&error["state"], &error["needed"]), (&json!("agent"), &json!("supervisor")));
    let mut sue = script.desk("sue").await;
    sue.does(lunch).await;
    ana.happens("agent-state", json!({ "state": "not-ready", "reason": "lunch" })).await;
    ana.happens("state-forced", json!({ "by": "sue" })).await;
    sue.does(json!({ "do": "sign-out", "agent": "ana" })).await;
    ana.happens("state-forced", json!({ "by": "sue" })).await;
    ana.happens("agent-state", json!({ "state": "logged-out" })).await;
    ana.happens("session-ended", json!({ "why": "forced-out" })).await;
    ana.closes_because("forced-out").await;
}

/// Ana is in a call that sue supervises; ben and the log of the server see who may.
#[tokio::test]
async fn only_a_supervisor_is_in_the_call_of_another() {
    let script = Script::new();
    let mut ana = script.ready_desk("ana").await;
    let mut ben = script.desk("ben").await;
    let call = script.alice_calls("sales");
    ana.happens("offered", json!({})).await;
    ana.does(json!({ "do": "accept", "call": call.to_string() })).await;
    script.phone_answers(call, 1);
    for command in [
        json!({ "do": "supervise", "agent": "ana", "mode": "listen" }),
        json!({ "do": "take-over", "agent": "ana" }),
        json!({ "do": "prioritise", "call": call.to_string() }),
        json!({ "do": "move-to-queue", "call": call.to_string(), "queue": "sales" }),
    ] {
        let error = ben.is_refused(command).await;
        assert_eq!(error["code"], "wrong-role", "{error}");
    }
    let (mut sue, _) = script.hello("sue", json!({ "sign_in": true })).await;
    sue.receives("snapshot").await;
    sue.does(json!({ "do": "supervise", "agent": "ana", "mode": "listen" })).await;
    sue.happens("agent-state", json!({ "agent": "sue", "state": "reserved" })).await;
    script.phone_answers(call, 2);
    sue.happens("supervising", json!({ "of": "ana", "mode": "listen" })).await;
    sue.happens("agent-state", json!({ "agent": "sue", "state": "talking" })).await;
    let root = script.logged_in("root").await;
    let view: Value = root.get(&format!("/api/v1/calls/{call}")).await.unwrap();
    let supervision = json!({ "by": "sue", "of": "ana", "mode": "listen", "leg": 2 });
    assert_eq!(view["call"]["supervision"], supervision);
    // The agent's own view has neither the supervisor nor the leg.
    let (mut again, _) = script.hello("ana", json!({})).await;
    let snapshot = again.receives("snapshot").await;
    assert_eq!(snapshot["calls"][0]["supervision"], Value::Null);
    assert_eq!(snapshot["calls"][0]["legs"].as_array().unwrap().len(), 2);
    sue.does(json!({ "do": "take-over", "agent": "ana" })).await;
    sue.happens("session-ended", json!({ "agent": "ana" })).await;
    sue.happens("signed-in", json!({ "agent": "ana" })).await;
    sue.happens("established", json!({ "agent": "sue" })).await;
    again.happens("transferred", json!({ "agent": "ana" })).await;
}

#[tokio::test]
async fn a_supervisor_watches_everything_without_signing_in() {
    let script = Script::new();
    let (mut sue, welcome) = script.hello("sue", json!({})).await;
    assert_eq!(welcome.get("session"), None);
    let snapshot = sue.receives("snapshot").await;
    assert_eq!(snapshot["agents"].as_array().unwrap().len(), 4);
    assert_eq!(snapshot["reasons"], json!({ "lunch": "Lunch" }));
    let call = script.alice_calls("sales");
    sue.happens("call-began", json!({})).await;
    sue.happens("call-queued", json!({ "queue": "sales", "ahead": 0 })).await;
    sue.happens("queue-changed", json!({ "queue": "sales", "waiting": 1 })).await;
    script.leg_hangs_up(call, 0);
    sue.happens("queue-changed", json!({ "queue": "sales", "waiting": 0 })).await;
    sue.happens("call-ended", json!({ "outcome": "abandoned", "by": "caller" })).await;
}

#[tokio::test]
async fn signing_out_ends_the_connection_after_its_answer() {
    let script = Script::new();
    let mut ana = script.desk("ana").await;
    ana.does(json!({ "do": "sign-out" })).await;
    ana.happens("agent-state", json!({ "state": "logged-out", "reason": "signed out" })).await;
    ana.happens("session-ended", json!({ "why": "signed-out" })).await;
    ana.closes_because("signed-out").await;
    let id = AgentId::parse("ana").unwrap();
    assert!(script.backend.look(|center| center.agent(&id).unwrap().session.is_none()));
}

#[tokio::test]
async fn while_nobody_leads_a_command_may_be_repeated() {
    let script = Script::new();
    let mut ana = script.desk("ana").await;
    script.backend.set_leader(false);
    let error = ana.is_refused(json!({ "do": "ready" })).await;
    assert_eq!(error["code"], "unavailable");
    script.backend.set_leader(true);
    ana.does(json!({ "do": "ready" })).await;
    let server = Server::new(&script.base()).unwrap();
    assert!(server.get::<Value>("/api/v1/status").await.is_err());
}
