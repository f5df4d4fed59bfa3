//! Passwords: how many are tried at a time, and how often a wrong one is forgiven.
//!
//! Argon2 is slow on purpose, about 20 ms and 19 MiB a try, so tries run on threads of their
//! own, [`CHECKED_AT_A_TIME`] at once, and a queue that is too long is refused. An unknown name
//! costs as much as a known one. After too many failures in a row a name is locked for those who
//! come from the same address, so that nobody locks out somebody else from afar.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use argon2::{Argon2, PasswordHash};
use tandem_center::{AgentId, Millis};
use thiserror::Error;
use tokio::sync::Semaphore;

use crate::config::types::Secret;

/// Passwords that are checked at once: no more than the cores that calls can spare.
const CHECKED_AT_A_TIME: usize = 2;

/// Log-ins that wait for their turn. Full: refused as unavailable; a second's worth.
const WAITING_MAX: usize = 64;

/// Names with failures that are remembered. Full: the one that failed longest ago is forgotten.
const FAILURES_KEPT: usize = 10_000;

/// Bytes of a password. A longer one is wrong without being tried.
const PASSWORD_BYTES_MAX: usize = 256;

/// Why a log-in failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(super) enum LoginError {
    /// The name or the password.
    #[error("wrong name or password")]
    Wrong,
    /// Too many failures.
    #[error("too many wrong passwords: wait {seconds} seconds")]
    Locked {
        /// For how long.
        seconds: u64,
    },
    /// Too many log-ins at once.
    #[error("too many log-ins at once")]
    Busy,
}

/// Checks passwords.
#[derive(Debug)]
pub(super) struct Logins {
    turns: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    failures_max: u32,
    lock_seconds: u32,
    failures: Mutex<BTreeMap<(AgentId, IpAddr), Failures>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Failures {
    in_a_row: u32,
    last: Millis,
}

/// What an unknown name is compared with.
static NOBODY: LazyLock<String> = LazyLock::new(|| hash(&Secret::new("nobody has this password")));

/// The Argon2 hash of a password, as the configuration takes it.
#[must_use]
pub fn hash(password: &Secret) -> String {
    let hash = Argon2::default().hash_password(password.reveal().as_bytes());
    hash.expect("the default parameters are valid and the system has randomness").to_string()
}

impl Logins {
    /// Locks a name for `lock_seconds` after `failures_max` failures in a row.
    #[must_use]
    pub(super) fn new(failures_max: u32, lock_seconds: u32) -> Self {
        Self {
            turns: Arc::new(Semaphore::new(CHECKED_AT_A_TIME)),
            waiting: Arc::new(Semaphore::new(WAITING_MAX)),
            failures_max,
            lock_seconds,
            failures: Mutex::default(),
        }
    }

