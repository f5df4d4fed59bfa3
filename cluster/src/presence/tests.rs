//! Three nodes that beat to each other, and what they believe when one falls silent.

use super::*;
use std::collections::BTreeSet;

const LEASE: u64 = 750;
const LOSS: u64 = 1_100;

/// Three nodes, node 1 leading in term 5, on a network that delivers at once unless it is cut.
/// Their clocks differ by a lot; only the rates are equal.
struct Script {
    now: u64,
    nodes: BTreeMap<NodeId, Presence>,
    cut: BTreeSet<(NodeId, NodeId)>,
    frozen: BTreeSet<NodeId>,
    /// For how long a node's clock stood still.
    stood_still: BTreeMap<NodeId, u64>,
    /// Beats that wait in the socket of a frozen node.
    unread: Vec<(NodeId, NodeId, Beat)>,
}

fn role(node: NodeId, leader: NodeId, term: u64) -> Role {
    Role { term, leader: Some(leader), leading: node == leader }
}

impl Script {
    fn new() -> Self {
        let nodes = (1..=3)
            .map(|node| {
                let mut presence = Presence::new(node, 100 + node, Timing::default());
                presence.set_members(0, &[1, 2, 3], (1..=3).filter(|other| *other != node));
                (node, presence)
            })
            .collect();
        let (cut, frozen, unread) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
        let stood_still = BTreeMap::new();
        let mut script = Self { now: 10_000, nodes, cut, frozen, stood_still, unread };
        (1..=3).for_each(|node| script.follows(node, 1, 5));
        script
    }

    fn clock(&self, node: NodeId) -> Moment {
        self.now + node * 1_000_000 - self.stood_still.get(&node).unwrap_or(&0)
    }

    fn follows(&mut self, node: NodeId, leader: NodeId, term: u64) {
        let now = self.clock(node);
        self.nodes.get_mut(&node).unwrap().set_role(now, role(node, leader, term));
    }

    fn runs_ms(&mut self, ms: u64) -> &mut Self {
        for _ in 0..ms {
            self.now += 1;
            let awake: Vec<_> = (1..=3).filter(|node| !self.frozen.contains(node)).collect();
            for from in awake {
                let now = self.clock(from);
                let due = self.nodes.get_mut(&from).unwrap().poll_beats(now);
                for Due { to, beat } in due {
                    self.unread.push((from, to, beat));
                }
            }
            self.deliver();
        }
        self
    }

    fn deliver(&mut self) {
        let (frozen, cut) = (self.frozen.clone(), self.cut.clone());
        self.unread.retain(|(from, to, _)| !cut.contains(&(*from, *to)));
        let (ready, waiting): (Vec<_>, Vec<_>) = std::mem::take(&mut self.unread)
            .into_iter()
            .partition(|(_, to, _)| !frozen.contains(to));
        self.unread = waiting;
        for (from, to, beat) in ready {
            let now = self.clock(to);
            self.nodes.get_mut(&to).unwrap().handle_beat(now, from, beat);
        }
    }

    fn cuts_off(&mut self, node: NodeId) {
        for other in (1..=3).filter(|other| *other != node) {
            self.cut.extend([(node, other), (other, node)]);
        }
    }

    fn may_act(&self, node: NodeId) -> bool {
        self.clock(node) < self.nodes[&node].lease_until()
    }

    fn missed_by(&self, node: NodeId) -> Vec<NodeId> {
        self.nodes[&node].missed(self.clock(node)).into_iter().map(|(node, _)| node).collect()
    }
}

#[test]
fn a_machine_whose_clock_stood_still_begins_its_lease_anew() {
    let mut three = Script::new();
    three.runs_ms(1_000);
    let before = three.nodes[&3].lease_number();
    three.nodes.get_mut(&3).unwrap().confirm(before);
    assert!(three.clock(3) < three.nodes[&3].acts_until());
    // Its machine is suspended, and what it is sent meanwhile is lost.
    three.frozen.insert(3);
    three.runs_ms(LOSS + 200);
    assert_eq!(three.missed_by(1), [3]);
    three.unread.clear();
    three.frozen.clear();
    three.stood_still.insert(3, LOSS + 200);
    three.runs_ms(60);
    assert!(three.clock(3) >= three.nodes[&3].acts_until(), "others have its calls");
    three.runs_ms(200);
    // Once for each peer that says so.
    assert!(three.nodes[&3].unconfirmed(three.clock(3)) > Some(before));
}

