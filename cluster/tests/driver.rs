//! The driver among its peers: elections, the leader's clock, reads, members, snapshots.

mod world;

use std::collections::BTreeSet;
use tandem_cluster::driver::{ChangeError, Lost, ProposeError};
use tandem_cluster::{
    Entry, MembershipChange, MemoryLog, Message, MessageType, Options, ProposalId,
};
use world::World;

fn data(history: &world::History) -> Vec<&[u8]> {
    history.iter().map(|(_, _, data)| data.as_slice()).collect()
}

#[test]
fn a_single_node_leads_at_once_and_commits_with_one_sync() {
    let mut world = World::of(1);
    assert!(world.driver(1).role().leading);
    let syncs = world.members[&1].disk.syncs();
    world.propose(1, b"a").unwrap();
    assert_eq!(data(world.history(1)), [b"a"]);
    assert_eq!(world.members[&1].disk.syncs(), syncs + 1);
}

#[test]
fn what_a_follower_proposes_is_applied_everywhere_at_the_leaders_time() {
    let mut world = World::of(3);
    let leader = world.elect();
    let follower = leader % 3 + 1;
    world.members.get_mut(&follower).unwrap().clock_ahead = 1_000_000;
    world.run(100);
    world.propose(follower, b"a").unwrap();
    world.run(100);
    let now = world.now;
    for node in 1..=3 {
        let [(_, at, data)] = world.history(node).as_slice() else { panic!("one entry") };
        assert_eq!(data, b"a");
        assert!((now - 100..=now).contains(at), "{at} is the leader's clock");
    }
}

#[test]
fn time_does_not_go_back_when_a_node_with_a_late_clock_leads() {
    let mut world = World::of(3);
    let leader = world.elect();
    world.members.get_mut(&leader).unwrap().clock_ahead = 5_000;
    world.run(100);
    world.propose(leader, b"a").unwrap();
    world.run(100);
    let to = leader % 3 + 1;
    world.driver(leader).transfer_leader(to);
    world.run(500);
    assert_eq!(world.leader(), Some(to));
    world.propose(to, b"b").unwrap();
    world.run(100);
    let [(_, first, _), (_, second, _)] = world.history(1).as_slice() else { panic!("two") };
    assert!(first <= second, "{first} is before {second}");
}

#[test]
fn without_a_leader_a_proposal_is_refused() {
    let mut world = World::of(3);
    let proposal = ProposalId { node: 1, sequence: 0 };
    let refused = world.driver(1).propose(0, proposal, Vec::new());
    assert_eq!(refused, Err(ProposeError::NoLeader));
}

#[test]
fn too_large_a_proposal_is_refused() {
    let mut world = World::of(1);
    let proposal = ProposalId { node: 1, sequence: 0 };
    let refused = world.driver(1).propose(0, proposal, vec![0; 1024 * 1024 + 1]);
    assert_eq!(refused, Err(ProposeError::TooLarge { bytes: 1024 * 1024 + 1 }));
}

#[test]
fn what_is_too_much_at_once_is_refused_and_the_rest_committed() {
    let mut world = World::of(3);
    let leader = world.elect();
    world.run(200);
    let followers: Vec<_> = (1..=3).filter(|node| *node != leader).collect();
    for follower in &followers {
        world.isolate(*follower, true);
    }
    // Nothing commits now, so that what is proposed piles up.
    for _ in 0..40 {
        world.propose(leader, &vec![0; 1024 * 1024]);
    }
    let refused = world.members[&leader].refused.len();
    assert!((7..=9).contains(&refused), "32 MiB of 40 are taken, {refused} refused");
    world.heal();
    assert_eq!(world.history(followers[0]).len() + refused, 40);
}

#[test]
fn a_read_sees_what_was_committed_before_it() {
    let mut world = World::of(3);
    let leader = world.elect();
    world.run(200);
    world.propose(leader, b"a").unwrap();
    world.run(20);
    let follower = leader % 3 + 1;
    let read = world.read(follower);
    world.run(100);
    assert_eq!(world.members[&follower].reads, [(read, 1)]);
}

#[test]
fn a_read_is_asked_again_when_the_question_is_lost() {
    let mut world = World::of(3);
    let leader = world.elect();
    world.run(200);
    let follower = leader % 3 + 1;
    world.cut_links.insert((leader, follower));
    let read = world.read(follower);
    world.run(60);
    assert_eq!(world.members[&follower].reads, []);
    world.cut_links.clear();
    world.run(300);
    assert_eq!(world.members[&follower].reads, [(read, 0)]);
}

