//! What the ears tell: gaps, audio that comes twice, and prompts that go on.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::super::audio::{Arrival, Ear, Sound, position_of};
use super::super::cast::Call;
use super::super::phases::{Hears, Phase};
use super::super::round::Evidence;
use super::{Claim, Figures, Gap, title, when};

/// A gap that nobody adds to: the 20 ms between two frames and less than 100 ms more.
const NOTICEABLE: Duration = Duration::from_millis(120);

/// What a busy machine may add to that: as much as it made the drill itself late, but no more than
/// this. Past it the machine is too busy to judge anything.
const LATE_MAX: Duration = Duration::from_millis(150);

/// Gaps from here on are drawn.
const DRAWN: Duration = Duration::from_millis(60);

/// Before the fault: what is compared with.
const BEFORE: Duration = Duration::from_millis(1_200);

/// The window of a fault begins so long before it: the last frame before it lies within.
const AHEAD: Duration = Duration::from_millis(200);

/// Two streams that speak within this time of one another are two speakers at once.
const AT_ONCE: Duration = Duration::from_millis(200);

/// A frame that is so many frames behind the newest one was kept somewhere. Reordering on a real
/// network is shorter.
const BEHIND: u32 = 10;

/// How far from where it was a prompt may go on.
const PROMPT_SECONDS: f64 = 1.0;

/// The last second of a call, in which it is heard to be alive, and how many of its fifty frames
/// have to be there.
const LAST: Duration = Duration::from_secs(1);
const ALIVE: usize = 25;

/// One direction of one call in one stretch of time.
#[derive(Debug)]
struct Way {
    call: usize,
    /// 0 at the caller's ear, 1 at the callee's.
    side: usize,
    gap: Gap,
}

/// See the file.
#[derive(Debug)]
pub(super) struct Audio<'a> {
    evidence: &'a Evidence,
    before: Vec<Way>,
    fault: Vec<Way>,
    back: Vec<Way>,
}

impl<'a> Audio<'a> {
    pub(super) fn of(evidence: &'a Evidence) -> Self {
        let times = evidence.times;
        let mut audio = Self { evidence, before: vec![], fault: vec![], back: vec![] };
        for (index, call) in evidence.seen.cast.calls.iter().enumerate() {
            let until = if call.plan.changes { times.change } else { times.undone };
            for side in 0..2 {
                let way = |hears, from, to| {
                    let heard = audio.heard(call, side, hears)?;
                    let gap = longest(&heard, from, to, &evidence.seen.stalls);
                    Some(Way { call: index, side, gap })
                };
                let during = call.plan.during[side];
                let before = way(during, times.fault - BEFORE, times.fault);
                let fault = way(during, times.fault - AHEAD, until);
                let back = way(call.plan.at_end[side], times.undone, times.release);
                audio.before.extend(before);
                audio.fault.extend(fault);
                audio.back.extend(back);
            }
        }
        audio
    }

    /// A gap that nobody adds to, on this machine.
    pub(super) fn noticeable(&self) -> Duration {
        let stalls = self.evidence.seen.stalls.iter();
        let late = stalls.map(|(_, length)| *length).max().unwrap_or_default();
        NOTICEABLE + late.min(LATE_MAX)
    }

    /// When the party on this side of a call heard what it should; nothing if it should not.
    fn heard(&self, call: &Call, side: usize, hears: Hears) -> Option<Vec<Instant>> {
        let far = |party: Option<usize>| party.map_or(u16::MAX, |party| party as u16);
        let own = if side == 0 { Some(call.party) } else { call.callee };
        let other = if side == 0 { call.callee } else { Some(call.party) };
        let fits: Box<dyn Fn(Sound) -> bool> = match hears {
            Hears::Nothing => return None,
            Hears::Far => is_of(far(other)),
            Hears::Own => is_of(far(own)),
            Hears::Played => Box::new(|sound| matches!(sound, Sound::Pitch(_))),
            Hears::Any => Box::new(|sound| sound != Sound::Quiet),
        };
        let ear = self.ear(own);
        Some(ear.map_or(Vec::new(), |ear| {
            ear.arrivals.iter().filter(|heard| fits(heard.sound)).map(|heard| heard.at).collect()
        }))
    }

