//! RFC 3261 §10.3 step by step.

use super::*;
use crate::wire::{Message, Transport};

const START_MS: u64 = 1_790_000_000_000;

/// A registrar with a clock, and a phone with a Call-ID and CSeq.
struct Script {
    registrar: Registrar,
    now_ms: u64,
    call_id: &'static str,
    cseq: u32,
    user: Option<&'static str>,
}

impl Script {
    fn new() -> Self {
        Self::with(Rules { domains: vec!["example.com".into()], ..Rules::default() })
    }

    fn with(rules: Rules) -> Self {
        Self {
            registrar: Registrar::new(rules),
            now_ms: START_MS,
            call_id: "a",
            cseq: 0,
            user: None,
        }
    }

    fn sends(&mut self, lines: &str) -> Response {
        self.cseq += 1;
        self.sends_for("sip:bob@example.com", lines)
    }

    fn sends_for(&mut self, to: &str, lines: &str) -> Response {
        let text = format!(
            "REGISTER sip:example.com SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\n\
             From: <{to}>;tag=1\r\nTo: <{to}>\r\nCall-ID: {}\r\nCSeq: {} REGISTER\r\n{lines}\r\n",
            self.call_id, self.cseq
        );
        self.handle(text.as_bytes())
    }

    fn handle(&mut self, bytes: &[u8]) -> Response {
        let request = Message::parse(bytes).unwrap().into_request().unwrap();
        let arrival =
            Arrival { now_ms: self.now_ms, peer: peer(), user: self.user, to_tag: "ours" };
        let response = self.registrar.handle_register(&request, arrival);
        assert_eq!(response.to_tag(), Some("ours"));
        response
    }

    fn after_seconds(&mut self, seconds: u64) -> &mut Self {
        self.now_ms += seconds * 1_000;
        self
    }

    fn contacts(&self) -> Vec<String> {
        let bob = "sip:bob@example.com".parse().unwrap();
        let found = self.registrar.contacts_of(&bob, self.now_ms);
        found.iter().map(|binding| binding.uri().to_string()).collect()
    }
}

fn peer() -> Peer {
    Peer {
        transport: Transport::Udp,
        remote: "192.0.2.7:5062".parse().unwrap(),
        local: "192.0.2.1:5060".parse().unwrap(),
        connection: None,
    }
}

fn listed(response: &Response) -> Vec<String> {
    assert_eq!(response.status(), 200);
    response.contacts().iter().map(ToString::to_string).collect()
}

#[test]
fn a_contact_is_kept_and_listed_with_what_is_left_of_its_life() {
    let mut bob = Script::new();
    let response = bob.sends("Contact: <sip:bob@192.0.2.7:5062;transport=udp>;expires=600;x=1\r\n");
    assert_eq!(listed(&response), ["<sip:bob@192.0.2.7:5062;transport=udp>;x=1;expires=600"]);
    let response = bob.after_seconds(100).sends("");
    assert_eq!(listed(&response), ["<sip:bob@192.0.2.7:5062;transport=udp>;x=1;expires=500"]);
    assert_eq!(bob.registrar.export().next().unwrap().bindings[0].peer, peer());
}

#[test]
fn the_parameter_counts_before_the_header_and_the_header_before_the_usual() {
    let mut bob = Script::new();
    let response = bob.sends(
        "Expires: 900\r\nContact: <sip:a@h>;expires=600, <sip:b@h>\r\nContact: <sip:c@h>;expires=x\r\n",
    );
    let lives: Vec<_> =
        response.contacts().iter().map(|c| c.param("expires").unwrap().to_owned()).collect();
    assert_eq!(lives, ["600", "900", "3600"]);
    let response = Script::new().sends("Contact: <sip:a@h>\r\n");
    assert_eq!(response.contact().unwrap().param("expires"), Some("3600"));
}

#[test]
fn too_long_a_life_is_shortened_and_too_short_a_life_must_be_refused_with_423() {
    let mut bob = Script::new();
    let response = bob.sends("Contact: <sip:a@h>;expires=4294967295\r\n");
    assert_eq!(response.contact().unwrap().param("expires"), Some("7200"));
    let response = bob.sends("Contact: <sip:b@h>;expires=900\r\nContact: <sip:c@h>;expires=59\r\n");
    assert_eq!(
        (response.status(), response.header(HeaderName::MinExpires)),
        (423, Some(&b"60"[..]))
    );
    assert_eq!(bob.contacts(), ["sip:a@h"], "nothing of a refused request is done");
}

