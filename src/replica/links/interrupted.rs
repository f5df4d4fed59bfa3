//! What arrived of snapshots whose connection was cut, so that their senders can go on.
//!
//! Owns the files of what it keeps, which are removed with it. Keeps one for each sender, and
//! none that cannot be of use any more: the disk has better uses.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tandem_cluster::snapshot::Incoming;
use tandem_cluster::wire::SnapshotOffer;
use tandem_cluster::{Index, NodeId};

/// How long one is kept. Its sender comes again within seconds, or after the half minute in which
/// it believed that we were there; later it makes another copy, which cannot go on from this one.
const KEPT: Duration = Duration::from_secs(60);

/// A snapshot of which a part has arrived.
pub(super) struct Partial {
    pub(super) offer: SnapshotOffer,
    pub(super) incoming: Incoming,
}

/// Those that were interrupted, by sender, and when.
#[derive(Default)]
pub(super) struct Interrupted(BTreeMap<NodeId, (Instant, Partial)>);

impl Interrupted {
    /// Keeps what arrived until its sender comes again.
    pub(super) fn keep(&mut self, now: Instant, from: NodeId, partial: Partial) {
        self.0.insert(from, (now, partial));
    }

    /// What arrived of this offer. If the sender offers something else, what it sent before is of
    /// no use.
    pub(super) fn take(&mut self, from: NodeId, offer: &SnapshotOffer) -> Option<Partial> {
        self.0.remove(&from).map(|(_, partial)| partial).filter(|partial| partial.offer == *offer)
    }

    /// A snapshot arrived: nobody needs older ones.
    pub(super) fn arrived(&mut self, index: Index) {
        self.0.retain(|_, (_, partial)| partial.index() > index);
    }

    /// Whether there is none.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Removes what nobody goes on with.
    pub(super) fn forget_old(&mut self, now: Instant) {
        self.0.retain(|_, (since, _)| now.saturating_duration_since(*since) < KEPT);
    }
}

impl Partial {
    fn index(&self) -> Index {
        self.offer.message.get_snapshot().get_metadata().index
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;
    use tandem_cluster::Message;
    use tandem_cluster::snapshot::SnapshotFiles;

    fn partial(files: &SnapshotFiles, from: NodeId, index: Index) -> Partial {
        let mut message = Message { from, ..Message::default() };
        message.mut_snapshot().mut_metadata().index = index;
        let offer = SnapshotOffer { message, state_bytes: 9, records_bytes: 9, checksum: 5 };
        let mut incoming = files.receive(from, index, (9, 9)).unwrap();
        incoming.write(b"123").unwrap();
        Partial { offer, incoming }
    }

    /// Each has a file of the state and one of the records.
    fn files_in(folder: &Path) -> usize {
        std::fs::read_dir(folder).unwrap().count()
    }

    #[test]
    fn an_interrupted_snapshot_is_gone_on_with_only_if_the_same_is_offered() {
        let folder = tempfile::tempdir().unwrap();
        let files = SnapshotFiles::open(folder.path().to_owned()).unwrap();
        let mut interrupted = Interrupted::default();
        let now = Instant::now();
        let offer = partial(&files, 1, 7).offer;
        interrupted.keep(now, 1, partial(&files, 1, 7));
        interrupted.keep(now, 2, partial(&files, 2, 7));
        assert!(interrupted.take(3, &offer).is_none());
        assert_eq!(interrupted.take(1, &offer).map(|partial| partial.incoming.bytes()), Some(3));
        assert!(interrupted.take(1, &offer).is_none(), "once");
        assert!(interrupted.take(2, &offer).is_none(), "that is not what node 2 sent");
        assert_eq!(files_in(folder.path()), 0);
    }

    #[test]
    fn a_sender_that_does_not_come_again_leaves_no_files() {
        let folder = tempfile::tempdir().unwrap();
        let files = SnapshotFiles::open(folder.path().to_owned()).unwrap();
        let mut interrupted = Interrupted::default();
        let now = Instant::now();
        interrupted.keep(now, 1, partial(&files, 1, 7));
        interrupted.keep(now + KEPT / 2, 2, partial(&files, 2, 7));
        interrupted.forget_old(now + KEPT - Duration::from_millis(1));
        assert_eq!(files_in(folder.path()), 4);
        interrupted.forget_old(now + KEPT);
        assert_eq!(files_in(folder.path()), 2);
        interrupted.forget_old(now + KEPT / 2 + KEPT);
        assert_eq!(files_in(folder.path()), 0);
    }

    #[test]
    fn older_ones_go_when_a_snapshot_arrives() {
        let folder = tempfile::tempdir().unwrap();
        let files = SnapshotFiles::open(folder.path().to_owned()).unwrap();
        let mut interrupted = Interrupted::default();
        let now = Instant::now();
        for (from, index) in [(1, 7), (2, 8), (3, 9)] {
            interrupted.keep(now, from, partial(&files, from, index));
        }
        let newer = partial(&files, 3, 9).offer;
        interrupted.arrived(8);
        assert_eq!(files_in(folder.path()), 2);
        assert!(interrupted.take(3, &newer).is_some());
    }
}
