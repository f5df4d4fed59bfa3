//! What callers hear in a flow: recorded prompts and synthesised text, as clips.
//!
//! [`PromptStore`] turns a [`Prompt`] into a [`Clip`]. Text goes to a [`SpeechSynthesizer`]
//! once; after that it comes from memory or from disk. Losing either cache loses nothing but
//! the time to speak again. Read in this order: `store`, `synthesizer`, `espeak`, `mandarin`,
//! `disk_cache`, `clip_cache`.
//!
//! [`Prompt`]: tandem_center::flow::Prompt
//! [`Clip`]: tandem_media::clip::Clip

mod clip_cache;
mod disk_cache;
mod espeak;
mod mandarin;
mod no_voice;
mod polyphones;
mod store;
mod synthesizer;
#[cfg(test)]
mod tests;

pub use disk_cache::{DiskCache, DiskCacheError};
pub use espeak::{EspeakConfig, EspeakNg};
pub use mandarin::to_pinyin;
pub use no_voice::NoVoice;
pub use store::{FILES_MAX, PromptError, PromptStore, files_below};
pub use synthesizer::{SpeakError, SpeechSynthesizer, Spoken};
