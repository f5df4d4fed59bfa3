//! FNV-1a, 64 bits: names flow versions and compares directories and states between nodes.
//!
//! Not for security: whoever can write the configuration can collide it. Chosen because its
//! result is the same on every machine and in every version, unlike the standard library's.

use serde::Serialize;

const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;

/// A running hash, which postcard writes into.
#[derive(Clone, Debug)]
pub struct Hash(u64);

impl Default for Hash {
    fn default() -> Self {
        Self(OFFSET)
    }
}

impl Hash {
    /// Takes more bytes.
    pub fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(PRIME);
        }
    }

    /// The hash of all bytes so far.
    #[must_use]
    pub fn finish(&self) -> u64 {
        self.0
    }
}

/// The hash of some bytes.
#[must_use]
pub fn of_bytes(bytes: &[u8]) -> u64 {
    let mut hash = Hash::default();
    hash.write(bytes);
    hash.finish()
}

/// The hash of a value's encoding.
#[must_use]
pub fn of_value<T: Serialize>(value: &T) -> u64 {
    of_bytes(&postcard::to_allocvec(value).expect("our values have lengths and no maps without"))
}
