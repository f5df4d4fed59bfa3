//! Performing one action of an IVR flow: prompts, digits, a web service.
//!
//! Owns what is under way of the action that the value names, and the digits typed ahead of the
//! next one. Decides nothing: the end of an action is proposed with its number, and the flow goes
//! on in the state machine.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tandem_center::call::Act;
use tandem_center::flow::IvrResult;
use tandem_center::flow::{Action, Prompt};
use tandem_center::{Command, LegNumber, Wants};

use super::{Message, State};
use crate::media_engine::{Clip, PortEvent, Source};

/// Digits kept for the next action of the flow. More are dropped: nobody types that far ahead.
const DIGITS_AHEAD_MAX: usize = 32;

/// Prompts that begin later than this after they were asked for are noted. A caller who is taken
/// over by another node misses or hears again no more than that.
const LATE: Duration = Duration::from_millis(250);

/// What is under way of the IVR.
#[derive(Debug)]
pub(super) struct Performer {
    /// The number of the action under way, or of the last one.
    seq: u32,
    stage: Stage,
    /// What is typed and not yet reported.
    typed: String,
    /// Tells the digit timer that counts from the older ones.
    generation: u64,
    /// The next action that is begun was begun before, here or on another node.
    resumes: bool,
    /// Where in its prompts the action under way began, in milliseconds.
    from_ms: u32,
    /// When it was asked for.
    began: Option<Instant>,
    /// When its prompts began.
    played: Option<Instant>,
}

/// How far the action is.
#[derive(Debug)]
enum Stage {
    /// No action is under way.
    Idle,
    /// Prompts are fetched or synthesised.
    Preparing { digits: Option<Digits> },
    /// Prompts are played; digits may interrupt them.
    Playing { clips: Vec<Clip>, barge_in: bool, digits: Option<Digits> },
    /// The prompts are over, digits are awaited.
    Collecting { digits: Digits },
    /// A web service is asked.
    Asking,
}

/// What digits an action collects.
#[derive(Debug, Clone, Copy)]
struct Digits {
    max: usize,
    terminator: Option<char>,
    first: Duration,
    inter: Duration,
    barge_in: bool,
}

impl Default for Performer {
    /// Nothing is under way; no action has this number.
    fn default() -> Self {
        Self {
            seq: u32::MAX,
            stage: Stage::Idle,
            typed: String::new(),
            generation: 0,
            resumes: false,
            from_ms: 0,
            began: None,
            played: None,
        }
    }
}

impl Performer {
    /// How far the prompts of an action are by now, in milliseconds of them; none when they are not
    /// those under way. The log dates what it is told by the commit, which may come after seconds
    /// without a leader.
    pub(super) fn progress(&self, seq: u32, now: Instant) -> Option<u32> {
        let played = self.played.filter(|_| self.seq == seq)?;
        let heard_ms = u32::try_from((now - played).as_millis()).unwrap_or(u32::MAX);
        Some(self.from_ms.saturating_add(heard_ms))
    }

    /// Another actor, here or on another node, served the call before.
    pub(super) fn take_up(&mut self) {
        self.resumes = true;
    }

    /// What the caller hears of the action.
    pub(super) fn source(&self) -> Source {
        match &self.stage {
            Stage::Playing { clips, .. } => Source::Play {
                seq: self.seq.into(),
                clips: clips.clone(),
                repeat: false,
                from_ms: self.from_ms.into(),
            },
            Stage::Idle | Stage::Preparing { .. } | Stage::Collecting { .. } | Stage::Asking => {
                Source::Silence
            }
        }
    }
}

