//! WAV files: reading prompts, writing recordings.
//!
//! Only bytes: opening, syncing and naming files belongs to the node.

mod read;
mod write;

pub use read::{Audio, FILE_BYTES_MAX, WavError, read};
pub use write::{HEADER_BYTES, header, repair};

#[cfg(test)]
mod tests;
