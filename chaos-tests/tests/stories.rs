//! What a caller and an agent notice when machines fail.

use chaos_tests::{World, secs};

#[test]
fn the_call_survives_its_leader() {
    let mut world = World::of_nodes(3).seeded(42);
    let call = world.caller("alice").dials("sales").is_answered_by("ana");
    world.leader().crashes();
    world.runs_for(secs(10));
    world.call(call).is_still_bridged();
    world.call(call).hangs_up();
    assert_eq!(world.cdrs_of(call), 1);
    world.ends();
}

#[test]
fn the_call_survives_a_restart_of_its_own_node() {
    let mut world = World::of_nodes(3).seeded(7);
    let call = world.caller("alice").dials("sales").is_answered_by("ana");
    let owner = world.call(call).owner();
    world.machine(owner).crashes();
    world.runs_for(secs(3));
    world.machine(owner).starts();
    world.runs_for(secs(5));
    world.call(call).is_still_bridged();
    world.agent("ana").hangs_up(call);
    world.ends();
    assert_eq!(world.cdrs_of(call), 1);
}

#[test]
fn a_waiting_caller_keeps_the_place_through_an_election() {
    let mut world = World::of_nodes(3).seeded(3);
    let first = world.caller("alice").dials("sales").waits();
    let second = world.caller("berta").dials("sales").waits();
    world.leader().crashes();
    world.leader();
    world.agent("ana").is_obliging();
    world.call(first).is_answered_by("ana");
    assert_eq!(world.waiting_in("sales"), 1);
    world.call(first).hangs_up();
    world.call(second).is_answered_by("ana");
    world.ends();
}

#[test]
fn an_agent_whose_node_dies_goes_on_at_another() {
    let mut world = World::of_nodes(3).seeded(11);
    world.agent("ana").is_ready();
    let node = world.agent("ana").node().expect("the desk is connected");
    world.machine(node).crashes();
    world.runs_for(secs(6));
    assert_ne!(world.agent("ana").node(), Some(node));
    let other = node % 3 + 1;
    world.caller("alice").at_node(other).dials("sales").is_answered_by("ana");
    world.ends();
}

#[test]
fn a_node_without_a_majority_decides_nothing_and_catches_up() {
    let mut world = World::of_nodes(3).seeded(5);
    world.agent("ana").is_ready();
    let cut_off = world.leader().is_cut_off();
    world.runs_for(secs(3));
    assert_ne!(world.leader().number(), cut_off);
    let alive = cut_off % 3 + 1;
    let call = world.caller("alice").at_node(alive).dials("sales").waits();
    world.machine(cut_off).is_back();
    world.machine(cut_off).is_level();
    world.call(call).hangs_up();
    world.ends();
}

#[test]
fn a_node_that_is_far_behind_gets_a_snapshot() {
    let mut world = World::of_nodes(3).seeded(9);
    let late = world.follower().is_cut_off();
    let other = late % 3 + 1;
    for _ in 0..120 {
        let call = world.caller("alice").at_node(other).dials("sales").waits();
        world.call(call).hangs_up_at_once();
    }
    world.runs_for(secs(2));
    let before = world.counts().snapshots;
    world.machine(late).is_back();
    world.machine(late).is_level();
    assert!(world.counts().snapshots > before);
    world.ends();
}

#[test]
fn a_fourth_node_joins_votes_and_leaves_during_a_call() {
    let mut world = World::of_nodes(3).seeded(13);
    let call = world.caller("alice").dials("sales").is_answered_by("ana");
    world.changes_members();
    world.runs_for(secs(5));
    assert_eq!(world.voters(), [1, 2, 3]);
    world.changes_members();
    world.runs_for(secs(2));
    assert_eq!(world.voters(), [1, 2, 3, 4]);
    world.machine(4).is_level();
    world.changes_members();
    world.runs_for(secs(2));
    assert_eq!(world.voters(), [1, 2, 3]);
    world.call(call).is_still_bridged();
    world.ends();
}

