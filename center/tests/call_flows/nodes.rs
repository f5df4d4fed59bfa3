//! Nodes come and go; calls and desks survive them.

use tandem_center::{
    Arrived, CallId, Cause, Command, Happened, HomeId, Link, NodeId, Rejected, Reply, SessionId,
    Wire,
};

use crate::script::{NODE, Script, directory, leg};

const SECOND: NodeId = NodeId(2);
const THIRD: NodeId = NodeId(3);
const FOURTH: NodeId = NodeId(4);

#[test]
fn calls_of_a_lost_node_go_to_those_with_the_fewest() {
    let mut script = Script::new();
    script.gives(up(SECOND));
    script.gives(up(THIRD));
    let mut arrived = script.arrived("service");
    arrived.owner = SECOND;
    script.gives(Command::Arrived(Box::new(arrived)));
    let calls = [script.dials("service"), script.talks_with("ana"), script.dials("echo")];
    script.gives(lost(NODE));
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
    assert_eq!(script.gives(lost(NODE)), Reply::Already);
}

#[test]
fn what_a_node_says_late_of_a_call_that_has_moved_is_refused_but_for_who_hung_up() {
    let mut script = Script::new();
    script.gives(up(SECOND));
    let call = script.talks_with("ana");
    // The caller's arrival was refused at a node that did not know yet that it is committed; other
    // reports waited in a node that was frozen.
    let reports = [
        Command::LegAnswered { call, leg: leg(1), wires: vec![(leg(1), Wire::from(&b"old"[..]))] },
        Command::WireChanged { call, leg: leg(0), wire: Wire::from(&b"old"[..]) },
        Command::LegEnded { call, leg: leg(0), cause: Cause::Lost },
        Command::LegFailed { call, leg: leg(1), status: 408 },
        Command::LegHeld { call, leg: leg(0), held: true },
    ];
    let refused_there = Command::LegEnded { call, leg: leg(0), cause: Cause::Cancelled };
    let refused_there = Command::Owned { epoch: 0, report: Box::new(refused_there) };
    script.gives(lost(NODE));
    assert_eq!((script.call(call).owner, script.call(call).epoch), (SECOND, 1));
    for report in reports.map(|report| report.of_epoch(0)).into_iter().chain([refused_there]) {
        assert_eq!(script.tries(report), Err(Rejected::CallMoved { call }));
    }
    let held = Command::LegHeld { call, leg: leg(0), held: true };
    assert_eq!(script.gives(held.of_epoch(1)), Reply::Done);
    let hung_up = Command::LegEnded { call, leg: leg(0), cause: Cause::HungUp };
    assert_eq!(script.gives(hung_up.of_epoch(0)), Reply::Done);
    assert!(script.call(call).has_ended(), "the caller has been let go, wherever that was");
}

#[test]
fn a_command_that_is_no_report_has_no_owner() {
    let mut script = Script::new();
    assert_eq!(Command::Tick.of_epoch(3), Command::Tick);
    let owned = Command::Owned { epoch: 0, report: Box::new(Command::Tick) };
    assert_eq!(script.tries(owned.clone()), Err(Rejected::NoReport));
    let twice = Command::Owned { epoch: 0, report: Box::new(owned) };
    assert_eq!(script.tries(twice), Err(Rejected::NoReport));
}

#[test]
fn a_lost_node_takes_no_calls_until_it_is_up_again() {
    let mut script = Script::new();
    script.gives(up(SECOND));
    script.gives(lost(NODE));
    let arrived = script.arrived("service");
    let rejected = script.tries(Command::Arrived(Box::new(arrived.clone())));
    assert_eq!(rejected, Err(Rejected::NodeIsLost { node: NODE }));
    script.gives(up(NODE));
    assert_eq!(script.gives(Command::Arrived(Box::new(arrived))), Reply::Done);
}

#[test]
fn calls_without_any_live_node_go_to_the_first_that_is_up() {
    let mut script = Script::new();
    let call = script.dials("service");
    script.gives(lost(NODE));
    assert_eq!((script.call(call).owner, script.call(call).epoch), (NODE, 0));
    script.gives(up(SECOND));
    assert_eq!((script.call(call).owner, script.call(call).epoch), (SECOND, 1));
}

