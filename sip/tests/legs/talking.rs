//! Confirmed dialogs: re-INVITE both ways, glare, BYE (RFC 3261 §14, §15).

use tandem_sip::wire::HeaderName;

use crate::script::{
    ANSWER, HELD, OFFER, Way, credentials, each_way, on_one_machine, outgoing, settings,
};

#[test]
fn the_caller_holds_and_the_node_answers() {
    each_way(|way| {
        let mut call = way.answered();
        call.far_asks("INVITE", "", HELD).gives(&["Reoffered+sdp"]);
        call.does(|leg, now| leg.answer_reoffer(now, ANSWER.into()).unwrap());
        call.gives(&["200 INVITE+sdp"]);
        call.after_ms(500).gives(&["200 INVITE+sdp"]);
        call.far_acks("").gives(&["Acked"]);
        call.after_ms(60_000).is_silent();
    });
}

#[test]
fn a_re_invite_that_the_node_takes_long_for_gets_100_after_200_ms_17_2_1() {
    each_way(|way| {
        let mut call = way.answered();
        call.far_asks("INVITE", "", HELD).gives(&["Reoffered+sdp"]);
        call.far_repeats().is_silent();
        call.after_ms(199).is_silent();
        call.after_ms(1).gives(&["100 INVITE"]);
        call.far_repeats().gives(&["100 INVITE"]);
    });
}

#[test]
fn a_re_invite_is_refused_and_the_session_stays_14_2() {
    each_way(|way| {
        let mut call = way.answered();
        call.far_asks("INVITE", "", HELD).gives(&["Reoffered+sdp"]);
        call.does(|leg, now| leg.refuse_reoffer(now, 488).unwrap()).gives(&["488 INVITE"]);
        assert!(call.leg.refuse_reoffer(call.now, 488).is_err());
        call.hangs_up().gives(&["BYE"]);
    });
}

#[test]
fn a_re_invite_without_an_offer_gets_ours_14_2() {
    each_way(|way| {
        let mut call = way.answered();
        call.far_asks("INVITE", "", "").gives(&["Reoffered"]);
        call.does(|leg, now| leg.answer_reoffer(now, OFFER.into()).unwrap());
        call.gives(&["200 INVITE+sdp"]);
        call.far_acks(ANSWER).gives(&["Acked+sdp"]);
    });
}

#[test]
fn a_re_invite_whose_2xx_is_never_acknowledged_ends_the_call_14_2() {
    on_one_machine(|way| {
        let mut call = way.answered();
        call.far_asks("INVITE", "", HELD).gives(&["Reoffered+sdp"]);
        call.does(|leg, now| leg.answer_reoffer(now, ANSWER.into()).unwrap());
        call.after_ms(31_999).gives(&["200 INVITE+sdp"; 11]);
        call.after_ms(1).gives(&["Ended NoAck", "BYE"]);
    });
}

#[test]
fn the_same_offer_again_gets_the_same_answer_without_the_node() {
    each_way(|way| {
        let mut call = way.answered();
        call.far_asks("INVITE", "", OFFER).gives(&["200 INVITE+sdp"]);
        assert_eq!(call.last_response().body(), ANSWER.as_bytes());
        call.far_acks("").gives(&["Acked"]);
    });
}

#[test]
fn a_second_re_invite_before_our_answer_gets_500_and_retry_after_14_2() {
    each_way(|way| {
        let mut call = way.answered();
        call.far_asks("INVITE", "", HELD).gives(&["Reoffered+sdp"]);
        call.far_asks("INVITE", "", OFFER).gives(&["500 INVITE"]);
        let seconds: u32 =
            call.last_response().header_str(HeaderName::RetryAfter).unwrap().parse().unwrap();
        assert!(seconds <= 10);
    });
}

#[test]
fn a_re_invite_while_ours_is_out_gets_491_14_2() {
    each_way(|way| {
        let mut call = way.answered();
        call.does(|leg, now| leg.reoffer(now, HELD.into()).unwrap()).gives(&["INVITE+sdp"]);
        call.far_asks("INVITE", "", HELD).gives(&["491 INVITE"]);
        call.far_says("INVITE", 200, "", ANSWER).gives(&["ACK", "ReofferAnswered+sdp"]);
    });
}

#[test]
fn a_cancelled_re_invite_gets_487_and_the_dialog_stays() {
    each_way(|way| {
        let mut call = way.answered();
        call.far_asks("INVITE", "", HELD).gives(&["Reoffered+sdp"]);
        let cancel = call.cancel_of_last();
        call.far_sends(cancel).gives(&["200 CANCEL", "487 INVITE"]);
        assert!(call.leg.answer_reoffer(call.now, ANSWER.into()).is_err());
        call.far_asks("BYE", "", "").gives(&["ByeReceived"]);
    });
}

