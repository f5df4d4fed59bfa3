//! Replicas on loopback sockets and real disks: what survives what.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod counter;
mod failing;
mod killed;
mod recovery;
mod stalled;

use counter::{addresses, count, counted, leader, start, steps, stop, wait_for};
use std::collections::BTreeMap;
use std::sync::mpsc;
use std::time::Duration;
use tandem::replica::{ProposalError, StartError};
use tandem_cluster::MembershipChange;

#[test]
fn a_single_node_needs_no_configuration_and_keeps_its_state() {
    let data = tempfile::tempdir().unwrap();
    let node = start(1, data.path(), &BTreeMap::new(), |_| ()).unwrap();
    assert_eq!([count(&node, "a"), count(&node, "a"), count(&node, "b")], [1, 2, 1]);
    stop(node);
    let node = start(1, data.path(), &BTreeMap::new(), |_| ()).unwrap();
    assert_eq!((counted(&node, "a"), counted(&node, "b")), (2, 1));
    assert_eq!(count(&node, "a"), 3);
    stop(node);
    assert_eq!(steps(&data.path().join("node1")), ["a=1", "a=2", "b=1", "a=3"]);
}

#[test]
fn the_callback_form_answers_too_and_reads_see_it() {
    let data = tempfile::tempdir().unwrap();
    let node = start(1, data.path(), &BTreeMap::new(), |_| ()).unwrap();
    count(&node, "a");
    let (sender, answers) = mpsc::channel();
    node.0.propose_then(b"a".to_vec(), move |answer| sender.send(answer).unwrap());
    assert_eq!(answers.recv().unwrap().unwrap().reply, 2);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let read = runtime.block_on(node.0.read_linear(|counters| counters.counts["a"].0));
    assert_eq!(read, Ok(2));
    stop(node);
}

#[test]
fn the_state_is_rebuilt_without_its_cache() {
    let data = tempfile::tempdir().unwrap();
    let node = start(1, data.path(), &BTreeMap::new(), |_| ()).unwrap();
    for _ in 0..10 {
        count(&node, "a");
    }
    stop(node);
    let home = data.path().join("node1");
    let database = home.join("cache/db");
    let length = std::fs::metadata(&database).unwrap().len() as usize;
    std::fs::write(&database, vec![0x55; length]).unwrap();
    let node = start(1, data.path(), &BTreeMap::new(), |_| ()).unwrap();
    wait_for("replay", || counted(&node, "a") == 10);
    stop(node);
    // The new cache is whole: the state comes from it alone.
    let node = start(1, data.path(), &BTreeMap::new(), |_| ()).unwrap();
    assert_eq!(counted(&node, "a"), 10);
    stop(node);
    assert_eq!(steps(&home).len(), 10, "no row was written twice");
}

#[test]
fn a_damaged_log_stops_the_node_and_is_left_as_it_is() {
    let data = tempfile::tempdir().unwrap();
    let node = start(1, data.path(), &BTreeMap::new(), |_| ()).unwrap();
    for _ in 0..10 {
        count(&node, "a");
    }
    stop(node);
    let log = data.path().join("node1/log/0000000000000001.raftlog");
    let mut bytes = std::fs::read(&log).unwrap();
    for at in (100..1_000).step_by(64) {
        bytes[at] ^= 0xff;
    }
    std::fs::write(&log, &bytes).unwrap();
    let refused = start(1, data.path(), &BTreeMap::new(), |_| ()).unwrap_err().to_string();
    assert!(refused.to_lowercase().contains("remove th"), "it says what to do: {refused}");
    assert_eq!(std::fs::read(log.with_extension("torn")).unwrap(), bytes, "a copy is kept");
}

#[test]
fn a_cluster_needs_a_secret_and_addresses() {
    let data = tempfile::tempdir().unwrap();
    let members = addresses(3);
    let refused = start(1, data.path(), &members, |config| config.secret.clear());
    assert!(matches!(refused, Err(StartError::Missing(_))));
    let refused = start(9, data.path(), &members, |config| config.listen = Some(members[&1]));
    assert!(matches!(refused, Err(StartError::NotMember { node: 9, .. })));
}

#[test]
fn three_nodes_agree_and_survive_the_end_of_their_leader() {
    let data = tempfile::tempdir().unwrap();
    let members = addresses(3);
    let mut nodes: Vec<_> =
        (1..=3).map(|n| start(n, data.path(), &members, |_| ()).unwrap()).collect();
    for node in &nodes {
        count(node, "a");
    }
    for node in &nodes {
        wait_for("everywhere", || counted(node, "a") == 3);
    }
    let old = leader(&nodes.iter().collect::<Vec<_>>());
    let id = nodes[old].0.status().node;
    stop(nodes.remove(old));
    assert_eq!(count(&nodes[0], "a"), 4);
    let back = start(id, data.path(), &members, |_| ()).unwrap();
    wait_for("catching up", || counted(&back, "a") == 4);
    let times: Vec<_> =
        nodes.iter().chain([&back]).map(|n| n.0.read_local(|c| c.counts.clone())).collect();
    assert_eq!((&times[0], &times[1]), (&times[1], &times[2]), "the same time everywhere");
    nodes.push(back);
    nodes.into_iter().for_each(stop);
}