    /// Checks the password of `agent` against `stored`, the hash if there is such an agent.
    pub(super) async fn check(
        &self,
        (agent, from): (&AgentId, IpAddr),
        password: Secret,
        stored: Option<Arc<str>>,
        now: Millis,
    ) -> Result<(), LoginError> {
        let who = (agent.clone(), from);
        if let Some(seconds) = self.locked_for(&who, now) {
            return Err(LoginError::Locked { seconds });
        }
        let _waiting = self.waiting.clone().try_acquire_owned().map_err(|_| LoginError::Busy)?;
        let turn = self.turns.clone().acquire_owned().await.map_err(|_| LoginError::Busy)?;
        let right = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            is_right(&password, stored.as_deref())
        });
        if right.await.unwrap_or(false) {
            self.failures().remove(&who);
            return Ok(());
        }
        self.failed(who, now);
        Err(LoginError::Wrong)
    }

    fn locked_for(&self, who: &(AgentId, IpAddr), now: Millis) -> Option<u64> {
        let failures = self.failures().get(who).copied()?;
        let until = failures.last.plus_seconds(self.lock_seconds);
        let locked = failures.in_a_row >= self.failures_max && now < until;
        locked.then(|| until.since_ms(now).div_ceil(1000))
    }

    fn failed(&self, who: (AgentId, IpAddr), now: Millis) {
        let lock_over = |failures: &Failures| {
            failures.in_a_row >= self.failures_max
                && now >= failures.last.plus_seconds(self.lock_seconds)
        };
        let mut all = self.failures();
        let before = all.get(&who).filter(|failures| !lock_over(failures));
        let in_a_row = before.map_or(1, |failures| failures.in_a_row.saturating_add(1));
        if all.len() >= FAILURES_KEPT && !all.contains_key(&who) {
            let oldest = all.iter().min_by_key(|(_, failures)| failures.last);
            if let Some(oldest) = oldest.map(|(who, _)| who.clone()) {
                all.remove(&oldest);
            }
        }
        all.insert(who, Failures { in_a_row, last: now });
    }

    fn failures(&self) -> std::sync::MutexGuard<'_, BTreeMap<(AgentId, IpAddr), Failures>> {
        // No code that can panic runs under the lock.
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_right(password: &Secret, stored: Option<&str>) -> bool {
    let known = stored.and_then(|stored| PasswordHash::new(stored).ok());
    let exists = known.is_some();
    let Some(hash) = known.or_else(|| PasswordHash::new(&NOBODY).ok()) else { return false };
    let password = password.reveal().as_bytes();
    let tried = &password[..password.len().min(PASSWORD_BYTES_MAX)];
    let right = Argon2::default().verify_password(tried, &hash).is_ok();
    right && exists && password.len() <= PASSWORD_BYTES_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    const THERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 2));

    struct Script {
        logins: Logins,
        stored: Arc<str>,
        now: Millis,
    }

    impl Script {
        fn new() -> Self {
            let stored = hash(&Secret::new("right")).into();
            Self { logins: Logins::new(3, 60), stored, now: Millis(1_000_000) }
        }

        async fn tries(&self, password: &str, from: IpAddr) -> Result<(), LoginError> {
            let ana = AgentId::parse("ana").unwrap();
            let stored = Some(self.stored.clone());
            self.logins.check((&ana, from), Secret::new(password), stored, self.now).await
        }
    }

    #[tokio::test]
    async fn a_name_is_locked_after_three_wrong_passwords_from_one_address() {
        let mut script = Script::new();
        assert_eq!(script.tries("right", HERE).await, Ok(()));
        for _ in 0..3 {
            assert_eq!(script.tries("wrong", HERE).await, Err(LoginError::Wrong));
        }
        assert_eq!(script.tries("right", HERE).await, Err(LoginError::Locked { seconds: 60 }));
        assert_eq!(script.tries("right", THERE).await, Ok(()));
        script.now = script.now.plus_ms(59_500);
        assert_eq!(script.tries("right", HERE).await, Err(LoginError::Locked { seconds: 1 }));
        script.now = script.now.plus_ms(500);
        assert_eq!(script.tries("wrong", HERE).await, Err(LoginError::Wrong));
        assert_eq!(script.tries("right", HERE).await, Ok(()));
    }

    #[tokio::test]
    async fn nobody_logs_in_without_a_hash() {
        let logins = Logins::new(3, 60);
        let ana = AgentId::parse("ana").unwrap();
        for (stored, password) in [
            (None, "nobody has this password"),
            (Some("".into()), "nobody has this password"),
            (Some("plain".into()), "plain"),
        ] {
            let password = Secret::new(password);
            let result = logins.check((&ana, HERE), password, stored, Millis(0)).await;
            assert_eq!(result, Err(LoginError::Wrong));
        }
    }

    #[test]
    fn a_password_that_is_too_long_is_wrong() {
        let long = "x".repeat(PASSWORD_BYTES_MAX);
        let stored = hash(&Secret::new(long.clone()));
        assert!(is_right(&Secret::new(long.clone()), Some(&stored)));
        assert!(!is_right(&Secret::new(long + "y"), Some(&stored)));
    }
}
