//! Dialogs: routes, targets, CSeqs, tags, and where requests go (RFC 3261 §12, §16.12, §18).

use tandem_sip::{
    leg::{Leg, LegStatus, Outgoing, Output, Settings},
    wire::{HeaderName, Transport},
};

use crate::script::{
    ANSWER, HELD, OFFER, Script, Way, each_way, outgoing, peer, request, settings, udp,
};

fn routes_of(call: &Script, method: &str) -> Vec<String> {
    let request = call.last_request(method);
    request.values(HeaderName::Route).map(|value| String::from_utf8_lossy(value).into()).collect()
}

fn goes_to(call: &Script) -> String {
    call.sent.last().unwrap().0.remote.to_string()
}

#[test]
fn a_callers_route_set_is_the_record_route_reversed_12_1_2() {
    each_way(|way| {
        let mut call = way.caller();
        call.far_record_routes("<sip:192.0.2.20;lr>|<sip:192.0.2.10:5070;lr>");
        call.far_says("INVITE", 200, "", ANSWER);
        assert_eq!(routes_of(&call, "ACK"), ["<sip:192.0.2.10:5070;lr>", "<sip:192.0.2.20;lr>"]);
        assert_eq!(goes_to(&call), "192.0.2.10:5070");
        call.hangs_up();
        assert_eq!(routes_of(&call, "BYE"), ["<sip:192.0.2.10:5070;lr>", "<sip:192.0.2.20;lr>"]);
        assert_eq!(call.last_request("BYE").uri().as_str(), "sip:bob@192.0.2.1:5060");
    });
}

#[test]
fn a_callees_route_set_is_the_record_route_in_order_12_1_1() {
    each_way(|way| {
        let headers = "Record-Route: <sip:192.0.2.20;lr>, <sip:192.0.2.10;lr>\r\n";
        let mut call = way.answered_with(headers, settings());
        call.hangs_up();
        assert_eq!(routes_of(&call, "BYE"), ["<sip:192.0.2.20;lr>", "<sip:192.0.2.10;lr>"]);
        assert_eq!(goes_to(&call), "192.0.2.20:5060");
    });
}

#[test]
fn a_strict_router_gets_the_request_uri_and_the_target_comes_last_12_2_1_1() {
    each_way(|way| {
        let headers = "Record-Route: <sip:192.0.2.20?x=y>, <sip:192.0.2.10;lr>\r\n";
        let mut call = way.answered_with(headers, settings());
        call.hangs_up();
        let bye = call.last_request("BYE");
        assert_eq!(bye.uri().as_str(), "sip:192.0.2.20");
        assert_eq!(routes_of(&call, "BYE"), ["<sip:192.0.2.10;lr>", "<sip:bob@192.0.2.1:5060>"]);
        assert_eq!(goes_to(&call), "192.0.2.20:5060");
    });
}

#[test]
fn a_strict_router_gets_the_first_invite_by_its_own_uri_8_1_2() {
    each_way(|way| {
        let routes = vec!["<sip:192.0.2.20>".into(), "<sip:192.0.2.10;lr>".into()];
        let mut call = way.caller_with(&Outgoing { routes, ..outgoing(settings()) });
        assert_eq!(call.last_request("INVITE").uri().as_str(), "sip:192.0.2.20");
        let last = ["<sip:192.0.2.10;lr>", "<sip:bob@192.0.2.1>"];
        assert_eq!(routes_of(&call, "INVITE"), last);
        // What belongs to it goes the same way.
        call.far_says("INVITE", 180, "", "").hangs_up();
        assert_eq!(call.last_request("CANCEL").uri().as_str(), "sip:192.0.2.20");
        assert_eq!(routes_of(&call, "CANCEL"), last);
    });
}

#[test]
fn the_2xx_recomputes_the_route_set_of_an_early_dialog_13_2_2_4() {
    each_way(|way| {
        let mut call = way.caller();
        call.far_record_routes("<sip:192.0.2.20;lr>").far_says("INVITE", 180, "", "");
        call.far_record_routes("<sip:192.0.2.30;lr>").far_says("INVITE", 200, "", ANSWER);
        assert_eq!(routes_of(&call, "ACK"), ["<sip:192.0.2.30;lr>"]);
    });
}

#[test]
fn a_re_invite_does_not_change_the_route_set_12_2() {
    each_way(|way| {
        let mut call = way.caller();
        call.far_record_routes("<sip:192.0.2.20;lr>").far_says("INVITE", 200, "", ANSWER);
        call.does(|leg, now| leg.reoffer(now, HELD.into()).unwrap());
        call.far_record_routes("<sip:192.0.2.30;lr>").far_says("INVITE", 200, "", ANSWER);
        assert_eq!(routes_of(&call, "ACK"), ["<sip:192.0.2.20;lr>"]);
    });
}