#[test]
fn an_hour_must_not_be_called_too_brief() {
    let rules = Rules { expires_min_seconds: 7_200, ..Rules::default() };
    assert_eq!(Script::with(rules).sends("Contact: <sip:a@h>;expires=3600\r\n").status(), 200);
}

#[test]
fn expiry_zero_removes_one() {
    let mut bob = Script::new();
    bob.sends("Contact: <sip:a@h>, <sip:b@h>\r\n");
    let response = bob.sends("Contact: <sip:a@h>;expires=0\r\n");
    assert_eq!(listed(&response), ["<sip:b@h>;expires=3600"]);
    assert_eq!(listed(&bob.sends("Expires: 0\r\nContact: <sip:b@h>\r\n")), [""; 0]);
    assert!(bob.registrar.is_empty());
    assert_eq!(bob.registrar.poll_timeout(), None);
}

#[test]
fn a_star_removes_all() {
    let mut bob = Script::new();
    bob.sends("Contact: <sip:a@h>, <sip:b@h>\r\n");
    assert_eq!(listed(&bob.sends("Contact: *\r\nExpires: 0\r\n")), [""; 0]);
    assert!(bob.registrar.is_empty());
}

#[test]
fn a_star_must_be_alone_and_with_expires_zero() {
    let mut bob = Script::new();
    bob.sends("Contact: <sip:a@h>\r\n");
    for lines in [
        "Contact: *\r\n",
        "Contact: *\r\nExpires: 60\r\n",
        "Contact: *\r\nContact: <sip:b@h>\r\nExpires: 0\r\n",
    ] {
        assert_eq!(bob.sends(lines).status(), 400, "{lines}");
    }
    assert_eq!(bob.contacts(), ["sip:a@h"]);
}

#[test]
fn an_older_request_of_the_same_phone_must_not_change_anything() {
    let mut bob = Script::new();
    bob.cseq = 10;
    bob.sends("Contact: <sip:a@h>\r\n");
    for lines in ["Contact: <sip:a@h>;expires=0\r\n", "Contact: *\r\nExpires: 0\r\n"] {
        bob.cseq = 5;
        assert_eq!(bob.sends(lines).status(), 500, "{lines}");
        assert_eq!(bob.contacts(), ["sip:a@h"]);
    }
    bob.call_id = "restarted";
    assert_eq!(bob.sends("Contact: <sip:a@h>;expires=0\r\n").status(), 200);
    assert!(bob.registrar.is_empty());
}

#[test]
fn contacts_compare_as_uris_do() {
    let mut bob = Script::new();
    bob.sends("Contact: <sip:%62ob@HOST;transport=udp>\r\n");
    bob.sends("Contact: <sip:bob@host;TRANSPORT=UDP>\r\n");
    assert_eq!(bob.contacts(), ["sip:bob@host;TRANSPORT=UDP"]);
}

#[test]
fn contacts_are_found_by_preference_then_by_time() {
    let mut bob = Script::new();
    bob.sends("Contact: <sip:low@h>;q=0.1, <sip:none@h>\r\n");
    bob.after_seconds(1).sends("Contact: <sip:late@h>;q=1.0, <sip:mid@h>;q=0.5\r\n");
    assert_eq!(bob.contacts(), ["sip:late@h", "sip:none@h", "sip:mid@h", "sip:low@h"]);
}

#[test]
fn bindings_end_when_their_time_is_over() {
    let mut bob = Script::new();
    bob.sends("Contact: <sip:a@h>;expires=60, <sip:b@h>;expires=120\r\n");
    assert_eq!(bob.registrar.poll_timeout(), Some(START_MS + 60_000));
    bob.after_seconds(60);
    assert_eq!(bob.contacts(), ["sip:b@h"], "without a time-out, too");
    assert_eq!(bob.registrar.handle_timeout(bob.now_ms), ["bob@example.com"]);
    assert_eq!(bob.registrar.poll_timeout(), Some(START_MS + 120_000));
    assert_eq!(bob.registrar.handle_timeout(bob.now_ms), [""; 0]);
    bob.after_seconds(60);
    assert_eq!(bob.registrar.handle_timeout(bob.now_ms), ["bob@example.com"]);
    assert!(bob.registrar.is_empty());
}

#[test]
fn an_address_has_many_spellings() {
    let mut script = Script::new();
    for to in ["sip:bob@example.com", "sips:bob@EXAMPLE.com", "sip:b%6fb@example.com;user=phone"] {
        script.cseq += 1;
        let contact = format!("Contact: <sip:c{}@h>\r\n", script.cseq);
        assert_eq!(script.sends_for(to, &contact).status(), 200, "{to}");
    }
    assert_eq!((script.registrar.len(), script.contacts().len()), (1, 3));
}

