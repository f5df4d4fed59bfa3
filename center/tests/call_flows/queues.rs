//! Callers wait, agents are chosen, offers come back, waits end.

use tandem_center::directory::QueueConfig;
use tandem_center::event::OfferEnd;
use tandem_center::record::SegmentEnd;
use tandem_center::timeline::Returned;
use tandem_center::{
    CallResult, Cause, Command, Happened, Hears, LegWant, Record, RecordingId, Reply, Route, Side,
    WantedState,
};

use crate::script::{Script, agent, directory, invited, leg, not_ready, queue};

#[test]
fn a_caller_waits_with_music_until_an_agent_is_ready_accepts_and_talks() {
    let mut script = Script::new();
    let call = script.dials("sales");
    assert_eq!(script.wants(call, 0), Some(LegWant::Answered));
    assert_eq!(script.hears(call, 0), Some(Hears::Music));
    assert_eq!(script.center.queue(&queue("sales")).unwrap().length(), 1);

    script.now = script.now.plus_seconds(20);
    script.is_ready("ana");
    assert_eq!((script.offered_to(call), script.state("ana")), (Some("ana".into()), "ringing"));
    let [Happened::Offered { call: screen, at_phone: false, until, .. }] = script.told("ana")[..]
    else {
        panic!("{:?}", script.last.events)
    };
    assert_eq!((&*screen.caller.number, screen.wait_ms), ("100", 20_000));
    assert_eq!(screen.queue_label.as_deref(), Some("Sales"));
    assert_eq!(*until, script.now.plus_seconds(15));
    // The desk rings, the phone is not invited yet.
    assert_eq!(script.wants(call, 1), None);

    assert_eq!(script.accepts("ana", call), Ok(Reply::Done));
    assert_eq!(invited(script.wants(call, 1)), ("sip:phone@127.0.0.1".to_owned(), true));
    assert_eq!(script.hears(call, 0), Some(Hears::Music));
    assert_eq!(script.state("ana"), "reserved");

    script.answers(call, 1);
    assert_eq!(script.state("ana"), "talking");
    assert_eq!(script.hears(call, 0), Some(Hears::Leg(leg(1))));
    let recording = Some(RecordingId(call.to_string().into()));
    assert_eq!(script.call(call).wants().record, recording);
    assert_eq!(script.center.queue(&queue("sales")).unwrap().length(), 0);

    script.now = script.now.plus_seconds(30);
    script.caller_hangs_up(call);
    let cdr = script.cdr();
    assert_eq!((cdr.wait_ms, cdr.talk_ms, cdr.result), (20_000, 30_000, CallResult::Answered));
    assert_eq!((&cdr.queue, &cdr.agent), (&Some(queue("sales")), &Some(agent("ana"))));
    assert_eq!(cdr.recording, recording);
    assert_eq!(script.state("ana"), "in wrap-up");
    script.after_seconds(10);
    assert_eq!(script.state("ana"), "ready");
    let totals = script.center.queue(&queue("sales")).unwrap().totals;
    assert_eq!((totals.entered, totals.answered, totals.answered_wait_ms), (1, 1, 20_000));
}

#[test]
fn the_agent_who_has_been_ready_longest_is_asked_and_the_timeline_says_why() {
    let mut script = Script::new();
    script.is_ready("bob");
    script.now = script.now.plus_seconds(1);
    script.is_ready("ana");
    let since = script.agent("bob").state.since();
    let later = script.agent("ana").state.since();
    let first = script.dials("sales");
    assert_eq!(script.offered_to(first).as_deref(), Some("bob"));
    let story = script.story(first);
    assert_eq!(
        story.last().unwrap(),
        &format!("offered to bob: ready longest, since {since}, of 2; then ana since {later}")
    );
    let second = script.dials("sales");
    assert_eq!(script.offered_to(second).as_deref(), Some("ana"));
}

#[test]
fn agents_who_are_equally_idle_are_chosen_by_name() {
    let mut script = Script::new();
    script.is_ready("bob");
    script.is_ready("ana");
    let call = script.dials("sales");
    assert_eq!(script.offered_to(call).as_deref(), Some("ana"));
}