#[test]
fn a_read_fails_when_nobody_can_confirm_it() {
    let mut world = World::of(3);
    let leader = world.elect();
    world.run(200);
    world.isolate(leader, true);
    let read = world.read(leader);
    world.run(5_000);
    assert_eq!(world.members[&leader].reads, []);
    assert_eq!(world.members[&leader].reads_failed, [read]);
}

#[test]
fn a_new_leader_is_elected_within_two_timeouts() {
    let mut world = World::of(3);
    let old = world.elect();
    world.run(1_000);
    world.crash(old, 0);
    world.run(700);
    assert!(world.leader().is_some_and(|leader| leader != old));
}

#[test]
fn who_asks_too_soon_whether_it_may_stand_asks_again_and_leads_in_time() {
    let mut slowest = 0;
    for seed in 0..60 {
        let mut world = World::seeded(3, seed);
        let old = world.elect();
        world.run(1_000);
        // One of the others does not hear the leader's last heartbeats.
        let first = (old + seed % 2) % 3 + 1;
        world.cut_links.insert((old, first));
        world.run(150);
        world.crash(old, 0);
        let died = world.now;
        while world.leader().is_none_or(|leader| leader == old) {
            world.run(1);
        }
        slowest = slowest.max(world.now - died);
    }
    // One time-out of the other one, and a question.
    assert!(slowest < 400, "{slowest} ms");
}

/// As a leader of raft-rs sends it when what a follower lost goes again behind the news of a commit.
#[test]
fn entries_that_do_not_follow_what_their_append_says_are_passed_over() {
    let mut world = World::of(3);
    let leader = world.elect();
    for number in 0..20_u8 {
        world.propose(leader, &[number]);
    }
    world.run(500);
    let follower = leader % 3 + 1;
    let term = world.driver(leader).role().term;
    let (last, _) = world.driver(follower).applied();
    let entry = |index| Entry { index, term, data: vec![7].into(), ..Entry::default() };
    let mut message = Message {
        from: leader,
        to: follower,
        term,
        index: last,
        log_term: term,
        ..Message::default()
    };
    message.set_msg_type(MessageType::MsgAppend);
    message.set_entries((5..last + 3).map(entry).collect());
    let now = world.now;
    world.driver(follower).handle_message(now, message).unwrap();
    world.propose(leader, b"next");
    world.run(500);
    world.check().unwrap();
    assert_eq!(world.history(follower).last().unwrap().2, b"next");
}

#[test]
fn a_node_that_was_cut_off_does_not_disturb_the_leader() {
    let mut world = World::of(3);
    let leader = world.elect();
    world.run(200);
    let term = world.driver(leader).role().term;
    let other = leader % 3 + 1;
    world.isolate(other, true);
    world.run(5_000);
    world.isolate(other, false);
    world.run(2_000);
    assert_eq!(world.driver(leader).role().term, term, "pre-vote keeps the term");
    assert!(world.driver(leader).role().leading);
}

#[test]
fn a_leader_without_a_majority_steps_down() {
    let mut world = World::of(3);
    let leader = world.elect();
    world.isolate(leader, true);
    world.run(1_000);
    assert!(!world.driver(leader).role().leading);
}

