//! HTTP requests: who may ask what, and what is answered, checked against the published
//! description.

use std::sync::Arc;

use jsonschema::Validator;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tandem::api::backend::Readiness;
use tandem::api::token::Claims;
use tandem::api::words::Role;
use tandem::cli::client::{ClientError, Server};
use tandem::config::types::Secret;
use tandem::recordings::Recordings;
use tandem_media::wav;

use crate::script::Script;

fn description() -> Value {
    serde_json::from_str(&std::fs::read_to_string("docs/openapi.json").unwrap()).unwrap()
}

/// Whether `body` is what the description says of a success, or of an error.
pub(crate) fn is_described(path: &str, method: &str, status: &str, body: &Value) {
    let description = description();
    let pointer = format!(
        "/paths/{}/{method}/responses/{status}/content/application~1json/schema",
        path.replace('/', "~1")
    );
    let schema = description.pointer(&pointer).unwrap_or_else(|| panic!("{pointer}"));
    let schema = json!({ "$ref": schema["$ref"], "components": description["components"] });
    let validator: Validator = jsonschema::validator_for(&schema).unwrap();
    if let Err(error) = validator.validate(body) {
        panic!("{method} {path}: {error}\n{body:#}");
    }
}

pub(crate) fn refused(result: Result<Value, ClientError>) -> Value {
    match result {
        Err(ClientError::Refused(error)) => serde_json::to_value(error).unwrap(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn every_route_is_served_and_refuses_those_who_may_not() {
    let script = Script::new();
    let client = reqwest::Client::new();
    let roles = [("agent", Role::Agent), ("supervisor", Role::Supervisor)];
    let mut checked = 0;
    for (path, operations) in description()["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let place = path.replace("{id}", "0000000000000001").replace("{node}", "1");
            let url = format!("{}{place}", script.base());
            let method = reqwest::Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            let request = || client.request(method.clone(), &url).json(&json!({}));
            let Some(role) = operation["x-role"].as_str() else {
                let status = request().send().await.unwrap().status();
                assert_ne!(status, StatusCode::NOT_FOUND, "{path}");
                continue;
            };
            checked += 1;
            let status = request().send().await.unwrap().status();
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{path}");
            for (name, has) in roles.iter().take_while(|(name, _)| *name != role) {
                let claims = Claims { agent: "x".into(), role: *has, expires: u64::MAX };
                let body = match path.as_str() {
                    "/api/v1/members" => json!({ "node": 4, "address": "127.0.0.1:7000" }),
                    _ => json!({ "node": 1 }),
                };
                let token = script.key.sign(&claims);
                let request = client.request(method.clone(), &url).bearer_auth(token).json(&body);
                let status = request.send().await.unwrap().status();
                assert_eq!(status, StatusCode::FORBIDDEN, "{path} as {name}");
            }
        }
    }
    assert!(checked >= 10, "{checked}");
    let status = reqwest::get(format!("{}/api/v1/nothing", script.base())).await.unwrap().status();
    assert_eq!(status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn what_is_answered_is_what_is_described() {
    let script = Script::new();
    let _ana = script.ready_desk("ana").await;
    let first = script.alice_calls("sales");
    let second = script.alice_calls("sales");
    script.leg_hangs_up(second, 0);
    let root = script.logged_in("root").await;
    let get = async |path: &str, asked: &str| {
        let body: Value = root.get(asked).await.unwrap();
        is_described(path, "get", "200", &body);
        body
    };
    let status = get("/api/v1/status", "/api/v1/status?linear=true").await;
    assert_eq!((&status["node"], &status["leader"]), (&json!(1), &json!(1)));
    assert_eq!(status["agents"]["ringing"], 1);
    assert_eq!(status["calls"]["queued"], 1);
    assert_eq!(get("/api/v1/nodes", "/api/v1/nodes").await["items"][0]["reads"], json!([0, 0]));
    assert_eq!(get("/api/v1/members", "/api/v1/members").await["items"][0]["leader"], true);
    let calls = get("/api/v1/calls", "/api/v1/calls?limit=1").await;
    assert_eq!(calls["items"][0]["offered_to"][0], "ana");
    let next = calls["next"].as_str().unwrap();
    let rest = get("/api/v1/calls", &format!("/api/v1/calls?after={next}")).await;
    assert_eq!(rest["items"][0]["phase"], "ended");
    let detail = get("/api/v1/calls/{id}", &format!("/api/v1/calls/{first}")).await;
    let offered = |note: &Value| note["what"].as_str().unwrap().starts_with("offered to ana");
    assert!(detail["timeline"].as_array().unwrap().iter().any(offered), "{detail:#}");
    assert_eq!(get("/api/v1/agents", "/api/v1/agents").await["items"][0]["state"], "ringing");
    assert_eq!(get("/api/v1/queues", "/api/v1/queues").await["items"][0]["abandoned"], 1);
    let cdrs = get("/api/v1/cdrs", "/api/v1/cdrs?queue=sales&outcome=abandoned").await;
    assert_eq!(cdrs["items"][0]["call"], second.to_string());
    assert_eq!(get("/api/v1/cdrs", "/api/v1/cdrs?agent=ana").await["items"], json!([]));

    let wrong: Value = refused(root.get("/api/v1/cdrs?outcome=great").await);
    assert_eq!(wrong["code"], "bad-request");
    is_described("/api/v1/cdrs", "get", "default", &wrong);
    let wrong = refused(root.get("/api/v1/calls/0000000000000001").await);
    assert_eq!(wrong["code"], "not-found");
    let wrong = refused(root.get("/api/v1/cdrs?colour=red").await);
    assert!(wrong["message"].as_str().unwrap().contains("colour"), "{wrong}");
}

#[tokio::test]
async fn records_come_in_pages_without_a_gap() {
    let script = Script::new();
    let mut made = Vec::new();
    for _ in 0..5 {
        let call = script.alice_calls("sales");
        script.leg_hangs_up(call, 0);
        script.backend.advance(1_000);
        made.push(call.to_string());
    }
    let sue = script.logged_in("sue").await;
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let page: Value = sue.get(&format!("/api/v1/cdrs?limit=2{after}")).await.unwrap();
        let calls = page["items"].as_array().unwrap();
        seen.extend(calls.iter().map(|cdr| cdr["call"].as_str().unwrap().to_owned()));
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    seen.reverse();
    assert_eq!(seen, made);
}

#[tokio::test]
async fn an_agent_sees_the_own_records_only() {
    let script = Script::new();
    let call = script.alice_calls("sales");
    script.leg_hangs_up(call, 0);
    let ana = script.logged_in("ana").await;
    let page: Value = ana.get("/api/v1/cdrs").await.unwrap();
    assert_eq!(page["items"], json!([]));
    assert_eq!(refused(ana.get("/api/v1/cdrs?agent=ben").await)["code"], "wrong-role");
}

#[tokio::test]
async fn a_log_in_gives_a_token_that_expires() {
    let script = Script::new();
    let mut server = Server::new(&script.base()).unwrap();
    let answer = server.log_in("sue", &Secret::new("sue")).await.unwrap();
    assert_eq!((answer.agent.as_str(), answer.role), ("sue", Role::Supervisor));
    is_described("/api/v1/login", "post", "200", &serde_json::to_value(&answer).unwrap());
    server.get::<Value>("/api/v1/agents").await.unwrap();
    script.backend.advance(899_000);
    server.get::<Value>("/api/v1/agents").await.unwrap();
    script.backend.advance(2_000);
    let error = refused(server.get("/api/v1/agents").await);
    assert_eq!(error["code"], "not-logged-in");
    assert!(error["message"].as_str().unwrap().contains("expired"), "{error}");
}

#[tokio::test]
async fn wrong_passwords_lock_the_name_for_a_minute() {
    let script = Script::new();
    let mut server = Server::new(&script.base()).unwrap();
    let code = |error: ClientError| match error {
        ClientError::Refused(error) => serde_json::to_value(error.code).unwrap(),
        other @ ClientError::Unreachable { .. } => panic!("{other}"),
    };
    for _ in 0..3 {
        let error = server.log_in("ana", &Secret::new("guess")).await.unwrap_err();
        assert_eq!(code(error), "wrong-password");
    }
    let error = server.log_in("ana", &Secret::new("ana")).await.unwrap_err();
    assert_eq!(code(error), "locked");
    script.backend.advance(60_000);
    server.log_in("ana", &Secret::new("ana")).await.unwrap();
    let error = server.log_in("nobody", &Secret::new("x")).await.unwrap_err();
    assert_eq!(code(error), "wrong-password");
    let text = script.metrics.render();
    assert!(String::from_utf8(text).unwrap().contains("tandem_logins_total{result=\"locked\"} 1"));
}

#[tokio::test]
async fn health_readiness_and_metrics_need_no_log_in() {
    let script = Script::new();
    let get = async |path: &str| {
        let response = reqwest::get(format!("{}{path}", script.base())).await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    };
    assert_eq!(get("/healthz").await, (200, "ok\n".to_owned()));
    assert_eq!(get("/readyz").await, (200, "ready\n".to_owned()));
    let reasons = vec!["no leader".to_owned(), "disk full".to_owned()];
    script.backend.set_readiness(Readiness::NotReady(reasons));
    assert_eq!(get("/readyz").await, (503, "not ready: no leader; disk full\n".to_owned()));
    script.alice_calls("sales");
    let (status, text) = get("/metrics").await;
    assert_eq!(status, 200);
    for line in [
        "tandem_calls_active{phase=\"queued\"} 1",
        "tandem_agents{state=\"logged-out\"} 4",
        "tandem_queue_waiting{queue=\"sales\"} 1",
        "tandem_raft_leader 1",
        "tandem_http_requests_total{route=\"/readyz\",status=\"503\"} 1",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}

#[tokio::test]
async fn a_recording_is_sent_whole_or_in_ranges_and_nothing_else_is() {
    let script = Script::new();
    let folder = tempfile::tempdir().unwrap();
    let stamp = wav::Stamp { node: 1, epoch: 0, began_ms: 1_780_000_000_000 };
    let pcm: Vec<u8> = (0..200_000_u32).map(|byte| byte as u8).collect();
    let mut file = wav::part_header(8_000, 2, 200_000, &stamp).to_vec();
    file.extend(&pcm);
    std::fs::write(folder.path().join("0000000000000001.0.wav"), file).unwrap();
    let opened = Recordings::open(1, folder.path().into(), folder.path(), None).unwrap();
    tokio::spawn(Arc::clone(&opened.0).keep(opened.1));
    script.backend.serve_recordings(opened.0);
    let sue = script.logged_in("sue").await;
    let client = reqwest::Client::new();
    let get = async |id: &str, range: &str| {
        let url = format!("{}/api/v1/recordings/{id}", script.base());
        let request = client.get(url).bearer_auth(sue.token().unwrap());
        request.header("range", range).send().await.unwrap()
    };
    let one = "0000000000000001";
    // The folder is looked through beside the start.
    while get(one, "").await.status() == StatusCode::NOT_FOUND {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let response = get(one, "").await;
    assert_eq!(
        (response.status(), &response.headers()["accept-ranges"]),
        (StatusCode::OK, &"bytes".parse().unwrap())
    );
    assert_eq!(response.headers()["content-type"], "audio/wav");
    let whole = response.bytes().await.unwrap();
    let header = whole.len() - pcm.len();
    assert!(whole.starts_with(b"RIFF") && whole[header..] == pcm);
    let response = get(one, "bytes=1000-150999").await;
    assert_eq!(response.status(), StatusCode::PARTIAL_CONTENT);
    let told = format!("bytes 1000-150999/{}", whole.len());
    assert_eq!(response.headers()["content-range"], told.as_str());
    assert_eq!(response.bytes().await.unwrap(), whole[1_000..151_000]);
    let alaw = "0000000000000001?format=alaw";
    let compressed = get(alaw, "").await.bytes().await.unwrap();
    assert_eq!(compressed.len(), 58 + pcm.len() / 2);
    assert_eq!((&compressed[..4], &compressed[20..24]), (&b"RIFF"[..], &[6, 0, 2, 0][..]));
    let samples = pcm.chunks(2).map(|two| i16::from_le_bytes([two[0], two[1]]));
    let codes: Vec<u8> = samples.map(tandem_media::codec::g711::alaw_encode).collect();
    assert!(compressed[58..] == codes);
    for (from, to) in [(0, 9), (50, 70), (1_001, 90_000)] {
        let range = get(alaw, &format!("bytes={from}-{to}")).await;
        assert_eq!(range.status(), StatusCode::PARTIAL_CONTENT);
        assert_eq!(range.bytes().await.unwrap(), compressed[from..=to]);
    }
    assert_eq!(get("0000000000000001?format=wma", "").await.status(), StatusCode::BAD_REQUEST);
    let response = get(one, "bytes=900000-").await;
    assert_eq!(response.status(), StatusCode::RANGE_NOT_SATISFIABLE);
    let parts: Value = sue.get(&format!("/api/v1/recordings/{one}/parts")).await.unwrap();
    assert_eq!(parts["parts"][0]["length_ms"], 6_250, "{parts}");
    assert_eq!(parts["parts"][0]["sha256"].as_str().unwrap().len(), 64);
    assert_eq!(get("0000000000000002", "").await.status(), StatusCode::NOT_FOUND);
    assert_eq!(get("..%2f..%2fetc%2fpasswd", "").await.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn the_leadership_is_handed_over_by_administrators() {
    let script = Script::new();
    let root = script.logged_in("root").await;
    let nothing: Value = root.post("/api/v1/leader", &json!({ "node": 1 })).await.unwrap();
    assert_eq!(nothing, Value::Null);
    let error = refused(root.post("/api/v1/leader", &json!({ "node": 9 })).await);
    assert_eq!(error["code"], "unavailable");
}

#[tokio::test]
async fn nodes_are_drained_by_administrators() {
    let script = Script::new();
    let (root, sue) = (script.logged_in("root").await, script.logged_in("sue").await);
    let nodes: Value = sue.get("/api/v1/nodes").await.unwrap();
    assert_eq!(nodes["items"][0]["draining"], false, "{nodes}");
    for path in ["/api/v1/nodes/1/drain", "/api/v1/nodes/1/resume"] {
        let error = refused(sue.post(path, &json!({})).await);
        assert_eq!(error["code"], "wrong-role", "{path}");
    }
    let error = refused(root.post("/api/v1/nodes/1/drain", &json!({})).await);
    assert_eq!(error["code"], "conflict");
    let error = refused(root.post("/api/v1/nodes/9/drain", &json!({})).await);
    assert_eq!(error["code"], "not-found");
    let nothing: Value = root.post("/api/v1/nodes/1/resume", &json!({})).await.unwrap();
    assert_eq!(nothing, Value::Null);
}

#[tokio::test]
async fn members_are_changed_by_administrators() {
    let script = Script::new();
    let (root, sue) = (script.logged_in("root").await, script.logged_in("sue").await);
    let four = json!({ "node": 4, "address": "127.0.0.4:7000" });
    let asked = async |by: &Server, path: &str, body: &Value| {
        refused(by.post(path, body).await)["code"].as_str().unwrap().to_owned()
    };
    assert_eq!(asked(&sue, "/api/v1/members", &four).await, "wrong-role");
    assert_eq!(asked(&sue, "/api/v1/members/4/promote", &json!({})).await, "wrong-role");
    assert_eq!(refused(sue.delete("/api/v1/members/1").await)["code"], "wrong-role");
    for wrong in [
        json!({ "node": 0, "address": "127.0.0.4:7000" }),
        json!({ "node": 4, "address": "nowhere" }),
        json!({ "node": 4, "address": "127.0.0.4:7000", "voter": true }),
    ] {
        assert_eq!(asked(&root, "/api/v1/members", &wrong).await, "bad-request", "{wrong}");
    }
    let own = json!({ "node": 1, "address": "127.0.0.4:7000" });
    assert_eq!(asked(&root, "/api/v1/members", &own).await, "conflict");
    assert_eq!(asked(&root, "/api/v1/members/1/promote", &json!({})).await, "conflict");
    assert_eq!(refused(root.delete("/api/v1/members/9").await)["code"], "not-found");
    // It has calls and leads.
    let error = refused(root.delete("/api/v1/members/1").await);
    assert_eq!(error["code"], "conflict", "{error}");
}

#[tokio::test]
async fn a_body_that_is_too_large_or_no_json_is_refused() {
    let script = Script::new();
    let client = reqwest::Client::new();
    let url = format!("{}/api/v1/login", script.base());
    let post = async |body: String| {
        let request = client.post(&url).header("content-type", "application/json").body(body);
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        (status, response.json::<Value>().await.unwrap()["code"].clone())
    };
    assert_eq!(post("{".to_owned()).await, (400, json!("bad-request")));
    let large = json!({ "user": "x".repeat(40_000), "password": "x" }).to_string();
    assert_eq!(post(large).await, (413, json!("too-large")));
}
