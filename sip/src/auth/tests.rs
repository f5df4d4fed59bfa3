//! Both sides against each other, against the RFCs' examples, and against rsip.

use super::{
    digest::{Over, is_same},
    fields::Fields,
    *,
};
use crate::wire::{HeaderName, Message, Method, Request, RequestBuilder, Response, Uri};

const KEY: &[u8] = b"a secret of the cluster";
const NOW_MS: u64 = 1_790_000_000_000;

fn register(lines: &str) -> Request {
    let text = format!(
        "REGISTER sip:example.com SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\n\
         From: <sip:bob@example.com>;tag=1\r\nTo: <sip:bob@example.com>\r\nCall-ID: c\r\n\
         CSeq: 1 REGISTER\r\n{lines}Content-Length: 0\r\n\r\n"
    );
    Message::parse(text.as_bytes()).unwrap().into_request().unwrap()
}

fn bob() -> Credentials {
    Credentials { username: "bob".into(), password: "zanzibar".into() }
}

fn secret_of(username: &str) -> Option<Secret> {
    (username == "bob").then(|| Secret::Password("zanzibar".into()))
}

/// A registrar and a phone that talk, and a clock.
struct Script {
    server: Authenticator,
    now_ms: u64,
}

impl Script {
    fn new() -> Self {
        Self { server: Authenticator::new("example.com", KEY), now_ms: NOW_MS }
    }

    fn challenge(&self) -> Challenge {
        let response = self.server.deny(&register(""), Denied::NoCredentials, self.now_ms, "ours");
        challenges(&response).remove(0)
    }

    fn answered(&self, challenge: &Challenge, who: &Credentials, count: u32) -> Request {
        let uri = "sip:example.com".parse().unwrap();
        let (name, value) =
            challenge.answer(who, &Method::Register, &uri, Use { cnonce: "c0", count });
        register(&format!("{name}: {value}\r\n"))
    }

    fn verify(&mut self, request: &Request) -> Result<String, Denied> {
        self.server.verify(request, self.now_ms, secret_of)
    }

    fn after_seconds(&mut self, seconds: u64) -> &mut Self {
        self.now_ms += seconds * 1_000;
        self
    }
}

