//! Who is asked by each strategy, who may take which caller when, and what the timeline says of it.

use std::collections::BTreeMap;

use tandem_center::directory::{
    AnswersOn, CallerClass, DirectoryError, Member, NumberPattern, QueueConfig, Ring, Skills,
    Strategy,
};
use tandem_center::event::OfferEnd;
use tandem_center::{CallId, Cause, Command, Directory, Happened, LegWant, Route, WantedState};

use crate::script::{Script, agent, directory, person, queue};

const TEAM: [&str; 4] = ["ann", "ben", "cem", "dot"];

fn skills(of: &[(&str, u8)]) -> Skills {
    of.iter().map(|(skill, level)| ((*skill).into(), *level)).collect()
}

/// The queue `team` with four people who answer at their phones.
fn team(strategy: Strategy) -> Directory {
    let mut directory = directory();
    directory.numbers.insert("team".into(), Route::Queue(queue("team")));
    let config = QueueConfig { strategy, ring_seconds: 15, ..QueueConfig::default() };
    directory.queues.insert(queue("team"), config);
    for name in TEAM {
        directory.agents.insert(agent(name), person(AnswersOn::Phone, &["team"]));
    }
    directory
}

fn members(directory: &mut Directory, of: &[(&str, Member)]) {
    let config = directory.queues.get_mut(&queue("team")).expect("it is there");
    config.distribution.members =
        of.iter().map(|(name, member)| (agent(name), *member)).collect::<BTreeMap<_, _>>();
}

/// Everybody of the team is ready, one second after the other.
fn ready(directory: Directory) -> Script {
    let mut script = Script::with(directory);
    for name in TEAM {
        script.is_ready(name);
        script.now = script.now.plus_seconds(1);
    }
    script
}

fn why(script: &Script, call: CallId) -> String {
    let mut notes = script.story(call).into_iter();
    notes.rfind(|note| note.starts_with("offered to")).expect("it was offered")
}

/// A conversation of so many seconds with whoever is asked; says who that was.
fn talks(script: &mut Script, seconds: u32) -> String {
    let call = script.dials("team");
    let name = script.offered_to(call).expect("somebody is asked");
    let leg = script.call(call).offers()[0].stage.leg().expect("phones ring");
    script.answers(call, leg.0);
    script.now = script.now.plus_seconds(seconds);
    script.caller_hangs_up(call);
    name
}

#[test]
fn round_robin_asks_one_after_the_other_whoever_is_idle_longest() {
    let mut directory = team(Strategy::RoundRobin);
    members(&mut directory, &[("dot", Member { rank: 0, ..Member::default() })]);
    let mut script = ready(directory);
    let order: Vec<String> = (0..6).map(|_| talks(&mut script, 1)).collect();
    assert_eq!(order, ["ann", "ben", "cem", "dot", "ann", "ben"]);
    let call = script.dials("team");
    assert_eq!(why(&script, call), "offered to cem: next in turn after ben, of 4 ready");
    // Who is not ready is passed over, and the turn goes on behind.
    script.becomes("dot", WantedState::NotReady { reason: "lunch".into() });
    assert_eq!(talks(&mut script, 1), "ann");
}

#[test]
fn all_phones_ring_and_the_first_to_answer_takes_the_call() {
    let mut script = ready(team(Strategy::RingAll));
    let call = script.dials("team");
    let asked: Vec<String> =
        script.call(call).offers().iter().map(|offer| offer.agent.to_string()).collect();
    assert_eq!(asked, TEAM);
    assert_eq!(why(&script, call), "offered to dot: one of 4 asked at once, of 4 ready");
    let later = script.dials("team");
    assert_eq!(script.offered_to(later), None, "nobody is asked twice");

    script.fails(call, 2, 486);
    assert_eq!(script.reason("ben"), "phone failed");
    assert_eq!(script.call(call).offers().len(), 3);
    script.rings(call, 3);
    assert_eq!((script.state("cem"), script.state("ann")), ("ringing", "reserved"));

    let since = script.agent("ann").idle_since;
    script.answers(call, 3);
    assert_eq!(script.state("cem"), "talking");
    let gone = Some(LegWant::Gone { cause: Cause::Withdrawn });
    assert_eq!((script.wants(call, 1), script.wants(call, 4)), (gone.clone(), gone));
    let why = OfferEnd::TakenByAnother;
    let told = Happened::OfferEnded { agent: agent("ann"), call, why };
    assert_eq!(script.told("ann")[0], &told);
    // They lost no place, and are asked for the next caller at once.
    assert_eq!(script.agent("ann").idle_since, since);
    let asked: Vec<String> =
        script.call(later).offers().iter().map(|offer| offer.agent.to_string()).collect();
    assert_eq!(asked, ["ann", "dot"]);
    // The one who answered too late stays with the next caller.
    script.answers(call, 1);
    assert_eq!(script.state("ann"), "reserved");
    script.after_seconds(15);
    assert_eq!((script.reason("ann").as_str(), script.state("dot")), ("no answer", "not ready"));
}

