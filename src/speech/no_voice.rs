//! What speaks where nothing can: every text fails, with the reason.

use std::collections::BTreeSet;

use super::{SpeakError, SpeechSynthesizer};

/// Stands in for an engine that is not there.
#[derive(Debug)]
pub struct NoVoice;

impl SpeechSynthesizer for NoVoice {
    fn identity(&self) -> &'static str {
        "no voice"
    }

    fn languages(&self) -> BTreeSet<String> {
        BTreeSet::new()
    }

    fn voice(&self, _: &str) -> Option<&str> {
        None
    }

    fn speak<'a>(
        &'a self,
        _: &'a str,
        _: &'a str,
    ) -> futures_util::future::BoxFuture<'a, Result<Vec<i16>, SpeakError>> {
        let missing = || SpeakError::NoAudio {
            engine: self.identity().into(),
            reason: "the speech engine is not installed".into(),
        };
        Box::pin(async move { Err(missing()) })
    }
}
