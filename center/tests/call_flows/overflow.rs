//! Callers whom a queue cannot take or keep go on elsewhere; and how long the others may expect to
//! wait.

use tandem_center::directory::{AnswersOn, DirectoryError, QueueConfig, Ring, Skills, Staffing};
use tandem_center::flow::{SKILLS, Variables, skills_asked};
use tandem_center::record::SegmentKind;
use tandem_center::{CallId, Cdr, Command, Directory, Route, WantedState};

use crate::script::{Script, agent, directory, person, queue};

/// `team` with ann and ben, and `spare` with cem, to which callers go on who lack an agent.
fn with_spare() -> Directory {
    let mut directory = directory();
    for (name, serves) in [("ann", "team"), ("ben", "team"), ("cem", "spare")] {
        directory.agents.insert(agent(name), person(AnswersOn::Phone, &[serves]));
    }
    for name in ["team", "spare"] {
        directory.queues.insert(queue(name), QueueConfig::default());
        directory.numbers.insert(name.into(), Route::Queue(queue(name)));
    }
    let team = directory.queues.get_mut(&queue("team")).expect("it is there");
    let detours = &mut team.distribution.detours;
    detours.empty = Some(Route::Queue(queue("spare")));
    directory
}

fn lunch() -> WantedState {
    WantedState::NotReady { reason: "lunch".into() }
}

#[test]
fn who_would_wait_for_nobody_goes_on_at_once() {
    for (needs, with_ann_at_lunch) in [(Staffing::SignedIn, "team"), (Staffing::Available, "spare")]
    {
        let mut directory = with_spare();
        let config = directory.queues.get_mut(&queue("team")).unwrap();
        config.distribution.join_needs = needs;
        let mut script = Script::with(directory);
        let call = script.dials("team");
        assert_eq!(script.call(call).queue, Some(queue("spare")), "nobody is signed in");
        assert!(script.story(call).contains(&"nobody of queue team is there to wait for".into()));
        script.is_ready("ann");
        script.becomes("ann", lunch());
        let call = script.dials("team");
        assert_eq!(script.call(call).queue, Some(queue(with_ann_at_lunch)), "{needs:?}");
        // Only entering was asked about: who waits goes on waiting.
        let session = script.agent("ann").session.unwrap();
        let command = script.next_command();
        script.gives(Command::SignOut { agent: agent("ann"), session, command });
        script.after_seconds(1);
        assert_eq!(script.call(call).queue, Some(queue(with_ann_at_lunch)));
    }
}

#[test]
fn who_waits_goes_on_when_the_last_agent_leaves_and_keeps_the_place() {
    let mut directory = with_spare();
    directory.queues.get_mut(&queue("team")).unwrap().distribution.stay_needs = Staffing::Available;
    let experts = Ring { skills: Skills::from([("tax".into(), 9)]), ..Ring::default() };
    let all = Ring { after_seconds: 60, ..Ring::default() };
    directory.queues.get_mut(&queue("spare")).unwrap().distribution.rings = vec![experts, all];
    let mut script = Script::with(directory);
    script.is_ready("ann");
    let talk = script.dials("team");
    script.answers(talk, 1);
    let first = script.dials("team");
    let second = script.dials("team");
    script.after_seconds(60);
    let direct = script.dials("spare");
    script.becomes("ann", lunch());
    assert_eq!(script.call(first).queue, Some(queue("team")), "ann still talks");
    script.caller_hangs_up(talk);
    assert_eq!(script.center.next_deadline(), Some(script.now), "now they are due");
    script.gives(Command::Tick);
    for call in [first, second] {
        assert_eq!(script.call(call).queue, Some(queue("spare")));
    }
    let waiting = script.center.queue(&queue("spare")).unwrap().waiting();
    let order: Vec<CallId> = waiting.map(|waiting| waiting.call).collect();
    assert_eq!(order, [first, second, direct], "by when they came, not by when they were sent on");
    // They have waited for a minute, and stand in the ring of those who have.
    script.is_ready("cem");
    assert_eq!(script.offered_to(first).as_deref(), Some("cem"));
    let totals = script.center.queue(&queue("team")).unwrap().totals;
    assert_eq!((totals.entered, totals.answered, totals.overflowed), (3, 1, 2));
    // When ann is back, callers enter again.
    script.becomes("ann", WantedState::Ready);
    let call = script.dials("team");
    assert_eq!(script.offered_to(call).as_deref(), Some("ann"));
}

#[test]
fn who_comes_back_from_a_guest_to_a_queue_that_nobody_serves_any_more_goes_on_too() {
    let mut directory = with_spare();
    let config = directory.queues.get_mut(&queue("team")).unwrap();
    config.distribution.stay_needs = Staffing::SignedIn;
    config.distribution.rings = vec![Ring { queues: vec![queue("guests")], ..Ring::default() }];
    directory.queues.insert(queue("guests"), QueueConfig::default());
    directory.agents.insert(agent("eda"), person(AnswersOn::Phone, &["guests"]));
    let mut script = Script::with(directory);
    script.is_ready("ann");
    script.becomes("ann", lunch());
    script.is_ready("eda");
    let call = script.dials("team");
    assert_eq!(script.offered_to(call).as_deref(), Some("eda"));
    let (session, command) = (script.agent("ann").session.unwrap(), script.next_command());
    script.gives(Command::SignOut { agent: agent("ann"), session, command });
    script.fails(call, 1, 486);
    script.gives(Command::Tick);
    assert_eq!(script.call(call).queue, Some(queue("spare")), "nobody of team is left");
}

