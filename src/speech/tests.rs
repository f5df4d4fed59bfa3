//! Prompts through the real engine, the real disk, and an engine that misbehaves.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::{FutureExt as _, future::BoxFuture};
use tandem_center::flow::Prompt;
use tandem_media::{frame::Rate, wav};

use super::*;

#[tokio::test]
async fn english_and_chinese_are_spoken_and_sound_different() {
    let engine = EspeakNg::start(EspeakConfig::default()).await.unwrap();
    let mut spoken = Vec::new();
    for (language, text) in
        [("en", "Welcome to Tandem."), ("zh", "您好，欢迎致电。"), ("zh-CN", "请按一号键。")]
    {
        let voice = engine.voice(language).unwrap();
        let samples = engine.speak(voice, text).await.unwrap();
        let ms = samples.len() / 8;
        assert!((500..5_000).contains(&ms), "{text} lasts {ms} ms");
        assert!(loudness(&samples) > 500.0, "{text} is silent");
        spoken.push(samples);
    }
    assert_ne!(spoken[0], spoken[1]);
    assert_eq!(engine.voice("fr"), None);
}

#[tokio::test]
async fn chinese_characters_are_not_read_in_english() {
    // espeak-ng's own `cmn` reads the syllables as if they were English, which takes longer.
    let engine = EspeakNg::start(EspeakConfig::default()).await.unwrap();
    let text = "您好，欢迎致电";
    let pinyin = engine.speak(mandarin::PINYIN_VOICE, text).await.unwrap();
    let read_in_english = engine.speak("cmn", text).await.unwrap();
    assert!(
        pinyin.len() * 5 < read_in_english.len() * 4,
        "{} {}",
        pinyin.len(),
        read_in_english.len()
    );
}

#[tokio::test]
async fn what_a_caller_puts_into_a_text_is_never_a_command() {
    let folder = tempfolder("inject");
    let engine = EspeakNg::start(EspeakConfig::default()).await.unwrap();
    let file = folder.join("owned");
    let text = format!("-w {0} $(touch {0}) `touch {0}` ; touch {0} [[h@loU]]", file.display());
    engine.speak("en-us", &text).await.unwrap();
    assert!(!file.exists());
}

#[tokio::test]
async fn an_engine_that_hangs_is_ended_and_one_that_is_missing_is_named() {
    let folder = tempfolder("hang");
    let mut config = scripted(&folder, "slow", "sleep 60");
    config.speak_within = Duration::from_millis(300);
    let error = start(config).await.speak("en-us", "hello").await.unwrap_err();
    assert!(matches!(error, SpeakError::TimedOut { .. }), "{error}");

    let command = folder.join("no-such-program");
    let error = EspeakNg::start(EspeakConfig { command, ..EspeakConfig::default() }).await;
    assert!(matches!(error, Err(SpeakError::Run { .. })), "{error:?}");
}

#[tokio::test]
async fn an_engine_that_fails_says_why() {
    let folder = tempfolder("fails");
    let config = scripted(&folder, "bad", "echo 'no such voice' >&2; exit 3");
    let error = start(config).await.speak("en-us", "hello").await.unwrap_err();
    assert!(error.to_string().contains("no such voice"), "{error}");

    let config = scripted(&folder, "empty", "cat >/dev/null");
    let error = start(config).await.speak("en-us", "hello").await.unwrap_err();
    assert!(matches!(error, SpeakError::NoAudio { .. }), "{error}");
}

#[tokio::test]
async fn a_hundred_calls_that_want_the_same_new_text_have_it_spoken_once() {
    let engine = Arc::new(Counting::default());
    let store = PromptStore::new(tempfolder("once"), engine.clone(), None);
    let prompt = text("hello");
    let clips = futures_util::future::join_all((0..100).map(|_| store.clip(&prompt))).await;
    assert_eq!(engine.spoken.load(Ordering::SeqCst), 1);
    let first = clips[0].as_ref().unwrap();
    assert!(clips.iter().all(|clip| clip.as_ref().unwrap() == first));
}

