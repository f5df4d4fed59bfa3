//! Session timers (RFC 4028).

use tandem_sip::wire::HeaderName;

use crate::script::{
    ANSWER, HELD, OFFER, Script, each_way, outgoing, settings, stateless, timed_settings,
};

const TIMER: &str = "Supported: timer\r\n";

fn says(call: &Script) -> Option<String> {
    let head = call.last().head();
    head.header_str(HeaderName::SessionExpires).map(str::to_owned)
}

mod called {
    use super::*;

    #[test]
    fn an_interval_below_ours_gets_422_and_min_se_9() {
        let headers = "Supported: timer\r\nSession-Expires: 100\r\n";
        let refused = stateless(headers, Some(OFFER), timed_settings());
        assert_eq!(refused.status, 422);
        assert!(String::from_utf8_lossy(&refused.bytes).contains("Min-SE: 120\r\n"));
    }

    #[test]
    fn a_caller_that_says_who_refreshes_is_believed_9() {
        each_way(|way| {
            for (refresher, require) in [("uac", true), ("uas", false)] {
                let headers = format!("{TIMER}Session-Expires: 300;refresher={refresher}\r\n");
                let mut call = way.callee_with(&headers, Some(OFFER), timed_settings());
                call.answers().gives(&["200 INVITE+sdp"]);
                assert_eq!(says(&call), Some(format!("300;refresher={refresher}")));
                assert_eq!(call.last_response().lists(HeaderName::Require, "timer"), require);
            }
        });
    }

    #[test]
    fn a_caller_that_supports_it_is_asked_to_refresh_9() {
        each_way(|way| {
            let mut call = way.callee_with(TIMER, Some(OFFER), timed_settings());
            call.answers();
            assert_eq!(says(&call), Some("600;refresher=uac".into()));
        });
    }

    #[test]
    fn for_a_caller_without_support_we_refresh_9() {
        each_way(|way| {
            let mut call = way.callee_with("", Some(OFFER), timed_settings());
            call.answers();
            assert_eq!(says(&call), Some("600;refresher=uas".into()));
            assert!(!call.last_response().lists(HeaderName::Require, "timer"));
        });
    }

    #[test]
    fn an_interval_is_lowered_but_not_below_their_min_se_9() {
        each_way(|way| {
            let headers = format!("{TIMER}Session-Expires: 1800\r\nMin-SE: 900\r\n");
            let mut call = way.callee_with(&headers, Some(OFFER), timed_settings());
            call.answers();
            assert_eq!(says(&call), Some("900;refresher=uac".into()));
        });
    }

    #[test]
    fn without_a_timer_of_ours_theirs_runs_all_the_same_9() {
        each_way(|way| {
            let headers = format!("{TIMER}Session-Expires: 1800\r\n");
            let mut call = way.callee_with(&headers, Some(OFFER), settings());
            call.answers();
            assert_eq!(says(&call), Some("1800;refresher=uac".into()));
            let mut call = way.callee_with(TIMER, Some(OFFER), settings());
            call.answers();
            assert_eq!(says(&call), None);
        });
    }

    #[test]
    fn a_session_that_nobody_refreshes_is_ended_a_little_before_its_time_10() {
        each_way(|way| {
            let headers = format!("{TIMER}Session-Expires: 300;refresher=uac\r\n");
            let mut call = way.answered_with(&headers, timed_settings());
            call.after_ms(267_999).is_silent(); // 300 s less 32 s
            call.after_ms(1).gives(&["Ended SessionExpired", "BYE"]);
            call.far_says("BYE", 200, "", "").is_silent();
            call.ends(&["Terminated"]);
        });
    }

    #[test]
    fn their_refresh_starts_the_interval_anew_10() {
        each_way(|way| {
            let headers = format!("{TIMER}Session-Expires: 300;refresher=uac\r\n");
            let mut call = way.answered_with(&headers, timed_settings());
            call.after_ms(150_000).far_asks("INVITE", &headers, OFFER).gives(&["200 INVITE+sdp"]);
            assert_eq!(says(&call), Some("300;refresher=uac".into()));
            call.far_acks("").gives(&["Acked"]);
            call.after_ms(150_000).far_asks("UPDATE", &headers, "").gives(&["200 UPDATE"]);
            assert_eq!(says(&call), Some("300;refresher=uac".into()));
            call.after_ms(267_999).is_silent();
            call.after_ms(1).gives(&["Ended SessionExpired", "BYE"]);
        });
    }

    #[test]
    fn a_refresh_that_is_too_short_gets_422_9() {
        each_way(|way| {
            let headers = format!("{TIMER}Session-Expires: 300;refresher=uac\r\n");
            let short = format!("{TIMER}Session-Expires: 90\r\n");
            let mut call = way.answered_with(&headers, timed_settings());
            call.far_asks("INVITE", &short, OFFER).gives(&["422 INVITE"]);
            call.far_asks("UPDATE", &short, "").gives(&["422 UPDATE"]);
            assert_eq!(call.last_response().header(HeaderName::MinSe), Some(&b"120"[..]));
        });
    }
}

