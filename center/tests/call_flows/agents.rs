//! Sessions are leases: agents sign in and out, desks vanish and come back.

use tandem_center::event::SessionEnd;
use tandem_center::{Command, Happened, NodeId, Rejected, Reply, SessionId, WantedState};

use crate::script::{NODE, Script, agent, directory, not_ready};

const DESK: SessionId = SessionId(11);

fn lost(session: SessionId) -> Command {
    Command::SessionLost { session, node: NODE }
}

#[test]
fn who_signs_in_is_not_ready_until_they_say_so() {
    let mut script = Script::new();
    assert_eq!(script.reason("ana"), "never signed in");
    script.signs_in("ana", 11);
    assert_eq!(script.reason("ana"), "signed in");
    let since = script.agent("ana").state.since();
    assert_eq!(script.becomes("ana", WantedState::Ready), Reply::Done);
    script.now = script.now.plus_seconds(5);
    assert_eq!(script.becomes("ana", WantedState::Ready), Reply::Already);
    assert_eq!(script.agent("ana").state.since(), since, "asking again costs no place");
}

#[test]
fn who_is_not_signed_in_cannot_become_ready() {
    let mut script = Script::new();
    let command = script.next_command();
    let state = WantedState::Ready;
    let rejected = script.tries(Command::SetState { agent: agent("ana"), state, command });
    let needs = "a session";
    let wrong = Rejected::WrongState { agent: agent("ana"), is: "logged out", needs };
    assert_eq!(rejected, Err(wrong));
}

#[test]
fn a_reason_must_be_one_of_the_directory() {
    let mut directory = directory();
    directory.reasons.insert("lunch".into(), "Lunch".into());
    let mut script = Script::with(directory);
    script.signs_in("ana", 11);
    assert_eq!(script.becomes("ana", not_ready("lunch")), Reply::Done);
    let (state, command) = (not_ready("nap"), script.next_command());
    let rejected = script.tries(Command::SetState { agent: agent("ana"), state, command });
    assert_eq!(rejected, Err(Rejected::NoSuchReason { reason: "nap".into() }));
}

#[test]
fn signing_in_elsewhere_ends_the_first_session() {
    let mut script = Script::new();
    script.signs_in("ana", 11);
    script.becomes("ana", WantedState::Ready);
    script.signs_in("ana", 12);
    let why = SessionEnd::SignedInElsewhere;
    let ended = Happened::SessionEnded { agent: agent("ana"), session: DESK, why };
    assert_eq!(script.told("ana")[0], &ended);
    assert!(script.center.session(DESK).is_none());
    assert_eq!(script.state("ana"), "ready", "the agent is the same");
    assert_eq!(script.gives(lost(DESK)), Reply::Already);
}

#[test]
fn a_session_of_somebody_else_is_not_taken() {
    let mut script = Script::new();
    script.signs_in("ana", 11);
    let command = script.next_command();
    let sign_in = Command::SignIn { agent: agent("bob"), session: DESK, node: NODE, command };
    let rejected = Rejected::NotYourSession { session: DESK, agent: agent("bob") };
    assert_eq!(script.tries(sign_in), Err(rejected.clone()));
    let command = script.next_command();
    let sign_out = Command::SignOut { agent: agent("bob"), session: DESK, command };
    assert_eq!(script.tries(sign_out), Err(rejected));
}

#[test]
fn signing_out_logs_out_and_returns_an_open_offer() {
    let mut script = Script::new();
    script.signs_in("ana", 11);
    script.becomes("ana", WantedState::Ready);
    let call = script.dials("sales");
    let command = script.next_command();
    script.gives(Command::SignOut { agent: agent("ana"), session: DESK, command });
    assert_eq!((script.state("ana"), script.reason("ana").as_str()), ("logged out", "signed out"));
    assert_eq!(script.offered_to(call), None);
    script.is_ready("bob");
    assert_eq!(script.offered_to(call).as_deref(), Some("bob"));
}