#[test]
fn callers_are_served_in_order_of_arrival() {
    let mut script = Script::new();
    let first = script.dials("sales");
    let second = script.dials("sales");
    script.is_ready("ana");
    assert_eq!(script.offered_to(first).as_deref(), Some("ana"));
    assert_eq!(script.offered_to(second), None);
    script.is_ready("bob");
    assert_eq!(script.offered_to(second).as_deref(), Some("bob"));
}

#[test]
fn an_agent_of_two_queues_takes_the_higher_priority_first() {
    let mut directory = directory();
    directory.queues.get_mut(&queue("quiet")).unwrap().priority = 5;
    let mut script = Script::with(directory);
    script.gives(Command::Tick);
    // bot serves quiet as well: keep it busy.
    let busy = script.dials("quiet");
    script.answers(busy, 1);
    let low = script.dials("sales");
    script.now = script.now.plus_seconds(5);
    let high = script.dials("quiet");
    script.is_ready("bob");
    assert_eq!(script.offered_to(high).as_deref(), Some("bob"));
    assert_eq!(script.offered_to(low), None);
}

#[test]
fn an_offer_that_nobody_answers_goes_on_and_keeps_its_place() {
    let mut script = Script::new();
    script.is_ready("ana");
    script.now = script.now.plus_ms(1);
    script.is_ready("bob");
    let call = script.dials("sales");
    let later = script.dials("sales");
    let ticket = script.ticket(call);
    assert_eq!(script.offered_to(later).as_deref(), Some("bob"));
    script.declines("bob", later).unwrap();

    script.after_seconds(15);
    assert_eq!((script.state("ana"), script.reason("ana").as_str()), ("not ready", "no answer"));
    assert_eq!(script.offered_to(call), None);
    script.becomes("bob", WantedState::Ready);
    assert_eq!(script.offered_to(call).as_deref(), Some("bob"), "before the later one");
    assert_eq!(script.ticket(call), ticket);
    assert_eq!(script.call(call).redirects, 1);
}

#[test]
fn a_declined_offer_makes_the_agent_not_ready() {
    let mut script = Script::new();
    script.is_ready("ana");
    let call = script.dials("sales");
    assert_eq!(script.declines("ana", call), Ok(Reply::Done));
    assert_eq!(script.reason("ana"), "declined");
    let ended = OfferEnd::Returned(Returned::Declined);
    let told = Happened::OfferEnded { agent: agent("ana"), call, why: ended };
    assert_eq!(script.told("ana"), [&told]);
    assert!(script.declines("ana", call).is_err());
    assert_eq!(script.offered_to(call), None);
}

#[test]
fn a_phone_that_is_picked_up_accepts() {
    let mut script = Script::new();
    script.is_ready("cyd");
    let call = script.dials("sales");
    assert_eq!(invited(script.wants(call, 1)), ("sip:phone@127.0.0.1".to_owned(), false));
    assert_eq!(script.state("cyd"), "reserved");
    assert!(script.accepts("cyd", call).is_err(), "the phone is to be picked up");
    script.rings(call, 1);
    assert_eq!(script.state("cyd"), "ringing");
    script.answers(call, 1);
    assert_eq!(script.state("cyd"), "talking");
}

#[test]
fn a_phone_that_fails_is_passed_over() {
    for (status, reason) in [(486, "phone failed"), (480, "no answer"), (603, "declined")] {
        let mut script = Script::new();
        script.is_ready("cyd");
        let call = script.dials("sales");
        script.fails(call, 1, status);
        assert_eq!(script.reason("cyd"), reason);
        assert_eq!(script.wants(call, 1), None);
        script.is_ready("ana");
        assert_eq!(script.offered_to(call).as_deref(), Some("ana"));
    }
}