    fn ear(&self, party: Option<usize>) -> Option<&'a Ear> {
        self.evidence.seen.cast.parties.get(party?).map(|party| &party.ear)
    }

    /// Why this call is not heard to be alive at its end, if it is not.
    pub(super) fn is_silent(&self, call: &Call) -> Option<String> {
        let end = call.times.ended.unwrap_or(self.evidence.times.release);
        let end = end.min(self.evidence.times.release);
        (0..2).find_map(|side| {
            let heard = self.heard(call, side, call.plan.at_end[side])?;
            let frames = heard.iter().filter(|at| **at + LAST > end && **at <= end).count();
            let who = ["caller", "callee"][side];
            (frames < ALIVE)
                .then(|| format!("the {who} heard {frames} of 50 frames in its last second"))
        })
    }

    /// The gaps of the calls at the faulty node, or of all where it has none.
    pub(super) fn figures(&self) -> Figures {
        Figures::of(self.fault.iter().filter(|way| !self.is_witness(way)).map(|way| way.gap.length))
    }

    fn is_witness(&self, way: &Way) -> bool {
        self.call(way).phase == Phase::Witness
    }

    fn call(&self, way: &Way) -> &Call {
        &self.evidence.seen.cast.calls[way.call]
    }

    /// The harness judges itself first: without a fault nothing is missing.
    pub(super) fn undisturbed_before(&self) -> Claim {
        let longest = self.evidence.seen.stalls.iter().map(|(_, length)| *length).max();
        let stalls = self.evidence.seen.stalls.len();
        let bound = self.noticeable();
        Claim::against(
            format!("before the fault no audio is missing for {} ms", bound.as_millis()),
            self.longer_where(&self.before, bound, |_, _| true),
        )
        .with_figures(format!(
            "{} ways, p50/p99/max {} ms; the drill itself was late {stalls} times, {} ms at most",
            self.before.len(),
            Figures::of(self.before.iter().map(|way| way.gap.length)).words(),
            longest.unwrap_or_default().as_millis()
        ))
    }

    /// Gaps by the fault and by its end, at the node and elsewhere.
    /// `after`: what may be missing when the node is back.
    pub(super) fn claims(&self, (p99, max): (Duration, Duration), after: Duration) -> Vec<Claim> {
        let figures = self.figures();
        let mut against = self.longer_where(&self.fault, max, |audio, way| !audio.is_witness(way));
        if figures.percentile(99).is_some_and(|found| found > p99) && against.is_empty() {
            against = self.longer_where(&self.fault, p99, |audio, way| !audio.is_witness(way));
        }
        let (p99, max) = (p99.as_millis(), max.as_millis());
        let text = format!("audio is missing for {max} ms at most, p99 {p99} ms");
        let count = self.fault.iter().filter(|way| !self.is_witness(way)).count();
        let fault = Claim::against(text, against)
            .with_figures(format!("{count} ways, p50/p99/max {} ms", figures.words()));
        let bound = self.noticeable();
        let mut witnesses = self.longer_where(&self.fault, bound, Self::is_witness);
        witnesses.extend(self.longer_where(&self.back, bound, Self::is_witness));
        let text = "calls at the other nodes notice nothing";
        let back = self.longer_where(&self.back, after, |audio, way| !audio.is_witness(way));
        let figures = Figures::of(self.back.iter().map(|way| way.gap.length));
        let after = after.as_millis();
        let text_back = format!("when the node is back, audio is missing for {after} ms at most");
        vec![
            fault,
            Claim::against(text, witnesses),
            Claim::against(text_back, back).with_figures(format!(
                "{} ways, p50/p99/max {} ms",
                self.back.len(),
                figures.words()
            )),
        ]
    }

    fn longer_where(
        &self,
        ways: &[Way],
        bound: Duration,
        is_meant: impl Fn(&Self, &Way) -> bool,
    ) -> Vec<String> {
        let long = ways.iter().filter(|way| way.gap.length > bound && is_meant(self, way));
        let words = |way: &Way| {
            format!(
                "{}: the {} heard nothing for {} ms from {} on",
                title(self.call(way)),
                ["caller", "callee"][way.side],
                way.gap.length.as_millis(),
                when(way.gap.from, self.evidence)
            )
        };
        long.map(words).collect()
    }

    pub(super) fn nothing_is_heard_twice(&self) -> Claim {
        let mut against = Vec::new();
        for party in &self.evidence.seen.cast.parties {
            let twice = twice(&party.ear.arrivals);
            if let Some((at, what)) = twice.first() {
                let times = twice.len();
                let at = when(*at, self.evidence);
                against.push(format!("{} heard {what} at {at} ({times} frames)", party.name));
            }
            if party.ear.forgotten > 0 {
                against.push(format!("{} heard more than can be remembered", party.name));
            }
        }
        Claim::against("nothing is heard twice, late, or from two speakers at once", against)
    }

    /// A prompt goes on where it was, or where it would have been.
    pub(super) fn prompts_go_on(&self) -> Claim {
        let text = format!("prompts go on within {PROMPT_SECONDS} s of where they were");
        let calls = &self.evidence.seen.cast.calls;
        let prompts: Vec<&Call> = calls.iter().filter(|c| c.phase == Phase::Prompt).collect();
        if prompts.is_empty() {
            return Claim::skipped(text, "there is no prompt");
        }
        let mut worst: f64 = 0.0;
        let mut against = Vec::new();
        for call in prompts {
            let Some(ear) = self.ear(Some(call.party)) else { continue };
            let Some((at, jump)) = largest_jump(&ear.arrivals) else {
                against.push(format!("{} heard no prompt", title(call)));
                continue;
            };
            worst = worst.max(jump.abs());
            if jump.abs() > PROMPT_SECONDS {
                let at = when(at, self.evidence);
                against.push(format!("{} jumped by {jump:.2} s at {at}", title(call)));
            }
        }
        Claim::against(text, against).with_figures(format!("the largest jump is {worst:.2} s"))
    }

    /// What is drawn of a call: silence at the caller's and at the callee's ear.
    pub(super) fn gaps_of(&self, index: usize) -> [Vec<Gap>; 2] {
        let call = &self.evidence.seen.cast.calls[index];
        let times = self.evidence.times;
        let side = |side: usize| {
            let until = if call.plan.changes { times.change } else { times.undone };
            let during = self.heard(call, side, call.plan.during[side]);
            let end = self.heard(call, side, call.plan.at_end[side]);
            let mut found = Vec::new();
            let windows =
                [(during, times.fault - BEFORE, until), (end, times.undone, times.release)];
            for (heard, from, to) in windows {
                found.extend(heard.into_iter().flat_map(|heard| {
                    gaps(&heard, from, to, &self.evidence.seen.stalls)
                        .into_iter()
                        .filter(|gap| gap.length >= DRAWN)
                }));
            }
            found
        };
        [side(0), side(1)]
    }
}

