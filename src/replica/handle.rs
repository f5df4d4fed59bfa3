//! What the rest of the node holds of the replica: proposals, reads, membership.
//!
//! Clones are cheap. Nothing here blocks: a full replica answers [`ProposalError::Full`] at once.
//! Futures need no particular runtime.

use super::machine::Machine;
use super::presence::{Lease, Present};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError};
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Context, Poll};
use tandem_cluster::driver::{ChangeError, MembershipChange, Status};
use tandem_cluster::{Index, Message, Millis, NodeId};
use tokio::sync::oneshot;

use crate::metrics::Metrics;

/// Proposals of this node that wait for their commit. At 20,000 commits/s this is three seconds'
/// worth; past it [`ProposalError::Full`] is answered, and who proposes sheds load.
pub const PROPOSALS_WAITING_MAX: usize = 65_536;

/// The replica, from outside its thread.
#[derive(Debug)]
pub struct ReplicaHandle<M: Machine> {
    pub(super) shared: Arc<Shared<M>>,
}

impl<M: Machine> Clone for ReplicaHandle<M> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

/// What the handles and the Raft thread share.
#[derive(Debug)]
pub(super) struct Shared<M: Machine> {
    pub(super) inputs: SyncSender<Input<M>>,
    pub(super) machine: RwLock<M>,
    pub(super) status: RwLock<Status>,
    pub(super) waiting: AtomicUsize,
    pub(super) metrics: Arc<Metrics>,
    pub(super) disk_low: AtomicBool,
    pub(super) present: Arc<Present>,
}

/// What became of a proposal, for the metrics.
#[derive(Clone, Copy, Debug)]
pub(super) enum Proposed {
    /// It was applied here.
    Applied,
    /// It was not taken.
    Refused,
    /// Nobody knows.
    Unknown,
}

/// What became of a proposal: called once, on the Raft thread, so it must not block.
pub(super) type Waiter<R> = Box<dyn FnOnce(Result<Answer<R>, ProposalError>) + Send>;

/// A read that waits for the state to be recent enough.
pub(super) type Reading<M> = Box<dyn FnOnce(Result<&M, ReadError>) + Send>;

/// What reaches the Raft thread.
pub(super) enum Input<M: Machine> {
    /// Append this.
    Propose { data: Vec<u8>, waiter: Waiter<M::Reply> },
    /// Call this when the state is as recent as it was anywhere when this was sent.
    Read { then: Reading<M> },
    /// Change the members.
    Change { change: MembershipChange, done: oneshot::Sender<Result<(), ChangeFailed>> },
    /// Let another node lead.
    Transfer { to: NodeId },
    /// A peer sent these.
    Messages(Vec<Message>),
    /// A message to this peer was not sent.
    Unreachable(NodeId),
    /// A snapshot to this peer was sent, or was not.
    SnapshotSent { to: NodeId, arrived: bool },
    /// Make a snapshot now.
    Snapshot,
    /// End the thread.
    Stop,
}

/// An applied proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer<R> {
    /// Where in the log it is.
    pub index: Index,
    /// The leader's clock when it was appended.
    pub at: Millis,
    /// What [`Machine::apply`] replied.
    pub reply: R,
}

/// Why there is no answer to a proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposalError {
    /// Not committed, and will not be: there is no leader.
    #[error("no leader takes proposals at the moment")]
    NoLeader,
    /// Not committed, and will not be: too many wait. Shed load.
    #[error("too many proposals wait for their commit")]
    Full,
    /// Not committed, and will not be.
    #[error("the proposal has {bytes} bytes, which is too large")]
    TooLarge { bytes: usize },
    /// Not committed, and not proposed: not every node reads it.
    #[error("not every node reads such a proposal yet")]
    NotYet,
    /// It may or may not be committed: the leader changed or did not answer in time. Proposing
    /// again is right only for what is idempotent.
    #[error("the leader did not confirm the proposal in time; it may be committed yet")]
    Unknown,
    /// The replica has ended; whether it was committed is unknown.
    #[error("the replica has stopped")]
    Stopped,
}

/// Why there is no answer to a linearizable read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// No leader confirmed in time that it still leads.
    #[error("no leader confirmed the read in time")]
    NoLeader,
    /// The replica has ended.
    #[error("the replica has stopped")]
    Stopped,
}

/// Why a membership change did not happen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeFailed {
    /// It was refused; nothing changed.
    #[error(transparent)]
    Refused(#[from] ChangeError),
    /// It was proposed and not seen applied in time: look at the status.
    #[error("the change was not confirmed in time; look at the members before trying again")]
    Unknown,
    /// The replica has ended.
    #[error("the replica has stopped")]
    Stopped,
}

/// A proposal under way. Dropping it does not withdraw the proposal.
#[derive(Debug)]
pub struct Proposal<R>(oneshot::Receiver<Result<Answer<R>, ProposalError>>);

impl<R> Future for Proposal<R> {
    type Output = Result<Answer<R>, ProposalError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0)
            .poll(context)
            .map(|answer| answer.unwrap_or(Err(ProposalError::Stopped)))
    }
}

impl<R> Proposal<R> {
    /// One that was not made.
    pub fn refused(error: ProposalError) -> Self {
        let (sender, receiver) = oneshot::channel();
        drop(sender.send(Err(error)));
        Self(receiver)
    }

    /// Waits on a thread of its own, outside any runtime.
    pub fn wait(self) -> Result<Answer<R>, ProposalError> {
        self.0.blocking_recv().unwrap_or(Err(ProposalError::Stopped))
    }
}

impl<M: Machine> Shared<M> {
    /// So many proposals wait no more.
    pub(super) fn answered(&self, proposals: usize, result: Proposed) {
        self.waiting.fetch_sub(proposals, Ordering::Relaxed);
        self.count(proposals, result);
    }

