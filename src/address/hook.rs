//! A program that moves addresses, called `PROGRAM take|refresh|release ADDRESS`.
//!
//! Owns its start, its bound in time and what it may see: no input, no output, PATH and the
//! lifetime as its whole environment. What it does is the operator's.

use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use super::AddressError;

/// How long a program may take for one address. A cloud answers within one or two seconds; a
/// program that hangs would keep the calls of a dead node waiting.
const BOUND: Duration = Duration::from_secs(5);

/// Where the program finds other programs.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The lifetime in milliseconds; unset without one.
const LIFETIME_VARIABLE: &str = "TANDEM_LIFETIME_MS";

/// Bytes of standard error that an error quotes; the rest is read and dropped.
const SAID_BYTES_MAX: usize = 1_024;

/// The program.
#[derive(Debug)]
pub struct Hook {
    program: PathBuf,
    bound: Duration,
}

impl Hook {
    /// This program; a name without a slash is looked up in the usual folders.
    #[must_use]
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self { program: program.into(), bound: BOUND }
    }

    pub(super) fn take(
        &self,
        addresses: &[IpAddr],
        lifetime: Option<Duration>,
    ) -> Result<(), AddressError> {
        self.call_each("take", addresses, lifetime)
    }

    pub(super) fn refresh(
        &self,
        addresses: &[IpAddr],
        lifetime: Option<Duration>,
    ) -> Result<(), AddressError> {
        self.call_each("refresh", addresses, lifetime)
    }

    pub(super) fn release(&self, addresses: &[IpAddr]) -> Result<(), AddressError> {
        self.call_each("release", addresses, None)
    }

    fn call_each(
        &self,
        verb: &'static str,
        addresses: &[IpAddr],
        lifetime: Option<Duration>,
    ) -> Result<(), AddressError> {
        addresses.iter().try_for_each(|address| self.call(verb, *address, lifetime))
    }

    fn call(
        &self,
        verb: &'static str,
        address: IpAddr,
        lifetime: Option<Duration>,
    ) -> Result<(), AddressError> {
        let mut command = Command::new(&self.program);
        command.arg(verb).arg(address.to_string()).env_clear().env("PATH", PATH);
        if let Some(lifetime) = lifetime {
            command.env(LIFETIME_VARIABLE, lifetime.as_millis().to_string());
        }
        // A group of its own, so that whatever it started ends with it.
        command.process_group(0).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let program = || self.program.clone();
        let child = command.spawn();
        let mut child = child
            .map_err(|source| AddressError::HookDoesNotStart { program: program(), source })?;
        let mut said = Vec::new();
        let ended = self.wait(&mut child, &mut said);
        let ended = ended.map_err(|source| {
            end(&mut child);
            AddressError::failed(format!("waiting for {}", self.program.display()), source)
        })?;
        let said = String::from_utf8_lossy(&said).trim().to_owned();
        match ended {
            Some(status) if status.success() => Ok(()),
            Some(status) => {
                Err(AddressError::HookFailed { program: program(), verb, address, status, said })
            }
            None => {
                end(&mut child);
                let bound = self.bound;
                Err(AddressError::HookTooSlow { program: program(), verb, address, bound, said })
            }
        }
    }

    /// How the program ended; none: it is still running when its time is over. The end of its
    /// standard error is not waited for, since what it started in the background keeps it open.
    fn wait(&self, child: &mut Child, said: &mut Vec<u8>) -> io::Result<Option<ExitStatus>> {
        let deadline = Instant::now() + self.bound;
        let process = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
        let mut stderr = child.stderr.take();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = Timespec {
                tv_sec: left.as_secs().cast_signed(),
                tv_nsec: left.subsec_nanos().into(),
            };
            let mut watched = vec![PollFd::new(&process, PollFlags::IN)];
            watched.extend(stderr.as_ref().map(|stderr| PollFd::new(stderr, PollFlags::IN)));
            poll(&mut watched, Some(&timeout))?;
            let has_ended = !watched[0].revents().is_empty();
            let has_said = watched.get(1).is_some_and(|stderr| !stderr.revents().is_empty());
            if has_said && stderr.as_mut().is_some_and(|stderr| !read(stderr, said)) {
                stderr = None;
            }
            if has_ended && !has_said {
                return child.wait().map(Some);
            }
            if left.is_zero() {
                return if has_ended { child.wait().map(Some) } else { Ok(None) };
            }
        }
    }
}

/// Reads what is there; false at the end.
fn read(stderr: &mut ChildStderr, said: &mut Vec<u8>) -> bool {
    let mut piece = [0; 4_096];
    let Ok(bytes) = rustix::io::read(stderr.as_fd(), &mut piece) else { return false };
    let room = SAID_BYTES_MAX.saturating_sub(said.len()).min(bytes);
    said.extend_from_slice(&piece[..room]);
    bytes > 0
}

