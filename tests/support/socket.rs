//! The socket of a phone that has several lines, as real phones have: each line gets what is of its
//! own call.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// See the file.
pub struct Socket {
    socket: UdpSocket,
    line: usize,
    lines: Arc<Mutex<Lines>>,
}

/// What the lines of one phone know of each other.
#[derive(Default)]
struct Lines {
    /// The Call-ID of each line that has a call.
    calls: BTreeMap<usize, String>,
    /// What one line has read that is another's, by its number.
    aside: Vec<(usize, SocketAddr, Vec<u8>)>,
}

impl Socket {
    pub fn bind(address: SocketAddr) -> Self {
        let socket = UdpSocket::bind(address).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        Self { socket, line: 0, lines: Arc::default() }
    }

    /// Another line of the same phone. The first one takes what is of no line's call.
    pub fn another(&self) -> Self {
        let line = self.lines.lock().unwrap().calls.len().max(1);
        Self { socket: self.socket.try_clone().unwrap(), line, lines: Arc::clone(&self.lines) }
    }

    /// This line's call is this one from now on.
    pub fn serves(&self, call_id: &str) {
        self.lines.lock().unwrap().calls.insert(self.line, call_id.to_owned());
    }

    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    pub fn send_to(&self, bytes: &[u8], to: SocketAddr) -> io::Result<usize> {
        self.socket.send_to(bytes, to)
    }

    /// The next message of this line, if one is there or comes within 20 ms.
    pub fn recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let mut lines = self.lines.lock().unwrap();
        if let Some(at) = lines.aside.iter().position(|(line, ..)| *line == self.line) {
            let (_, from, bytes) = lines.aside.remove(at);
            buffer[..bytes.len()].copy_from_slice(&bytes);
            return Ok((bytes.len(), from));
        }
        drop(lines);
        let (length, from) = self.socket.recv_from(buffer)?;
        let mut lines = self.lines.lock().unwrap();
        let text = String::from_utf8_lossy(&buffer[..length]);
        let call_id = text.lines().find_map(|line| line.strip_prefix("Call-ID: ")).unwrap_or("");
        let of = lines.calls.iter().find(|(_, call)| *call == call_id).map(|(line, _)| *line);
        match of.unwrap_or(0) {
            line if line == self.line => Ok((length, from)),
            line => {
                lines.aside.push((line, from, buffer[..length].to_vec()));
                Err(io::ErrorKind::WouldBlock.into())
            }
        }
    }
}
