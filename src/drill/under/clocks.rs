//! Wall clocks that disagree: each node runs with `libfaketime` before the system's library.
//!
//! Clocks that only count time since some moment are left alone, as on a real machine whose wall
//! clock is set. Node 3 jumps when the fault comes, and back when it is over.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::super::cast::NODES;

/// Where Debian's package `libfaketime` puts it, below a folder named after the machine's kind.
const LIBRARY: &str = "faketime/libfaketime.so.1";

/// What each node's clock says at first, in seconds from the right time.
const OFFSETS: [i64; NODES] = [30, -30, 0];

/// The node whose clock jumps, and how far.
const JUMPS: usize = 2;
const JUMP: i64 = 60;

/// See the file.
#[derive(Debug)]
pub(crate) struct Clocks {
    library: PathBuf,
    folder: PathBuf,
}

pub(super) fn impossible() -> Option<String> {
    library().is_none().then(|| "the package libfaketime is not installed".to_owned())
}

fn library() -> Option<PathBuf> {
    let kind = format!("{}-linux-gnu", std::env::consts::ARCH);
    let places = [Path::new("/usr/lib").join(kind), "/usr/lib".into(), "/usr/lib64".into()];
    places.into_iter().map(|place| place.join(LIBRARY)).find(|file| file.exists())
}

impl Clocks {
    pub(super) fn set(folder: &Path) -> anyhow::Result<Self> {
        let library = library().context("libfaketime is gone")?;
        let clocks = Self { library, folder: folder.to_owned() };
        fs::create_dir_all(folder)?;
        for (node, offset) in OFFSETS.into_iter().enumerate() {
            clocks.write(node, offset)?;
        }
        Ok(clocks)
    }

    fn file(&self, node: usize) -> PathBuf {
        self.folder.join(format!("clock{}", node + 1))
    }

    fn write(&self, node: usize, offset: i64) -> anyhow::Result<()> {
        Ok(fs::write(self.file(node), format!("{offset:+}"))?)
    }

    /// Forward, or back to what it was.
    pub(super) fn jump(&self, back: bool) -> anyhow::Result<()> {
        self.write(JUMPS, OFFSETS[JUMPS] + if back { 0 } else { JUMP })
    }

    pub(super) fn environment(&self, node: usize) -> Vec<(&'static str, String)> {
        vec![
            ("LD_PRELOAD", self.library.display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", self.file(node).display().to_string()),
            // The file is read again once a second, which is when a jump is noticed.
            ("FAKETIME_CACHE_DURATION", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
            ("DONT_FAKE_MONOTONIC", "1".to_owned()),
            ("NO_FAKE_STAT", "1".to_owned()),
        ]
    }
}
