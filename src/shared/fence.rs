//! The fencing command: `PROGRAM NAME GENERATION PID`, successful only if nothing of that machine
//! writes any more.
//!
//! Owns its start, its bound in time and what becomes of what it says. What it does is the
//! operator's.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tandem_cluster::shared::standby::Seen;
use thiserror::Error;
use tokio::process::Command;

/// Bytes of standard error that an error quotes.
const SAID_BYTES_MAX: usize = 1_024;

/// Why a machine is not fenced.
#[derive(Debug, Error)]
pub(super) enum FenceError {
    /// It does not start.
    #[error("the fencing command does not start: {0}")]
    DoesNotStart(std::io::Error),
    /// It said so.
    #[error("the fencing command failed with {status}: {said}")]
    Failed { status: std::process::ExitStatus, said: String },
    /// It took too long.
    #[error("the fencing command was ended after {} ms", .0.as_millis())]
    TooSlow(Duration),
}

/// Runs it against who was seen.
pub(super) async fn fence(program: &Path, bound: Duration, seen: &Seen) -> Result<(), FenceError> {
    let pid = seen.lease.as_ref().filter(|lease| lease.generation == seen.generation);
    let pid = pid.map_or_else(|| "0".to_owned(), |lease| lease.pid.to_string());
    let mut command = Command::new(program);
    command.args([&seen.holder, &seen.generation.to_string(), &pid]);
    // A group of its own, so that whatever it started ends with it.
    command.process_group(0).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let child = command.spawn().map_err(FenceError::DoesNotStart)?;
    let group = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
    match tokio::time::timeout(bound, child.wait_with_output()).await {
        Ok(Ok(output)) if output.status.success() => Ok(()),
        Ok(Ok(output)) => {
            let said = String::from_utf8_lossy(&output.stderr);
            let said = said.trim().chars().take(SAID_BYTES_MAX).collect();
            Err(FenceError::Failed { status: output.status, said })
        }
        Ok(Err(error)) => Err(FenceError::DoesNotStart(error)),
        Err(_) => {
            if let Some(group) = group {
                // It may have ended just now.
                let _gone = kill_process_group(group, Signal::KILL);
            }
            Err(FenceError::TooSlow(bound))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen() -> Seen {
        Seen { generation: 7, holder: "alpha".into(), lease: None }
    }

    #[tokio::test]
    async fn only_a_command_that_succeeds_in_time_has_fenced() {
        let second = Duration::from_secs(20);
        fence(Path::new("true"), second, &seen()).await.unwrap();
        let failed = fence(Path::new("false"), second, &seen()).await.unwrap_err();
        assert!(matches!(failed, FenceError::Failed { .. }), "{failed}");
        let missing = fence(Path::new("/no/such/program"), second, &seen()).await.unwrap_err();
        assert!(matches!(missing, FenceError::DoesNotStart(_)), "{missing}");
        // Called as `yes alpha 7 0`: it never ends.
        let slow = fence(Path::new("yes"), Duration::from_millis(50), &seen()).await.unwrap_err();
        assert!(matches!(slow, FenceError::TooSlow(_)), "{slow}");
    }
}