impl State {
    /// Begins the action that the value names, unless it is under way or done.
    pub(super) fn perform(&mut self, wants: &Wants) {
        let Some(Act { seq, action }) = &wants.act else {
            self.performer.stage = Stage::Idle;
            return;
        };
        if self.performer.seq == *seq {
            return;
        }
        self.performer.seq = *seq;
        let resumes = std::mem::take(&mut self.performer.resumes);
        let heard_ms = self.call.as_ref().and_then(|call| call.heard_ms()).unwrap_or(0);
        self.performer.from_ms = if resumes { heard_ms } else { 0 };
        (self.performer.began, self.performer.played) = (Some(Instant::now()), None);
        let from_ms = self.performer.from_ms;
        tracing::debug!(call = %self.id, epoch = self.epoch, seq, resumes, from_ms, "performs");
        match action {
            Action::Play { prompts, barge_in } => {
                // Digits that interrupt this prompt belong to the next action of the flow.
                let digits = barge_in.then_some(Digits::none());
                self.prepare(*seq, prompts, digits);
            }
            Action::Collect {
                prompts,
                digits_max,
                terminator,
                first_ms,
                inter_ms,
                barge_in,
                ahead,
            } => {
                let digits = Digits {
                    max: usize::from(*digits_max),
                    terminator: *terminator,
                    first: Duration::from_millis((*first_ms).into()),
                    inter: Duration::from_millis((*inter_ms).into()),
                    barge_in: *barge_in,
                };
                if !ahead.is_empty() {
                    self.performer.typed.insert_str(0, ahead);
                }
                let ready = !self.performer.typed.is_empty() && digits.barge_in;
                self.prepare(*seq, if ready { &[] } else { prompts }, Some(digits));
            }
            // It may have been sent already; only what is safe is sent again (RFC 9110 §9.2.1).
            Action::Http(request) if resumes && !request.may_be_repeated() => {
                self.report(IvrResult::Http { ok: false, fields: BTreeMap::new() });
            }
            Action::Http(request) => {
                self.performer.stage = Stage::Asking;
                let (seq, me) = (*seq, self.me.clone());
                self.node.ask_web_service(request.clone(), move |result| {
                    let _ = me.send_message(Message::ActEnded { seq, result });
                });
            }
        }
    }

    fn prepare(&mut self, seq: u32, prompts: &[Prompt], digits: Option<Digits>) {
        self.performer.stage = Stage::Preparing { digits };
        if prompts.is_empty() {
            self.prompts_ready(seq, Ok(Vec::new()));
        } else {
            let me = self.me.clone();
            self.node.fetch_prompts(prompts.to_vec(), move |clips| {
                let _ = me.send_message(Message::Prompts { seq, clips });
            });
        }
    }

    /// The prompts are there: play them.
    pub(super) fn prompts_ready(&mut self, seq: u32, clips: Result<Vec<Clip>, String>) {
        let Stage::Preparing { digits } = self.performer.stage else { return };
        if self.performer.seq != seq {
            return;
        }
        let clips = clips.unwrap_or_else(|error| {
            // A menu that cannot be spoken can still be used by who knows it.
            tracing::warn!(call = %self.id, %error, "prompt not played");
            Vec::new()
        });
        let total_ms: u64 = clips.iter().map(|clip| u64::from(clip.ms())).sum();
        let silent = total_ms <= u64::from(self.performer.from_ms);
        self.performer.played = Some(Instant::now());
        self.note_late_beginning(total_ms);
        let barge_in = digits.is_some_and(|digits| digits.barge_in);
        self.performer.stage = Stage::Playing { clips, barge_in, digits };
        if silent {
            self.prompts_ended();
        } else {
            self.refresh_audio();
        }
    }

    /// Another node goes on where the prompts should be if they began with their commit. These
    /// began later: their text had to be spoken first.
    fn note_late_beginning(&self, total_ms: u64) {
        let late = self.performer.began.is_some_and(|began| began.elapsed() > LATE);
        if late && total_ms > 0 && self.node.config.cluster.member.len() > 1 {
            let (call, seq, offset_ms) = (self.id, self.performer.seq, self.performer.from_ms);
            self.propose(Command::IvrProgress { call, seq, offset_ms });
        }
    }

    /// The leg that hears prompts and types digits.
    pub(super) fn served(&self) -> LegNumber {
        self.call.as_ref().map_or(LegNumber::FIRST, |call| call.served)
    }