#[test]
fn calls_of_a_killed_process_are_served_by_another_within_a_second() {
    let mut world = World::of_nodes(3).seeded(21);
    let call = world.caller("alice").dials("sales").is_answered_by("ana");
    let owner = world.call(call).owner();
    world.machine(owner).is_killed();
    let ms = world.call(call).is_served_by_another_ms(owner);
    assert!(ms <= 1_000, "{ms} ms");
    world.call(call).is_still_bridged();
    world.call(call).hangs_up();
    world.ends();
    assert_eq!(world.cdrs_of(call), 1);
}

#[test]
fn calls_of_a_killed_leader_are_served_by_another_when_there_is_a_successor() {
    let mut world = World::of_nodes(3).seeded(23);
    let leader = world.leader().number();
    let call = world.caller("alice").at_node(leader).dials("sales").is_answered_by("ana");
    world.machine(leader).is_killed();
    let ms = world.call(call).is_served_by_another_ms(leader);
    assert!(ms <= 2_500, "{ms} ms");
    world.call(call).is_still_bridged();
    world.ends();
}

#[test]
fn calls_of_a_frozen_node_are_served_by_another_and_come_back_when_it_wakes() {
    let mut world = World::of_nodes(3).seeded(27);
    let call = world.caller("alice").dials("sales").is_answered_by("ana");
    let owner = world.call(call).owner();
    world.machine(owner).is_frozen();
    let ms = world.call(call).is_served_by_another_ms(owner);
    assert!((1_000..=2_500).contains(&ms), "{ms} ms");
    world.runs_for(secs(3));
    world.machine(owner).wakes();
    world.call(call).is_back_at(owner);
    world.call(call).is_still_bridged();
    world.call(call).hangs_up();
    world.ends();
    assert_eq!(world.cdrs_of(call), 1);
}

#[test]
fn calls_of_a_node_that_is_cut_off_are_served_by_another_and_come_back() {
    let mut world = World::of_nodes(3).seeded(29);
    let call = world.caller("alice").dials("sales").is_answered_by("ana");
    let owner = world.call(call).owner();
    world.machine(owner).is_cut_off();
    let ms = world.call(call).is_served_by_another_ms(owner);
    assert!((1_000..=2_500).contains(&ms), "{ms} ms");
    world.machine(owner).is_back();
    world.call(call).is_back_at(owner);
    world.call(call).is_still_bridged();
    world.ends();
}

#[test]
fn waiting_callers_keep_their_order_when_their_node_is_lost() {
    let mut world = World::of_nodes(3).seeded(31);
    let node = world.follower().number();
    let first = world.caller("alice").at_node(node).dials("sales").waits();
    let second = world.caller("berta").at_node(node).dials("sales").waits();
    world.machine(node).is_killed();
    world.call(first).is_served_by_another_ms(node);
    let other = node % 3 + 1;
    let third = world.caller("cora").at_node(other).dials("sales").waits();
    world.agent("ana").is_obliging();
    for call in [first, second, third] {
        world.call(call).is_answered_by("ana");
        world.call(call).hangs_up();
    }
    world.ends();
}

#[test]
fn a_caller_reaches_the_address_of_a_lost_node_at_another() {
    let mut world = World::of_nodes(3).seeded(33);
    let node = world.follower().number();
    world.runs_for(secs(2));
    world.machine(node).is_killed();
    let call = world.caller("alice").at_node(node).dials("sales").is_answered_by("ana");
    assert_ne!(world.call(call).owner(), node);
    world.machine(node).starts();
    world.call(call).is_back_at(node);
    world.call(call).is_still_bridged();
    world.ends();
}

#[test]
fn a_member_that_is_removed_leaves_its_calls_to_others() {
    let mut world = World::of_nodes(3).seeded(35);
    world.changes_members();
    world.runs_for(secs(5));
    world.changes_members();
    world.runs_for(secs(3));
    let call = world.caller("alice").at_node(4).dials("sales").is_answered_by("ana");
    assert_eq!(world.call(call).owner(), 4);
    world.changes_members();
    let ms = world.call(call).is_served_by_another_ms(4);
    assert!(ms <= 2_500, "{ms} ms");
    world.call(call).is_still_bridged();
    world.ends();
}