#[test]
fn other_domains_and_schemes_must_get_404() {
    let mut script = Script::new();
    for to in ["sip:bob@example.net", "tel:+1234", "isbn:2983792873", "sip:example.com"] {
        assert_eq!(script.sends_for(to, "Contact: <sip:a@h>\r\n").status(), 404, "{to}");
    }
    assert!(script.registrar.is_empty());
}

#[test]
fn a_user_must_not_change_the_bindings_of_another() {
    let mut eve = Script { user: Some("eve"), ..Script::new() };
    assert_eq!(eve.sends("Contact: <sip:a@h>\r\n").status(), 403);
    let mut bob = Script { user: Some("bob"), ..Script::new() };
    assert_eq!(bob.sends("Contact: <sip:a@h>\r\n").status(), 200);
}

#[test]
fn contacts_and_addresses_are_bounded() {
    let mut bob = Script::with(Rules { addresses_max: 1, ..Rules::default() });
    for number in 0..CONTACTS_MAX {
        assert_eq!(bob.sends(&format!("Contact: <sip:c{number}@h>\r\n")).status(), 200);
    }
    assert_eq!(bob.sends("Contact: <sip:more@h>\r\n").status(), 403);
    assert_eq!(bob.contacts().len(), CONTACTS_MAX);
    let full = bob.sends_for("sip:ana@example.com", "Contact: <sip:a@h>\r\n");
    assert_eq!((full.status(), full.header(HeaderName::RetryAfter)), (503, Some(&b"30"[..])));
    assert_eq!(bob.sends_for("sip:ana@example.com", "").status(), 200, "a question needs no place");
    let long = format!("Contact: <sip:{}@h>\r\n", "x".repeat(CONTACT_BYTES_MAX));
    assert_eq!(bob.sends(&long).status(), 400);
}

#[test]
fn a_path_is_ignored() {
    let mut bob = Script::new();
    let response = bob.sends("Path: <sip:edge.example.com;lr>\r\nContact: <sip:a@h>\r\n");
    assert_eq!((response.status(), response.header(HeaderName::Path)), (200, None));
}

#[test]
fn a_record_route_must_be_ignored_10_3() {
    let mut bob = Script::new();
    let response = bob.sends("Record-Route: <sip:edge.example.com;lr>\r\nContact: <sip:a@h>\r\n");
    assert_eq!((response.status(), response.header(HeaderName::RecordRoute)), (200, None));
    let bindings = bob.registrar.export_one("bob@example.com").unwrap().bindings;
    assert_eq!(bindings[0].uri().to_string(), "sip:a@h");
}

#[test]
fn bindings_go_on_elsewhere() {
    let mut bob = Script::new();
    bob.sends("Contact: <sip:a@h>;q=0.5, <sip:b@h>;expires=60\r\n");
    let json = serde_json::to_string(&bob.registrar.export().collect::<Vec<_>>()).unwrap();
    let exported: Vec<Registered> = serde_json::from_str(&json).unwrap();
    let restored = Registrar::restore(bob.registrar.rules.clone(), exported);
    assert_eq!(restored.export().collect::<Vec<_>>(), bob.registrar.export().collect::<Vec<_>>());
    assert_eq!(restored.poll_timeout(), bob.registrar.poll_timeout());
    assert_eq!(restored.export_one("bob@example.com"), bob.registrar.export().next());
}

#[test]
fn the_messages_of_rfc_4475_for_a_registrar() {
    let any = || Script::with(Rules::default());
    let cparam01 = any().handle(include_bytes!("../../tests/torture/cparam01.dat"));
    assert_eq!(listed(&cparam01), ["sip:+19725552222@gw1.example.net;unknownparam;expires=3600"]);
    let cparam02 = any().handle(include_bytes!("../../tests/torture/cparam02.dat"));
    assert_eq!(listed(&cparam02), ["<sip:+19725552222@gw1.example.net;unknownparam>;expires=3600"]);
    let regescrt = any().handle(include_bytes!("../../tests/torture/regescrt.dat"));
    assert_eq!(
        listed(&regescrt),
        ["<sip:user@example.com?Route=%3Csip:sip.example.com%3E>;expires=3600"]
    );
    let unksm2 = any().handle(include_bytes!("../../tests/torture/unksm2.dat"));
    assert_eq!(unksm2.status(), 404);
    // Two contacts that differ by a NUL: two bindings.
    let escnull = any().handle(include_bytes!("../../tests/torture/escnull.dat"));
    assert_eq!(listed(&escnull).len(), 2);
}
