//! Snapshots over sockets that are cut and bent: between sender and receiver is a wire that does
//! what the test says to each connection in turn.

use super::super::super::presence::Present;
use super::super::{Inbox, Links};
use super::*;
use std::io::ErrorKind;
use std::net::{Shutdown, TcpListener};
use std::sync::Mutex;
use std::time::Instant;
use tandem_cluster::presence::{Moment, Presence, Timing};
use tandem_cluster::snapshot::SnapshotFiles;
use tandem_cluster::wire::Secret;
use tandem_cluster::{Index, Snapshot, SnapshotData};

/// Bytes of the handshake, the offer and the frames around the chunks: less than this.
const OVERHEAD_BYTES: u64 = 1024;

/// Chunks of the state; the records make two more.
const CHUNKS: usize = 10;

const RECORDS_BYTES: usize = CHUNK_BYTES + CHUNK_BYTES / 2;

#[test]
fn a_cut_transfer_goes_on_where_it_stopped() {
    let receiver = Node::listening(2);
    let sender = Node::holding(1, 7);
    let three = 3 * CHUNK_BYTES as u64 + OVERHEAD_BYTES;
    let wire = Wire::to(receiver.address, vec![Fault::CutAfter(three), Fault::CutAfter(three)]);
    sender.sends(7, 2, wire.address).unwrap();
    receiver.got(&sender, 7);
    let carried = wire.carried();
    assert_eq!(carried.len(), 3);
    // Only the chunk that was under way is sent twice.
    let whole = sender.file_bytes(7) + RECORDS_BYTES as u64;
    let most = whole + 2 * CHUNK_BYTES as u64 + 3 * OVERHEAD_BYTES;
    let sum: u64 = carried.iter().sum();
    assert!((whole..most).contains(&sum), "{carried:?} for {whole} bytes");
}

#[test]
fn a_chunk_that_was_bent_is_refused_and_the_snapshot_sent_anew() {
    let receiver = Node::listening(2);
    let sender = Node::holding(1, 7);
    let fourth = 4 * CHUNK_BYTES as u64 + OVERHEAD_BYTES;
    let wire = Wire::to(receiver.address, vec![Fault::Bend(fourth)]);
    sender.sends(7, 2, wire.address).unwrap();
    receiver.got(&sender, 7);
    let carried = wire.carried();
    let whole = sender.file_bytes(7) + RECORDS_BYTES as u64;
    assert_eq!(carried.len(), 2);
    assert!(carried.iter().all(|bytes| *bytes > whole), "nothing of the bent one was kept");
}

#[test]
fn a_snapshot_that_is_bent_each_time_is_given_up_and_leaves_nothing() {
    let receiver = Node::listening(2);
    let sender = Node::holding(1, 7);
    // In the records, which have no checksum of their own.
    let of_records = (CHUNKS + 1) * CHUNK_BYTES;
    let bends = vec![Fault::Bend(of_records as u64); ATTEMPTS_MAX];
    let wire = Wire::to(receiver.address, bends);
    let failed = sender.sends(7, 2, wire.address);
    assert!(matches!(failed, Err(WireError::Connection(_))), "{failed:?}");
    assert_eq!(wire.carried().len(), ATTEMPTS_MAX);
    assert_eq!(receiver.names(), [""; 0]);
    assert!(receiver.notes.messages.lock().unwrap().is_empty());
    assert_eq!(sender.names().len(), 1, "the copy of the records is gone there, too");
}

#[test]
fn the_next_leaders_snapshot_takes_the_place_of_an_interrupted_one() {
    let receiver = Node::listening(2);
    let (old, next) = (Node::holding(1, 7), Node::holding(3, 9));
    let cut = Fault::CutAfter(3 * CHUNK_BYTES as u64);
    let wire = Wire::to(receiver.address, vec![cut; ATTEMPTS_MAX]);
    // It leads no more and ends: this was its only attempt.
    old.common.stopped.store(true, Ordering::Relaxed);
    old.sends(7, 2, wire.address).unwrap_err();
    receiver.waits("what arrived is kept", |node| !node.common.interrupted().is_empty());
    assert_eq!(receiver.names().len(), 2);
    next.sends(9, 2, receiver.address).unwrap();
    receiver.got(&next, 9);
    assert!(receiver.common.interrupted().is_empty());
}