#[tokio::test]
async fn the_prompts_of_a_flow_are_there_before_its_first_call() {
    let engine = Arc::new(Counting::default());
    let store = PromptStore::new(tempfolder("warm"), engine.clone(), None);
    let gone = Prompt::File("gone.wav".into());
    assert_eq!(store.warm([text("one"), gone, text("two"), text("one")]).await, 1);
    store.clips(&[text("one"), text("two")]).await.unwrap();
    assert_eq!(engine.spoken.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_text_that_failed_is_tried_again() {
    let engine = Arc::new(Counting { fail_first: 1, ..Counting::default() });
    let store = PromptStore::new(tempfolder("again"), engine.clone(), None);
    assert!(store.clip(&text("hello")).await.is_err());
    assert!(store.clip(&text("hello")).await.is_ok());
}

#[tokio::test]
async fn spoken_text_outlives_the_node_on_disk() {
    let folder = tempfolder("outlives");
    let engine = Arc::new(Counting::default());
    for _ in 0..2 {
        let disk = DiskCache::open(&folder, 1 << 20).unwrap();
        let store = PromptStore::new(folder.clone(), engine.clone(), Some(disk));
        let clip = store.clip(&text("hello")).await.unwrap();
        assert_eq!(&clip.pcm()[..3], [7, 7, 7]);
        until(|| files_below(&folder).len() == 1).await;
    }
    assert_eq!(engine.spoken.load(Ordering::SeqCst), 1);
}

#[test]
fn a_damaged_or_unfinished_file_on_disk_is_spoken_again() {
    let folder = tempfolder("damaged");
    let disk = DiskCache::open(&folder, 1 << 20).unwrap();
    disk.store("e", "v", "hello", &[1; 800]).unwrap();
    let file = fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
    assert_eq!(disk.load("e", "v", "hello"), Some(vec![1; 800]));
    let whole = fs::read(&file).unwrap();
    fs::write(&file, &whole[..whole.len() - 100]).unwrap();
    assert_eq!(disk.load("e", "v", "hello"), None);
    assert!(!file.exists());

    fs::write(folder.join("x.1.part"), "unfinished").unwrap();
    DiskCache::open(&folder, 1 << 20).unwrap();
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
}

#[test]
fn the_disk_keeps_to_its_size_and_forgets_what_was_used_longest_ago() {
    let folder = tempfolder("size");
    let disk = DiskCache::open(&folder, 100_000).unwrap();
    let old = std::time::SystemTime::now() - Duration::from_secs(3_600);
    for n in 0..9 {
        disk.store("e", "v", &n.to_string(), &[1; 5_000]).unwrap();
        for entry in fs::read_dir(&folder).unwrap() {
            fs::File::open(entry.unwrap().path()).unwrap().set_modified(old).unwrap();
        }
    }
    assert!(disk.load("e", "v", "3").is_some()); // Used now.
    disk.store("e", "v", "new", &[1; 5_000]).unwrap();
    let bytes: u64 =
        fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
    assert!(bytes <= 100_000, "{bytes}");
    assert!(disk.load("e", "v", "3").is_some() && disk.load("e", "v", "new").is_some());
}

#[test]
fn engine_voice_and_text_do_not_run_into_each_other() {
    let disk = DiskCache::open(&tempfolder("parts"), 1 << 20).unwrap();
    disk.store("e", "vt", "ext", &[1; 800]).unwrap();
    assert_eq!(disk.load("ev", "t", "ext"), None);
    assert_eq!(disk.load("e", "v", "text"), None);
}

#[tokio::test]
async fn prompt_files_of_any_rate_are_played_and_changed_ones_are_read_again() {
    let folder = tempfolder("files");
    fs::create_dir(folder.join("zh")).unwrap();
    write_wav(&folder.join("zh/hello.wav"), 16_000, 16_000);
    fs::write(folder.join("notes.txt"), "not a prompt").unwrap();
    fs::write(folder.join("bad.wav"), "RIFF, but no").unwrap();
    let store = PromptStore::new(folder.clone(), Arc::new(Counting::default()), None);
    let names: Vec<_> = store.files().into_iter().collect();
    assert_eq!(names, ["bad.wav", "zh/hello.wav"]);

    let clip = store.clip(&Prompt::File("zh/hello.wav".into())).await.unwrap();
    assert!((980..=1_000).contains(&clip.ms()), "{}", clip.ms());
    for (name, error) in [
        ("bad.wav", "prompt file"),
        ("gone.wav", "No such file"),
        ("../secret.wav", "no name"),
        ("/etc/passwd", "no name"),
        ("", "no name"),
    ] {
        let got = store.clip(&Prompt::File(name.into())).await.unwrap_err().to_string();
        assert!(got.contains(error), "{name}: {got}");
    }
}

/// An engine that counts how often it speaks.
#[derive(Default)]
struct Counting {
    spoken: AtomicUsize,
    fail_first: usize,
}

impl SpeechSynthesizer for Counting {
    fn identity(&self) -> &str {
        "counting"
    }

    fn languages(&self) -> BTreeSet<String> {
        ["en".to_owned()].into()
    }

    fn voice(&self, language: &str) -> Option<&str> {
        (language == "en").then_some("any")
    }

    fn speak<'a>(
        &'a self,
        _voice: &'a str,
        _text: &'a str,
    ) -> BoxFuture<'a, Result<Spoken, SpeakError>> {
        async {
            let before = self.spoken.fetch_add(1, Ordering::SeqCst);
            tokio::task::yield_now().await;
            if before < self.fail_first {
                return Err(SpeakError::Busy { engine: "counting".into(), waiting: 0 });
            }
            Ok(vec![7; 8_000])
        }
        .boxed()
    }
}