mod ours {
    use super::*;

    #[test]
    fn we_offer_anew_and_the_far_end_answers_14_1() {
        each_way(|way| {
            let mut call = way.connected();
            let invite = call.last_request("INVITE").clone();
            call.does(|leg, now| leg.reoffer(now, HELD.into()).unwrap()).gives(&["INVITE+sdp"]);
            let again = call.last_request("INVITE");
            // RFC 3261 §14.1: same Call-ID and tags, a higher CSeq.
            assert_eq!(again.call_id(), invite.call_id());
            assert_eq!(again.from_tag(), invite.from_tag());
            assert_eq!(again.to_tag(), Some("far"));
            assert!(again.cseq().number > invite.cseq().number);
            assert!(again.contact().is_some());
            call.far_says("INVITE", 100, "", "").is_silent();
            call.far_says("INVITE", 200, "", ANSWER).gives(&["ACK", "ReofferAnswered+sdp"]);
            call.far_repeats().gives(&["ACK"]);
        });
    }

    #[test]
    fn we_ask_for_an_offer_and_answer_it_in_the_ack() {
        each_way(|way| {
            let mut call = way.connected();
            call.does(|leg, now| leg.reoffer(now, Vec::new()).unwrap()).gives(&["INVITE"]);
            call.far_says("INVITE", 200, "", OFFER).gives(&["ReofferAnswered+sdp"]);
            call.does(|leg, now| leg.acknowledge(now, ANSWER.into()).unwrap()).gives(&["ACK+sdp"]);
        });
    }

    #[test]
    fn a_refused_offer_leaves_the_session_as_it_was_14_1() {
        each_way(|way| {
            let mut call = way.connected();
            call.does(|leg, now| leg.reoffer(now, HELD.into()).unwrap()).gives(&["INVITE+sdp"]);
            call.far_says("INVITE", 488, "", "").gives(&["ACK", "ReofferRefused 488"]);
            call.hangs_up().gives(&["BYE"]);
        });
    }

    #[test]
    fn we_do_not_offer_while_another_invite_is_under_way_14_1() {
        each_way(|way| {
            let mut call = way.connected();
            call.does(|leg, now| leg.reoffer(now, HELD.into()).unwrap()).gives(&["INVITE+sdp"]);
            call.does(|leg, now| leg.reoffer(now, ANSWER.into()).unwrap()).is_silent();
            call.does(|leg, now| leg.reoffer(now, OFFER.into()).unwrap()).is_silent();
            call.far_says("INVITE", 200, "", ANSWER);
            call.gives(&["ACK", "ReofferAnswered+sdp", "INVITE+sdp"]);
            assert_eq!(call.last_request("INVITE").body(), OFFER.as_bytes());

            let mut call = way.callee();
            call.answers().gives(&["200 INVITE+sdp"]);
            call.does(|leg, now| leg.reoffer(now, HELD.into()).unwrap()).is_silent();
            call.far_acks("").gives(&["Acked", "INVITE+sdp"]);

            let mut call = way.answered();
            call.far_asks("INVITE", "", HELD).gives(&["Reoffered+sdp"]);
            call.does(|leg, now| leg.reoffer(now, HELD.into()).unwrap()).is_silent();
            call.does(|leg, now| leg.refuse_reoffer(now, 488).unwrap());
            call.gives(&["488 INVITE", "INVITE+sdp"]);
        });
    }

    /// How long a leg waits after a 491, milliseconds.
    fn waits_after_491(way: Way, caller: bool) -> u64 {
        let mut call = if caller { way.connected() } else { way.answered() };
        call.does(|leg, now| leg.reoffer(now, HELD.into()).unwrap()).gives(&["INVITE+sdp"]);
        call.far_says("INVITE", 491, "", "").gives(&["ACK"]);
        let mut ms = 0;
        while call.after_ms(10).sent.last().unwrap().1.head().cseq().to_string().ends_with("ACK") {
            ms += 10;
            assert!(ms < 10_000);
        }
        call.gives(&["INVITE+sdp"]);
        call.far_says("INVITE", 200, "", ANSWER).gives(&["ACK", "ReofferAnswered+sdp"]);
        ms + 10
    }