#[test]
fn beats_that_are_late_are_no_sign_of_a_clock_that_stood_still() {
    let mut three = Script::new();
    three.runs_ms(1_000);
    let before = three.nodes[&3].lease_number();
    for _ in 0..20 {
        three.cut.insert((2, 3));
        three.runs_ms(300);
        let (now, last) = (three.clock(3), three.nodes[&3].peers[&2].last);
        let late = Beat { sent: last.sent + 1, ..last };
        three.nodes.get_mut(&3).unwrap().handle_beat(now, 2, late);
        three.cut.clear();
        three.runs_ms(450);
    }
    assert_eq!(three.nodes[&3].lease_number(), before);
}

#[test]
fn all_may_act_and_none_is_missed_while_beats_come() {
    let mut three = Script::new();
    three.runs_ms(300);
    for _ in 0..100 {
        three.runs_ms(37);
        assert!((1..=3).all(|node| three.may_act(node)));
        assert!((1..=3).all(|node| three.missed_by(node).is_empty()));
    }
}

#[test]
fn a_node_alone_may_always_act() {
    let mut alone = Presence::new(1, 7, Timing::default());
    alone.set_members(0, &[1], []);
    alone.set_role(5, role(1, 1, 1));
    assert_eq!(alone.lease_until(), Moment::MAX);
    assert_eq!(alone.missed(1_000_000), []);
    alone.set_members(70, &[1, 2, 3], [2, 3]);
    assert_eq!(alone.lease_until(), 70 + LEASE, "it is alone no more");
}

#[test]
fn a_follower_that_is_cut_off_stops_before_it_is_missed() {
    let mut three = Script::new();
    three.runs_ms(1_000);
    three.cuts_off(3);
    let cut = three.now;
    let mut stopped = None;
    while three.missed_by(1).is_empty() {
        three.runs_ms(1);
        if !three.may_act(3) {
            stopped.get_or_insert(three.now);
        }
        assert!(three.now < cut + 2_000, "node 3 is never missed");
    }
    assert_eq!(three.missed_by(1), [3]);
    let (stopped, missed) = (stopped.expect("it stopped first") - cut, three.now - cut);
    assert!(stopped <= LEASE && (LOSS - 60..=LOSS).contains(&missed), "{stopped} {missed}");
    assert!(three.may_act(1) && three.may_act(2));
}

#[test]
fn a_leader_that_is_cut_off_stops_before_its_successor_misses_it() {
    let mut three = Script::new();
    three.runs_ms(1_000);
    three.cuts_off(1);
    // The fastest election that there can be.
    three.runs_ms(1);
    three.follows(2, 2, 6);
    three.follows(3, 2, 6);
    let elected = three.now;
    while three.missed_by(2).is_empty() {
        three.runs_ms(1);
        assert!(three.missed_by(1).is_empty() || three.now < elected + LEASE);
    }
    assert_eq!(three.missed_by(2), [1]);
    assert!(!three.may_act(1), "two nodes may act for the calls of node 1");
    assert!(three.now - elected >= LOSS);
}

#[test]
fn a_follower_of_a_deposed_leader_has_no_longer_lease_than_that_has() {
    let mut three = Script::new();
    three.runs_ms(1_000);
    // Node 2 leads, with the vote of a node that is not here any more; 1 and 3 do not know.
    three.cut.extend([(2, 1), (1, 2), (2, 3), (3, 2)]);
    three.follows(2, 2, 6);
    let elected = three.now;
    three.runs_ms(LOSS);
    // 1 and 3 are a majority: they go on, and node 2 has no lease to miss anyone with.
    assert!(three.may_act(3) && three.missed_by(2).is_empty());
    // Now 3 falls away: what it has from node 1 ends with what node 1 has.
    three.cut.extend([(1, 3), (3, 1)]);
    three.runs_ms(LEASE);
    assert!(!three.may_act(1) && !three.may_act(3));
    assert!(three.now > elected);
}

#[test]
fn a_frozen_node_wakes_without_a_lease_though_old_beats_wait_for_it() {
    let mut three = Script::new();
    three.runs_ms(1_000);
    three.frozen.insert(1);
    three.runs_ms(5_000);
    assert!(!three.may_act(1));
    three.frozen.clear();
    three.deliver();
    assert!(!three.may_act(1), "what was echoed long ago grants nothing");
    assert_eq!(three.missed_by(1), [], "it was away itself");
    three.runs_ms(120);
    assert!(three.may_act(1));
    assert_eq!(three.missed_by(1), []);
}