#[test]
fn phones_that_ring_at_once_are_one_time_of_ringing_in_the_record() {
    let mut script = ready(team(Strategy::RingAll));
    script.after_seconds(1);
    let call = script.dials("team");
    script.after_seconds(5);
    script.fails(call, 2, 486);
    script.after_seconds(3);
    script.answers(call, 1);
    script.after_seconds(20);
    script.caller_hangs_up(call);
    let cdr = script.cdr();
    let segments =
        cdr.segments.iter().map(|segment| (segment.length_ms(cdr.ended), segment.rang_ms));
    assert_eq!(segments.collect::<Vec<_>>(), [(8_000, 8_000), (20_000, 0)]);
    assert_eq!((cdr.redirects, cdr.agent.clone()), (1, Some(agent("ann"))));
}

#[test]
fn one_of_several_who_ring_deflects_the_call_and_the_others_are_let_go() {
    let mut script = ready(team(Strategy::RingAll));
    let call = script.dials("team");
    let command = script.next_command();
    let (by, to) = (agent("ben"), "echo".into());
    script.gives(Command::Deflect { agent: by, call, to, command });
    assert_eq!(script.call(call).phase_name(), "in the echo");
    for name in TEAM {
        assert_eq!(script.state(name), "ready", "{name}");
    }
    let why = OfferEnd::TakenByAnother;
    assert_eq!(script.told("ann")[0], &Happened::OfferEnded { agent: agent("ann"), call, why });
    assert!((1..=4).all(|leg| matches!(script.wants(call, leg), Some(LegWant::Gone { .. }))));
}

#[test]
fn a_desk_that_accepts_silences_the_others() {
    let mut directory = team(Strategy::RingAll);
    for name in ["ann", "ben"] {
        directory.agents.get_mut(&agent(name)).unwrap().answers_on = AnswersOn::Desk;
    }
    let mut script = ready(directory);
    let call = script.dials("team");
    script.accepts("ben", call).unwrap();
    assert_eq!(script.call(call).offers().len(), 1);
    assert!(script.accepts("ann", call).is_err(), "another was faster");
    assert_eq!((script.state("ann"), script.state("cem")), ("ready", "ready"));
    let leg = script.call(call).offers()[0].stage.leg().unwrap();
    script.answers(call, leg.0);
    assert_eq!(script.state("ben"), "talking");
}

#[test]
fn the_fewest_calls_and_the_least_talk_since_signing_in_count() {
    let mut script = ready(team(Strategy::FewestCalls));
    let order: Vec<String> = (0..4).map(|_| talks(&mut script, 1)).collect();
    assert_eq!(order, TEAM);
    assert_eq!(talks(&mut script, 1), "ann");
    let call = script.dials("team");
    assert!(why(&script, call).starts_with("offered to ben: 1 calls taken, of 4 ready; then cem"));
    script.caller_hangs_up(call);
    script.signs_in("cem", 77);
    assert_eq!(script.agent("cem").shift.calls, 1, "another desk is no new shift");

    let mut script = ready(team(Strategy::LeastTalkTime));
    let order: Vec<String> =
        [90, 10, 50, 30].into_iter().map(|seconds| talks(&mut script, seconds)).collect();
    assert_eq!(order, TEAM);
    let call = script.dials("team");
    let said = why(&script, call);
    assert!(
        said.starts_with("offered to ben: 10 s talked, of 4 ready; then dot with 30 s"),
        "{said}"
    );
}

