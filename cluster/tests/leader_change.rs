//! Reads and proposals while the leader changes: each is answered, refused, or known to be
//! undecided, in bounded time.

mod world;

use tandem_cluster::driver::ProposeError;
use tandem_cluster::{Entry, Log, Message, MessageType, NodeId, Output, ProposalId, ReadId};
use world::{TICK_MS, World};

/// A read is given up after so many ticks: four election time-outs.
const READ_TICKS_MAX: u64 = 48;

fn settled(nodes: u64) -> (World, NodeId) {
    let mut world = World::of(nodes);
    let leader = world.elect();
    world.run(300);
    (world, leader)
}

#[test]
fn a_read_at_a_follower_is_answered_by_the_next_leader() {
    let (mut world, leader) = settled(3);
    world.propose(leader, b"a").unwrap();
    world.run(100);
    let follower = leader % 3 + 1;
    // The question is on its way when the leader dies.
    let read = world.read(follower);
    world.crash(leader, 0);
    world.run(TICK_MS * READ_TICKS_MAX);
    assert_eq!(world.members[&follower].reads, [(read, 1)]);
}

#[test]
fn a_read_at_a_leader_that_has_not_committed_yet_is_answered_once_it_has() {
    let (mut world, leader) = settled(3);
    world.propose(leader, b"a").unwrap();
    world.run(100);
    let next = leader % 3 + 1;
    world.driver(leader).transfer_leader(next);
    while !world.driver(next).role().leading {
        world.run(1);
    }
    let status = world.driver(next).status();
    assert!(status.commit < status.log.1, "its first entry is not committed");
    let read = world.read(next);
    assert_eq!(world.members[&next].reads, [], "Raft drops the question without a word");
    world.run(200);
    assert_eq!(world.members[&next].reads, [(read, 1)]);
}

#[test]
fn a_read_that_was_answered_fails_if_the_entries_never_come() {
    let (mut world, leader) = settled(3);
    let follower = leader % 3 + 1;
    let (term, commit) = {
        let status = world.driver(leader).status();
        (status.role.term, status.commit)
    };
    let driver = world.driver(follower);
    driver.read(ReadId(7));
    let mut question = Vec::new();
    while let Some(output) = driver.poll_output() {
        if let Output::Send(message) = output {
            question = message.get_entries()[0].data.to_vec();
        }
    }
    // The answer comes, and then nothing any more.
    let mut answer =
        Message { to: follower, from: leader, term, index: commit + 5, ..Message::default() };
    answer.set_msg_type(MessageType::MsgReadIndexResp);
    answer.mut_entries().push(Entry { data: question.into(), ..Entry::default() });
    driver.handle_message(0, answer).unwrap();
    for tick in 1..=READ_TICKS_MAX {
        while let Some(output) = driver.poll_output() {
            assert!(!matches!(output, Output::ReadFailed(_)), "too early: {tick} ticks");
            if matches!(output, Output::Persist) {
                driver.persist().unwrap();
            }
        }
        driver.handle_tick();
    }
    assert!(matches!(driver.poll_output(), Some(Output::ReadFailed(ReadId(7)))));
}

#[test]
fn a_leader_that_was_frozen_reads_nothing_older_than_what_was_acknowledged_meanwhile() {
    let mut answered = 0;
    for seed in 0..20 {
        let mut world = World::seeded(3, seed);
        let leader = world.elect();
        world.run(300);
        world.propose(leader, b"before").unwrap();
        world.run(100);
        // Its process stands still, and believes that it leads.
        let frozen = world.members.get_mut(&leader).unwrap().driver.take();
        world.run(1_000);
        let next = world.elect();
        world.propose(next, b"meanwhile").unwrap();
        world.run(200);
        world.members.get_mut(&leader).unwrap().driver = frozen;
        assert!(world.driver(leader).role().leading, "it has heard of nothing");
        let read = world.read(leader);
        assert_eq!(world.members[&leader].reads, [], "seed {seed}: it asked nobody");
        world.run(TICK_MS * READ_TICKS_MAX * 2);
        assert_eq!(world.seen.violations, [""; 0], "seed {seed}");
        let (reads, failed) = (&world.members[&leader].reads, &world.members[&leader].reads_failed);
        assert!(*reads == [(read, 2)] || *failed == [read], "seed {seed}: {reads:?} {failed:?}");
        answered += reads.len();
    }
    assert!(answered >= 15, "answered {answered} of 20");
}

