//! Session timers (RFC 4028): who refreshes the session, and when it counts as lost.

use std::io::Write as _;

use serde::{Deserialize, Serialize};

use super::{SessionTimer, Settings, line::earliest};
use crate::{
    transaction::Moment,
    wire::{Head, HeaderName},
};

/// The shortest interval that there is, seconds (RFC 4028 §5). A far end that says less is held
/// to this.
const MIN_SE_SECONDS: u32 = 90;

/// A running session timer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Session {
    seconds: u32,
    we_refresh: bool,
    /// When we refresh: half the interval (RFC 4028 §10).
    refresh_at: Option<Moment>,
    /// When we end the session that nobody refreshed: a little before the interval is over
    /// (RFC 4028 §10).
    ends_at: Moment,
}

/// What a session timer wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Due {
    Nothing,
    Refresh,
    End,
}

/// What a message says of session timers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Asked {
    supported: bool,
    expires: Option<(u32, Option<Refresher>)>,
    min_se: u32,
}

/// Who refreshes, in terms of the transaction that the message belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
enum Refresher {
    Uac,
    Uas,
}

impl Asked {
    /// Reads Supported, Session-Expires and Min-SE.
    pub(super) fn of(message: &Head) -> Self {
        let expires = message.header_str(HeaderName::SessionExpires).and_then(session_expires);
        let min_se = message.header_str(HeaderName::MinSe).and_then(seconds);
        Self {
            supported: message.lists(HeaderName::Supported, "timer")
                || message.lists(HeaderName::Require, "timer"),
            expires,
            min_se: min_se.unwrap_or(MIN_SE_SECONDS).max(MIN_SE_SECONDS),
        }
    }

    /// The Min-SE of the 422 that an interval below ours gets (RFC 4028 §9).
    pub(super) fn too_short(&self, settings: &Settings) -> Option<u32> {
        let own = min_se(settings);
        self.expires.filter(|(seconds, _)| self.supported && *seconds < own).map(|_| own)
    }

    /// What our 2xx says, whole header lines pushed to `out`, and the timer that then runs
    /// (RFC 4028 §9, table 2).
    pub(super) fn grant(
        &self,
        now: Moment,
        settings: &Settings,
        out: &mut Vec<u8>,
    ) -> Option<Session> {
        let wanted = settings.session_timer.map(|timer| timer.expires_seconds);
        let floor = self.min_se.max(min_se(settings));
        let seconds = match (self.expires, wanted) {
            // It may be lowered, not raised.
            (Some((theirs, _)), Some(ours)) => theirs.min(ours.max(floor)).max(MIN_SE_SECONDS),
            (Some((theirs, _)), None) => theirs.max(MIN_SE_SECONDS),
            (None, Some(ours)) => ours.max(floor),
            (None, None) => return None,
        };
        let asked = self.expires.and_then(|(_, refresher)| refresher);
        let refresher =
            if self.supported { asked.unwrap_or(Refresher::Uac) } else { Refresher::Uas };
        let word = match refresher {
            Refresher::Uac => {
                out.extend_from_slice(b"Require: timer\r\n");
                "uac"
            }
            Refresher::Uas => "uas",
        };
        let _ = write!(out, "Session-Expires: {seconds};refresher={word}\r\n");
        Some(Session::start(now, seconds, refresher == Refresher::Uas))
    }

    /// The timer that runs after this 2xx to our request. None when the far end has none and
    /// did not grant ours: nothing then expires (RFC 4028 §7.2).
    pub(super) fn granted(&self, now: Moment) -> Option<Session> {
        let (seconds, refresher) = self.expires?;
        let we_refresh = refresher != Some(Refresher::Uas);
        Some(Session::start(now, seconds.max(MIN_SE_SECONDS), we_refresh))
    }

    /// The least interval that a 422 asks for.
    pub(super) fn min_se(&self) -> u32 {
        self.min_se
    }
}

impl Session {
    fn start(now: Moment, seconds: u32, we_refresh: bool) -> Self {
        let ms = u64::from(seconds) * 1_000;
        Self {
            seconds,
            we_refresh,
            refresh_at: we_refresh.then(|| now.after_ms(ms / 2)),
            ends_at: now.after_ms(ms - (ms / 3).min(32_000)),
        }
    }

    /// What is to be done now. A refresh is asked for once.
    pub(super) fn handle_timeout(&mut self, now: Moment) -> Due {
        if self.ends_at <= now {
            Due::End
        } else if self.refresh_at.is_some_and(|at| at <= now) {
            self.refresh_at = None;
            Due::Refresh
        } else {
            Due::Nothing
        }
    }

    /// When to call [`Self::handle_timeout`].
    pub(super) fn poll_timeout(&self) -> Option<Moment> {
        earliest(self.refresh_at, Some(self.ends_at))
    }

    /// A refresh failed, but not so that the session is lost: once more, before it ends.
    pub(super) fn refresh_later(&mut self, now: Moment) {
        let left = now.ms_until(self.ends_at);
        self.refresh_at = self.we_refresh.then(|| now.after_ms(left / 2 + 1));
    }
}

/// The headers of an INVITE or re-INVITE of ours (RFC 4028 §7.1, §7.4): who refreshes stays as
/// it is.
pub(super) fn push_request(
    out: &mut Vec<u8>,
    settings: &Settings,
    running: Option<&Session>,
    least: u32,
) {
    let wanted = settings.session_timer.map(|timer| timer.expires_seconds);
    let Some(seconds) = running.map(|session| session.seconds).or(wanted) else { return };
    let least = least.max(min_se(settings));
    let _ = write!(out, "Session-Expires: {}", seconds.max(least));
    let _ = match running {
        Some(session) if session.we_refresh => write!(out, ";refresher=uac"),
        Some(_) => write!(out, ";refresher=uas"),
        None => Ok(()),
    };
    let _ = write!(out, "\r\nMin-SE: {least}\r\n");
}

/// A Session-Expires value that is at least this long.
pub(super) fn at_least(value: &str, least: u32) -> Option<String> {
    let (number, rest) = value.split_at(value.find(';').unwrap_or(value.len()));
    Some(format!("{}{rest}", number.trim().parse::<u32>().ok()?.max(least)))
}

fn min_se(settings: &Settings) -> u32 {
    let own =
        settings.session_timer.map_or(MIN_SE_SECONDS, |timer: SessionTimer| timer.min_se_seconds);
    own.max(MIN_SE_SECONDS)
}

/// `1800;refresher=uac`.
fn session_expires(value: &str) -> Option<(u32, Option<Refresher>)> {
    let refresher = value.split(';').skip(1).find_map(|param| {
        let (name, value) = param.split_once('=')?;
        if !name.trim().eq_ignore_ascii_case("refresher") {
            return None;
        }
        match value.trim() {
            uac if uac.eq_ignore_ascii_case("uac") => Some(Refresher::Uac),
            uas if uas.eq_ignore_ascii_case("uas") => Some(Refresher::Uas),
            _ => None,
        }
    });
    Some((seconds(value)?, refresher))
}

/// The number that a value begins with.
fn seconds(value: &str) -> Option<u32> {
    value.split(';').next()?.trim().parse().ok()
}