fn is_of(party: u16) -> Box<dyn Fn(Sound) -> bool> {
    Box::new(move |sound| matches!(sound, Sound::Mark { party: speaker, .. } if speaker == party))
}

/// The stretches between two arrivals, the window's ends counting as such. What the drill itself
/// was late by is taken off.
fn gaps(heard: &[Instant], from: Instant, to: Instant, stalls: &[(Instant, Duration)]) -> Vec<Gap> {
    let inside = heard.iter().copied().filter(|at| *at > from && *at < to);
    let mut last = from;
    let mut found = Vec::new();
    for at in inside.chain([to]) {
        let own: Duration = stalls
            .iter()
            .map(|(begin, length)| {
                let end = (*begin + *length).min(at);
                end.saturating_duration_since((*begin).max(last))
            })
            .sum();
        let length = at.saturating_duration_since(last).saturating_sub(own);
        found.push(Gap { from: last, length });
        last = at;
    }
    found
}

fn longest(heard: &[Instant], from: Instant, to: Instant, stalls: &[(Instant, Duration)]) -> Gap {
    let all = gaps(heard, from, to, stalls);
    let none = Gap { from, length: Duration::ZERO };
    all.into_iter().max_by_key(|gap| gap.length).unwrap_or(none)
}

/// Frames that should not have come: again, long after those behind them, or between those of
/// another stream.
fn twice(arrivals: &[Arrival]) -> Vec<(Instant, &'static str)> {
    let mut seen = BTreeSet::new();
    let mut newest: Vec<(u16, u32)> = Vec::new();
    let mut streams: Vec<(u8, Instant)> = Vec::new();
    let mut found = Vec::new();
    let mut last = None;
    for heard in arrivals.iter().filter(|heard| heard.sound != Sound::Quiet) {
        if let Sound::Mark { party, counter } = heard.sound {
            if !seen.insert((party, counter)) {
                found.push((heard.at, "a frame again"));
            }
            match newest.iter_mut().find(|(known, _)| *known == party) {
                Some((_, newest)) if counter + BEHIND < *newest => {
                    found.push((heard.at, "a frame that was kept somewhere"));
                }
                Some((_, newest)) => *newest = counter.max(*newest),
                None => newest.push((party, counter)),
            }
        }
        let known = streams.iter_mut().find(|(stream, _)| *stream == heard.stream);
        match known {
            Some((_, spoke)) => {
                if last != Some(heard.stream) && *spoke + AT_ONCE > heard.at {
                    found.push((heard.at, "two streams at once"));
                }
                *spoke = heard.at;
            }
            None => streams.push((heard.stream, heard.at)),
        }
        last = Some(heard.stream);
    }
    found
}

