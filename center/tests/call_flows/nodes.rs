//! Nodes come and go; calls and desks survive them.

use tandem_center::{Command, Happened, Link, NodeId, Rejected, Reply, SessionId};

use crate::script::{NODE, Script, leg};

const SECOND: NodeId = NodeId(2);
const THIRD: NodeId = NodeId(3);

#[test]
fn calls_of_a_lost_node_go_to_those_with_the_fewest() {
    let mut script = Script::new();
    script.gives(Command::NodeUp { node: SECOND });
    script.gives(Command::NodeUp { node: THIRD });
    let mut arrived = script.arrived("service");
    arrived.owner = SECOND;
    script.gives(Command::Arrived(Box::new(arrived)));
    let calls = [script.dials("service"), script.talks_with("ana"), script.dials("echo")];
    script.gives(Command::NodeLost { node: NODE });
    let owners = calls.map(|call| script.call(call).owner);
    assert_eq!(owners, [THIRD, SECOND, THIRD]);
    for call in calls {
        assert_eq!(script.call(call).epoch, 1);
    }
    assert_eq!(script.hears(calls[1], 0), Some(tandem_center::Hears::Leg(leg(1))));
    let story = script.story(calls[0]);
    assert_eq!(story.last().unwrap(), "node 1 was lost, node 3 takes over as epoch 1");
    let taken = script.last.events.iter();
    let taken = taken.filter(|event| matches!(event.what, Happened::CallTakenOver { .. }));
    assert_eq!(taken.count(), 3);
    assert_eq!(script.gives(Command::NodeLost { node: NODE }), Reply::Already);
}

#[test]
fn a_lost_node_takes_no_calls_until_it_is_up_again() {
    let mut script = Script::new();
    script.gives(Command::NodeUp { node: SECOND });
    script.gives(Command::NodeLost { node: NODE });
    let arrived = script.arrived("service");
    let rejected = script.tries(Command::Arrived(Box::new(arrived.clone())));
    assert_eq!(rejected, Err(Rejected::NodeIsLost { node: NODE }));
    script.gives(Command::NodeUp { node: NODE });
    assert_eq!(script.gives(Command::Arrived(Box::new(arrived))), Reply::Done);
}

#[test]
fn calls_without_any_live_node_go_to_the_first_that_is_up() {
    let mut script = Script::new();
    let call = script.dials("service");
    script.gives(Command::NodeLost { node: NODE });
    assert_eq!((script.call(call).owner, script.call(call).epoch), (NODE, 0));
    script.gives(Command::NodeUp { node: SECOND });
    assert_eq!((script.call(call).owner, script.call(call).epoch), (SECOND, 1));
}

#[test]
fn desks_of_a_lost_or_restarted_node_get_their_grace() {
    for command in [Command::NodeLost { node: NODE }, Command::NodeUp { node: NODE }] {
        let mut script = Script::new();
        script.signs_in("ana", 11);
        script.gives(command);
        let until = script.now.plus_seconds(15);
        let link = script.center.session(SessionId(11)).unwrap().link;
        assert_eq!(link, Link::Lost { since: script.now, until });
        script.after_seconds(15);
        assert_eq!(script.reason("ana"), "connection lost");
    }
}

#[test]
fn time_stands_still_when_the_leaders_clock_steps_back() {
    let mut script = Script::new();
    script.now = script.now.plus_seconds(60);
    let call = script.dials("service");
    let arrived = script.call(call).arrived;
    script.now = crate::script::START;
    let earlier = script.dials("service");
    assert_eq!(script.call(earlier).arrived, arrived);
}
