//! Messages out of a byte stream (RFC 3261 §18.3, RFC 5626 §3.5.1).
//!
//! The end of a message is known by its Content-Length only, so a message without a good one
//! makes all that follows unreadable: after an error the framer gives nothing more, and the
//! connection is to be closed when the error is answered.

use memchr::memmem;

use super::{
    Fault, Malformed, Message,
    head::{MESSAGE_BYTES_MAX, content_length, index},
};

/// Cuts a stream into messages. Holds at most [`MESSAGE_BYTES_MAX`] and what was pushed last.
#[derive(Debug, Default)]
pub struct StreamFramer {
    buffer: Vec<u8>,
    /// Up to where no end of the headers was found: not looked at twice.
    searched: usize,
    /// The length of the first message, once its headers are there.
    total: Option<usize>,
    pings: u32,
    broken: bool,
}

impl StreamFramer {
    /// Of a new connection.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes what was read. Call [`StreamFramer::next`] until it has nothing before the next.
    pub fn push(&mut self, bytes: &[u8]) {
        if !self.broken {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// The next message; none when more bytes are needed. After an error close the connection.
    #[expect(clippy::should_implement_trait, reason = "an iterator would end where this waits")]
    pub fn next(&mut self) -> Result<Option<Message>, Malformed> {
        self.take_keep_alives();
        if self.broken {
            return Ok(None);
        }
        let total = match self.total {
            Some(total) => total,
            None => match self.measure()? {
                Some(total) => *self.total.insert(total),
                None => return Ok(None),
            },
        };
        if self.buffer.len() < total {
            return Ok(None);
        }
        let message = Message::read(&self.buffer[..total]);
        self.buffer.drain(..total);
        (self.searched, self.total) = (0, None);
        // The frame was good: only this message is bad, and what follows can be read.
        message.map(Some)
    }

    /// Pings that came since this was asked last, each to be answered with CR LF.
    pub fn take_pings(&mut self) -> u32 {
        std::mem::take(&mut self.pings)
    }

    /// Whether an error made the rest unreadable: close when it is answered.
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    /// How many bytes wait for their message to be whole.
    pub fn buffered_bytes(&self) -> usize {
        self.buffer.len()
    }

    /// How long the first message is; none when its headers are not all there.
    fn measure(&mut self) -> Result<Option<usize>, Malformed> {
        let Some(head_end) = self.head_end() else {
            return match self.buffer.len() > MESSAGE_BYTES_MAX {
                true => Err(self.fail(Fault::TooLarge, self.buffer.len())),
                false => Ok(None),
            };
        };
        match self.body_length(head_end) {
            Ok(length) if head_end + length > MESSAGE_BYTES_MAX => {
                Err(self.fail(Fault::TooLarge, head_end))
            }
            Ok(length) => Ok(Some(head_end + length)),
            Err(fault) => Err(self.fail(fault, head_end)),
        }
    }

    /// CR LF before a message is no part of it (RFC 3261 §7.5).
    fn take_keep_alives(&mut self) {
        if self.total.is_some() {
            return;
        }
        let mut at = 0;
        while self.buffer[at..].starts_with(b"\r\n") {
            let double = self.buffer[at..].starts_with(b"\r\n\r\n");
            self.pings = self.pings.saturating_add(u32::from(double));
            at += if double { 4 } else { 2 };
        }
        if at > 0 {
            self.buffer.drain(..at);
            self.searched = 0;
        }
    }

    /// Where the headers end, behind the empty line.
    fn head_end(&mut self) -> Option<usize> {
        let from = self.searched.saturating_sub(3);
        let found = memmem::find(&self.buffer[from..], b"\r\n\r\n");
        self.searched = self.buffer.len();
        Some(from + found? + 4)
    }

    /// Content-Length, which a stream cannot be without (RFC 3261 §18.3).
    fn body_length(&self, head_end: usize) -> Result<usize, Fault> {
        let mut head = self.buffer[..head_end].to_vec();
        let mut lines = Vec::new();
        let start = memmem::find(&head, b"\r\n").map_or(head_end, |at| at + 2);
        index(&mut head, start, &mut lines)?;
        content_length(&head, &lines)?.ok_or(Fault::Unframed)
    }

    fn fail(&mut self, fault: Fault, head_end: usize) -> Malformed {
        self.broken = true;
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.truncate(head_end.min(MESSAGE_BYTES_MAX));
        Message::refuse(&buffer, fault)
    }
}