#[test]
fn desks_of_a_lost_or_restarted_node_get_their_grace() {
    for command in [lost(NODE), up(NODE)] {
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

#[test]
fn an_address_and_all_calls_on_it_move_together() {
    let mut script = Script::new();
    for node in [NODE, SECOND, THIRD] {
        script.gives(up_with_home(node));
    }
    let calls = [dials_home(&mut script, NODE), dials_home(&mut script, NODE)];
    let elsewhere = dials_home(&mut script, SECOND);
    script.gives(lost(NODE));
    for call in calls {
        assert_eq!((script.call(call).owner, script.call(call).epoch), (THIRD, 1));
    }
    assert_eq!(script.call(elsewhere).epoch, 0);
    assert_eq!(holder_of(&script, NODE), THIRD);
    // Who adopted it dies, too: everything that lives there goes on at the last one.
    script.gives(lost(THIRD));
    assert_eq!([holder_of(&script, NODE), holder_of(&script, THIRD)], [SECOND, SECOND]);
    assert_eq!((script.call(calls[0]).owner, script.call(calls[0]).epoch), (SECOND, 2));
}

/// Nodes 1 and 2 are at one site, 3 and 4 at another.
fn two_sites() -> Script {
    let mut all = directory();
    let sites = [(NODE, "north"), (SECOND, "north"), (THIRD, "south"), (FOURTH, "south")];
    all.sites = sites.map(|(node, site)| (node, site.into())).into();
    let mut script = Script::with(all);
    for node in [NODE, SECOND, THIRD, FOURTH] {
        script.gives(up_with_home(node));
    }
    script
}

#[test]
fn a_site_is_taken_over_by_the_other_one_when_all_its_nodes_are_lost() {
    let mut script = two_sites();
    let call = dials_home(&mut script, NODE);
    // Others have fewer calls.
    let neighbours = [(); 3].map(|()| dials_home(&mut script, SECOND));
    script.gives(lost(NODE));
    assert_eq!(script.call(call).owner, SECOND, "as long as one is left at the site");
    dials_home(&mut script, THIRD);
    script.gives(lost(SECOND));
    assert_eq!([holder_of(&script, NODE), holder_of(&script, SECOND)], [FOURTH, THIRD]);
    assert_eq!(script.call(call).owner, FOURTH);
    for call in neighbours {
        assert_eq!(script.call(call).owner, THIRD);
    }
    // What comes back gets its own.
    script.gives(up_with_home(NODE));
    let (home, epoch) = (HomeId::first_of(NODE), script.call(call).epoch);
    script.gives(Command::HomeYielded { home, epoch });
    assert_eq!(script.call(call).owner, NODE);
}

#[test]
fn a_call_that_lives_at_no_address_stays_at_the_site_of_its_node() {
    let mut script = two_sites();
    let mut arrived = script.arrived("service");
    arrived.owner = THIRD;
    let call = arrived.call;
    script.gives(Command::Arrived(Box::new(arrived)));
    dials_home(&mut script, FOURTH);
    script.gives(lost(THIRD));
    assert_eq!(script.call(call).owner, FOURTH);
    script.gives(lost(FOURTH));
    assert_eq!(holder_of(&script, FOURTH), NODE);
    assert_eq!(script.call(call).owner, SECOND, "node 1 has more by now");
}

#[test]
fn a_draining_node_yields_to_its_site() {
    let mut script = two_sites();
    dials_home(&mut script, SECOND);
    script.gives(Command::Drain { node: NODE });
    let (_, home) = script.center.homes().find(|(id, _)| *id == HomeId::first_of(NODE)).unwrap();
    assert_eq!(script.center.heir(home), Some(SECOND));
}

#[test]
fn a_node_that_is_back_gets_its_address_and_the_calls_on_it() {
    let mut script = Script::new();
    script.gives(up_with_home(NODE));
    script.gives(up_with_home(SECOND));
    let call = dials_home(&mut script, NODE);
    script.gives(lost(NODE));
    let late = dials_home(&mut script, NODE);
    assert_eq!(script.call(late).owner, SECOND, "the address was there when it called");
    script.gives(up_with_home(NODE));
    script.gives(Command::HomeYielded { home: HomeId::first_of(NODE), epoch: 1 });
    for call in [call, late] {
        assert_eq!(script.call(call).owner, NODE);
    }
    assert_eq!(holder_of(&script, NODE), NODE);
    assert_eq!(script.gives(up_with_home(NODE)), Reply::Already);
    assert_eq!(script.call(call).epoch, 2);
}

#[test]
fn a_live_node_keeps_an_address_until_it_yields_it() {
    let mut script = Script::new();
    script.gives(up_with_home(NODE));
    script.gives(up_with_home(SECOND));
    let call = dials_home(&mut script, NODE);
    script.gives(lost(NODE));
    script.gives(up_with_home(NODE));
    assert_eq!((script.call(call).owner, holder_of(&script, NODE)), (SECOND, SECOND));
    let home = HomeId::first_of(NODE);
    assert_eq!(script.gives(Command::HomeYielded { home, epoch: 0 }), Reply::Already, "too old");
    assert_eq!(script.gives(Command::HomeYielded { home, epoch: 1 }), Reply::Done);
    assert_eq!((script.call(call).owner, holder_of(&script, NODE)), (NODE, NODE));
    assert_eq!(script.gives(Command::HomeYielded { home, epoch: 2 }), Reply::Already, "at home");
}

#[test]
fn an_address_that_is_yielded_to_a_node_that_was_lost_again_stays() {
    let mut script = Script::new();
    script.gives(up_with_home(NODE));
    script.gives(up_with_home(SECOND));
    script.gives(lost(NODE));
    script.gives(up_with_home(NODE));
    script.gives(lost(NODE));
    let home = HomeId::first_of(NODE);
    assert_eq!(script.gives(Command::HomeYielded { home, epoch: 1 }), Reply::Done);
    assert_eq!(holder_of(&script, NODE), SECOND);
    // The holder acts for it again, so that a repetition must find nothing.
    script.gives(up_with_home(NODE));
    assert_eq!(script.gives(Command::HomeYielded { home, epoch: 1 }), Reply::Already);
    assert_eq!(holder_of(&script, NODE), SECOND);
}

#[test]
fn an_address_whose_holder_is_lost_goes_to_its_own_node_if_that_is_up() {
    let mut script = Script::new();
    script.gives(up_with_home(NODE));
    script.gives(up_with_home(SECOND));
    script.gives(up_with_home(THIRD));
    script.gives(lost(THIRD));
    let adopter = holder_of(&script, THIRD);
    script.gives(up_with_home(THIRD));
    script.gives(lost(adopter));
    assert_eq!(holder_of(&script, THIRD), THIRD);
}

#[test]
fn an_invite_that_came_in_before_its_address_moved_is_for_who_has_the_address() {
    let mut script = Script::new();
    script.gives(up_with_home(NODE));
    script.gives(up_with_home(SECOND));
    script.gives(lost(NODE));
    script.gives(up_with_home(NODE));
    script.gives(Command::HomeYielded { home: HomeId::first_of(NODE), epoch: 1 });
    let mut arrived = script.arrived("echo");
    let home = HomeId::first_of(NODE);
    (arrived.owner, arrived.home) = (SECOND, Some((home, 1)));
    let call = arrived.call;
    let again = arrived.clone();
    let moved = Rejected::AddressMoved { home };
    assert_eq!(script.tries(Command::Arrived(Box::new(arrived))), Err(moved));
    // The caller repeats it, and it comes to the holder.
    let arrived = Arrived { owner: NODE, home: Some((home, 2)), ..again };
    script.gives(Command::Arrived(Box::new(arrived)));
    assert_eq!(script.call(call).owner, NODE);
}

#[test]
fn a_draining_node_yields_its_address_to_the_one_with_the_fewest_calls_and_gets_none() {
    let mut script = Script::new();
    for node in [NODE, SECOND, THIRD] {
        script.gives(up_with_home(node));
    }
    let call = dials_home(&mut script, NODE);
    dials_home(&mut script, SECOND);
    script.gives(Command::Drain { node: NODE });
    assert_eq!((script.call(call).owner, holder_of(&script, NODE)), (NODE, NODE), "not let go yet");
    assert_eq!(script.gives(Command::Drain { node: NODE }), Reply::Already);
    let home = HomeId::first_of(NODE);
    script.gives(Command::HomeYielded { home, epoch: 0 });
    assert_eq!((script.call(call).owner, holder_of(&script, NODE)), (THIRD, THIRD));
    // It is there, is up again after a gap in its lease, and is passed over all the same.
    let homes = vec![(home, Wire::from(&b"an address"[..]))];
    script.gives(Command::NodeUp { node: NODE, homes, sockets_are_lost: false });
    assert_eq!(script.gives(Command::HomeYielded { home, epoch: 1 }), Reply::Done);
    assert_eq!(holder_of(&script, NODE), THIRD);
    script.gives(lost(THIRD));
    assert_eq!(holder_of(&script, NODE), SECOND);
    assert_eq!(script.call(call).owner, SECOND);
}

#[test]
fn a_drained_node_gets_its_address_back_when_it_was_started_again_or_resumes() {
    let again = [up_with_home(NODE), Command::Resume { node: NODE }];
    for again in again {
        let mut script = Script::new();
        script.gives(up_with_home(NODE));
        script.gives(up_with_home(SECOND));
        let call = dials_home(&mut script, NODE);
        let home = HomeId::first_of(NODE);
        script.gives(Command::Drain { node: NODE });
        script.gives(Command::HomeYielded { home, epoch: 0 });
        assert_eq!(script.gives(again), Reply::Done);
        script.gives(Command::HomeYielded { home, epoch: 1 });
        assert_eq!((script.call(call).owner, script.call(call).epoch), (NODE, 2));
        assert_eq!(script.gives(Command::Resume { node: NODE }), Reply::Already);
    }
}

#[test]
fn what_is_yielded_when_the_node_has_resumed_stays() {
    let mut script = Script::new();
    script.gives(up_with_home(NODE));
    script.gives(up_with_home(SECOND));
    script.gives(Command::Drain { node: NODE });
    script.gives(Command::Resume { node: NODE });
    script.gives(Command::Drain { node: NODE });
    let home = HomeId::first_of(NODE);
    assert_eq!(script.gives(Command::HomeYielded { home, epoch: 0 }), Reply::Already);
    assert_eq!(holder_of(&script, NODE), NODE);
}

#[test]
fn a_node_drains_only_if_another_one_takes_over() {
    let mut script = Script::new();
    let drain = |node| Command::Drain { node };
    assert_eq!(script.tries(drain(NODE)), Err(Rejected::OnlyNode { node: NODE }));
    assert_eq!(script.tries(drain(THIRD)), Err(Rejected::NoSuchNode { node: THIRD }));
    script.gives(up_with_home(SECOND));
    script.gives(lost(SECOND));
    assert_eq!(script.tries(drain(SECOND)), Err(Rejected::NodeIsLost { node: SECOND }));
    assert_eq!(script.tries(drain(NODE)), Err(Rejected::LastNode { node: NODE }));
    script.gives(up_with_home(SECOND));
    script.gives(drain(SECOND));
    assert_eq!(script.tries(drain(NODE)), Err(Rejected::NobodyTakesOver { node: NODE }));
}

#[test]
fn desks_of_a_node_that_was_only_cut_off_are_left_where_they_are() {
    let mut script = Script::new();
    script.signs_in("ana", 11);
    script.gives(Command::NodeUp { node: NODE, homes: Vec::new(), sockets_are_lost: false });
    assert_eq!(script.center.session(SessionId(11)).unwrap().link, Link::Live);
}

#[test]
fn a_node_brings_no_more_addresses_than_it_may() {
    let mut script = Script::new();
    let homes = (0..17).map(|number| (HomeId(number), Wire::default())).collect();
    let rejected = script.tries(Command::NodeUp { node: NODE, homes, sockets_are_lost: false });
    assert!(matches!(rejected, Err(Rejected::TooLarge { size: 17, max: 16, .. })), "{rejected:?}");
}

fn up(node: NodeId) -> Command {
    Command::NodeUp { node, homes: Vec::new(), sockets_are_lost: true }
}

fn up_with_home(node: NodeId) -> Command {
    let homes = vec![(HomeId::first_of(node), Wire::from(&b"an address"[..]))];
    Command::NodeUp { node, homes, sockets_are_lost: true }
}

fn lost(node: NodeId) -> Command {
    Command::NodeLost { node, silent_ms: 0 }
}

fn dials_home(script: &mut Script, of: NodeId) -> CallId {
    let mut arrived = script.arrived("service");
    let home = HomeId::first_of(of);
    let known = script.center.homes().find(|(id, _)| *id == home);
    let epoch = known.map_or(0, |(_, home)| home.epoch);
    (arrived.owner, arrived.home) = (of, Some((home, epoch)));
    let call = arrived.call;
    script.gives(Command::Arrived(Box::new(arrived)));
    call
}

fn holder_of(script: &Script, of: NodeId) -> NodeId {
    let found = script.center.homes().find(|(id, _)| *id == HomeId::first_of(of));
    found.expect("the node brought it").1.holder
}