#[test]
fn a_re_invite_refreshes_the_target_both_ways_12_2() {
    each_way(|way| {
        let mut call = way.answered();
        call.far_contact("<sip:new@192.0.2.55:5099>").far_asks("INVITE", "", HELD);
        call.does(|leg, now| leg.answer_reoffer(now, ANSWER.into()).unwrap());
        call.far_acks("").hangs_up();
        assert_eq!(call.last_request("BYE").uri().as_str(), "sip:new@192.0.2.55:5099");
        assert_eq!(goes_to(&call), "192.0.2.55:5099");

        let mut call = way.connected();
        call.does(|leg, now| leg.reoffer(now, HELD.into()).unwrap());
        call.far_contact("<sip:new@192.0.2.55:5099>").far_says("INVITE", 200, "", ANSWER);
        assert_eq!(call.last_request("ACK").uri().as_str(), "sip:new@192.0.2.55:5099");
    });
}

#[test]
fn a_refused_re_invite_does_not_move_the_target() {
    each_way(|way| {
        let mut call = way.answered();
        call.far_contact("<sip:new@192.0.2.55:5099>").far_asks("INVITE", "", HELD);
        call.does(|leg, now| leg.refuse_reoffer(now, 488).unwrap()).hangs_up();
        assert_eq!(call.last_request("BYE").uri().as_str(), "sip:bob@192.0.2.1:5060");
    });
}

#[test]
fn a_lower_cseq_gets_500_12_2_2() {
    each_way(|way| {
        let mut call = way.answered();
        call.far_cseq(10).far_asks("OPTIONS", "", "").gives(&["200 OPTIONS"]);
        call.far_cseq(4).far_asks("OPTIONS", "", "").gives(&["500 OPTIONS"]);
        call.far_cseq(11).far_asks("OPTIONS", "", "").gives(&["200 OPTIONS"]);
    });
}

#[test]
fn cseqs_may_have_gaps_12_2_2() {
    each_way(|way| {
        let mut call = way.answered();
        call.far_cseq(1_000_000).far_asks("BYE", "", "").gives(&["ByeReceived"]);
    });
}

#[test]
fn our_cseq_rises_by_request_12_2_1_1() {
    each_way(|way| {
        let mut call = way.connected();
        call.does(|leg, now| leg.reoffer(now, HELD.into()).unwrap());
        let one = call.last_request("INVITE").cseq().number;
        call.far_says("INVITE", 488, "", "").hangs_up();
        let two = call.last_request("BYE").cseq().number;
        match way {
            Way::Straight | Way::Restarted => assert_eq!((one, two), (2, 3)),
            Way::Adopted => assert!(one >= 1_002 && two >= one + 1_001, "{one} {two}"),
        }
    });
}

#[test]
fn another_tag_is_another_dialog_12_2_2() {
    each_way(|way| {
        let mut call = way.answered();
        call.far_tag("other").far_asks("BYE", "", "").gives(&["481 BYE"]);
        call.far_tag("far").far_asks("BYE", "", "").gives(&["ByeReceived"]);
    });
}

#[test]
fn an_ack_of_another_dialog_is_dropped() {
    each_way(|way| {
        let mut call = way.callee();
        call.answers().gives(&["200 INVITE+sdp"]);
        call.far_tag("other").far_acks("").is_silent();
        call.far_tag("far").far_acks("").gives(&["Acked"]);
    });
}

#[test]
fn requests_go_where_the_contact_says_12_2_1_1() {
    each_way(|way| {
        let mut call = way.caller();
        call.far_contact("<sip:bob@192.0.2.77:5099;transport=tcp>");
        call.far_says("INVITE", 200, "", ANSWER);
        let to = call.sent.last().unwrap().0;
        assert_eq!((to.transport, goes_to(&call)), (Transport::Tcp, "192.0.2.77:5099".into()));
        assert_eq!(to.connection, None);
    });
}

#[test]
fn a_contact_that_is_a_name_is_reached_where_the_call_went() {
    each_way(|way| {
        let mut call = way.caller();
        call.far_contact("<sip:bob@pbx.example.com>").far_says("INVITE", 200, "", ANSWER);
        assert_eq!(goes_to(&call), udp().remote.to_string());
        assert_eq!(call.last_request("ACK").uri().as_str(), "sip:bob@pbx.example.com");
    });
}