#[test]
fn a_wait_over_several_queues_is_a_segment_of_each_and_one_wait_in_the_record() {
    let mut directory = with_spare();
    let config = directory.queues.get_mut(&queue("team")).unwrap();
    (config.max_wait_seconds, config.overflow) = (30, Some(Route::Queue(queue("spare"))));
    config.distribution.join_needs = Staffing::SignedIn;
    let mut script = Script::with(directory);
    let at_once = script.dials("team");
    script.is_ready("ann");
    script.becomes("ann", lunch());
    let call = script.dials("team");
    script.after_seconds(30);
    script.after_seconds(10);
    script.is_ready("cem");
    script.answers(at_once, 1);
    script.caller_hangs_up(at_once);
    let stays = |cdr: &Cdr| {
        let each = cdr.segments.iter().zip(cdr.ends());
        each.map(|(segment, end)| (segment.kind.clone(), segment.length_ms(cdr.ended), end.name()))
            .collect::<Vec<_>>()
    };
    let (team, spare) = (SegmentKind::Queue(queue("team")), SegmentKind::Queue(queue("spare")));
    let talk = SegmentKind::Talk(Some(agent("cem")));
    let cdr = script.cdr();
    let expected = [
        (team.clone(), 0, "flowed-out"),
        (spare.clone(), 40_000, "answered"),
        (talk.clone(), 0, "ended"),
    ];
    assert_eq!(stays(cdr), expected, "nobody was signed in");
    script.after_seconds(5);
    script.answers(call, 1);
    script.after_seconds(60);
    script.caller_hangs_up(call);
    let cdr = script.cdr();
    let expected =
        [(team, 30_000, "flowed-out"), (spare, 15_000, "answered"), (talk, 60_000, "ended")];
    assert_eq!(stays(cdr), expected);
    assert_eq!((cdr.queue.clone(), cdr.wait_ms), (Some(queue("spare")), 45_000));
}

#[test]
fn each_reason_to_go_on_has_its_way_and_no_way_goes_in_a_circle() {
    let mut directory = with_spare();
    let config = directory.queues.get_mut(&queue("team")).unwrap();
    (config.max_length, config.max_wait_seconds) = (1, 30);
    config.distribution.detours.full = Some(Route::Echo);
    config.distribution.detours.wait = Some(Route::Queue(queue("spare")));
    let mut script = Script::with(directory.clone());
    let waits = script.dials("team");
    let full = script.dials("team");
    assert_eq!(script.call(full).phase_name(), "in the echo");
    script.after_seconds(30);
    assert_eq!(script.call(waits).queue, Some(queue("spare")));

    let spare = directory.queues.get_mut(&queue("spare")).unwrap();
    spare.distribution.detours.full = Some(Route::Queue(queue("team")));
    let circle = DirectoryError::OverflowCircle { queue: queue("spare") };
    assert_eq!(directory.check(), Err(circle));
    let spare = directory.queues.get_mut(&queue("spare")).unwrap();
    spare.distribution.detours.full = None;
    spare.distribution.stay_needs = Staffing::SignedIn;
    let nowhere = DirectoryError::NowhereToGo { queue: queue("spare") };
    assert_eq!(directory.check(), Err(nowhere));
}

#[test]
fn the_expected_wait_follows_the_pace_at_which_callers_leave() {
    let mut script = Script::with(with_spare());
    let calls: Vec<CallId> = (0..4).map(|_| script.dials("team")).collect();
    let said = |script: &Script, call: CallId| script.center.position(script.call(call));
    assert_eq!(said(&script, calls[3]), Some((4, None)), "nobody has left yet");
    script.after_seconds(40);
    script.caller_hangs_up(calls[1]);
    // One gap of 40 s so far.
    assert_eq!(said(&script, calls[3]), Some((3, Some(120_000))));
    script.after_seconds(8);
    script.caller_hangs_up(calls[0]);
    // 40 s, and an eighth of the difference to 8 s: 36 s.
    assert_eq!(said(&script, calls[2]), Some((1, Some(36_000))));
    assert_eq!(said(&script, calls[3]), Some((2, Some(72_000))));
    let team = script.center.queue(&queue("team")).unwrap();
    assert_eq!(team.wait_of_next_ms(), Some(108_000));
    // A night without callers is no gap.
    script.caller_hangs_up(calls[2]);
    script.caller_hangs_up(calls[3]);
    script.after_seconds(9_000);
    let next = script.dials("team");
    let (position, expected) = said(&script, next).unwrap();
    assert_eq!(position, 1);
    assert!(expected.is_some_and(|ms| ms < 36_000), "{expected:?}");
    script.is_ready("ann");
    let team = script.center.queue(&queue("team")).unwrap();
    assert!(team.wait_of_next_ms().is_some_and(|ms| ms > 0), "ann rings, nobody else is there");
    script.is_ready("ben");
    let team = script.center.queue(&queue("team")).unwrap();
    assert_eq!(team.wait_of_next_ms(), Some(0), "ben takes the next one at once");
}

#[test]
fn a_flow_asks_for_skills_by_a_variable() {
    let asked = |text: &str| {
        let mut variables = Variables::default();
        variables.set(SKILLS, text);
        skills_asked(&variables)
    };
    let two = Skills::from([("tax".into(), 3), ("french".into(), 1)]);
    assert_eq!(asked("tax:3, french"), two);
    assert_eq!(asked(" ,tax:0,x:101,y:z,:4"), Skills::new(), "what cannot be read is left out");
}
