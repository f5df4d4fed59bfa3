//! Frames: a length, a kind, and what it says.

use crate::copies::BatchId;
use protobuf::Message as _;
use raft::eraftpb::Message;
use std::io::Read;

/// Bytes of one frame. A Raft message has up to 512 kB of entries and one entry more, which has
/// at most 1 MB; a longer frame is an error, and the connection is closed.
pub const FRAME_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Bytes of a snapshot in one frame: small, so that a slow receiver is noticed early.
pub const CHUNK_BYTES: usize = 128 * 1024;

/// What may be in a frame.
#[derive(Clone, Debug, PartialEq)]
pub enum Frame {
    /// Raft messages, in order.
    Messages(Vec<Message>),
    /// A snapshot follows.
    Offer(Box<SnapshotOffer>),
    /// The receiver has the beginning already: go on after these bytes.
    Resume { bytes: u64 },
    /// The next bytes of the snapshot.
    Chunk(Vec<u8>),
    /// It was all; this is the CRC-32 of the whole.
    End { checksum: u32 },
    /// The receiver has it, on disk and checked.
    Received,
    /// Raft messages, in order, that go as a datagram, too.
    Copied { batch: BatchId, messages: Vec<Message> },
}

/// What is said before a snapshot is sent.
#[derive(Clone, Debug, PartialEq)]
pub struct SnapshotOffer {
    /// Raft's message, without the state.
    pub message: Message,
    /// Bytes of the snapshot's file.
    pub state_bytes: u64,
    /// Bytes of the copy of the records, which follows; 0 if there is none.
    pub records_bytes: u64,
    /// CRC-32 of both. The same offer again may be resumed.
    pub checksum: u32,
}

/// Why a frame cannot be read. The connection is closed.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The connection failed or ended.
    #[error("connection: {0}")]
    Connection(#[from] std::io::Error),
    /// The peer says what makes no sense.
    #[error("the peer sent {0}")]
    Malformed(&'static str),
}

const MESSAGES: u8 = 1;
const OFFER: u8 = 2;
const RESUME: u8 = 3;
const CHUNK: u8 = 4;
const END: u8 = 5;
const RECEIVED: u8 = 6;
const COPIED: u8 = 7;

impl Frame {
    /// Appends the frame to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        match self {
            Self::Messages(messages) => {
                out.push(MESSAGES);
                for message in messages {
                    put_message(out, message);
                }
            }
            Self::Offer(offer) => {
                out.push(OFFER);
                out.extend_from_slice(&offer.state_bytes.to_le_bytes());
                out.extend_from_slice(&offer.records_bytes.to_le_bytes());
                out.extend_from_slice(&offer.checksum.to_le_bytes());
                put_message(out, &offer.message);
            }
            Self::Resume { bytes } => {
                out.push(RESUME);
                out.extend_from_slice(&bytes.to_le_bytes());
            }
            Self::Chunk(chunk) => {
                out.push(CHUNK);
                out.extend_from_slice(chunk);
            }
            Self::End { checksum } => {
                out.push(END);
                out.extend_from_slice(&checksum.to_le_bytes());
            }
            Self::Received => out.push(RECEIVED),
            Self::Copied { batch, messages } => {
                out.push(COPIED);
                out.extend_from_slice(&batch.incarnation.to_le_bytes());
                out.extend_from_slice(&batch.number.to_le_bytes());
                for message in messages {
                    put_message(out, message);
                }
            }
        }
        let length = (out.len() - start - 4) as u32;
        out[start..start + 4].copy_from_slice(&length.to_le_bytes());
    }

    /// Reads one frame; `buffer` is reused.
    pub fn read(from: &mut impl Read, buffer: &mut Vec<u8>) -> Result<Self, WireError> {
        let mut length = [0; 4];
        from.read_exact(&mut length)?;
        let length = u32::from_le_bytes(length) as usize;
        if length == 0 || length > FRAME_BYTES_MAX {
            return Err(WireError::Malformed("a frame of impossible length"));
        }
        buffer.resize(length, 0);
        from.read_exact(buffer)?;
        Self::decode(buffer)
    }

    /// Reads the inside of a frame, after its length.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let malformed = WireError::Malformed("a frame that cannot be read");
        let Some((kind, rest)) = bytes.split_first() else { return Err(malformed) };
        let frame = match *kind {
            MESSAGES => take_messages(rest).map(Self::Messages),
            OFFER => take_offer(rest).map(|offer| Self::Offer(Box::new(offer))),
            RESUME => rest.try_into().ok().map(|b| Self::Resume { bytes: u64::from_le_bytes(b) }),
            CHUNK => Some(Self::Chunk(rest.to_vec())),
            END => rest.try_into().ok().map(|b| Self::End { checksum: u32::from_le_bytes(b) }),
            RECEIVED => rest.is_empty().then_some(Self::Received),
            COPIED => take_copied(rest),
            _ => return Err(WireError::Malformed("a frame of unknown kind")),
        };
        frame.ok_or(malformed)
    }
}