#[test]
fn a_number_that_does_not_answer_is_no_talk_time() {
    let mut script = ready(team(Strategy::LeastTalkTime));
    assert_eq!([90, 10].map(|seconds| talks(&mut script, seconds)), ["ann", "ben"]);
    let call = script.agent_dials("ben", "0123").unwrap();
    script.answers(call, 0);
    script.now = script.now.plus_seconds(20);
    script.fails(call, 1, 486);
    let shift = script.agent("ben").shift;
    assert_eq!((shift.calls, shift.talk_ms, shift.talks_since), (1, 10_000, None));
}

#[test]
fn linear_goes_by_rank_and_a_penalty_comes_before_everything() {
    let mut directory = team(Strategy::Linear);
    let rank = |rank| Member { rank, ..Member::default() };
    members(
        &mut directory,
        &[
            ("ann", rank(3)),
            ("ben", rank(2)),
            ("cem", Member { penalty: 1, ..rank(0) }),
            ("dot", rank(2)),
        ],
    );
    let mut script = ready(directory);
    assert_eq!(talks(&mut script, 1), "ben");
    assert_eq!(talks(&mut script, 1), "ben");
    let call = script.dials("team");
    let expected = "offered to ben: rank 2, of 4 ready; then dot with rank 2, ann with rank 3, cem with \
         rank 0 and penalty 1";
    assert_eq!(why(&script, call), expected);
}

#[test]
fn lots_fall_by_weight_and_no_lot_on_who_has_a_penalty() {
    let mut directory = team(Strategy::WeightedRandom);
    let weight = |weight| Member { weight, ..Member::default() };
    members(
        &mut directory,
        &[("ann", weight(1)), ("ben", weight(3)), ("cem", Member { penalty: 1, ..weight(900) })],
    );
    let mut script = ready(directory);
    script.becomes("dot", WantedState::NotReady { reason: "lunch".into() });
    let mut count: BTreeMap<String, u32> = BTreeMap::new();
    for _ in 0..400 {
        *count.entry(talks(&mut script, 1)).or_default() += 1;
    }
    assert_eq!(count.values().sum::<u32>(), 400);
    assert!((70..=130).contains(&count["ann"]), "a quarter: {count:?}");
    assert!(!count.contains_key("cem"), "{count:?}");
    let call = script.dials("team");
    assert!(why(&script, call).contains(" of 4 among 3 ready"), "{}", why(&script, call));
}

#[test]
fn the_highest_level_is_asked_first() {
    let mut directory = team(Strategy::HighestLevel);
    assert_eq!(directory.check(), Err(DirectoryError::NoLevel { queue: queue("team") }));
    let config = directory.queues.get_mut(&queue("team")).unwrap();
    let asks = skills(&[("french", 1), ("tax", 1)]);
    config.distribution.rings = vec![Ring { skills: asks, ..Ring::default() }];
    for (name, french, tax) in [("ann", 3, 4), ("ben", 9, 1), ("cem", 2, 9)] {
        let known = skills(&[("french", french), ("tax", tax)]);
        directory.agents.get_mut(&agent(name)).unwrap().skills = known;
    }
    let mut script = ready(directory);
    let call = script.dials("team");
    let expected = "offered to cem: level 11, of 3 ready; then ben with level 10, ann with level 7";
    assert_eq!(why(&script, call), expected, "dot knows nothing of it");
}

#[test]
fn who_does_not_answer_stays_ready_behind_the_others_where_the_queue_says_so() {
    let mut directory = team(Strategy::LongestIdle);
    directory.queues.get_mut(&queue("team")).unwrap().distribution.no_answer_penalty = Some(2);
    let mut script = ready(directory);
    let call = script.dials("team");
    assert_eq!(script.offered_to(call).as_deref(), Some("ann"));
    script.after_seconds(15);
    assert_eq!((script.state("ann"), script.agent("ann").shift.penalty), ("ready", 2));
    assert_eq!(script.offered_to(call).as_deref(), Some("ben"));
    script.answers(call, 2);
    let next = script.dials("team");
    assert!(why(&script, next).contains("ann with idle since"), "{}", why(&script, next));
    assert!(why(&script, next).ends_with("and penalty 2"), "{}", why(&script, next));
    for name in ["cem", "dot"] {
        script.becomes(name, WantedState::NotReady { reason: "lunch".into() });
    }
    script.caller_hangs_up(next);
    let last = script.dials("team");
    assert_eq!(script.offered_to(last).as_deref(), Some("ann"));
    script.answers(last, 1);
    assert_eq!(script.agent("ann").shift.penalty, 0, "who takes a call is forgiven");
}