    #[test]
    fn after_491_the_owner_of_the_call_id_waits_2_1_to_4_s_the_other_up_to_2_s_14_1() {
        each_way(|way| {
            let owner = waits_after_491(way, true);
            assert!((2_100..=4_010).contains(&owner), "{owner}");
            let other = waits_after_491(way, false);
            assert!(other <= 2_010, "{other}");
        });
    }

    #[test]
    fn a_491_that_stays_is_told_at_last() {
        each_way(|way| {
            let mut call = way.connected();
            call.does(|leg, now| leg.reoffer(now, HELD.into()).unwrap()).gives(&["INVITE+sdp"]);
            for _ in 0..4 {
                call.far_says("INVITE", 491, "", "").gives(&["ACK"]);
                call.until_it_acts(4_010).gives(&["INVITE+sdp"]);
            }
            call.far_says("INVITE", 491, "", "").gives(&["ACK", "ReofferRefused 491"]);
        });
    }

    #[test]
    fn their_offer_may_come_while_ours_waits_after_a_491() {
        each_way(|way| {
            let mut call = way.connected();
            call.does(|leg, now| leg.reoffer(now, HELD.into()).unwrap()).gives(&["INVITE+sdp"]);
            call.far_says("INVITE", 491, "", "").gives(&["ACK"]);
            call.far_asks("INVITE", "", HELD).gives(&["Reoffered+sdp"]);
            call.does(|leg, now| leg.answer_reoffer(now, ANSWER.into()).unwrap());
            call.gives(&["200 INVITE+sdp"]);
            call.far_acks("").gives(&["Acked", "INVITE+sdp"]);
        });
    }

    #[test]
    fn a_challenged_offer_goes_again_with_credentials() {
        each_way(|way| {
            let mut with = outgoing(settings());
            with.credentials = Some(credentials());
            let mut call = way.connected_with(&with);
            call.does(|leg, now| leg.reoffer(now, HELD.into()).unwrap()).gives(&["INVITE+sdp"]);
            let asks = "WWW-Authenticate: Digest realm=\"r\", nonce=\"n\"";
            call.far_says("INVITE", 401, asks, "").gives(&["ACK", "INVITE+sdp"]);
            assert!(call.last_request("INVITE").header(HeaderName::Authorization).is_some());
            call.far_says("INVITE", 200, "", ANSWER).gives(&["ACK", "ReofferAnswered+sdp"]);
            assert!(call.last_request("ACK").header(HeaderName::Authorization).is_some());
        });
    }

    #[test]
    fn an_offer_into_a_lost_dialog_ends_it_12_2_1_2() {
        each_way(|way| {
            for status in [481, 408] {
                let mut call = way.connected();
                call.does(|leg, now| leg.reoffer(now, HELD.into()).unwrap());
                call.gives(&["INVITE+sdp"]);
                call.far_says("INVITE", status, "", "").gives(&["ACK", "Ended Lost", "BYE"]);
                call.far_says("BYE", 481, "", "").is_silent();
                call.ends(&["Terminated"]);
            }
        });
    }

    #[test]
    fn an_offer_without_any_answer_ends_the_dialog_12_2_1_2() {
        each_way(|way| {
            let mut call = way.connected();
            call.does(|leg, now| leg.reoffer(now, HELD.into()).unwrap());
            call.after_ms(31_999).gives(&["INVITE+sdp"; 7]);
            call.after_ms(1).gives(&["Ended Lost", "BYE"]);
        });
    }

    #[test]
    fn an_offer_that_is_only_tried_is_given_up() {
        each_way(|way| {
            let mut call = way.connected();
            call.does(|leg, now| leg.reoffer(now, HELD.into()).unwrap()).gives(&["INVITE+sdp"]);
            call.far_says("INVITE", 100, "", "").after_ms(64_000).gives(&["Ended Lost", "BYE"]);
        });
    }
}

mod hanging_up_15 {
    use super::*;

    #[test]
    fn a_bye_waits_for_the_node_and_its_repetition_is_absorbed() {
        each_way(|way| {
            let mut call = way.answered();
            call.far_asks("BYE", "", "").gives(&["ByeReceived"]);
            call.far_repeats().is_silent();
            call.accepts_bye().gives(&["200 BYE", "Ended TheyHungUp"]);
            call.far_repeats().gives(&["200 BYE"]);
            assert!(call.leg.accept_bye(call.now).is_err());
            call.hangs_up().is_silent();
            call.after_ms(31_999).far_repeats().gives(&["200 BYE"]);
            call.ends(&["Terminated"]); // J
        });
    }