#[test]
fn a_phone_that_does_not_answer_by_itself_returns_the_accepted_offer() {
    let mut script = Script::new();
    script.is_ready("ana");
    let call = script.dials("sales");
    script.accepts("ana", call).unwrap();
    script.after_seconds(10);
    assert_eq!(script.reason("ana"), "no answer");
    assert_eq!(script.wants(call, 1), Some(LegWant::Gone { cause: Cause::NoAnswer }));
    assert_eq!(script.answers(call, 1), Reply::Already, "too late");
    assert_eq!(script.wants(call, 1), Some(LegWant::Gone { cause: Cause::NoAnswer }));
    script.ends(call, 1);
    assert_eq!(script.wants(call, 1), None);
}

#[test]
fn a_caller_who_leaves_withdraws_the_offer_and_the_agent_loses_no_place() {
    let mut script = Script::new();
    script.is_ready("cyd");
    let since = script.agent("cyd").state.since();
    script.now = script.now.plus_seconds(60);
    let call = script.dials("sales");
    script.rings(call, 1);
    script.caller_hangs_up(call);
    assert_eq!(script.wants(call, 1), Some(LegWant::Gone { cause: Cause::Withdrawn }));
    assert_eq!((script.state("cyd"), script.agent("cyd").state.since()), ("ready", since));
    assert_eq!((script.cdr().result, script.cdr().ended_by), (CallResult::Abandoned, Side::Caller));
    let told = Happened::OfferEnded { agent: agent("cyd"), call, why: OfferEnd::CallerLeft };
    assert_eq!(script.told("cyd"), [&told]);
    let totals = script.center.queue(&queue("sales")).unwrap().totals;
    assert_eq!(totals.abandoned, 1);
    // The phone is picked up at that very moment.
    assert_eq!(script.answers(call, 1), Reply::Already);
    assert_eq!(script.state("cyd"), "ready");
    assert_eq!(script.wants(call, 1), Some(LegWant::Gone { cause: Cause::Withdrawn }));
}

#[test]
fn a_caller_hears_ringing_where_the_queue_does_not_answer() {
    let mut script = Script::new();
    let call = script.dials("quiet");
    assert_eq!(script.wants(call, 0), Some(LegWant::Ring));
    assert_eq!(script.offered_to(call).as_deref(), Some("bot"), "always ready");
    script.answers(call, 1);
    assert_eq!(script.wants(call, 0), Some(LegWant::Answered));
    script.ends(call, 1);
    assert_eq!((script.cdr().ended_by, script.state("bot")), (Side::Agent, "ready"));
}

#[test]
fn a_device_that_is_always_ready_rests_after_a_failure_and_comes_back() {
    let mut script = Script::new();
    let call = script.dials("quiet");
    script.fails(call, 1, 503);
    assert_eq!(script.reason("bot"), "phone failed");
    script.after_seconds(4);
    assert_eq!(script.offered_to(call), None);
    script.after_seconds(1);
    assert_eq!(script.offered_to(call).as_deref(), Some("bot"));
}

#[test]
fn who_waits_too_long_is_let_go() {
    let mut script = Script::new();
    let call = script.dials("sales");
    script.after_seconds(120);
    assert_eq!(script.cdr().result, CallResult::WaitedTooLong);
    assert_eq!(script.cdr().wait_ms, 120_000);
    assert_eq!(script.wants(call, 0), Some(LegWant::Gone { cause: Cause::WaitedTooLong }));
    assert_eq!(script.center.queue(&queue("sales")).unwrap().totals.overflowed, 1);
}

#[test]
fn an_open_offer_is_waited_for_before_the_longest_wait_ends() {
    let mut script = Script::new();
    let call = script.dials("sales");
    script.after_seconds(110);
    script.is_ready("ana");
    script.after_seconds(14);
    assert_eq!(script.offered_to(call).as_deref(), Some("ana"));
    script.after_seconds(1);
    assert!(script.call(call).has_ended(), "no second agent is asked");
    assert_eq!(script.reason("ana"), "no answer");
}