#[test]
fn a_leader_that_slept_does_not_miss_those_who_are_there() {
    let mut three = Script::new();
    three.runs_ms(1_000);
    three.frozen.insert(1);
    three.runs_ms(LOSS + 200);
    three.frozen.clear();
    for _ in 0..1_000 {
        three.runs_ms(1);
        assert_eq!(three.missed_by(1), []);
    }
}

#[test]
fn a_process_that_is_gone_is_missed_at_once_and_its_successor_is_not() {
    let mut three = Script::new();
    three.runs_ms(1_000);
    three.frozen.insert(3);
    three.runs_ms(2);
    let began = three.clock(1);
    three.nodes.get_mut(&1).unwrap().handle_refusal(3, began);
    assert_eq!(three.missed_by(1), [3]);
    let mut again = Presence::new(3, 999, Timing::default());
    again.set_members(0, &[1, 2, 3], [1, 2]);
    again.set_role(1, role(3, 1, 5));
    three.nodes.insert(3, again);
    three.frozen.clear();
    three.runs_ms(60);
    assert_eq!(three.missed_by(1), []);
}

#[test]
fn who_says_by_the_log_that_it_is_back_is_not_missed_before_its_first_beat() {
    let mut three = Script::new();
    three.runs_ms(1_000);
    three.frozen.insert(3);
    three.runs_ms(3_000);
    assert_eq!(three.missed_by(1), [3]);
    let (now, leader) = (three.clock(1), three.nodes.get_mut(&1).unwrap());
    leader.handle_return(now, 3);
    assert_eq!(three.missed_by(1), []);
    // What was refused to its predecessor says nothing of it; what is refused later does.
    three.nodes.get_mut(&1).unwrap().handle_refusal(3, now - 1);
    three.runs_ms(LOSS - 1);
    assert_eq!(three.missed_by(1), []);
    three.runs_ms(1);
    assert_eq!(three.nodes[&1].missed(three.clock(1)), [(3, LOSS)]);
    let (now, leader) = (three.clock(1), three.nodes.get_mut(&1).unwrap());
    leader.handle_return(now, 3);
    leader.handle_refusal(3, now + 1);
    three.runs_ms(1);
    assert_eq!(three.missed_by(1), [3], "it died again");
}

#[test]
fn a_refusal_from_before_a_process_spoke_says_nothing_of_it() {
    let mut three = Script::new();
    three.runs_ms(1_000);
    let began = three.clock(1);
    // The process of node 3 is started again and speaks, while the refusal is on its way.
    three.runs_ms(100);
    let leader = three.nodes.get_mut(&1).unwrap();
    leader.handle_refusal(3, began);
    assert_eq!(three.missed_by(1), []);
    three.frozen.insert(3);
    three.runs_ms(60);
    let (now, leader) = (three.clock(1), three.nodes.get_mut(&1).unwrap());
    leader.handle_refusal(3, now);
    three.runs_ms(1);
    assert_eq!(three.missed_by(1), [3]);
}

#[test]
fn a_new_leader_does_not_believe_what_was_refused_before_it_led() {
    let mut three = Script::new();
    three.runs_ms(1_000);
    // Node 3 dies, as node 2 sees, and is started again; its beats reach only the leader.
    three.frozen.insert(3);
    three.runs_ms(2);
    let began = three.clock(2);
    three.nodes.get_mut(&2).unwrap().handle_refusal(3, began);
    let mut again = Presence::new(3, 999, Timing::default());
    again.set_members(0, &[1, 2, 3], [1, 2]);
    again.set_role(1, role(3, 1, 5));
    three.nodes.insert(3, again);
    three.frozen.clear();
    three.cut.insert((3, 2));
    three.runs_ms(300);
    assert!(three.may_act(3));
    // The leadership is handed to node 2. Node 3 does not know it yet, and has a lease of node 1.
    three.cut.extend([(2, 3), (1, 3)]);
    three.follows(2, 2, 6);
    three.follows(1, 2, 6);
    let mut missed = false;
    for _ in 0..2 * LOSS {
        three.runs_ms(1);
        missed |= three.missed_by(2) == [3];
        assert!(!(missed && three.may_act(3)), "two nodes act for the same calls");
    }
    assert!(missed);
}

