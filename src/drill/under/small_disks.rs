//! Disks with little room, in memory: one for each node's data, in a mount namespace of the
//! drill's own, which ends with it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::bail;

use super::super::cast::NODES;
use super::super::config::data;

/// A node refuses new calls below 256 MB.
const DISK_MB: u32 = 400;

/// See the file.
#[derive(Debug)]
pub(crate) struct Disks(Vec<PathBuf>);

impl Disks {
    pub(super) fn mount(folder: &Path) -> anyhow::Result<Self> {
        let mut disks = Self(Vec::new());
        for node in 0..NODES {
            let at = data(folder, node);
            fs::create_dir_all(&at)?;
            let size = format!("size={DISK_MB}m");
            let output = Command::new("mount")
                .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
                .arg(&at)
                .output()?;
            if !output.status.success() {
                bail!("no disk: {}", String::from_utf8_lossy(&output.stderr).trim());
            }
            disks.0.push(at);
        }
        Ok(disks)
    }
}

impl Drop for Disks {
    fn drop(&mut self) {
        for at in &self.0 {
            // What cannot be unmounted goes with the namespace.
            let _busy = Command::new("umount").arg("--lazy").arg(at).output();
        }
    }
}