#[test]
fn behind_a_nat_requests_go_where_theirs_come_from() {
    each_way(|way| {
        let settings = Settings { symmetric: true, ..settings() };
        let mut call = way.caller_with(&outgoing(settings));
        call.far_contact("<sip:bob@10.0.0.3:5060>").far_says("INVITE", 200, "", ANSWER);
        assert_eq!(goes_to(&call), udp().remote.to_string());
    });
}

#[test]
fn the_connection_that_the_far_end_opened_is_used() {
    each_way(|way| {
        let mut call = way.callee_over(peer(Transport::Tcp), "", Some(OFFER), settings());
        call.answers().far_acks("").hangs_up();
        assert_eq!(call.sent.last().unwrap().0.connection, Some(7));
    });
}

#[test]
fn a_leg_that_moved_speaks_from_its_new_address() {
    each_way(|way| {
        let mut call = way.answered();
        call.moves();
        call.does(|leg, now| leg.reoffer(now, HELD.into()).unwrap()).gives(&["INVITE+sdp"]);
        let invite = call.last_request("INVITE");
        assert_eq!(invite.contact().unwrap().uri().as_str(), "sip:leg@198.51.100.10:5060");
        assert_eq!(invite.via_top().host(), "198.51.100.10");
        assert_eq!(call.sent.last().unwrap().0.local.to_string(), "198.51.100.10:5060");
    });
}

#[test]
fn a_call_without_a_contact_is_refused_12_1_1() {
    let text = crate::script::invite_text(Transport::Udp, "", Some(OFFER))
        .replace("Contact: <sip:bob@192.0.2.1:5060>\r\n", "");
    let now = crate::script::some_instant();
    let identity = crate::script::identity(settings());
    let refused = Leg::incoming(now, &request(&text), udp(), identity);
    assert_eq!(refused.unwrap_err().status, 400);
}

#[test]
fn a_caller_of_rfc_2543_without_a_contact_is_reached_at_its_from() {
    let invite = crate::script::invite_text(Transport::Udp, "", Some(OFFER))
        .replace("Contact: <sip:bob@192.0.2.1:5060>\r\n", "")
        .replace(";tag=far", "");
    let ack = invite
        .replace("INVITE sip", "ACK sip")
        .replace("1 INVITE", "1 ACK")
        .replace("<sip:tandem@example.com>", "<sip:tandem@example.com>;tag=ours");
    let now = crate::script::some_instant();
    let identity = crate::script::identity(settings());
    let mut leg = Leg::incoming(now, &request(&invite), udp(), identity).unwrap();
    leg.answer(now, ANSWER.into()).unwrap();
    leg.handle_request(now, &request(&ack), udp());
    leg.hang_up(now);
    let sent = std::iter::from_fn(|| leg.poll_output());
    let bye = sent.filter_map(|output| match output {
        Output::Send { bytes, .. } => String::from_utf8(bytes).ok(),
        Output::Event(_) => None,
    });
    let bye = bye.last().unwrap();
    assert!(bye.starts_with("BYE sip:bob@example.com SIP/2.0\r\n"), "{bye}");
}

#[test]
fn an_answer_without_a_contact_is_acknowledged_where_the_invite_went() {
    each_way(|way| {
        let mut call = way.caller_with(&Outgoing {
            target: "sip:bob@192.0.2.1:5070".into(),
            ..outgoing(settings())
        });
        call.far_contact("<sip:ignored@192.0.2.9>");
        let invite = call.last_request("INVITE").clone();
        let response = tandem_sip::wire::Response::to_request(&invite, 200, Some("far"))
            .body("application/sdp", ANSWER.as_bytes())
            .build();
        call.far_sends(response.to_bytes());
        assert_eq!(call.last_request("ACK").uri().as_str(), "sip:bob@192.0.2.1:5070");
    });
}

#[test]
fn a_reoffer_that_reaches_nobody_ends_no_call_and_a_bye_that_does_not_ends_at_once() {
    each_way(|way| {
        let mut call = way.connected();
        call.does(|leg, now| leg.reoffer(now, HELD.into()).unwrap()).gives(&["INVITE+sdp"]);
        call.does(|leg, now| leg.handle_unreachable(now, peer(Transport::Udp)));
        call.gives(&["ReofferRefused 503"]);
        call.hangs_up().gives(&["BYE"]);
        call.does(|leg, now| leg.handle_unreachable(now, peer(Transport::Udp)));
        assert_eq!(call.leg.status(), LegStatus::Over);
    });
}