#[test]
fn a_process_whose_clock_of_the_day_was_set_back_is_heard_all_the_same() {
    let mut three = Script::new();
    three.runs_ms(1_000);
    let mut again = Presence::new(3, 1, Timing::default());
    again.set_members(0, &[1, 2, 3], [1, 2]);
    again.set_role(1, role(3, 1, 5));
    three.nodes.insert(3, again);
    three.runs_ms(LOSS - 60);
    assert!(!three.may_act(3), "a delayed beat of a dead process looks the same");
    three.runs_ms(200);
    assert_eq!(three.missed_by(1), []);
    assert!(three.may_act(3));
}

#[test]
fn each_lease_after_a_gap_is_confirmed_before_the_node_acts() {
    let mut three = Script::new();
    three.runs_ms(300);
    let number = |three: &Script| three.nodes[&3].unconfirmed(three.clock(3));
    assert_eq!((number(&three), three.nodes[&3].acts_until()), (Some(1), 0));
    three.nodes.get_mut(&3).unwrap().confirm(1);
    assert_eq!(number(&three), None);
    three.runs_ms(3_000);
    assert!(three.nodes[&3].acts_until() > three.clock(3), "a lease without a gap is one lease");
    three.frozen.insert(3);
    three.runs_ms(2 * LOSS);
    three.frozen.clear();
    three.runs_ms(120);
    assert!(three.may_act(3) && three.nodes[&3].acts_until() == 0);
    three.nodes.get_mut(&3).unwrap().confirm(1);
    assert_eq!(number(&three), Some(2), "what was proposed before the gap confirms nothing");
    three.nodes.get_mut(&3).unwrap().confirm(2);
    assert!(three.nodes[&3].acts_until() > three.clock(3));
}

#[test]
fn a_node_that_is_no_member_is_gone_when_its_lease_must_have_ended() {
    let mut three = Script::new();
    three.runs_ms(2_000);
    let now = three.clock(1);
    three.nodes.get_mut(&1).unwrap().set_members(now, &[1, 2], [2]);
    let is_gone = |three: &Script, by: NodeId| three.nodes[&by].is_gone(three.clock(by), 3);
    three.runs_ms(LOSS - 1);
    assert!(!is_gone(&three, 1));
    three.runs_ms(1);
    assert!(is_gone(&three, 1) && !three.may_act(3));
    assert!(!is_gone(&three, 2), "only a leader says so");
    assert!(!three.nodes[&1].is_gone(three.clock(1), 2));
}

#[test]
fn beats_of_a_dead_process_are_not_believed() {
    let mut presence = Presence::new(1, 1, Timing::default());
    presence.set_members(0, &[1, 2], [2]);
    presence.set_role(0, role(1, 1, 5));
    let beat = |incarnation, sent, echo_of| Beat {
        incarnation,
        sent,
        echo: 90,
        echo_of,
        term: 5,
        leader: 1,
        grants_ms: 0,
    };
    presence.handle_beat(100, 2, beat(8, 50, 77));
    assert_eq!(presence.lease_until(), 0, "it echoes another process of ours");
    presence.handle_beat(100, 2, beat(7, 60, 1));
    assert_eq!(presence.lease_until(), 0, "its process has a successor");
    presence.handle_beat(100, 2, beat(8, 60, 1));
    assert_eq!(presence.lease_until(), 90 + LEASE);
}

#[test]
fn two_processes_are_acquainted_once_each_has_heard_the_other() {
    let mut first = Presence::new(1, 101, Timing::default());
    let mut second = Presence::new(2, 102, Timing::default());
    first.set_members(0, &[1, 2], [2]);
    second.set_members(0, &[1, 2], [1]);
    let says = |presence: &mut Presence, now| presence.poll_beats(now)[0].beat;
    second.handle_beat(10, 1, says(&mut first, 10));
    assert_eq!((second.incarnation_of(1), second.acquainted(1)), (Some(101), None));
    assert_eq!((first.incarnation_of(2), first.acquainted(2)), (None, None));
    first.handle_beat(70, 2, says(&mut second, 70));
    assert_eq!((first.incarnation_of(2), first.acquainted(2)), (Some(102), Some((101, 102))));
    // The second was started again, and has heard nothing yet.
    let mut again = Presence::new(2, 103, Timing::default());
    again.set_members(0, &[1, 2], [1]);
    first.handle_beat(130, 2, says(&mut again, 130));
    assert_eq!((first.incarnation_of(2), first.acquainted(2)), (Some(103), None));
}