fn text(text: &str) -> Prompt {
    Prompt::Text { language: "en".into(), text: text.into() }
}

/// The root of the mean square.
fn loudness(samples: &[i16]) -> f64 {
    let sum: f64 = samples.iter().map(|sample| f64::from(*sample).powi(2)).sum();
    (sum / samples.len() as f64).sqrt()
}

/// A fresh folder of this test.
fn tempfolder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("tandem-speech-{}-{name}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// A program that knows its version and then does `body`.
fn scripted(folder: &Path, name: &str, body: &str) -> EspeakConfig {
    use std::os::unix::fs::PermissionsExt as _;
    let command = folder.join(name);
    let version = "[ \"$1\" = --version ] && echo 'x: 1' && exit";
    fs::write(&command, format!("#!/bin/sh\n{version}\n{body}\n")).unwrap();
    fs::set_permissions(&command, fs::Permissions::from_mode(0o755)).unwrap();
    EspeakConfig { command, ..EspeakConfig::default() }
}

/// Starts a program that was written a moment ago: another test's child may still hold it
/// open for writing, between its fork and its exec.
async fn start(config: EspeakConfig) -> EspeakNg {
    loop {
        match EspeakNg::start(config.clone()).await {
            Err(SpeakError::Run { source, .. })
                if source.kind() == std::io::ErrorKind::ExecutableFileBusy =>
            {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            started => return started.unwrap(),
        }
    }
}

fn write_wav(path: &Path, hz: u32, samples: usize) {
    let mut file = wav::header(hz, 1, samples as u64 * 2).to_vec();
    (0..samples).for_each(|n| file.extend_from_slice(&((n % 100) as i16 * 100).to_le_bytes()));
    fs::write(path, file).unwrap();
    assert_ne!(Rate::Khz8.hz(), hz);
}

async fn until(holds: impl Fn() -> bool) {
    for _ in 0..500 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("did not come to hold within 5 s");
}