#[test]
fn a_leader_that_is_stopped_hands_over_first() {
    let data = tempfile::tempdir().unwrap();
    let members = addresses(3);
    let mut nodes: Vec<_> =
        (1..=3).map(|n| start(n, data.path(), &members, |_| ()).unwrap()).collect();
    nodes.iter().for_each(|node| {
        count(node, "a");
    });
    let at = leader(&nodes.iter().collect::<Vec<_>>());
    let (handle, replica) = nodes.remove(at);
    let own = handle.status().node;
    handle.shutdown();
    replica.join();
    let leader = handle.status().role.leader;
    assert!(leader.is_some_and(|leader| leader != own), "{leader:?} leads after node {own}");
    nodes.into_iter().for_each(stop);
}

#[test]
fn without_a_majority_nothing_is_promised() {
    let data = tempfile::tempdir().unwrap();
    let members = addresses(3);
    let quick = |config: &mut tandem::replica::ReplicaConfig| {
        config.proposal_timeout = Duration::from_millis(300);
    };
    let mut nodes: Vec<_> =
        (1..=3).map(|n| start(n, data.path(), &members, quick).unwrap()).collect();
    let at = leader(&nodes.iter().collect::<Vec<_>>());
    let last = nodes.remove(at);
    count(&last, "a");
    nodes.into_iter().for_each(stop);
    let answer = last.0.propose(b"a".to_vec()).wait();
    assert!(matches!(answer, Err(ProposalError::Unknown)), "{answer:?}");
    wait_for("stepping down", || !last.0.status().role.leading);
    let answer = last.0.propose(b"a".to_vec()).wait();
    assert!(matches!(answer, Err(ProposalError::NoLeader)), "{answer:?}");
    stop(last);
}

#[test]
fn a_node_that_joins_gets_state_and_records_by_snapshot() {
    let data = tempfile::tempdir().unwrap();
    let members = addresses(2);
    let (first, second) = (1, 2);
    let only = BTreeMap::from([(first, members[&first])]);
    let node = start(first, data.path(), &only, |_| ()).unwrap();
    for _ in 0..20 {
        count(&node, "a");
    }
    let joining = start(second, data.path(), &only, |config| {
        config.join = true;
        config.listen = Some(members[&second]);
    })
    .unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let address = members[&second].to_string().into_bytes();
    let add = MembershipChange::AddLearner { node: second, address };
    runtime.block_on(node.0.change(add)).unwrap();
    wait_for("the state", || counted(&joining, "a") == 20);
    // The leader hears a moment later how far the new node is.
    let promote = MembershipChange::Promote { node: second };
    wait_for("promotion", || runtime.block_on(node.0.change(promote.clone())).is_ok());
    assert_eq!(count(&node, "a"), 21);
    wait_for("the entry", || counted(&joining, "a") == 21);
    node.0.transfer_leader(second);
    wait_for("the leader", || joining.0.status().role.leading);
    assert_eq!(count(&joining, "a"), 22);
    stop(node);
    stop(joining);
    let steps = steps(&data.path().join("node2"));
    assert_eq!((steps.len(), steps[0].as_str(), steps[21].as_str()), (22, "a=1", "a=22"));
}

#[test]
fn the_log_is_compacted_and_a_late_node_catches_up() {
    let data = tempfile::tempdir().unwrap();
    let members = addresses(3);
    let often = |config: &mut tandem::replica::ReplicaConfig| {
        config.snapshot_entries = 50;
        config.kept_entries = 5;
        config.cache_every = Duration::from_millis(5);
    };
    let mut nodes: Vec<_> =
        (1..=3).map(|n| start(n, data.path(), &members, often).unwrap()).collect();
    count(&nodes[0], "a");
    let at = leader(&nodes.iter().collect::<Vec<_>>());
    let late = nodes.remove((at + 1) % 3);
    let id = late.0.status().node;
    stop(late);
    for _ in 0..200 {
        count(&nodes[0], "a");
    }
    wait_for("compaction", || nodes.iter().all(|node| node.0.status().log.0 > 100));
    let late = start(id, data.path(), &members, often).unwrap();
    wait_for("catching up", || counted(&late, "a") == 201);
    nodes.push(late);
    nodes.into_iter().for_each(stop);
    for node in 1..=3 {
        let steps = steps(&data.path().join(format!("node{node}")));
        let expected: Vec<_> = (1..=201).map(|count| format!("a={count}")).collect();
        assert_eq!(steps, expected, "records of node {node}: each step once");
    }
}

#[test]
fn the_leader_says_when_a_deadline_has_come() {
    let data = tempfile::tempdir().unwrap();
    let node = start(1, data.path(), &BTreeMap::new(), |_| ()).unwrap();
    count(&node, "in 100");
    wait_for("the tick", || counted(&node, "tick") > 0);
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(counted(&node, "tick"), 1, "once");
    stop(node);
}

#[test]
fn strangers_are_not_listened_to() {
    let data = tempfile::tempdir().unwrap();
    let members = addresses(3);
    let stranger = |config: &mut tandem::replica::ReplicaConfig| {
        config.secret = b"another secret".to_vec();
    };
    let first = start(1, data.path(), &members, |_| ()).unwrap();
    let second = start(2, data.path(), &members, stranger).unwrap();
    std::thread::sleep(Duration::from_millis(1_500));
    assert_eq!((first.0.status().role.leader, second.0.status().role.leader), (None, None));
    stop(first);
    stop(second);
}
