//! Speech by espeak-ng: a small program that is in every distribution.
//!
//! One process for each text. The text goes to its standard input, so nothing of it is ever
//! part of a command line, and no shell is involved. Owns nothing but the right to start a
//! few processes at a time.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    process::Stdio,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use futures_util::{FutureExt as _, future::BoxFuture};
use tandem_media::{frame::Rate, wav};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    process::Command,
    sync::Semaphore,
};

use super::{SpeakError, SpeechSynthesizer, Spoken, mandarin};

/// Processes at a time. Speaking takes a few milliseconds of one core; calls come first.
const PROCESSES_MAX: usize = 2;

/// Texts that wait for a process. At 20 ms each, the last one waits for less than the
/// time-out; what comes after is refused at once, and the flow goes on.
const WAITING_MAX: usize = 256;

const SPEAK_WITHIN_DEFAULT: Duration = Duration::from_secs(5);

/// Bytes of audio from one process: two minutes at 22,050 Hz. Past it the text is refused.
const AUDIO_BYTES_MAX: u64 = 2 * 120 * 22_050;

/// Bytes of complaints of a process that are kept for the log.
const STDERR_BYTES_MAX: u64 = 1024;

/// What is configured of the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EspeakConfig {
    /// The program, looked up in `PATH` unless it has a folder.
    pub command: PathBuf,
    /// Language → voice, as `espeak-ng --voices` names them.
    pub voices: BTreeMap<String, String>,
    /// The time for one text, waiting included. A caller listens to silence meanwhile; the
    /// engine itself takes some milliseconds.
    pub speak_within: Duration,
}

impl Default for EspeakConfig {
    fn default() -> Self {
        // `cmn` would read Chinese characters in English; the pinyin voice reads pinyin well.
        let voices = [("en", "en-us"), ("zh", mandarin::PINYIN_VOICE)];
        Self {
            command: "espeak-ng".into(),
            voices: voices.map(|(language, voice)| (language.into(), voice.into())).into(),
            speak_within: SPEAK_WITHIN_DEFAULT,
        }
    }
}

/// The engine.
#[derive(Debug)]
pub struct EspeakNg {
    config: EspeakConfig,
    identity: String,
    processes: Semaphore,
    waiting: AtomicUsize,
}

impl EspeakNg {
    /// Asks the program for its version, and so whether it is there.
    pub async fn start(config: EspeakConfig) -> Result<Self, SpeakError> {
        let engine = config.command.display().to_string();
        let run = Command::new(&config.command)
            .arg("--version")
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = match tokio::time::timeout(config.speak_within, run).await {
            Ok(Ok(output)) => output,
            Ok(Err(source)) => return Err(SpeakError::Run { engine, source }),
            Err(_) => return Err(timed_out(engine, config.speak_within)),
        };
        // "eSpeak NG text-to-speech: 1.51  Data at: /usr/lib/…"
        let said = String::from_utf8_lossy(&output.stdout);
        let version = said.split(':').nth(1).and_then(|rest| rest.split_whitespace().next());
        let Some(version) = version.filter(|_| output.status.success()) else {
            let said = said.chars().take(200).collect();
            return Err(SpeakError::Failed { engine, status: output.status.to_string(), said });
        };
        let identity = format!("espeak-ng {version}, pinyin {}", mandarin::REVISION);
        let processes = Semaphore::new(PROCESSES_MAX);
        Ok(Self { config, identity, processes, waiting: AtomicUsize::new(0) })
    }

    fn engine(&self) -> String {
        self.config.command.display().to_string()
    }

    async fn speak_in_turn(&self, voice: &str, text: &str) -> Result<Spoken, SpeakError> {
        let waiting = self.waiting.fetch_add(1, Ordering::Relaxed);
        let _turn = Turn(&self.waiting); // Counts down even if the caller gives up.
        if waiting >= WAITING_MAX {
            return Err(SpeakError::Busy { engine: self.engine(), waiting });
        }
        let speaking = async {
            // The semaphore is never closed; if it were, speaking at once is right.
            let _permit = self.processes.acquire().await.ok();
            self.run(voice, text).await
        };
        match tokio::time::timeout(self.config.speak_within, speaking).await {
            Ok(spoken) => spoken,
            Err(_) => Err(timed_out(self.engine(), self.config.speak_within)),
        }
    }