#[test]
fn rings_widen_from_experts_to_everybody_and_then_to_another_queue() {
    let mut directory = team(Strategy::LongestIdle);
    directory.agents.get_mut(&agent("ann")).unwrap().skills = skills(&[("tax", 5)]);
    directory.agents.get_mut(&agent("ben")).unwrap().skills = skills(&[("tax", 2)]);
    let config = directory.queues.get_mut(&queue("team")).unwrap();
    let ring = |after_seconds, level| Ring {
        after_seconds,
        skills: skills(&[("tax", level)]),
        ..Ring::default()
    };
    let last = Ring { after_seconds: 30, queues: vec![queue("quiet")], ..Ring::default() };
    config.distribution.rings = vec![ring(0, 4), ring(10, 1), last];
    let mut script = Script::with(directory);
    let busy = script.dials("quiet");
    script.answers(busy, 1);
    for name in ["ben", "cem"] {
        script.is_ready(name);
    }
    let first = script.dials("team");
    let second = script.dials("team");
    let third = script.dials("team");
    assert_eq!(script.offered_to(first), None, "ben knows too little, cem nothing");
    script.after_seconds(10);
    assert_eq!(script.offered_to(first).as_deref(), Some("ben"));
    assert_eq!(script.story(first).last().unwrap(), "leg 1 invites sip:phone@127.0.0.1");
    assert!(script.story(first).contains(&"came to ring 1 of queue team".to_owned()));
    script.answers(first, 1);
    script.after_seconds(20);
    assert_eq!(script.offered_to(second).as_deref(), Some("cem"));
    assert_eq!(script.offered_to(third), None);
    script.caller_hangs_up(busy);
    assert_eq!(script.offered_to(third).as_deref(), Some("bot"), "of the other queue");
}

#[test]
fn a_new_directory_puts_callers_into_its_rings() {
    let mut directory = team(Strategy::LongestIdle);
    let asks = |level| skills(&[("tax", level)]);
    let config = directory.queues.get_mut(&queue("team")).unwrap();
    config.distribution.rings = vec![Ring { skills: asks(4), ..Ring::default() }];
    let mut script = ready(directory.clone());
    let call = script.dials("team");
    script.after_seconds(20);
    assert_eq!(script.offered_to(call), None);
    let config = directory.queues.get_mut(&queue("team")).unwrap();
    config.distribution.rings.push(Ring { after_seconds: 15, ..Ring::default() });
    script.gives(Command::Configure(Box::new(directory)));
    assert_eq!(script.offered_to(call).as_deref(), Some("ann"));
}

#[test]
fn the_best_callers_come_first_and_get_who_knows_enough() {
    let mut directory = team(Strategy::LongestIdle);
    directory.agents.get_mut(&agent("dot")).unwrap().skills = skills(&[("vip", 3)]);
    directory.classes = vec![CallerClass {
        name: "gold".into(),
        callers: vec![NumberPattern::Prefix("10".into())],
        called: Vec::new(),
        priority: 7,
        skills: skills(&[("vip", 2)]),
    }];
    directory.numbers.insert("open".into(), Route::Queue(queue("team")));
    let mut script = ready(directory.clone());
    let gold = script.dials("team");
    assert_eq!(script.offered_to(gold).as_deref(), Some("dot"), "though ann is idle longer");
    assert_eq!(script.call(gold).priority, 7);
    assert!(script.story(gold).contains(&"the caller is of class gold".to_owned()));

    // Nobody who knows enough is ready: the next one waits while others are there, until the
    // queue waives what the caller asks for.
    let config = directory.queues.get_mut(&queue("team")).unwrap();
    let waives = Ring { after_seconds: 20, waives_caller: true, ..Ring::default() };
    config.distribution.rings = vec![Ring::default(), waives];
    script.gives(Command::Configure(Box::new(directory)));
    let next = script.dials("team");
    assert_eq!(script.offered_to(next), None);
    script.answers(gold, 1);
    script.after_seconds(20);
    assert_eq!(script.offered_to(next).as_deref(), Some("ann"));
}