fn end(child: &mut Child) {
    // The group is gone if the program just ended.
    let _gone = kill_process_group(Pid::from_child(child), Signal::KILL);
    let _reaped = child.wait();
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use tempfile::TempDir;

    use super::*;

    const ADDRESS: &str = "10.77.0.101";

    /// A script in a folder of its own. Another process writes it: a process that a neighbouring
    /// test starts meanwhile would inherit our open file, and a file open for writing does not
    /// run.
    fn script(body: &str) -> (TempDir, Hook) {
        let folder = TempDir::new().unwrap();
        let program = folder.path().join("move-address");
        let write = "printf '%s' \"$1\" > \"$2\" && chmod 700 \"$2\"";
        let body = format!("#!/bin/sh\ncd {}\n{body}\n", folder.path().display());
        let written = Command::new("sh").args(["-c", write, "sh", &body]).arg(&program).status();
        assert!(written.unwrap().success());
        (folder, Hook::new(program))
    }

    fn read_lines(folder: &Path, file: &str) -> Vec<String> {
        fs::read_to_string(folder.join(file)).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn the_program_is_told_what_to_do_once_for_each_address() {
        let (folder, hook) = script("echo $TANDEM_LIFETIME_MS $* >> calls");
        let both = [ADDRESS.parse().unwrap(), "fd00:77::101".parse().unwrap()];
        hook.take(&both, Some(Duration::from_secs(2))).unwrap();
        hook.refresh(&both[..1], Some(Duration::from_millis(1_500))).unwrap();
        hook.release(&both[..1]).unwrap();
        let calls = read_lines(folder.path(), "calls");
        let expected = [
            "2000 take 10.77.0.101",
            "2000 take fd00:77::101",
            "1500 refresh 10.77.0.101",
            "release 10.77.0.101",
        ];
        assert_eq!(calls, expected);
    }

    #[test]
    fn the_program_sees_nothing_of_our_environment() {
        let (folder, hook) = script("/usr/bin/env > seen");
        hook.take(&[ADDRESS.parse().unwrap()], Some(Duration::from_secs(1))).unwrap();
        let mut seen: Vec<_> = read_lines(folder.path(), "seen")
            .iter()
            .filter_map(|line| line.split_once('=').map(|(name, _)| name.to_owned()))
            .filter(|name| !["PWD", "OLDPWD", "SHLVL", "_"].contains(&name.as_str()))
            .collect();
        seen.sort();
        assert_eq!(seen, ["PATH", LIFETIME_VARIABLE]);
    }

    #[test]
    fn what_the_program_complains_about_is_in_the_error() {
        let (_folder, hook) = script("echo the quota is exhausted >&2; exit 3");
        let error = hook.take(&[ADDRESS.parse().unwrap()], None).unwrap_err().to_string();
        assert!(
            error.ends_with("take 10.77.0.101: exit status: 3: the quota is exhausted"),
            "{error}"
        );
    }

    #[test]
    fn a_program_that_hangs_is_ended_with_all_that_it_started() {
        let (folder, mut hook) = script("echo waiting >&2; sleep 60 & echo $! > sleeper; wait");
        hook.bound = Duration::from_millis(300);
        let began = Instant::now();
        let error = hook.release(&[ADDRESS.parse().unwrap()]).unwrap_err().to_string();
        assert!(error.ends_with("was ended after 300 ms: waiting"), "{error}");
        assert!(began.elapsed() < Duration::from_secs(10));
        let sleeper = read_lines(folder.path(), "sleeper").concat();
        let deadline = Instant::now() + Duration::from_secs(10);
        while is_running(&sleeper) {
            assert!(Instant::now() < deadline, "process {sleeper} outlives the program");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn is_running(process: &str) -> bool {
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        // A zombie that nobody has waited for yet is no running process.
        stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
    }

    #[test]
    fn what_stays_in_the_background_is_not_waited_for() {
        let (folder, hook) = script("sleep 60 & echo $! > sleeper");
        let began = Instant::now();
        hook.take(&[ADDRESS.parse().unwrap()], None).unwrap();
        assert!(began.elapsed() < BOUND);
        let sleeper = read_lines(folder.path(), "sleeper").concat();
        assert!(Command::new("kill").arg(sleeper).status().unwrap().success());
    }

    #[test]
    fn a_flood_of_complaints_neither_blocks_nor_fills_the_memory() {
        let (_folder, hook) = script("head -c 300000 /dev/zero | tr '\\0' x >&2; exit 1");
        let error = hook.take(&[ADDRESS.parse().unwrap()], None).unwrap_err().to_string();
        let said = error.rsplit(": ").next().unwrap();
        assert_eq!(said, "x".repeat(SAID_BYTES_MAX));
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let error = Hook::new("/nowhere/move-address").take(&[ADDRESS.parse().unwrap()], None);
        let text = error.unwrap_err().to_string();
        assert!(text.starts_with("the program \"/nowhere/move-address\" does not start"), "{text}");
    }
}