    async fn run(&self, voice: &str, text: &str) -> Result<Spoken, SpeakError> {
        let failed = |source| SpeakError::Run { engine: self.engine(), source };
        let mut child = Command::new(&self.config.command)
            // UTF-8 in, a WAV file out.
            .args(["-b", "1", "--stdin", "--stdout", "-v", voice])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true) // A time-out ends the process, too.
            .spawn()
            .map_err(failed)?;
        let mut stdin = child.stdin.take();
        let mut stdout = child.stdout.take();
        let mut stderr = child.stderr.take();
        let write = async {
            if let Some(pipe) = &mut stdin {
                // An engine that exits early says why on its standard error.
                let _ = pipe.write_all(text.as_bytes()).await;
            }
            drop(stdin.take()); // The end of the text.
        };
        let read = async {
            let mut file = Vec::new();
            if let Some(pipe) = &mut stdout {
                pipe.take(AUDIO_BYTES_MAX).read_to_end(&mut file).await?;
            }
            Ok(file)
        };
        let complain = async {
            let mut said = Vec::new();
            if let Some(pipe) = &mut stderr {
                let _ = pipe.take(STDERR_BYTES_MAX).read_to_end(&mut said).await;
            }
            String::from_utf8_lossy(&said).trim().to_owned()
        };
        let ((), file, said) = tokio::join!(write, read, complain);
        let file = file.map_err(failed)?;
        if file.len() as u64 >= AUDIO_BYTES_MAX {
            let reason = format!("more than {AUDIO_BYTES_MAX} bytes");
            return Err(SpeakError::NoAudio { engine: self.engine(), reason });
        }
        let status = child.wait().await.map_err(failed)?;
        if !status.success() {
            return Err(SpeakError::Failed {
                engine: self.engine(),
                status: status.to_string(),
                said,
            });
        }
        self.decode(&file)
    }

    /// The sizes in the file's header are placeholders, since it was written to a pipe; the
    /// reader takes what is there.
    fn decode(&self, file: &[u8]) -> Result<Spoken, SpeakError> {
        let no_audio = |reason: String| SpeakError::NoAudio { engine: self.engine(), reason };
        let audio = wav::read(file).map_err(|error| no_audio(error.to_string()))?;
        let samples = audio.to_mono(Rate::Khz8).map_err(|error| no_audio(error.to_string()))?;
        if samples.is_empty() {
            return Err(no_audio("an empty file".into()));
        }
        Ok(samples)
    }
}

impl SpeechSynthesizer for EspeakNg {
    fn identity(&self) -> &str {
        &self.identity
    }

    fn languages(&self) -> BTreeSet<String> {
        self.config.voices.keys().cloned().collect()
    }

    fn voice(&self, language: &str) -> Option<&str> {
        let primary = language.split(['-', '_']).next().unwrap_or_default();
        let voices = &self.config.voices;
        voices.get(language).or_else(|| voices.get(primary)).map(String::as_str)
    }

    fn speak<'a>(
        &'a self,
        voice: &'a str,
        text: &'a str,
    ) -> BoxFuture<'a, Result<Spoken, SpeakError>> {
        async move {
            let text = if voice == mandarin::PINYIN_VOICE {
                mandarin::to_pinyin(text)
            } else {
                text.to_owned()
            };
            // Double brackets would switch the engine to phonemes.
            self.speak_in_turn(voice, &text.replace("[[", " ").replace("]]", " ")).await
        }
        .boxed()
    }
}

fn timed_out(engine: String, within: Duration) -> SpeakError {
    let ms = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
    SpeakError::TimedOut { engine, ms }
}

struct Turn<'a>(&'a AtomicUsize);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
