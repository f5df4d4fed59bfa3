//! What the holder of a shared directory writes about itself: one block, written again with every
//! heartbeat.
//!
//! Owns its text, which people may read, and its checksum: a block that is read while it is
//! written, or that a power cut tore, is none.

use std::fmt::Write as _;

/// Bytes of a block: one sector, so that most disks write it whole.
pub const LEASE_BYTES: usize = 512;

const FIRST_LINE: &str = "tandem lease 1";

/// The block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The machine, as it is configured.
    pub name: String,
    /// The fencing token: each holder's is higher than its predecessor's.
    pub generation: u64,
    /// Rises with every heartbeat.
    pub counter: u64,
    /// The process, for people and fencing commands on one machine.
    pub pid: u32,
    /// The boot of the holder's machine: with the same one, its kernel is this kernel.
    pub boot: String,
    /// The holder has ended in order: nothing is written any more.
    pub released: bool,
}

impl Lease {
    /// The block as it is on the disk.
    #[must_use]
    pub fn encode(&self) -> [u8; LEASE_BYTES] {
        let Self { name, generation, counter, pid, boot, released } = self;
        let mut text = String::new();
        // A String takes everything.
        let _ = write!(
            text,
            "{FIRST_LINE}\nname {name}\ngeneration {generation}\ncounter {counter}\npid {pid}\n\
             boot {boot}\nreleased {released}\n"
        );
        let _ = writeln!(text, "crc {:08x}", crc32fast::hash(text.as_bytes()));
        let mut block = [b'\n'; LEASE_BYTES];
        let length = text.len().min(LEASE_BYTES);
        block[..length].copy_from_slice(&text.as_bytes()[..length]);
        block
    }

    /// Reads a block; none if it is not whole.
    #[must_use]
    pub fn decode(block: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(block).ok()?;
        let (said, sum) = text.split_once("crc ")?;
        let sum = u32::from_str_radix(sum.trim_end(), 16).ok()?;
        if sum != crc32fast::hash(said.as_bytes()) {
            return None;
        }
        let mut lines = said.lines();
        if lines.next()? != FIRST_LINE {
            return None;
        }
        let mut value = |key: &str| lines.next()?.strip_prefix(key)?.strip_prefix(' ');
        Some(Self {
            name: value("name")?.to_owned(),
            generation: value("generation")?.parse().ok()?,
            counter: value("counter")?.parse().ok()?,
            pid: value("pid")?.parse().ok()?,
            boot: value("boot")?.to_owned(),
            released: value("released")?.parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease() -> Lease {
        let (name, boot) = ("alpha".to_owned(), "8d6f0f4e-4b0e-4d0a-9c3c-0d1f2a3b4c5d".to_owned());
        Lease { name, generation: 3, counter: u64::MAX, pid: u32::MAX, boot, released: false }
    }

    #[test]
    fn what_was_written_is_read() {
        assert_eq!(Lease::decode(&lease().encode()), Some(lease()));
        let longest = Lease { name: "x".repeat(64), generation: u64::MAX, ..lease() };
        assert_eq!(Lease::decode(&longest.encode()), Some(longest));
    }

    #[test]
    fn a_torn_block_is_none() {
        let (before, after) = (lease().encode(), Lease { counter: 41, ..lease() }.encode());
        for cut in 1..LEASE_BYTES {
            let torn = [&after[..cut], &before[cut..]].concat();
            let read = Lease::decode(&torn);
            let whole = [Some(lease()), Some(Lease { counter: 41, ..lease() }), None];
            assert!(whole.contains(&read), "cut at {cut}: {read:?}");
            assert_eq!(Lease::decode(&after[..cut]).filter(|lease| lease.counter != 41), None);
        }
        for wrong in [&b""[..], b"crc ", b"\xff\xfe", &[0; LEASE_BYTES]] {
            assert_eq!(Lease::decode(wrong), None);
        }
    }
}
