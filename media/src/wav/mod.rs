//! WAV files: reading prompts, writing recordings.
//!
//! Only bytes: opening, syncing and naming files belongs to the node.

mod read;
mod write;

pub use read::{Audio, FILE_BYTES_MAX, WavError, read};
pub use write::{
    HEADER_BYTES, PART_HEADER_BYTES, PartHeader, Stamp, commented_header, header, part_header,
    read_part,
};

#[cfg(test)]
mod tests;
