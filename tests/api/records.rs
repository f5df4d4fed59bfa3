//! Questions to the records: conditions, exports, callers to be called back, reports; and who may
//! ask them.

use serde_json::{Value, json};
use tandem::api::backend::{Backend as _, CdrQuery};
use tandem::cli::client::Server;
use tandem::records::{CallRecords, Reader, Row};
use tandem_center::{CallId, Cause, Command, LegNumber, Record};
use tandem_cluster::records::Records;
use tempfile::TempDir;

use crate::http::{is_described, refused};
use crate::script::Script;

/// A caller waits so many seconds for nobody and hangs up.
fn gives_up(script: &Script, name: &str, seconds: u64) -> CallId {
    let call = script.calls(name, "sales");
    script.backend.advance(seconds * 1_000);
    let (leg, cause) = (LegNumber(0), Cause::HungUp);
    script.gives(Command::LegEnded { call, leg, cause });
    call
}

/// The server reads what was recorded so far, from a file.
async fn kept(script: &Script) -> TempDir {
    let query = CdrQuery { limit: 100, ..CdrQuery::default() };
    let known = script.backend.cdrs(query).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.sqlite");
    let rows = known.into_iter().map(|row| Row::encode(&Record::Cdr(Box::new(row.cdr)))).collect();
    let mut all = Records::open(&path, Box::new(CallRecords)).unwrap();
    all.write(&[(1, rows)], 1).unwrap();
    script.backend.serve_records(Reader::new(&path));
    folder
}

async fn text(script: &Script, who: &Server, path: &str) -> (u16, String, Vec<u8>) {
    let request = reqwest::Client::new().get(format!("{}{path}", script.base()));
    let answer = request.bearer_auth(who.token().unwrap()).send().await.unwrap();
    let status = answer.status().as_u16();
    let kind = answer.headers()["content-type"].to_str().unwrap().to_owned();
    (status, kind, answer.bytes().await.unwrap().to_vec())
}

#[tokio::test]
async fn supervisors_export_what_a_condition_holds_of_and_no_text_becomes_a_formula() {
    let script = Script::new();
    let first = gives_up(&script, "=HYPERLINK(\"http://x\")", 3);
    let second = gives_up(&script, "Bob", 30);
    let _folder = kept(&script).await;
    let sue = script.logged_in("sue").await;
    let export = "/api/v1/cdrs/export?where=%7B%22wait_at_least_ms%22:3000%7D";
    let (status, kind, body) = text(&script, &sue, &format!("{export}&zone=Asia/Shanghai")).await;
    assert_eq!((status, &kind[..8]), (200, "text/csv"));
    let body = String::from_utf8(body).unwrap();
    assert_eq!(body.matches("\r\n").count(), 3, "{body}");
    assert!(body.contains(&first.to_string()) && body.contains(&second.to_string()), "{body}");
    assert!(body.contains("\"'=HYPERLINK(\"\"http://x\"\")\""), "{body}");
    assert!(body.contains("'+4930123") && body.contains("+08:00"), "{body}");
    let longer = "/api/v1/cdrs/export?where=%7B%22wait_at_least_ms%22:4000%7D&format=xlsx";
    let (status, kind, body) = text(&script, &sue, longer).await;
    assert_eq!(status, 200);
    assert!(kind.ends_with("spreadsheetml.sheet") && body.starts_with(b"PK"), "{kind}");
    for wrong in ["zone=Mars/Olympus", "where=%7B%22colour%22:1%7D", "where=1", "format=pdf"] {
        let error: Value = refused(sue.get(&format!("/api/v1/cdrs/export?{wrong}")).await);
        assert_eq!(error["code"], "bad-request", "{wrong}");
    }
}

#[tokio::test]
async fn an_agent_who_asks_for_any_call_sees_the_own_ones_only() {
    let script = Script::new();
    gives_up(&script, "Bob", 3);
    let (ana, sue) = (script.logged_in("ana").await, script.logged_in("sue").await);
    let any = "/api/v1/cdrs?where=%7B%22not%22:%7B%22transferred%22:true%7D%7D";
    let seen: Value = sue.get(any).await.unwrap();
    assert_eq!(seen["items"].as_array().unwrap().len(), 1);
    assert_eq!(seen["items"][0]["segments"][0]["came_to"], "abandoned");
    let seen: Value = ana.get(any).await.unwrap();
    assert_eq!(seen["items"], json!([]));
}

#[tokio::test]
async fn who_gave_up_is_listed_for_a_call_back_and_counted_in_the_report() {
    let script = Script::new();
    gives_up(&script, "Alice", 3);
    let call = gives_up(&script, "Bob", 30);
    let _folder = kept(&script).await;
    let sue = script.logged_in("sue").await;
    let list: Value = sue.get("/api/v1/callbacks").await.unwrap();
    is_described("/api/v1/callbacks", "get", "200", &list);
    assert_eq!(list["items"].as_array().unwrap().len(), 2);
    assert_eq!(list["items"][0]["call"], call.to_string());
    assert_eq!(list["items"][0]["waited_ms"], 30_000);
    let report: Value = sue.get("/api/v1/reports/queues?short_seconds=5").await.unwrap();
    is_described("/api/v1/reports/queues", "get", "200", &report);
    let sales = &report["items"][0];
    assert_eq!((&sales["offered"], &sales["abandoned_short"]), (&json!(2), &json!(1)));
    assert_eq!(sales["abandonment_percent"], 100.0);
    let report: Value = sue.get("/api/v1/reports/agents").await.unwrap();
    is_described("/api/v1/reports/agents", "get", "200", &report);
    assert_eq!(report["items"], json!([]));
}