#[test]
fn all_reads_end_however_often_the_leader_changes() {
    for seed in 0..20 {
        let mut world = World::seeded(5, seed);
        world.loss_percent = 5;
        let mut leader = world.elect();
        for number in 0..100_u64 {
            world.propose(leader, &number.to_le_bytes());
            for node in 1..=5 {
                if world.members[&node].driver.is_some() {
                    world.read(node);
                }
            }
            match number % 10 {
                0 => world.crash_and_restart(leader, 200),
                5 => world.driver(leader).transfer_leader(leader % 5 + 1),
                _ => (),
            }
            world.run(40);
            leader = world.elect();
        }
        world.run(TICK_MS * READ_TICKS_MAX * 2);
        assert_eq!(world.seen.violations, [""; 0], "seed {seed}");
        let (mut answered, mut failed) = (0, 0);
        for (node, member) in &world.members {
            assert!(member.reading.is_empty(), "seed {seed}: node {node}: {:?}", member.reading);
            (answered, failed) =
                (answered + member.reads.len(), failed + member.reads_failed.len());
        }
        assert!(answered > 300, "seed {seed}: {answered} answered, {failed} failed");
    }
}

#[test]
fn a_leader_that_hands_over_refuses_proposals_and_says_why() {
    let (mut world, leader) = settled(3);
    let to = leader % 3 + 1;
    // In the same turn: the proposal was taken before the transfer began.
    let early = ProposalId { node: leader, sequence: 1 << 50 };
    world.driver(leader).propose(0, early, b"early".to_vec()).unwrap();
    world.driver(leader).transfer_leader(to);
    assert_eq!(world.propose(leader, b"late"), None);
    assert_eq!(world.members[&leader].refused, [(early, ProposeError::NoLeader)]);
    world.run(500);
    assert_eq!(world.leader(), Some(to));
    world.propose(leader, b"later").unwrap();
    world.run(200);
    assert_eq!(world.history(to).iter().map(|entry| &entry.2[..]).collect::<Vec<_>>(), [b"later"]);
}

#[test]
fn what_a_follower_proposes_during_a_transfer_is_committed_or_known_to_be_lost() {
    let mut lost = 0;
    for seed in 0..50 {
        let mut world = World::seeded(3, seed);
        let leader = world.elect();
        world.run(300);
        let (to, other) = (leader % 3 + 1, (leader + 1) % 3 + 1);
        let term = world.driver(other).role().term;
        world.driver(leader).transfer_leader(to);
        let mut proposed = Vec::new();
        for number in 0..30_u8 {
            if world.propose(other, &[number]).is_some() && world.driver(other).role().term == term
            {
                proposed.push(vec![number]);
            }
            world.run(1);
        }
        world.run(500);
        assert_eq!(world.leader(), Some(to), "seed {seed}");
        let has = |data: &Vec<u8>| world.history(other).iter().any(|entry| entry.2 == *data);
        let missing = proposed.iter().filter(|data| !has(data)).count();
        // Whoever waits for one of them learns from this that it was lost.
        let told = world.members[&other].settled.iter().any(|settled| *settled > term);
        assert!(missing == 0 || told, "seed {seed}: {missing} proposals are lost silently");
        lost += missing;
    }
    assert!(lost > 0, "something was dropped during the transfers");
}

#[test]
fn a_transfer_to_a_node_that_is_dead_is_given_up_and_proposals_are_taken_again() {
    let (mut world, leader) = settled(3);
    let to = leader % 3 + 1;
    world.crash(to, 0);
    world.driver(leader).transfer_leader(to);
    assert_eq!(world.propose(leader, b"during"), None);
    // One election time-out.
    world.run(TICK_MS * 12 + 100);
    assert!(world.driver(leader).role().leading);
    world.propose(leader, b"after").unwrap();
    world.run(200);
    assert_eq!(world.history(leader).len(), 1);
}

#[test]
fn a_leader_that_was_removed_by_its_predecessor_steps_down() {
    let (mut world, leader) = settled(3);
    let (next, third) = (leader % 3 + 1, (leader + 1) % 3 + 1);
    // The removal reaches the third node only; that is a majority with the old leader, but the
    // third one's answer does not arrive.
    world.delay_ms_max = 1;
    world.cut_links.insert((leader, next));
    let removal = tandem_cluster::MembershipChange::Remove { node: third };
    let (now, id) = (world.now, ProposalId { node: leader, sequence: 1 << 50 });
    world.driver(leader).change_members(now, id, removal).unwrap();
    world.propose(leader, b"pushes it out");
    world.run(1);
    world.crash(leader, 9);
    world.run(2_000);
    let has_led = world.seen.leaders.values().any(|node| *node == third);
    assert!(has_led, "it has the longest log");
    world.start(leader);
    world.cut_links.clear();
    world.run(3_000);
    let new = world.elect();
    assert_ne!(new, third);
    world.propose(new, b"b").unwrap();
    world.run(500);
    assert_eq!(world.history(new).last().unwrap().2, b"b");
    assert_eq!(world.driver(new).status().members.voters.len(), 2);
}

