//! The seam behind which every speech engine stands.

use std::collections::BTreeSet;

use futures_util::future::BoxFuture;

/// An engine that turns text into speech.
///
/// It is asked once for each text; what it says is cached by its identity, the voice and the
/// text, so an engine that changes what it says changes its identity.
pub trait SpeechSynthesizer: Send + Sync + 'static {
    /// The engine and its version, as they name cached speech.
    fn identity(&self) -> &str;

    /// The languages that it can speak, as flows name them.
    fn languages(&self) -> BTreeSet<String>;

    /// The voice that speaks a language. `zh-CN` is spoken by the voice of `zh` if it has none
    /// of its own.
    fn voice(&self, language: &str) -> Option<&str>;

    /// Speaks a text: 8 kHz, mono.
    fn speak<'a>(
        &'a self,
        voice: &'a str,
        text: &'a str,
    ) -> BoxFuture<'a, Result<Spoken, SpeakError>>;
}

/// Spoken text: samples at 8 kHz, mono.
pub type Spoken = Vec<i16>;

/// Why a text was not spoken.
#[derive(Debug, thiserror::Error)]
pub enum SpeakError {
    /// More texts wait for the engine than may.
    #[error("{waiting} texts wait for {engine}, no more may")]
    Busy { engine: String, waiting: usize },
    /// The engine is not there, or could not be talked to.
    #[error("{engine} could not be run: {source}")]
    Run { engine: String, source: std::io::Error },
    /// The engine took too long.
    #[error("{engine} did not speak within {ms} ms")]
    TimedOut { engine: String, ms: u64 },
    /// The engine said that it failed.
    #[error("{engine} failed with {status}: {said}")]
    Failed { engine: String, status: String, said: String },
    /// What came back is no audio.
    #[error("{engine} gave no audio: {reason}")]
    NoAudio { engine: String, reason: String },
}