#[test]
fn a_snapshot_that_does_not_fit_on_the_disk_is_not_begun() {
    let receiver = Node::listening(2);
    let sender = Node::holding(1, 7);
    receiver.common.free_bytes.store(sender.file_bytes(7), Ordering::Relaxed);
    let wire = Wire::to(receiver.address, Vec::new());
    sender.common.stopped.store(true, Ordering::Relaxed);
    sender.sends(7, 2, wire.address).unwrap_err();
    assert!(wire.carried()[0] < OVERHEAD_BYTES, "{:?}", wire.carried());
    assert_eq!(receiver.names(), [""; 0]);
}

/// One end, with a folder of its own.
struct Node {
    common: Arc<Common>,
    notes: Arc<Notes>,
    folder: tempfile::TempDir,
    address: SocketAddr,
    /// Ends the thread that accepts.
    links: Option<Links>,
}

#[derive(Default)]
struct Notes {
    messages: Mutex<Vec<Message>>,
}

impl Inbox for Notes {
    fn messages(&self, messages: Vec<Message>) {
        self.messages.lock().unwrap().extend(messages);
    }

    fn try_messages(&self, messages: Vec<Message>) {
        self.messages(messages);
    }

    fn unreachable(&self, _: NodeId) {}

    fn refused(&self, _: NodeId, _: Moment) {}

    fn snapshot_sent(&self, _: NodeId, _: bool) {}
}

impl Node {
    fn new(node: NodeId, listener: Option<TcpListener>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let files = SnapshotFiles::open(folder.path().to_owned()).unwrap();
        let notes = Arc::new(Notes::default());
        let inbox: Arc<dyn Inbox> = Arc::<Notes>::clone(&notes);
        let secret = Secret::new(b"secret".to_vec());
        let presence = Presence::new(node, 100 + node, Timing::default());
        let present = Arc::new(Present::new(presence));
        let common = Arc::new(Common::new(node, secret, files, inbox, present));
        let address = listener.as_ref().map(|listener| listener.local_addr().unwrap());
        let links = listener.map(|l| Links::start(Arc::clone(&common), Some(l)).unwrap());
        let address = address.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 9)));
        Self { common, notes, folder, address, links }
    }

    fn listening(node: NodeId) -> Self {
        Self::new(node, Some(TcpListener::bind("127.0.0.1:0").unwrap()))
    }

    fn holding(node: NodeId, index: Index) -> Self {
        let held = Self::new(node, None);
        let state = bytes(index, CHUNKS * CHUNK_BYTES);
        held.common.files.write(&snapshot(index), &state).unwrap();
        held
    }

    /// Sends its snapshot with records, as the thread for it does.
    fn sends(&self, index: Index, to: NodeId, address: SocketAddr) -> Result<(), WireError> {
        let mut message = Message { from: self.common.node, to, ..Message::default() };
        message.set_msg_type(MessageType::MsgSnapshot);
        message.set_snapshot(snapshot(index));
        let (jobs, asked) = sync_channel(1);
        let keeper = std::thread::spawn(move || {
            let Ok(Job::CopyRecords { to, done }) = asked.recv() else { panic!("another job") };
            std::fs::write(to, bytes(index + 1, RECORDS_BYTES)).unwrap();
            done.send(Ok(true)).unwrap();
        });
        let send = SendSnapshot { message, address, keeper: (jobs, Arc::default()) };
        let sent = send_all(&self.common, &send);
        keeper.join().unwrap();
        sent
    }

    fn file_bytes(&self, index: Index) -> u64 {
        std::fs::metadata(self.common.files.path(&snapshot(index))).unwrap().len()
    }

    /// It has that snapshot and its records, and nothing else; and Raft was told once.
    fn got(&self, sender: &Self, index: Index) {
        let told = self.notes.messages.lock().unwrap();
        let told: Vec<_> = told.iter().map(|message| message.get_snapshot().clone()).collect();
        assert_eq!(told, [snapshot(index)]);
        let (found, state) = self.common.files.read(&snapshot(index)).unwrap();
        assert_eq!((found, state), sender.common.files.read(&snapshot(index)).unwrap());
        let records = std::fs::read(self.common.files.records_path(index)).unwrap();
        assert!(records == bytes(index + 1, RECORDS_BYTES), "the records are another's");
        assert_eq!(self.names().len(), 2, "{:?}", self.names());
    }

    fn names(&self) -> Vec<String> {
        let files = std::fs::read_dir(self.folder.path()).unwrap();
        files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect()
    }

    fn waits(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let until = Instant::now() + Duration::from_secs(10);
        while !is_so(self) {
            assert!(Instant::now() < until, "waited for: {what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(links) = self.links.take() {
            links.stop();
        }
    }
}