pub(super) fn put_message(out: &mut Vec<u8>, message: &Message) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    message.write_to_vec(out).expect("writing to memory cannot fail");
    let length = (out.len() - start - 4) as u32;
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
}

fn take_message(rest: &[u8]) -> Option<(Message, &[u8])> {
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (message, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    Some((Message::parse_from_bytes(message).ok()?, rest))
}

pub(super) fn take_messages(mut rest: &[u8]) -> Option<Vec<Message>> {
    let mut messages = Vec::new();
    while !rest.is_empty() {
        let (message, tail) = take_message(rest)?;
        messages.push(message);
        rest = tail;
    }
    Some(messages)
}

fn take_copied(rest: &[u8]) -> Option<Frame> {
    let (incarnation, rest) = rest.split_first_chunk::<8>()?;
    let (number, rest) = rest.split_first_chunk::<8>()?;
    let batch = BatchId {
        incarnation: u64::from_le_bytes(*incarnation),
        number: u64::from_le_bytes(*number),
    };
    Some(Frame::Copied { batch, messages: take_messages(rest)? })
}

fn take_offer(rest: &[u8]) -> Option<SnapshotOffer> {
    let (state_bytes, rest) = rest.split_first_chunk::<8>()?;
    let (records_bytes, rest) = rest.split_first_chunk::<8>()?;
    let (checksum, rest) = rest.split_first_chunk::<4>()?;
    let (message, rest) = take_message(rest)?;
    rest.is_empty().then_some(SnapshotOffer {
        message,
        state_bytes: u64::from_le_bytes(*state_bytes),
        records_bytes: u64::from_le_bytes(*records_bytes),
        checksum: u32::from_le_bytes(*checksum),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use raft::eraftpb::Entry;

    fn frames() -> Vec<Frame> {
        let mut message = Message { to: 2, from: 1, term: 9, ..Message::default() };
        let entry = Entry { data: vec![1, 2, 3].into(), ..Entry::default() };
        message.mut_entries().push(entry);
        let offer = SnapshotOffer {
            message: message.clone(),
            state_bytes: 4,
            records_bytes: 5,
            checksum: 6,
        };
        vec![
            Frame::Messages(vec![message, Message::default()]),
            Frame::Messages(Vec::new()),
            Frame::Offer(Box::new(offer)),
            Frame::Resume { bytes: 7 },
            Frame::Chunk(vec![1; 1000]),
            Frame::End { checksum: 8 },
            Frame::Received,
            Frame::Copied {
                batch: BatchId { incarnation: 9, number: 10 },
                messages: vec![Message { to: 2, from: 1, ..Message::default() }],
            },
        ]
    }

    #[test]
    fn frames_are_read_as_they_were_written() {
        let mut bytes = Vec::new();
        for frame in frames() {
            frame.encode(&mut bytes);
        }
        let (mut from, mut buffer) = (bytes.as_slice(), Vec::new());
        for frame in frames() {
            assert_eq!(Frame::read(&mut from, &mut buffer).unwrap(), frame);
        }
        assert!(matches!(Frame::read(&mut from, &mut buffer), Err(WireError::Connection(_))));
    }

    #[test]
    fn no_bytes_make_it_panic() {
        for frame in frames() {
            let mut bytes = Vec::new();
            frame.encode(&mut bytes);
            for at in 4..bytes.len() {
                drop(Frame::decode(&bytes[4..at]));
                for byte in [0, 1, 0x7f, 0xff] {
                    let mut bent = bytes.clone();
                    bent[at] = byte;
                    drop(Frame::decode(&bent[4..]));
                }
            }
        }
    }

    #[test]
    fn an_impossible_length_is_refused_before_anything_is_reserved() {
        for length in [0_u32, FRAME_BYTES_MAX as u32 + 1, u32::MAX] {
            let mut buffer = Vec::new();
            let refused = Frame::read(&mut length.to_le_bytes().as_slice(), &mut buffer);
            assert!(matches!(refused, Err(WireError::Malformed(_))));
            assert_eq!(buffer.capacity(), 0);
        }
    }
}
