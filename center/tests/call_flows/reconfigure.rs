//! A new directory comes while calls are in progress.

use tandem_center::directory::DirectoryError;
use tandem_center::{CallResult, Cause, Command, Directory, Happened, Rejected, Reply, Route};

use crate::script::{Script, agent, directory, queue};

fn configure(script: &mut Script, change: impl FnOnce(&mut Directory)) -> Result<Reply, Rejected> {
    let mut directory = (**script.center.directory()).clone();
    change(&mut directory);
    script.tries(Command::Configure(Box::new(directory)))
}

#[test]
fn the_same_directory_again_changes_nothing() {
    let mut script = Script::new();
    assert_eq!(script.gives(Command::Configure(Box::new(directory()))), Reply::Already);
    assert_eq!(script.center.directory_hash(), directory().hash());
}

#[test]
fn a_directory_that_contradicts_itself_is_rejected_as_a_whole() {
    let mut script = Script::new();
    let rejected = configure(&mut script, |directory| {
        directory.numbers.insert("x".into(), Route::Queue(queue("nowhere")));
    });
    let error = DirectoryError::NoSuchQueue { from: "number x".into(), queue: queue("nowhere") };
    assert_eq!(rejected, Err(Rejected::Directory(error)));
    let rejected = configure(&mut script, |directory| {
        directory.queues.get_mut(&queue("sales")).unwrap().overflow =
            Some(Route::Queue(queue("sales")));
    });
    assert!(matches!(rejected, Err(Rejected::Directory(DirectoryError::OverflowCircle { .. }))));
    let rejected = configure(&mut script, |directory| {
        directory.numbers.insert("x".into(), Route::Reject(200));
    });
    assert!(matches!(rejected, Err(Rejected::Directory(DirectoryError::Status { .. }))));
    let rejected = configure(&mut script, |directory| {
        directory.outbound[0].trunk = "gone".into();
    });
    assert!(matches!(rejected, Err(Rejected::Directory(DirectoryError::NoSuchTrunk { .. }))));
    let rejected = configure(&mut script, |directory| {
        directory.flows.insert("bad".into(), "not a flow".into());
    });
    assert!(matches!(rejected, Err(Rejected::Flow { .. })));
}

#[test]
fn a_new_agent_can_sign_in_and_serve() {
    let mut script = Script::new();
    let call = script.dials("sales");
    configure(&mut script, |directory| {
        let ana = directory.agents[&agent("ana")].clone();
        directory.agents.insert(agent("dan"), ana);
    })
    .unwrap();
    script.is_ready("dan");
    assert_eq!(script.offered_to(call).as_deref(), Some("dan"));
}

#[test]
fn an_agent_who_joins_a_queue_is_offered_its_callers_at_once() {
    let mut script = Script::new();
    let call = script.dials("sales");
    configure(&mut script, |directory| {
        directory.agents.get_mut(&agent("bot")).unwrap().queues.push(queue("sales"));
    })
    .unwrap();
    assert_eq!(script.offered_to(call).as_deref(), Some("bot"));
}

#[test]
fn an_agent_who_is_removed_finishes_the_conversation() {
    let mut script = Script::new();
    let call = script.talks_with("ana");
    configure(&mut script, |directory| {
        directory.agents.remove(&agent("ana"));
        directory.numbers.remove("ana");
    })
    .unwrap();
    let ended = script.told("ana");
    assert!(matches!(ended[..], [Happened::SessionEnded { .. }]), "{ended:?}");
    assert_eq!(script.state("ana"), "talking");
    script.caller_hangs_up(call);
    assert!(script.center.agent(&agent("ana")).is_none());
    assert_eq!(script.cdr().agent, Some(agent("ana")));
}

#[test]
fn an_agent_who_is_removed_returns_an_offer() {
    for name in ["ana", "cyd"] {
        let mut script = Script::new();
        script.is_ready(name);
        let call = script.dials("sales");
        assert_eq!(script.offered_to(call).as_deref(), Some(name));
        configure(&mut script, |directory| {
            directory.agents.remove(&agent(name));
            directory.numbers.remove(name);
        })
        .unwrap();
        assert_eq!(script.offered_to(call), None);
        assert!(script.center.agent(&agent(name)).is_none());
        assert_eq!(script.center.sessions().len(), 0);
    }
}

#[test]
fn callers_of_a_removed_queue_go_where_it_overflowed_to() {
    let mut script = Script::new();
    configure(&mut script, |directory| {
        let sales = directory.queues.get_mut(&queue("sales")).unwrap();
        sales.overflow = Some(Route::Queue(queue("quiet")));
    })
    .unwrap();
    script.is_ready("ana");
    let offered = script.dials("sales");
    let waiting = script.dials("sales");
    let talking = script.dials("quiet");
    script.answers(talking, 1);
    configure(&mut script, remove_sales).unwrap();
    assert_eq!(script.call(offered).queue, Some(queue("quiet")));
    assert_eq!(script.call(waiting).queue, Some(queue("quiet")));
    assert_eq!(script.state("ana"), "ready");
    assert!(script.center.queue(&queue("sales")).is_none());
}

fn remove_sales(directory: &mut Directory) {
    directory.queues.remove(&queue("sales"));
    directory.numbers.remove("sales");
    for agent in directory.agents.values_mut() {
        agent.queues.retain(|id| *id != queue("sales"));
    }
}

#[test]
fn callers_of_a_removed_queue_without_overflow_are_let_go() {
    let mut script = Script::new();
    let call = script.dials("sales");
    configure(&mut script, remove_sales).unwrap();
    assert_eq!(
        (script.cdr().result, script.cdr().cause),
        (CallResult::Failed, Cause::Reconfigured)
    );
    assert!(script.call(call).has_ended());
}

#[test]
fn a_conversation_goes_on_when_its_queue_is_removed() {
    let mut script = Script::new();
    let call = script.talks_with("ana");
    configure(&mut script, remove_sales).unwrap();
    assert_eq!(script.state("ana"), "talking");
    script.hangs_up("ana", call).unwrap();
    assert_eq!(script.state("ana"), "ready", "no wrap-up without its queue");
}

#[test]
fn always_ready_comes_and_goes() {
    let mut script = Script::new();
    configure(&mut script, |directory| {
        directory.agents.get_mut(&agent("ana")).unwrap().always_ready = true;
        directory.agents.get_mut(&agent("bot")).unwrap().always_ready = false;
    })
    .unwrap();
    assert_eq!((script.state("ana"), script.state("bot")), ("ready", "logged out"));
}