#[test]
fn nobody_signs_out_of_a_conversation() {
    let mut script = Script::new();
    let _call = script.talks_with("ana");
    let session = script.agent("ana").session.unwrap();
    let command = script.next_command();
    let rejected = script.tries(Command::SignOut { agent: agent("ana"), session, command });
    assert!(matches!(rejected, Err(Rejected::WrongState { is: "talking", .. })));
}

#[test]
fn a_desk_that_comes_back_in_time_keeps_everything() {
    let mut script = Script::new();
    script.signs_in("ana", 11);
    script.becomes("ana", WantedState::Ready);
    let since = script.agent("ana").state.since();
    script.gives(lost(DESK));
    let call = script.dials("sales");
    assert_eq!(script.offered_to(call), None, "nobody could see it");
    script.after_seconds(14);
    assert_eq!(script.gives(Command::SessionBack { session: DESK, node: NodeId(2) }), Reply::Done);
    assert_eq!(script.agent("ana").session, Some(DESK));
    assert_eq!(script.offered_to(call).as_deref(), Some("ana"));
    script.caller_hangs_up(call);
    assert_eq!(script.agent("ana").state.since(), since);
    // What the first node says of its socket counts no more.
    assert_eq!(script.gives(lost(DESK)), Reply::Already);
}

#[test]
fn a_desk_that_stays_away_logs_its_agent_out_with_a_reason() {
    let mut script = Script::new();
    script.signs_in("ana", 11);
    script.becomes("ana", WantedState::Ready);
    let call = script.dials("sales");
    script.gives(lost(DESK));
    assert_eq!(script.offered_to(call).as_deref(), Some("ana"), "until the grace or ringing ends");
    script.after_seconds(15);
    assert_eq!(script.state("ana"), "logged out");
    assert_eq!(script.reason("ana"), "connection lost");
    assert_eq!(script.offered_to(call), None);
    let back = script.tries(Command::SessionBack { session: DESK, node: NODE });
    assert_eq!(back, Err(Rejected::NoSuchSession { session: DESK }));
}

#[test]
fn a_conversation_outlives_its_desk_and_its_end_logs_the_agent_out() {
    let mut script = Script::new();
    let call = script.talks_with("ana");
    let session = script.agent("ana").session.unwrap();
    script.gives(lost(session));
    script.after_seconds(60);
    assert_eq!((script.state("ana"), script.agent("ana").session), ("talking", None));
    assert!(script.call(call).talking_leg_of(&agent("ana")).is_some());
    script.caller_hangs_up(call);
    assert_eq!(
        (script.state("ana"), script.reason("ana").as_str()),
        ("logged out", "connection lost")
    );
}

#[test]
fn an_agent_who_signs_in_again_during_a_conversation_keeps_it() {
    let mut script = Script::new();
    let call = script.talks_with("ana");
    let session = script.agent("ana").session.unwrap();
    script.gives(lost(session));
    script.after_seconds(60);
    script.signs_in("ana", 77);
    assert_eq!(script.state("ana"), "talking");
    assert_eq!(script.holds("ana", call), Ok(Reply::Done));
}

#[test]
fn an_always_ready_agent_whose_desk_is_lost_in_a_call_is_ready_after_it() {
    let mut script = Script::new();
    script.signs_in("bot", 11);
    let call = script.dials("quiet");
    script.answers(call, 1);
    script.becomes("bot", not_ready("repair"));
    script.gives(lost(DESK));
    script.after_seconds(15);
    script.ends(call, 1);
    assert_eq!(script.state("bot"), "ready");
}

#[test]
fn an_always_ready_agent_who_signs_out_stays_ready() {
    let mut script = Script::new();
    script.signs_in("bot", 11);
    assert_eq!(script.state("bot"), "ready");
    script.becomes("bot", not_ready("repair"));
    let command = script.next_command();
    script.gives(Command::SignOut { agent: agent("bot"), session: DESK, command });
    assert_eq!(script.state("bot"), "ready");
}