    /// Counts what became of proposals.
    pub(super) fn count(&self, proposals: usize, result: Proposed) {
        let label = match result {
            Proposed::Applied => "applied",
            Proposed::Refused => "refused",
            Proposed::Unknown => "unknown",
        };
        self.metrics.proposals_total.with_label_values(&[label]).inc_by(proposals as u64);
    }
}

impl<M: Machine> ReplicaHandle<M> {
    /// Proposes to append `data`; the future ends when it has been applied here.
    pub fn propose(&self, data: Vec<u8>) -> Proposal<M::Reply> {
        let (sender, receiver) = oneshot::channel();
        self.propose_then(data, move |answer| drop(sender.send(answer)));
        Proposal(receiver)
    }

    /// The same without a task: `then` is called once, on the Raft thread after the batch was
    /// applied or, when refused at once, here. It must not block.
    pub fn propose_then(
        &self,
        data: Vec<u8>,
        then: impl FnOnce(Result<Answer<M::Reply>, ProposalError>) + Send + 'static,
    ) {
        if self.shared.waiting.fetch_add(1, Ordering::Relaxed) >= PROPOSALS_WAITING_MAX {
            self.shared.answered(1, Proposed::Refused);
            return then(Err(ProposalError::Full));
        }
        let input = Input::Propose { data, waiter: Box::new(then) };
        if let Err(refused) = self.shared.inputs.try_send(input) {
            self.shared.answered(1, Proposed::Refused);
            let (input, why) = match refused {
                TrySendError::Full(input) => (input, ProposalError::Full),
                TrySendError::Disconnected(input) => (input, ProposalError::Stopped),
            };
            if let Input::Propose { waiter, .. } = input {
                waiter(Err(why));
            }
        }
    }

    /// Looks at this node's state, which may be behind the leader's. Holds up applying for as
    /// long as `look` runs: copy out what you need.
    pub fn read_local<T>(&self, look: impl FnOnce(&M) -> T) -> T {
        look(&self.shared.machine.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Looks at this node's state once it has everything that was committed before this call.
    /// `look` runs on the Raft thread.
    pub async fn read_linear<T: Send + 'static>(
        &self,
        look: impl FnOnce(&M) -> T + Send + 'static,
    ) -> Result<T, ReadError> {
        let (sender, receiver) = oneshot::channel();
        let then = Box::new(move |machine: Result<&M, ReadError>| {
            drop(sender.send(machine.map(look)));
        });
        self.send(Input::Read { then }).map_err(|_| ReadError::Stopped)?;
        receiver.await.unwrap_or(Err(ReadError::Stopped))
    }

    /// Proposals of this node that wait to be applied.
    pub fn proposals_waiting(&self) -> usize {
        self.shared.waiting.load(Ordering::Relaxed)
    }

    /// A view from at most one tick ago.
    pub fn status(&self) -> Status {
        self.shared.status.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The disk is nearly full: refuse new work, so that there is room to finish what is under
    /// way.
    pub fn is_disk_low(&self) -> bool {
        self.shared.disk_low.load(Ordering::Relaxed)
    }

    /// Until when this node may act for the cluster.
    pub fn lease(&self) -> Lease {
        self.shared.present.lease()
    }

    /// The nodes that this one, as the leader, misses: their leases have ended, or they have no
    /// process; and for how many milliseconds each has been silent. None anywhere else.
    pub fn missed(&self) -> Vec<(NodeId, u64)> {
        self.shared.present.missed()
    }

    /// It is applied that this node is there: it is missed only when it falls silent after that.
    pub fn is_back(&self, node: NodeId) {
        self.shared.present.is_back(node);
    }

    /// Whether a node that is no member any more can have no lease, as the leader knows.
    pub fn is_gone(&self, node: NodeId) -> bool {
        self.shared.present.is_gone(node)
    }

    /// Equal numbers mean that nobody was given this node's calls in between.
    pub fn lease_number(&self) -> u64 {
        self.shared.present.lease_number()
    }

    /// The number of a new lease that waits until something that was proposed during it is
    /// applied here.
    pub fn unconfirmed_lease(&self) -> Option<u64> {
        self.shared.present.unconfirmed()
    }

    /// Something that was proposed while the lease of this number was the present one is applied
    /// here: nothing that happened before it is unknown any more.
    pub fn confirm_lease(&self, lease: u64) {
        self.shared.present.confirm(lease);
    }

    /// Asks the leader to hand over to `to`; see the status for whether it did.
    pub fn transfer_leader(&self, to: NodeId) {
        drop(self.send(Input::Transfer { to }));
    }

    /// One safe step of a membership change; ends when this node has applied it. Only the leader
    /// takes it.
    pub async fn change(&self, change: MembershipChange) -> Result<(), ChangeFailed> {
        let (done, receiver) = oneshot::channel();
        self.send(Input::Change { change, done }).map_err(|_| ChangeFailed::Stopped)?;
        receiver.await.unwrap_or(Err(ChangeFailed::Stopped))
    }

    /// Makes a snapshot soon, without waiting for it.
    pub fn snapshot_soon(&self) {
        drop(self.send(Input::Snapshot));
    }

    /// Ends the Raft thread after what it is doing. Waits for nothing:
    /// [`Replica::join`](super::Replica::join) does.
    pub fn shutdown(&self) {
        drop(self.send(Input::Stop));
    }

    /// Control inputs are few; they may wait for a place among the proposals.
    fn send(&self, input: Input<M>) -> Result<(), Stopped> {
        self.shared.inputs.send(input).map_err(|_| Stopped)
    }
}

/// The Raft thread is gone.
struct Stopped;
