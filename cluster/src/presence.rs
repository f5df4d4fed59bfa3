//! Presence: which nodes are there, and until when this node may act for the cluster.
//!
//! Every node sends every other a [`Beat`] a few times a second. A beat carries the sender's clock
//! and echoes the newest clock that it has of the receiver, so each knows which of its own beats
//! the other had when it spoke. From that follow the two halves of fencing:
//!
//! - **The lease.** A leader may act for [`Timing::lease_ms`] after it *sent* the beat that a
//!   majority of voters, following it in its term, have echoed. A follower may act for as long as
//!   the leader that it follows granted it, counted from when the follower sent the beat that the
//!   leader echoed. A node that was frozen finds its lease expired by its own clock, before it
//!   reads anything.
//! - **The loss.** A leader misses a node that it has not heard for [`Timing::loss_ms`], which is
//!   longer than the lease, and never sooner than that after it began to lead or to hold a lease
//!   again. So the lease of a node that can still be running has ended when others are given
//!   its calls: a beat is sent before it is heard, a vote for another leader ends what its
//!   predecessor is granted, and only the rates of clocks are compared, never their readings.
//!   A node whose machine refuses connections to it has no process any more, and is missed at
//!   once; but a process that began after that may have a lease of an earlier leader, so only what
//!   was refused to this leader counts.
//!
//! - **The confirmation.** A lease says that nobody else was given this node's calls since it began,
//!   not that nobody was before: beats may be back sooner than the log is. So each lease that
//!   follows a gap has a number, and the node may act ([`Presence::acts_until`]) only once
//!   something that it proposed during that lease is applied here. Whoever missed it before
//!   stands in the log before that.
//!
//! - **The clock that stood still.** A machine that was suspended with its clock does not find its
//!   lease expired. It notices when the beats of a peer are suddenly far ahead of where its own
//!   clock would have them, and takes that for a gap: its lease begins anew, to be confirmed.
//!
//! (Leases by echoed send times: Gray and Cheriton, "Leases", SOSP 1989.) Owns no socket and no
//! clock; decides nothing about calls.

use crate::driver::Role;
use crate::entry::NodeId;
use std::collections::BTreeMap;

/// This node's clock: milliseconds since an arbitrary moment, never going back, and going on
/// while the process is stopped (CLOCK_MONOTONIC).
pub type Moment = u64;

/// How presence is measured, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Between two beats to a node.
    pub beat_ms: u64,
    /// How long a node may act after the last beat that is known to have arrived.
    pub lease_ms: u64,
    /// Silence after which a node is missed. Above `lease_ms` by more than two beats.
    pub loss_ms: u64,
}

impl Default for Timing {
    /// A node is missed after 22 beats in a row were lost or late. The lease outlasts an election
    /// (300 to 600 ms), so that the death of a leader silences nobody else.
    fn default() -> Self {
        Self { beat_ms: 50, lease_ms: 750, loss_ms: 1_100 }
    }
}

/// What one node says to another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Beat {
    /// Grows with every start of the sender's process.
    pub incarnation: u64,
    /// The sender's clock.
    pub sent: Moment,
    /// The newest `sent` that it has of the receiver's present process; 0 if none.
    pub echo: Moment,
    /// The receiver's incarnation that `echo` is of.
    pub echo_of: u64,
    /// The sender's term.
    pub term: u64,
    /// Whom it follows, itself if it leads; 0 for nobody.
    pub leader: NodeId,
    /// If it leads: how long its own lease still holds.
    pub grants_ms: u64,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Presence {
    node: NodeId,
    incarnation: u64,
    timing: Timing,
    role: Role,
    voters: Vec<NodeId>,
    peers: BTreeMap<NodeId, Peer>,
    /// Since when the members are these.
    members_since: Moment,
    /// Never shortened: what was granted was promised.
    lease_until: Moment,
    /// How many leases there were, with gaps between them; and the newest that is confirmed.
    lease: u64,
    confirmed: u64,
    /// When the present role began. A process that begins later never acts by a lease of an earlier
    /// term: nothing is committed in that any more, so it cannot be confirmed.
    role_since: Moment,
    /// Since when this node has been leading with a lease, without a pause.
    watching_since: Option<Moment>,
    beat_due: Moment,
}

#[derive(Clone, Copy, Debug, Default)]
struct Peer {
    last: Beat,
    /// When its last beat came, by our clock.
    heard: Option<Moment>,
    /// When the log last said that it is there.
    back: Option<Moment>,
    /// Its machine refused a connection that was begun then: there was no process.
    refused: Option<Moment>,
}

impl Peer {
    /// When it last showed itself, in whichever way.
    fn seen(&self) -> Option<Moment> {
        self.heard.max(self.back)
    }
}

/// A beat that is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// To whom.
    pub to: NodeId,
    /// What.
    pub beat: Beat,
}