#[test]
fn equal_seeds_give_equal_elections() {
    let run = |seed| {
        let mut world = World::seeded(3, seed);
        world.loss_percent = 10;
        let mut trace = Vec::new();
        for round in 0..20_u8 {
            let leader = world.elect();
            world.propose(leader, &[round]);
            world.run(200);
            world.crash_and_restart(leader, 300);
            trace.push((world.now, leader, world.steps));
        }
        trace
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
}

#[test]
fn a_late_follower_gets_a_snapshot() {
    let mut world = World::of(3);
    let leader = world.elect();
    let late = leader % 3 + 1;
    world.crash(late, 0);
    for round in 0..50_u8 {
        world.propose(leader, &[round]);
        world.run(10);
    }
    world.compact(leader);
    world.propose(leader, b"last").unwrap();
    world.start(late);
    world.heal();
    assert_eq!(world.history(late).len(), 51);
    world.check().unwrap();
}

#[test]
fn a_learner_is_added_promoted_and_removed() {
    let mut world = World::of(3);
    let leader = world.elect();
    world.run(200);
    world.propose(leader, b"a").unwrap();
    world.run(100);
    world.add(4, MemoryLog::new());
    let mut sequence = 1 << 40;
    let mut change = |world: &mut World, change| {
        sequence += 1;
        let now = world.now;
        let proposal = ProposalId { node: leader, sequence };
        let changed = world.driver(leader).change_members(now, proposal, change);
        world.run(500);
        changed
    };
    let promote = MembershipChange::Promote { node: 4 };
    let refused = change(&mut world, promote.clone());
    assert_eq!(refused, Err(ChangeError::NotLearner { node: 4 }));
    let add = MembershipChange::AddLearner { node: 4, address: b"there".to_vec() };
    change(&mut world, add.clone()).unwrap();
    assert_eq!(data(world.history(4)), [b"a"], "it got the snapshot of the beginning and the log");
    assert_eq!(change(&mut world, add), Err(ChangeError::Member { node: 4 }));
    change(&mut world, promote).unwrap();
    let members = world.driver(4).status().members;
    assert_eq!((members.voters, members.learners), (vec![1, 2, 3, 4], vec![]));
    assert_eq!(members.addresses[&4], b"there");
    let leads = change(&mut world, MembershipChange::Remove { node: leader });
    assert_eq!(leads, Err(ChangeError::Leads { node: leader }));
    let gone = leader % 3 + 1;
    change(&mut world, MembershipChange::Remove { node: gone }).unwrap();
    assert_eq!(world.driver(4).status().members.voters.len(), 3);
    // What it learned of the members survives a restart, and is not applied twice.
    world.crash(4, 0);
    world.start(4);
    world.run(500);
    assert_eq!(world.driver(4).status().members.voters.len(), 3);
}

#[test]
fn a_node_that_lost_its_disk_is_told_so_and_does_not_vote() {
    let mut world = World::of(3);
    let leader = world.elect();
    world.run(200);
    world.propose(leader, b"a").unwrap();
    world.run(200);
    let commit = world.driver(leader).status().commit;
    let lost = leader % 3 + 1;
    world.crash(lost, 0);
    world.members.get_mut(&lost).unwrap().disk = MemoryLog::new();
    world.start(lost);
    let term = world.driver(leader).role().term;
    let mut heartbeat = Message { to: lost, from: leader, term, commit, ..Message::default() };
    heartbeat.set_msg_type(MessageType::MsgHeartbeat);
    let refused = world.driver(lost).handle_message(0, heartbeat);
    assert_eq!(refused, Err(Lost { acknowledged: commit, last: 0 }));
}

#[test]
fn a_state_ahead_of_the_log_is_not_started() {
    let options = Options { applied: 9, ..Options::new(1) };
    let logger = slog::Logger::root(slog::Discard, slog::o!());
    let refused = tandem_cluster::Driver::new(&options, MemoryLog::new(), &logger);
    let why = refused.unwrap_err().to_string();
    assert!(why.contains("applied up to entry 9, but the log ends at 0"), "{why}");
}

#[test]
fn a_failing_disk_is_reported_and_nothing_acknowledged() {
    let mut world = World::of(1);
    world.members[&1].disk.fail_next("No space left on device");
    let proposal = ProposalId { node: 1, sequence: 9 };
    let driver = world.driver(1);
    driver.propose(0, proposal, b"a".to_vec()).unwrap();
    assert!(matches!(driver.poll_output(), Some(tandem_cluster::Output::Persist)));
    let failed = driver.persist().unwrap_err().to_string();
    assert_eq!(failed, "the log cannot be written or read: No space left on device");
}

#[test]
fn a_leader_lets_that_voter_lead_which_is_there_and_has_the_most() {
    let mut world = World::of(3);
    let leader = world.elect();
    world.run(500);
    let (late, other) = (leader % 3 + 1, (leader + 1) % 3 + 1);
    world.isolate(late, true);
    world.propose(leader, b"a").unwrap();
    world.run(100);
    assert_eq!(world.driver(leader).hand_over(&BTreeSet::new()), Some(other));
    world.run(500);
    assert_eq!(world.leader(), Some(other));
    assert_eq!(world.driver(leader).hand_over(&BTreeSet::new()), None, "it does not lead");
}