#[test]
fn the_example_of_rfc_7616_is_computed() {
    let secret = Secret::Password("Circle of Life".into());
    for (algorithm, response) in [
        (Algorithm::Md5, "8ca523f5e9506fed4657c9700eebdbec"),
        (Algorithm::Sha256, "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ] {
        let over = Over {
            algorithm,
            nonce: "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
            method: "GET",
            uri: "/dir/index.html",
            counted: Some(("00000001", "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ")),
        };
        let ha1 = secret.ha1(algorithm, "Mufasa", "http-auth@example.org").unwrap();
        assert_eq!(over.response(&ha1), response);
    }
}

#[test]
fn rsip_computes_the_same() {
    use rsip::{headers::auth, services::DigestGenerator};
    let uri = rsip::Uri::try_from("sip:example.com").unwrap();
    for (algorithm, theirs) in
        [(Algorithm::Md5, auth::Algorithm::Md5), (Algorithm::Sha256, auth::Algorithm::Sha256)]
    {
        for qop in [None, Some(auth::AuthQop::Auth { cnonce: "0a4f113b".into(), nc: 1 })] {
            let counted = qop.as_ref().map(|_| ("00000001", "0a4f113b"));
            let over = Over {
                algorithm,
                nonce: "n1",
                method: "REGISTER",
                uri: "sip:example.com",
                counted,
            };
            let ha1 = Secret::Password("zanzibar".into()).ha1(algorithm, "bob", "r").unwrap();
            let oracle = DigestGenerator {
                username: "bob",
                password: "zanzibar",
                realm: "r",
                nonce: "n1",
                algorithm: theirs,
                method: &rsip::Method::Register,
                qop: qop.as_ref(),
                uri: &uri,
            };
            assert_eq!(over.response(&ha1), oracle.compute());
        }
    }
}

#[test]
fn a_challenge_lists_the_strongest_algorithm_first() {
    let response = Script::new().server.deny(&register(""), Denied::NoCredentials, NOW_MS, "ours");
    assert_eq!(response.status(), 401);
    let lines: Vec<_> = response.lines_of(HeaderName::WwwAuthenticate).collect();
    let has = |line: &[u8], what: &str| String::from_utf8_lossy(line).contains(what);
    assert!(has(lines[0], "algorithm=SHA-256") && has(lines[1], "algorithm=MD5"));
    assert!(lines.iter().all(|line| has(line, "Digest realm=\"example.com\", nonce=\"")));
    assert!(lines.iter().all(|line| has(line, "qop=\"auth\"") && !has(line, "stale")));
}

#[test]
fn a_client_must_answer_the_strongest_algorithm_that_it_knows() {
    let script = Script::new();
    assert_eq!(script.challenge().algorithm, Algorithm::Sha256);
    let weak = Script { server: script.server.with_algorithms(&[Algorithm::Md5]), ..Script::new() };
    assert_eq!(weak.challenge().algorithm, Algorithm::Md5);
}

#[test]
fn the_right_password_is_known_by_either_algorithm() {
    for algorithm in [Algorithm::Md5, Algorithm::Sha256] {
        let mut script = Script::new();
        let challenge = Challenge { algorithm, ..script.challenge() };
        let request = script.answered(&challenge, &bob(), 1);
        assert_eq!(script.verify(&request), Ok("bob".into()));
    }
}

#[test]
fn a_hashed_password_serves_as_well() {
    let mut script = Script::new();
    let request = script.answered(&script.challenge(), &bob(), 1);
    let clear = Secret::Password("zanzibar".into());
    let sha256 = clear.ha1(Algorithm::Sha256, "bob", "example.com").unwrap();
    let hashed = Secret::Hashed { sha256, md5: String::new() };
    let known = script.server.verify(&request, NOW_MS, |_| Some(hashed.clone()));
    assert_eq!(known, Ok("bob".into()));
    let md5 = Challenge { algorithm: Algorithm::Md5, ..script.challenge() };
    let request = script.answered(&md5, &bob(), 2);
    let unknown = script.server.verify(&request, NOW_MS, |_| Some(hashed));
    assert_eq!(unknown, Err(Denied::Wrong));
}

#[test]
fn a_wrong_password_and_an_unknown_user_are_denied_alike() {
    let mut script = Script::new();
    let wrong = Credentials { password: "guess".into(), ..bob() };
    let nobody = Credentials { username: "eve".into(), ..bob() };
    for who in [wrong, nobody] {
        let request = script.answered(&script.challenge(), &who, 1);
        assert_eq!(script.verify(&request), Err(Denied::Wrong));
    }
}

#[test]
fn other_schemes_realms_and_fields_are_challenged() {
    let mut script = Script::new();
    let good = script.answered(&script.challenge(), &bob(), 1);
    let good = good.header_str(HeaderName::Authorization).unwrap().to_owned();
    for value in [
        "NoOneKnowsThisScheme opaque-data=here".to_owned(),
        "Basic Ym9iOnphbnppYmFy".to_owned(),
        "Digest".to_owned(),
        "Digest username=\"bob".to_owned(),
        good.replace("realm=\"example.com\"", "realm=\"other\""),
        good.replace(", qop=auth", ""),
        good.replace("qop=auth", "qop=auth-int"),
        good.replace("nc=00000001", "nc=1"),
        good.replace("nc=00000001", "nc=00000000"),
        good.replace("nc=00000001", "nc=0000000g"),
        good.replace("algorithm=SHA-256", "algorithm=SHA-512"),
        format!("{good}, realm=\"other\""),
    ] {
        let request = register(&format!("Authorization: {value}\r\n"));
        assert_eq!(script.verify(&request), Err(Denied::NoCredentials), "{value}");
    }
    let request = register(&format!("Authorization: {good}\r\n"));
    assert_eq!(script.verify(&request), Ok("bob".into()));
}

#[test]
fn regaut01_is_challenged() {
    let message = include_bytes!("../../tests/torture/regaut01.dat");
    let request = Message::parse(message).unwrap().into_request().unwrap();
    let mut script = Script::new();
    let denied = script.verify(&request).unwrap_err();
    assert_eq!(script.server.deny(&request, denied, NOW_MS, "ours").status(), 401);
}

#[test]
fn credentials_for_our_realm_are_found_among_others() {
    let mut script = Script::new();
    let good = script.answered(&script.challenge(), &bob(), 1);
    let good = good.header_str(HeaderName::Authorization).unwrap().to_owned();
    let request = register(&format!(
        "Authorization: Digest realm=\"other\", nonce=\"x\"\r\nAuthorization: {good}\r\n"
    ));
    assert_eq!(script.verify(&request), Ok("bob".into()));
}

#[test]
fn a_count_must_not_be_used_twice() {
    let mut script = Script::new();
    let challenge = script.challenge();
    let first = script.answered(&challenge, &bob(), 1);
    assert_eq!(script.verify(&first), Ok("bob".into()));
    assert_eq!(script.verify(&first), Err(Denied::Stale), "a replay");
    let third = script.answered(&challenge, &bob(), 3);
    assert_eq!(script.verify(&third), Ok("bob".into()));
    let second = script.answered(&challenge, &bob(), 2);
    assert_eq!(script.verify(&second), Err(Denied::Stale));
}

#[test]
fn an_old_nonce_is_stale_and_the_next_one_serves() {
    let mut script = Script::new();
    let request = script.answered(&script.challenge(), &bob(), 1);
    let denied = script.after_seconds(NONCE_SECONDS + 1).verify(&request).unwrap_err();
    assert_eq!(denied, Denied::Stale);
    let response = script.server.deny(&request, denied, script.now_ms, "ours");
    let challenge = challenges(&response).remove(0);
    assert!(challenge.stale);
    let request = script.answered(&challenge, &bob(), 1);
    assert_eq!(script.verify(&request), Ok("bob".into()));
}

#[test]
fn a_nonce_of_somebody_else_is_stale() {
    let mut script = Script::new();
    let other =
        Script { server: Authenticator::new("example.com", b"another key"), ..Script::new() };
    let request = script.answered(&other.challenge(), &bob(), 1);
    assert_eq!(script.verify(&request), Err(Denied::Stale));
}

#[test]
fn another_node_with_the_key_knows_the_nonce() {
    let script = Script::new();
    let request = script.answered(&script.challenge(), &bob(), 1);
    assert_eq!(Script::new().verify(&request), Ok("bob".into()));
}

#[test]
fn credentials_for_another_request_uri_must_be_refused() {
    let mut script = Script::new();
    let uri: Uri = "sip:other.example.com".parse().unwrap();
    let (name, value) =
        script.challenge().answer(&bob(), &Method::Register, &uri, Use { cnonce: "c", count: 1 });
    let request = register(&format!("{name}: {value}\r\n"));
    assert_eq!(script.verify(&request), Err(Denied::OtherUri));
    assert_eq!(script.server.deny(&request, Denied::OtherUri, NOW_MS, "ours").status(), 400);
}

#[test]
fn the_memory_of_counts_is_bounded_and_forgets_safely() {
    let mut script = Script::new();
    script.server.room = 50;
    let first = script.answered(&script.challenge(), &bob(), 1);
    assert_eq!(script.verify(&first), Ok("bob".into()));
    for _ in 0..50 {
        script.now_ms += 1;
        let request = script.answered(&script.challenge(), &bob(), 1);
        assert_eq!(script.verify(&request), Ok("bob".into()));
    }
    assert_eq!(script.verify(&first), Err(Denied::Stale), "forgotten, and still no replay");
}

#[test]
fn a_proxy_is_answered_in_its_own_header() {
    let invite = register("");
    let response = Response::to_request(&invite, 407, None)
        .header(HeaderName::ProxyAuthenticate, "Digest realm=\"p\", nonce=\"1\", opaque=\"o\\\"\"")
        .header(
            HeaderName::ProxyAuthenticate,
            "Digest realm=\"p\", nonce=\"2\", algorithm=SHA-256, qop=\"auth-int,auth\"",
        )
        .header(HeaderName::WwwAuthenticate, "Digest realm=\"w\", nonce=\"3\", algorithm=MD5-sess")
        .header(HeaderName::WwwAuthenticate, "Digest realm=\"v\", nonce=\"4\"")
        .build();
    let uri = "sip:a@b".parse().unwrap();
    let lines = respond(&response, &bob(), &Method::Invite, &uri, "cn").unwrap();
    assert_eq!(lines.len(), 2);
    let (name, value) = &lines[0];
    assert_eq!(*name, HeaderName::Authorization);
    let fields = Fields::parse(value.as_bytes()).unwrap();
    assert_eq!((fields.get("realm"), fields.get("qop")), (Some("v"), None));
    let (name, value) = &lines[1];
    assert_eq!(*name, HeaderName::ProxyAuthorization);
    let fields = Fields::parse(value.as_bytes()).unwrap();
    assert_eq!((fields.get("nonce"), fields.get("algorithm")), (Some("2"), Some("SHA-256")));
    assert_eq!((fields.get("qop"), fields.get("nc")), (Some("auth"), Some("00000001")));
}

#[test]
fn a_challenge_that_cannot_be_answered_is_said_so() {
    for value in
        ["Basic realm=\"x\"", "Digest realm=\"x\", nonce=\"1\", qop=\"auth-int\"", "Digest"]
    {
        let response = Response::to_request(&register(""), 401, None)
            .header(HeaderName::WwwAuthenticate, value)
            .build();
        let uri = "sip:a@b".parse().unwrap();
        let answer = respond(&response, &bob(), &Method::Invite, &uri, "cn");
        assert_eq!(answer, Err(RespondError::NoChallenge), "{value}");
    }
}

#[test]
fn the_answer_fits_the_request_that_is_sent_again() {
    let mut script = Script::new();
    let first = register("");
    let response = script.server.deny(&first, Denied::NoCredentials, NOW_MS, "ours");
    let answers = respond(&response, &bob(), first.method(), &first.uri(), "cn").unwrap();
    let via = "SIP/2.0/UDP h;branch=z9hG4bK2".parse().unwrap();
    let again = answers
        .into_iter()
        .fold(RequestBuilder::again(&first, &via, 2), |builder, (name, value)| {
            builder.header(name, value)
        })
        .build();
    assert_eq!((again.cseq().number, again.branch()), (2, Some("z9hG4bK2")));
    assert_eq!(script.verify(&again), Ok("bob".into()));
}

#[test]
fn quotes_in_names_are_escaped_and_read_back() {
    let mut script = Script::new();
    let who = Credentials { username: "b\"o\\b".into(), password: "p".into() };
    let request = script.answered(&script.challenge(), &who, 1);
    let known = script.server.verify(&request, NOW_MS, |_| Some(Secret::Password("p".into())));
    assert_eq!(known, Ok(who.username));
}

#[test]
fn passwords_and_keys_are_not_shown() {
    let shown =
        format!("{:?} {:?} {:?}", bob(), Secret::Password("zanzibar".into()), Script::new().server);
    assert!(!shown.contains("zanzibar") && !shown.contains("secret of"));
}

#[test]
fn comparison_is_exact() {
    assert!(is_same("abc", "abc"));
    assert!(!is_same("abc", "abd") && !is_same("abc", "ab") && !is_same("", "a"));
}