    #[test]
    fn a_bye_that_the_node_never_accepts_is_answered_in_the_end() {
        each_way(|way| {
            let mut call = way.answered();
            call.far_asks("BYE", "", "").gives(&["ByeReceived"]);
            call.after_ms(32_000).gives(&["200 BYE", "Ended TheyHungUp"]);
        });
    }

    #[test]
    fn hanging_up_accepts_their_bye() {
        each_way(|way| {
            let mut call = way.answered();
            call.far_asks("BYE", "", "").gives(&["ByeReceived"]);
            call.hangs_up().gives(&["200 BYE", "Ended TheyHungUp"]);
        });
    }

    #[test]
    fn a_bye_is_repeated_and_given_up_after_timer_f_17_1_2_2() {
        each_way(|way| {
            let mut call = way.answered();
            call.hangs_up().gives(&["BYE"]);
            for ms in [500, 1_000, 2_000, 4_000, 4_000, 4_000, 4_000, 4_000, 4_000, 4_000] {
                call.after_ms(ms - 1).is_silent();
                call.after_ms(1).gives(&["BYE"]);
            }
            call.after_ms(500).gives(&["Ended WeHungUp", "Terminated"]);
        });
    }

    #[test]
    fn whatever_answers_our_bye_the_dialog_is_over_15_1_1() {
        each_way(|way| {
            for status in [200, 481, 408, 500, 603] {
                let mut call = way.answered();
                call.hangs_up().gives(&["BYE"]);
                call.far_says("BYE", status, "", "").gives(&["Ended WeHungUp"]);
                call.far_repeats().is_silent(); // K
                call.ends(&["Terminated"]);
            }
        });
    }

    #[test]
    fn both_hang_up_at_once() {
        each_way(|way| {
            let mut call = way.answered();
            call.hangs_up().gives(&["BYE"]);
            call.far_asks("BYE", "", "").gives(&["200 BYE"]);
            call.far_says("BYE", 200, "", "").gives(&["Ended WeHungUp"]);
            call.ends(&["Terminated"]);
        });
    }

    #[test]
    fn a_bye_answers_what_is_pending_with_487_15_1_2() {
        each_way(|way| {
            let mut call = way.answered();
            call.far_asks("INVITE", "", HELD).gives(&["Reoffered+sdp"]);
            call.far_asks("BYE", "", "").gives(&["487 INVITE", "ByeReceived"]);
            call.accepts_bye().gives(&["200 BYE", "Ended TheyHungUp"]);

            let mut call = way.answered();
            call.far_asks("INVITE", "", HELD).gives(&["Reoffered+sdp"]);
            call.hangs_up().gives(&["487 INVITE", "BYE"]);
        });
    }

    #[test]
    fn hanging_up_while_our_offer_is_out_leaves_nothing_behind() {
        each_way(|way| {
            let mut call = way.connected();
            call.does(|leg, now| leg.reoffer(now, HELD.into()).unwrap()).gives(&["INVITE+sdp"]);
            call.hangs_up().gives(&["BYE"]);
            call.far_says("INVITE", 200, "", ANSWER).gives(&["ACK"]);
            call.far_says("BYE", 200, "", "").gives(&["Ended WeHungUp"]);
            call.ends(&["Terminated"]);

            let mut call = way.connected();
            call.does(|leg, now| leg.reoffer(now, HELD.into()).unwrap()).gives(&["INVITE+sdp"]);
            call.far_says("INVITE", 100, "", "").is_silent();
            call.far_asks("BYE", "", "").gives(&["ByeReceived"]);
            call.accepts_bye().gives(&["200 BYE", "Ended TheyHungUp"]);
            call.ends(&["Terminated"]);
        });
    }

    #[test]
    fn requests_behind_the_end_get_481() {
        each_way(|way| {
            let mut call = way.answered();
            call.far_asks("BYE", "", "").gives(&["ByeReceived"]);
            call.far_asks("INVITE", "", HELD).gives(&["481 INVITE"]);
            call.accepts_bye().gives(&["200 BYE", "Ended TheyHungUp"]);
            call.far_asks("INVITE", "", HELD).gives(&["481 INVITE"]);
            call.far_asks("BYE", "", "").gives(&["481 BYE"]);
        });
    }

    #[test]
    fn a_caller_that_hangs_up_instead_of_acknowledging_is_done() {
        each_way(|way| {
            let mut call = way.callee();
            call.answers().gives(&["200 INVITE+sdp"]);
            call.far_asks("BYE", "", "").gives(&["ByeReceived"]);
            call.after_ms(10_000).is_silent();
            call.accepts_bye().gives(&["200 BYE", "Ended TheyHungUp"]);
        });
    }
}