mod calling {
    use super::*;

    fn timed(way: crate::script::Way, granted: &str) -> Script {
        let mut call = way.caller_with(&outgoing(timed_settings()));
        assert_eq!(says(&call), Some("600".into()));
        let headers = if granted.is_empty() {
            String::new()
        } else {
            format!("Require: timer\r\nSession-Expires: {granted}")
        };
        call.far_says("INVITE", 200, &headers, ANSWER);
        call.gives(&["INVITE+sdp", "ACK", "Answered+sdp"]);
        call
    }

    #[test]
    fn a_422_is_answered_with_a_longer_interval_7_3() {
        each_way(|way| {
            let mut call = way.caller_with(&outgoing(timed_settings()));
            call.far_says("INVITE", 422, "Min-SE: 1200", "").gives(&[
                "INVITE+sdp",
                "ACK",
                "INVITE+sdp",
            ]);
            assert_eq!(says(&call), Some("1200".into()));
            let invite = call.last_request("INVITE");
            assert_eq!(invite.header(HeaderName::MinSe), Some(&b"1200"[..]));
            assert!(invite.cseq().number >= 2);
        });
    }

    #[test]
    fn we_refresh_at_half_the_interval_with_the_same_offer_10() {
        each_way(|way| {
            let mut call = timed(way, "600;refresher=uac");
            call.after_ms(299_999).is_silent();
            call.after_ms(1).gives(&["INVITE+sdp"]);
            assert_eq!(call.last_request("INVITE").body(), OFFER.as_bytes());
            assert_eq!(says(&call), Some("600;refresher=uac".into()));
            call.far_says("INVITE", 200, "Session-Expires: 600;refresher=uac", ANSWER);
            call.gives(&["ACK"]);
            call.after_ms(300_000).gives(&["INVITE+sdp"]);
        });
    }

    #[test]
    fn a_refresh_that_changes_the_session_is_told() {
        each_way(|way| {
            let mut call = timed(way, "600;refresher=uac");
            call.after_ms(300_000).gives(&["INVITE+sdp"]);
            call.far_says("INVITE", 200, "Session-Expires: 600;refresher=uac", HELD);
            call.gives(&["ACK", "ReofferAnswered+sdp"]);
        });
    }

    #[test]
    fn they_refresh_when_the_2xx_says_so_7_2() {
        each_way(|way| {
            let mut call = timed(way, "600;refresher=uas");
            call.after_ms(567_999).is_silent();
            call.after_ms(1).gives(&["Ended SessionExpired", "BYE"]);
        });
    }

    #[test]
    fn without_session_expires_in_the_2xx_nothing_expires_7_2() {
        each_way(|way| {
            let mut call = timed(way, "");
            call.after_ms(10_000_000).is_silent();
        });
    }

    #[test]
    fn a_refused_refresh_is_tried_again_and_the_session_ends_in_time_10() {
        each_way(|way| {
            let mut call = timed(way, "600;refresher=uac");
            call.after_ms(300_000).gives(&["INVITE+sdp"]);
            call.far_says("INVITE", 500, "", "").gives(&["ACK"]);
            call.until_it_acts(134_001).gives(&["INVITE+sdp"]);
            call.far_says("INVITE", 500, "", "").gives(&["ACK"]);
            call.until_it_acts(67_001).gives(&["INVITE+sdp"]);
            call.far_says("INVITE", 200, "Session-Expires: 600;refresher=uac", ANSWER);
            call.gives(&["ACK"]);
        });
    }

    #[test]
    fn a_refresh_that_is_not_answered_ends_the_session_10() {
        each_way(|way| {
            let mut call = timed(way, "600;refresher=uac");
            call.after_ms(300_000 + 31_999).gives(&["INVITE+sdp"; 7]);
            call.after_ms(1).gives(&["Ended Lost", "BYE"]);
        });
    }

    #[test]
    fn our_own_offer_refreshes_the_session_as_well_7_4() {
        each_way(|way| {
            let mut call = timed(way, "600;refresher=uas");
            call.after_ms(200_000);
            call.does(|leg, now| leg.reoffer(now, HELD.into()).unwrap()).gives(&["INVITE+sdp"]);
            assert_eq!(says(&call), Some("600;refresher=uas".into()));
            call.far_says("INVITE", 200, "Session-Expires: 600;refresher=uas", ANSWER);
            call.gives(&["ACK", "ReofferAnswered+sdp"]);
            call.after_ms(567_999).is_silent();
        });
    }
}