#[test]
fn a_node_that_comes_back_empty_does_not_vote() {
    let (mut world, leader) = settled(3);
    let (lost, stale) = (leader % 3 + 1, (leader + 1) % 3 + 1);
    world.lose_disk(lost);
    world.start(lost);
    // The third one is cut off from the leader: with the empty node it would be two of three.
    world.cut_links.insert((leader, lost));
    world.cut_links.insert((leader, stale));
    world.crash(leader, 0);
    world.run(5_000);
    assert_eq!(world.leader(), None);
    assert_eq!(world.driver(lost).role().term, 0);
}

#[test]
fn a_node_that_comes_back_empty_confirms_no_reads_and_begins_as_a_learner() {
    let (mut world, leader) = settled(3);
    let lost = leader % 3 + 1;
    world.lose_disk(lost);
    world.start(lost);
    let term = world.driver(leader).role().term;
    let message = |kind| {
        let mut message = Message { to: lost, from: leader, term, ..Message::default() };
        message.set_msg_type(kind);
        message
    };
    // A leader that still counts on it asks whether it leads: it may hear that the node lives, not
    // that a voter confirms.
    let mut heartbeat = message(MessageType::MsgHeartbeat);
    heartbeat.context = b"a read".to_vec().into();
    let said = answers(&mut world, lost, heartbeat);
    let kinds: Vec<_> = said.iter().map(|answer| answer.get_msg_type()).collect();
    assert_eq!(kinds, [MessageType::MsgHeartbeatResponse]);
    assert!(said[0].context.is_empty(), "it confirmed a read");
    // From a snapshot in which it votes, it would vote at once.
    let mut snapshot = message(MessageType::MsgSnapshot);
    snapshot.set_snapshot(world.members[&leader].disk.snapshot().unwrap());
    drop(answers(&mut world, lost, snapshot.clone()));
    let status = world.driver(lost).status();
    assert_eq!((status.members.voters, status.log.1), (vec![], 0));
    // As a newcomer it is welcome.
    let members = snapshot.mut_snapshot().mut_metadata().mut_conf_state();
    members.voters.retain(|node| *node != lost);
    members.learners.push(lost);
    drop(answers(&mut world, lost, snapshot));
    let members = world.driver(lost).status().members;
    assert_eq!((members.voters.len(), members.learners), (2, vec![lost]));
}

#[test]
fn a_snapshot_of_a_leader_that_leads_no_more_changes_nothing() {
    let (mut world, old) = settled(3);
    let (follower, next) = (old % 3 + 1, (old + 1) % 3 + 1);
    world.propose(old, b"a").unwrap();
    world.run(100);
    world.compact(old);
    let term = world.driver(old).role().term;
    let mut message = Message { to: follower, from: old, term, ..Message::default() };
    message.set_msg_type(MessageType::MsgSnapshot);
    message.set_snapshot(world.members[&old].disk.snapshot().unwrap());
    // It takes so long to send it that another one leads when it arrives.
    world.driver(old).transfer_leader(next);
    world.run(500);
    assert_eq!(world.leader(), Some(next));
    world.propose(next, b"b").unwrap();
    world.run(200);
    let before = world.driver(follower).status();
    drop(answers(&mut world, follower, message));
    let after = world.driver(follower).status();
    assert_eq!(
        (after.commit, after.applied, after.log),
        (before.commit, before.applied, before.log)
    );
    assert_eq!(after.role, before.role);
    // And what became of it is told to one who does not lead.
    for delivered in [true, false] {
        world.driver(old).report_snapshot(follower, delivered);
    }
    world.propose(next, b"c").unwrap();
    world.run(200);
    assert_eq!(world.check(), Ok(()));
    assert_eq!(world.history(follower).len(), 3);
}

/// What a node says to a message.
fn answers(world: &mut World, node: NodeId, message: Message) -> Vec<Message> {
    let driver = world.driver(node);
    driver.handle_message(0, message).expect("nothing is lost");
    let mut answers = Vec::new();
    while let Some(output) = driver.poll_output() {
        if matches!(output, Output::Persist) {
            driver.persist().expect("its disk works");
        }
        if let Output::Send(message) = output {
            answers.push(*message);
        }
    }
    answers
}
