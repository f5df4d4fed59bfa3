//! The units of audio: sample rates and frames.