    /// Something happened at a media port.
    pub(super) fn media(&mut self, event: PortEvent) {
        match event {
            PortEvent::Digit { key, digit } if key.leg == self.served().0 => self.digit(digit),
            PortEvent::Digit { .. } => (),
            PortEvent::Played { seq, .. } => {
                if seq == u64::from(self.performer.seq) {
                    self.prompts_ended();
                }
            }
            PortEvent::Quiet { key, ms } => {
                tracing::info!(call = %self.id, leg = key.leg, ms, "nothing is heard");
            }
            PortEvent::Died { key } => {
                self.node.metrics.actor_restarts_total.with_label_values(&["media_port"]).inc();
                tracing::error!(call = %self.id, leg = key.leg, "a media port was rebuilt");
            }
            // They go to whoever keeps recordings.
            PortEvent::RecordingBegan { .. } | PortEvent::RecordingEnded { .. } => (),
            PortEvent::RecordingFailed { reason, .. } => {
                tracing::error!(call = %self.id, %reason, "the recording cannot be written");
            }
        }
    }

    fn prompts_ended(&mut self) {
        let Stage::Playing { digits, .. } = &self.performer.stage else { return };
        match *digits {
            Some(digits) if digits.max > 0 => {
                self.performer.stage = Stage::Collecting { digits };
                self.refresh_audio();
                if !self.take_digits() {
                    self.wait_for_digit(digits.first);
                }
            }
            Some(_) | None => self.report(IvrResult::Finished),
        }
    }

    /// The caller pressed a key.
    pub(super) fn digit(&mut self, digit: char) {
        if self.performer.typed.len() < DIGITS_AHEAD_MAX {
            self.performer.typed.push(digit);
        }
        match &self.performer.stage {
            Stage::Playing { barge_in: true, .. } => self.prompts_ended(),
            Stage::Collecting { digits } => {
                let inter = digits.inter;
                if !self.take_digits() {
                    self.wait_for_digit(inter);
                }
            }
            Stage::Idle | Stage::Preparing { .. } | Stage::Playing { .. } | Stage::Asking => (),
        }
    }

    /// Reports the digits if they are complete: the terminator was typed, or as many as may be.
    fn take_digits(&mut self) -> bool {
        let Stage::Collecting { digits } = self.performer.stage else { return false };
        let typed = &mut self.performer.typed;
        let ended = digits.terminator.and_then(|terminator| typed.find(terminator));
        let (length, taken) = match ended {
            Some(at) if at <= digits.max => (at, at + 1),
            Some(_) | None if typed.len() >= digits.max => (digits.max, digits.max),
            Some(_) | None => return false,
        };
        let collected = typed[..length].to_owned();
        typed.drain(..taken);
        self.report(IvrResult::Digits { digits: collected });
        true
    }

    fn wait_for_digit(&mut self, limit: Duration) {
        self.performer.generation += 1;
        let generation = self.performer.generation;
        drop(self.me.send_after(limit, move || Message::DigitTimer { generation }));
    }

    /// No digit came in time.
    pub(super) fn digit_timer(&mut self, generation: u64) {
        if generation != self.performer.generation {
            return;
        }
        if let Stage::Collecting { .. } = self.performer.stage {
            let typed = std::mem::take(&mut self.performer.typed);
            self.report(if typed.is_empty() {
                IvrResult::NoInput
            } else {
                IvrResult::Digits { digits: typed }
            });
        }
    }

    /// A web service has answered, or did not in time.
    pub(super) fn act_ended(&mut self, seq: u32, result: IvrResult) {
        if self.performer.seq == seq && matches!(self.performer.stage, Stage::Asking) {
            self.report(result);
        }
    }

    fn report(&mut self, result: IvrResult) {
        self.performer.stage = Stage::Idle;
        self.performer.generation += 1;
        let (call, seq) = (self.id, self.performer.seq);
        self.propose(Command::Ivr { call, seq, result });
    }
}

impl Digits {
    /// A prompt that any digit ends, without taking the digit.
    fn none() -> Self {
        let (first, inter) = (Duration::ZERO, Duration::ZERO);
        Self { max: 0, terminator: None, first, inter, barge_in: true }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_that_waited_for_a_leader_says_where_the_prompts_are_by_then() {
        let began = Instant::now();
        let performer =
            Performer { seq: 3, from_ms: 2_000, played: Some(began), ..Performer::default() };
        assert_eq!(performer.progress(3, began), Some(2_000));
        assert_eq!(performer.progress(3, began + Duration::from_millis(2_700)), Some(4_700));
        assert_eq!(performer.progress(2, began), None, "its prompts are over");
        let waiting = Performer { played: None, ..performer };
        assert_eq!(waiting.progress(3, began), None, "nothing is heard yet");
    }
}