fn snapshot(index: Index) -> Snapshot {
    let data = SnapshotData { at: 5, ..SnapshotData::default() };
    let mut snapshot = Snapshot { data: data.encode().into(), ..Snapshot::default() };
    snapshot.mut_metadata().index = index;
    snapshot.mut_metadata().term = 2;
    snapshot
}

/// Bytes that are different everywhere, so that a chunk at a wrong place is seen.
fn bytes(seed: u64, count: usize) -> Vec<u8> {
    let word = |at: u64| (seed * 1_000_003 + at).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes();
    (0..count.div_ceil(8) as u64).flat_map(word).take(count).collect()
}

/// What the wire does to a connection.
#[derive(Clone, Copy)]
enum Fault {
    /// It is cut after so many bytes from the sender.
    CutAfter(u64),
    /// This byte from the sender is changed.
    Bend(u64),
}

/// Carries connections to the receiver; those after the last fault are left alone.
struct Wire {
    address: SocketAddr,
    /// Bytes from the sender, by connection.
    carried: Arc<Mutex<Vec<u64>>>,
}

impl Wire {
    fn to(receiver: SocketAddr, faults: Vec<Fault>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let carried = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&carried);
        std::thread::spawn(move || {
            let mut faults = faults.into_iter();
            while let Ok((sender, _)) = listener.accept() {
                noted.lock().unwrap().push(0);
                let receiver = TcpStream::connect(receiver).unwrap();
                carry(sender, receiver, faults.next(), &noted);
            }
        });
        Self { address, carried }
    }

    fn carried(&self) -> Vec<u64> {
        self.carried.lock().unwrap().clone()
    }
}

/// One connection, to its end.
fn carry(
    mut sender: TcpStream,
    mut receiver: TcpStream,
    fault: Option<Fault>,
    carried: &Mutex<Vec<u64>>,
) {
    let (mut back, mut answers) = (sender.try_clone().unwrap(), receiver.try_clone().unwrap());
    let backward = std::thread::spawn(move || {
        drop(std::io::copy(&mut answers, &mut back));
        drop(back.shutdown(Shutdown::Both));
    });
    let (mut buffer, mut done) = (vec![0; 4096], 0_u64);
    loop {
        let count = match sender.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count as u64,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        let mut passed = count;
        match fault {
            Some(Fault::CutAfter(at)) => passed = count.min(at - done),
            Some(Fault::Bend(at)) if (done..done + count).contains(&at) => {
                buffer[(at - done) as usize] ^= 1;
            }
            Some(Fault::Bend(_)) | None => (),
        }
        done += passed;
        *carried.lock().unwrap().last_mut().unwrap() = done;
        if receiver.write_all(&buffer[..passed as usize]).is_err() || passed < count {
            break;
        }
    }
    // The receiver first reads all that was passed on.
    drop(receiver.shutdown(Shutdown::Write));
    drop(sender.shutdown(Shutdown::Both));
    backward.join().unwrap();
}