/// The largest step between two neighbouring frames of a rising tone, against what the time
/// between them explains. A frame at a seam holds a bit of both and is passed over: a step counts
/// if the frames on both sides agree with their neighbours.
fn largest_jump(arrivals: &[Arrival]) -> Option<(Instant, f64)> {
    let heard: Vec<(Instant, f64)> = arrivals
        .iter()
        .filter_map(|heard| match heard.sound {
            Sound::Pitch(pitch) => Some((heard.at, position_of(pitch))),
            Sound::Mark { .. } | Sound::Quiet => None,
        })
        .collect();
    let smooth: Vec<(Instant, f64)> = heard
        .windows(3)
        .map(|three| {
            let mut positions = [three[0].1, three[1].1, three[2].1];
            positions.sort_unstable_by(f64::total_cmp);
            (three[1].0, positions[1])
        })
        .collect();
    let steps = smooth.windows(2).map(|pair| {
        let step = pair[1].1 - pair[0].1;
        let passed = (pair[1].0 - pair[0].0).as_secs_f64();
        // It may also have gone on unheard.
        let jump = if (step - passed).abs() < step.abs() { step - passed } else { step };
        (pair[1].0, jump)
    });
    steps.max_by(|(_, a), (_, b)| a.abs().total_cmp(&b.abs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn marks(begin: Instant, frames: impl Iterator<Item = (u64, u32, u8)>) -> Vec<Arrival> {
        let arrival = |(at, counter, stream)| Arrival {
            at: begin + ms(at),
            stream,
            sound: Sound::Mark { party: 1, counter },
        };
        frames.map(arrival).collect()
    }

    #[test]
    fn the_longest_silence_counts_also_at_the_ends() {
        let begin = Instant::now();
        let heard: Vec<Instant> = (0..50).chain(100..150).map(|n| begin + ms(n * 20)).collect();
        let gap = longest(&heard, begin, begin + ms(2_980), &[]);
        assert_eq!((gap.from, gap.length), (begin + ms(980), ms(1_020)));
        let gap = longest(&heard, begin, begin + ms(5_000), &[]);
        assert_eq!(gap.length, ms(2_020));
        assert_eq!(longest(&[], begin, begin + ms(700), &[]).length, ms(700));
    }

    #[test]
    fn what_the_drill_was_late_by_is_no_gap() {
        let begin = Instant::now();
        let heard = [begin + ms(20), begin + ms(520), begin + ms(540)];
        let stalls = [(begin + ms(30), ms(400))];
        assert_eq!(longest(&heard, begin, begin + ms(560), &stalls).length, ms(100));
    }

    #[test]
    fn two_speakers_and_kept_frames_are_heard() {
        let begin = Instant::now();
        let good = marks(begin, (0..100).map(|n| (n * 20, n as u32, 0)));
        assert_eq!(twice(&good), []);
        let moved = marks(begin, (0..100).map(|n| (n * 20, n as u32, u8::from(n > 50))));
        assert_eq!(twice(&moved), [], "another stream that goes on is a takeover");
        let both = marks(begin, (0..100).map(|n| (n * 20, n as u32 / 2, (n % 2) as u8)));
        assert!(twice(&both).iter().any(|(_, what)| *what == "two streams at once"));
        assert!(twice(&both).iter().any(|(_, what)| *what == "a frame again"));
        let kept = marks(begin, [(0, 1, 0), (20, 40, 0), (40, 2, 0)].into_iter());
        assert_eq!(twice(&kept).len(), 1);
    }

    #[test]
    fn a_prompt_that_begins_again_jumps() {
        let begin = Instant::now();
        let at = |n: u64, seconds: f64| Arrival {
            at: begin + ms(n * 20),
            stream: 0,
            sound: Sound::Pitch((400.0 + 24.0 * seconds) as f32),
        };
        let goes_on: Vec<_> = (0..500).map(|n| at(n, n as f64 / 50.0)).collect();
        assert!(largest_jump(&goes_on).unwrap().1.abs() < 0.1);
        let begins_again: Vec<_> = (0..500).map(|n| at(n, (n % 250) as f64 / 50.0)).collect();
        assert!((largest_jump(&begins_again).unwrap().1 + 5.0).abs() < 0.1);
    }
}