impl Presence {
    /// A node that follows nobody yet and knows no other.
    pub fn new(node: NodeId, incarnation: u64, timing: Timing) -> Self {
        let role = Role { term: 0, leader: None, leading: false };
        Self {
            node,
            incarnation,
            timing,
            role,
            voters: Vec::new(),
            peers: BTreeMap::new(),
            members_since: 0,
            lease_until: 0,
            lease: 0,
            confirmed: 0,
            role_since: 0,
            watching_since: None,
            beat_due: 0,
        }
    }

    /// This node.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// This process.
    pub fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// The process of a peer that was heard last; `None` if there was none.
    pub fn incarnation_of(&self, node: NodeId) -> Option<u64> {
        self.peers.get(&node).filter(|peer| peer.heard.is_some()).map(|peer| peer.last.incarnation)
    }

    /// This process and the peer's, if the peer's beats say that it knows this one.
    pub fn acquainted(&self, node: NodeId) -> Option<(u64, u64)> {
        let last = self.peers.get(&node)?.last;
        let knows = last.echo > 0 && last.echo_of == self.incarnation;
        knows.then_some((self.incarnation, last.incarnation))
    }

    /// The members are these; `others` are voters and learners without this node.
    pub fn set_members(
        &mut self,
        now: Moment,
        voters: &[NodeId],
        others: impl IntoIterator<Item = NodeId>,
    ) {
        self.voters = voters.to_vec();
        let before = std::mem::take(&mut self.peers);
        self.members_since = now;
        self.peers = others
            .into_iter()
            .map(|node| (node, before.get(&node).copied().unwrap_or_default()))
            .collect();
        if self.peers.is_empty() && self.voters.contains(&self.node) {
            // Alone: there is nobody who could act in its place.
            self.lease_until = Moment::MAX;
        } else if self.lease_until == Moment::MAX {
            // Alone no more; nobody can have missed it yet.
            self.lease_until = now + self.timing.lease_ms;
            (self.lease, self.confirmed) = (self.lease + 1, self.lease + 1);
        }
    }

    /// The term, the leader or this node's part changed. To be said before anything that follows
    /// from it (a vote above all) is sent.
    pub fn set_role(&mut self, now: Moment, role: Role) {
        if role != self.role {
            self.role = role;
            self.role_since = now;
            self.watching_since = None;
            self.renew(now);
        }
    }

    /// A beat came. Old ones, and those of a process that has a successor, are passed over.
    pub fn handle_beat(&mut self, now: Moment, from: NodeId, beat: Beat) {
        let Some(peer) = self.peers.get(&from).copied() else { return };
        // An incarnation may come from a clock that is set back. A process that was not heard for
        // so long has no lease, whichever it is.
        let silent = peer.heard.is_some_and(|heard| now - heard >= self.timing.loss_ms)
            && beat.incarnation != peer.last.incarnation;
        if self.stood_still(now, &peer, beat) && self.lease_until != Moment::MAX {
            self.lease_until = self.lease_until.min(now);
            self.watching_since = None;
        }
        let newer =
            silent || (beat.incarnation, beat.sent) > (peer.last.incarnation, peer.last.sent);
        if !newer {
            return;
        }
        let peer = Peer { last: beat, heard: Some(now), refused: None, ..peer };
        self.peers.insert(from, peer);
        self.renew(now);
    }

    /// It is applied here that this peer is there. It proposed that itself, so there was a process
    /// not long ago.
    pub fn handle_return(&mut self, now: Moment, node: NodeId) {
        if let Some(peer) = self.peers.get_mut(&node) {
            peer.back = Some(now);
        }
    }

    /// The machine of this peer refused a connection that was begun at that moment. It says
    /// nothing of a process that was heard since.
    pub fn handle_refusal(&mut self, node: NodeId, began: Moment) {
        if let Some(peer) = self.peers.get_mut(&node) {
            peer.refused = peer.refused.max(Some(began));
        }
    }

    /// The beats that are due, if any.
    pub fn poll_beats(&mut self, now: Moment) -> Vec<Due> {
        if now < self.beat_due {
            return Vec::new();
        }
        self.beat_due = now + self.timing.beat_ms;
        self.renew(now);
        let grants_ms = match self.role.leading {
            true => self.lease_until.saturating_sub(now),
            false => 0,
        };
        let peers = self.peers.iter();
        peers
            .map(|(&to, peer)| {
                let beat = Beat {
                    incarnation: self.incarnation,
                    sent: now,
                    echo: peer.last.sent,
                    echo_of: peer.last.incarnation,
                    term: self.role.term,
                    leader: self.role.leader.unwrap_or(0),
                    grants_ms,
                };
                Due { to, beat }
            })
            .collect()
    }

    /// When [`Self::poll_beats`] has something.
    pub fn poll_timeout(&self) -> Moment {
        self.beat_due
    }

    /// Until when this node may act. A node alone may always.
    pub fn lease_until(&self) -> Moment {
        self.lease_until
    }