#[test]
fn a_full_queue_overflows() {
    let mut directory = directory();
    let sales = directory.queues.get_mut(&queue("sales")).unwrap();
    sales.max_length = 1;
    sales.overflow = Some(Route::Queue(queue("extra")));
    let extra = QueueConfig { max_length: 1, answer: false, ..QueueConfig::default() };
    directory.queues.insert(queue("extra"), extra);
    let mut script = Script::with(directory);
    script.dials("sales");
    let second = script.dials("sales");
    assert_eq!(script.call(second).queue, Some(queue("extra")));
    assert_eq!(script.wants(second, 0), Some(LegWant::Ring));
    let third = script.dials("sales");
    assert_eq!(script.cdr().result, CallResult::QueueFull);
    assert_eq!(script.wants(third, 0), Some(LegWant::Refused { status: 480 }));
    // The first one waited too long: on to extra, which is full.
    script.after_seconds(120);
    assert_eq!(script.cdr().result, CallResult::QueueFull);
}

#[test]
fn an_agents_own_number_rings_the_desk_or_says_busy() {
    let mut script = Script::new();
    let call = script.dials("ana");
    assert_eq!(script.wants(call, 0), Some(LegWant::Refused { status: 480 }), "not signed in");

    script.is_ready("ana");
    script.becomes("ana", not_ready("desk work"));
    let call = script.dials("ana");
    assert_eq!((script.wants(call, 0), script.state("ana")), (Some(LegWant::Ring), "ringing"));
    let busy = script.dials("ana");
    assert_eq!(script.wants(busy, 0), Some(LegWant::Refused { status: 486 }));
    script.accepts("ana", call).unwrap();
    script.answers(call, 1);
    assert_eq!(script.wants(call, 0), Some(LegWant::Answered));
    assert_eq!(script.call(call).wants().record, None, "no queue asks for it");
    script.hangs_up("ana", call).unwrap();
    assert_eq!((script.cdr().result, script.cdr().ended_by), (CallResult::Answered, Side::Agent));
    assert_eq!(script.reason("ana"), "desk work");
}

#[test]
fn an_agents_own_number_that_is_not_answered_ends_the_call() {
    let mut script = Script::new();
    script.is_ready("cyd");
    let call = script.dials("cyd");
    script.after_seconds(20);
    assert_eq!(script.cdr().result, CallResult::NoAnswer);
    assert_eq!(script.wants(call, 0), Some(LegWant::Refused { status: 480 }));
    assert_eq!(script.reason("cyd"), "no answer");

    script.becomes("cyd", WantedState::Ready);
    let call = script.dials("cyd");
    script.declines("cyd", call).unwrap();
    assert_eq!(script.wants(call, 0), Some(LegWant::Refused { status: 603 }));
    script.becomes("cyd", WantedState::Ready);
    let call = script.dials("cyd");
    script.fails(call, 1, 486);
    assert_eq!(script.wants(call, 0), Some(LegWant::Refused { status: 486 }));
}

#[test]
fn the_record_says_what_came_of_each_stay_in_a_queue_and_how_long_agents_rang() {
    let mut script = Script::new();
    script.is_ready("ana");
    let call = script.dials("sales");
    script.after_seconds(4);
    script.caller_hangs_up(call);
    let cdr = script.cdr();
    assert_eq!(cdr.ends(), [SegmentEnd::Abandoned]);
    assert_eq!((cdr.segments[0].rang_ms, cdr.parties, cdr.transfers), (4_000, 0, 0));
    let mut script = Script::new();
    let call = script.talks_with("ana");
    script.after_seconds(30);
    script.caller_hangs_up(call);
    let cdr = script.cdr();
    assert_eq!(cdr.ends(), [SegmentEnd::Answered, SegmentEnd::Ended]);
    assert_eq!((cdr.parties, cdr.transfers, &cdr.trunk), (2, 0, &None));
    let talked = script.last.records.iter().find_map(|record| match record {
        Record::Stint(stint) => Some((stint.agent.to_string(), stint.state.name(), stint.ended)),
        Record::Cdr(_) | Record::Disposition(_) | Record::Timeline(_) => None,
    });
    assert_eq!(talked, Some(("ana".to_owned(), "talking", script.now)));
}