#[test]
fn waiting_is_worth_priority_and_nobody_of_one_priority_is_overtaken() {
    let mut directory = team(Strategy::LongestIdle);
    directory.classes = vec![CallerClass {
        name: "gold".into(),
        called: vec![NumberPattern::Exact("gold".into())],
        priority: 2,
        ..CallerClass::default()
    }];
    directory.numbers.insert("gold".into(), Route::Queue(queue("team")));
    directory.queues.get_mut(&queue("team")).unwrap().distribution.age_seconds = 30;
    let mut script = Script::with(directory);
    let old = script.dials("team");
    script.after_seconds(50);
    let plain = script.dials("team");
    let gold = script.dials("gold");
    script.after_seconds(15);
    let late = script.dials("gold");
    let order = |script: &Script| -> Vec<CallId> {
        script.center.queue(&queue("team")).unwrap().waiting().map(|one| one.call).collect()
    };
    // Two steps of 30 s: gold stands as if it had come 60 s earlier, 10 s before the old one; the
    // later one of 15 s more, 5 s behind it.
    assert_eq!(order(&script), [gold, old, late, plain]);
    script.is_ready("ann");
    assert_eq!(script.offered_to(gold).as_deref(), Some("ann"));
    script.is_ready("ben");
    assert_eq!(script.offered_to(old).as_deref(), Some("ben"));
    let ahead: Vec<String> = [old, plain, gold, late]
        .map(|call| script.story(call).into_iter().find(|note| note.contains("ahead")).unwrap())
        .to_vec();
    let ahead: Vec<&str> = ahead.iter().map(|note| &note["entered queue team, ".len()..]).collect();
    assert_eq!(ahead, ["0 ahead", "1 ahead", "0 ahead", "2 ahead"]);
}

#[test]
fn an_agent_of_several_queues_takes_the_preferred_one_first() {
    let mut directory = team(Strategy::LongestIdle);
    directory.agents.get_mut(&agent("ann")).unwrap().queues = vec![queue("sales"), queue("team")];
    directory.queues.get_mut(&queue("sales")).unwrap().priority = 9;
    members(&mut directory, &[("ann", Member { preference: 1, ..Member::default() })]);
    let mut script = Script::with(directory);
    let urgent = script.dials("sales");
    let preferred = script.dials("team");
    script.is_ready("ann");
    assert_eq!(script.offered_to(preferred).as_deref(), Some("ann"), "whatever the priority");
    assert_eq!(script.offered_to(urgent), None);
}

#[test]
fn a_caller_who_returns_waits_a_while_for_the_agent_of_last_time() {
    let mut directory = team(Strategy::LongestIdle);
    directory.queues.get_mut(&queue("team")).unwrap().distribution.last_agent_seconds = 20;
    let mut script = ready(directory);
    assert_eq!(talks(&mut script, 5), "ann");
    // Ann is idle for the shortest time now, and is asked all the same.
    let call = script.dials("team");
    assert_eq!(why(&script, call), "offered to ann: talked with this caller last");
    script.answers(call, 1);
    let again = script.dials("team");
    assert_eq!(script.offered_to(again), None, "ann talks, the others are ready");
    let mut stranger = script.arrived("team");
    stranger.caller.number = "999".into();
    let stranger_call = stranger.call;
    script.gives(Command::Arrived(Box::new(stranger)));
    assert_eq!(script.offered_to(stranger_call).as_deref(), Some("ben"));
    script.answers(stranger_call, 1);
    script.after_seconds(20);
    assert_eq!(script.offered_to(again).as_deref(), Some("cem"), "patience is over");
    // An agent who is not here is not waited for.
    script.caller_hangs_up(call);
    let session = script.agent("ann").session.unwrap();
    let command = script.next_command();
    let ann = agent("ann");
    script.gives(Command::SignOut { agent: ann, session, command });
    script.caller_hangs_up(again);
    let last = script.dials("team");
    assert_eq!(script.offered_to(last).as_deref(), Some("cem"));
}
