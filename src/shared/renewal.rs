//! Which files a takeover replaces by copies, so that what a former holder still has open is read
//! by nobody.
//!
//! Owns the list: every file that is written in place. What is written beside and renamed
//! (snapshots, spoken prompts), or never written again (complete recordings), stays: a path of
//! the former holder leads nowhere any more.

use std::io;
use std::path::Path;

use tandem_cluster::shared::renewal::{Durable, Renewal};

use crate::audit::journal;
use crate::recordings;

/// Files that are larger stay what they are, and are guarded by lease and fencing alone: copying
/// them would take longer than a takeover may. Only records become that large, with about a
/// million calls; where the file system shares blocks, a copy of any size takes no time, but
/// whether it does is known only afterwards.
const COPY_BYTES_MAX: u64 = 1 << 30;

/// Databases, with what SQLite keeps beside them.
const DATABASES: [&str; 2] = ["replica/records.sqlite", "recordings.sqlite"];
const BESIDE: [&str; 4] = ["", "-wal", "-shm", "-journal"];

/// What only one process uses at a time: SQLite makes it anew.
const MADE_ANEW: &str = "-shm";

/// Makes everything new in the folder of a generation that was just claimed. Bytes that were
/// copied.
pub(super) fn renew_data(folder: &Path) -> io::Result<u64> {
    let mut renewal = Renewal::default();
    renewal.file(&folder.join("replica/tandem-store"), Durable::Yes)?;
    renewal.folder(&folder.join("replica/log"), Durable::Yes)?;
    renewal.folder(&folder.join("replica/cache"), Durable::No)?;
    for database in DATABASES {
        let path = folder.join(database);
        let length = std::fs::metadata(&path).map_or(0, |file| file.len());
        if length > COPY_BYTES_MAX {
            tracing::warn!(database, length, "too large to be copied: lease and fencing guard it");
            continue;
        }
        for beside in BESIDE {
            let mut name = path.clone().into_os_string();
            name.push(beside);
            let durable = if beside == MADE_ANEW { Durable::No } else { Durable::Yes };
            renewal.file(Path::new(&name), durable)?;
        }
    }
    let journals = folder.join("journal");
    if journals.is_dir()
        && let Some(newest) = journal::names(&journals)?.pop()
    {
        renewal.file(&newest, Durable::No)?;
    }
    let mut bytes = renewal.finish()?;
    // Their index was among those.
    let mut renewal = Renewal::default();
    for part in recordings::unfinished(folder).map_err(io::Error::other)? {
        renewal.file(&part, Durable::Yes)?;
    }
    bytes += renewal.finish()?;
    Ok(bytes)
}