    /// Until when this node may act for its calls: as long as the lease, if that is confirmed.
    pub fn acts_until(&self) -> Moment {
        let is_alone = self.lease_until == Moment::MAX;
        if is_alone || self.confirmed == self.lease { self.lease_until } else { 0 }
    }

    /// How many leases there were, with gaps between them: equal numbers mean that nobody was given
    /// this node's calls in between.
    pub fn lease_number(&self) -> u64 {
        self.lease
    }

    /// The number of the present lease, while it waits to be confirmed.
    pub fn unconfirmed(&self, now: Moment) -> Option<u64> {
        (now < self.lease_until && self.acts_until() == 0).then_some(self.lease)
    }

    /// Something that this process proposed while it held the lease of this number is applied
    /// here.
    pub fn confirm(&mut self, lease: u64) {
        self.confirmed = self.confirmed.max(lease.min(self.lease));
    }

    /// The nodes that this one, as the leader, misses, and for how many milliseconds each has been
    /// silent. Empty at the others.
    pub fn missed(&self, now: Moment) -> Vec<(NodeId, u64)> {
        let Some(since) = self.watching_since.filter(|_| now < self.lease_until) else {
            return Vec::new();
        };
        let is_missed = |peer: &Peer| {
            let seen = peer.seen();
            // Who was never seen has no process that could have been refused: it is not there yet.
            let refused = peer.refused.filter(|refused| *refused >= self.role_since);
            refused > seen && seen.is_some_and(|seen| now > seen)
                || now.saturating_sub(seen.unwrap_or(since).max(since)) >= self.timing.loss_ms
        };
        let missed = self.peers.iter().filter(|(_, peer)| is_missed(peer));
        missed
            .map(|(node, peer)| (*node, now.saturating_sub(peer.seen().unwrap_or(since))))
            .collect()
    }

    /// Whether a node that is no member has no lease any more, as this one, the leader, can tell:
    /// nobody has sent it beats for that long. What is still its own must be given to others,
    /// since nobody misses it.
    pub fn is_gone(&self, now: Moment, node: NodeId) -> bool {
        let is_member = node == self.node || self.peers.contains_key(&node);
        let watching = self.watching_since.filter(|_| now < self.lease_until && !is_member);
        watching.is_some_and(|since| {
            now.saturating_sub(since.max(self.members_since)) >= self.timing.loss_ms
        })
    }

    /// Whether the peer's clock went on by so much more than this node's since its last beat that
    /// this one must have stood still. A beat that was late makes less of a difference.
    fn stood_still(&self, now: Moment, peer: &Peer, beat: Beat) -> bool {
        let Some(heard) = peer.heard.filter(|_| beat.incarnation == peer.last.incarnation) else {
            return false;
        };
        let theirs = beat.sent.saturating_sub(peer.last.sent);
        theirs.saturating_sub(now.saturating_sub(heard))
            >= self.timing.loss_ms - self.timing.lease_ms
    }

    /// Takes what the newest beats grant.
    fn renew(&mut self, now: Moment) {
        let held = now < self.lease_until;
        let granted = if self.role.leading { self.as_leader(now) } else { self.as_follower() };
        self.lease_until = self.lease_until.max(granted.unwrap_or(0));
        if !held && now < self.lease_until {
            self.lease += 1;
        }
        if self.role.leading && now < self.lease_until {
            if !held || self.watching_since.is_none() {
                self.watching_since = Some(now);
            }
        } else {
            self.watching_since = None;
        }
    }

    /// Counted from the oldest of the newest beats that a majority has echoed.
    fn as_leader(&self, now: Moment) -> Option<Moment> {
        let mut echoed: Vec<Moment> = self
            .voters
            .iter()
            .filter_map(|voter| match self.peers.get(voter) {
                Some(peer) => self.follows(peer).then_some(peer.last.echo),
                None => (*voter == self.node).then_some(now),
            })
            .collect();
        let majority = self.voters.len() / 2 + 1;
        if echoed.len() < majority {
            return None;
        }
        echoed.sort_unstable_by(|a, b| b.cmp(a));
        Some(echoed[majority - 1] + self.timing.lease_ms)
    }

    /// Whether its last beat says that it follows this node in this term, and answers this process.
    fn follows(&self, peer: &Peer) -> bool {
        let Beat { echo, echo_of, term, leader, .. } = peer.last;
        echo > 0 && echo_of == self.incarnation && (term, leader) == (self.role.term, self.node)
    }

    fn as_follower(&self) -> Option<Moment> {
        let leader = self.role.leader?;
        let Beat { echo, echo_of, term, leader: its_leader, grants_ms, .. } =
            self.peers.get(&leader)?.last;
        let leads = echo > 0
            && echo_of == self.incarnation
            && (term, its_leader) == (self.role.term, leader);
        leads.then(|| echo + grants_ms.min(self.timing.lease_ms))
    }
}

#[cfg(test)]
mod tests;
