//! One call-detail record: its segments follow one another from its beginning to its end, and
//! its sums are the sums of its segments.

use super::Fault;
use crate::record::{SEGMENTS_MAX, Segment, SegmentKind};
use crate::{CallResult, Cdr, Direction, Millis};

/// Everything that does not add up in a record.
#[must_use]
pub fn check_record(cdr: &Cdr) -> Vec<Fault> {
    let segments = check_segments(&cdr.segments, cdr.arrived, cdr.ended);
    let checks = [segments, check_sums(cdr), check_answer(cdr)];
    let wrong = checks.into_iter().filter_map(Result::err);
    wrong.map(|what| Fault::Inconsistent { call: cdr.call, what }).collect()
}

/// Segments cover the time from `arrived` to `until` without a gap and without an overlap.
pub(super) fn check_segments(
    segments: &[Segment],
    arrived: Millis,
    until: Millis,
) -> Result<(), String> {
    let mut at = arrived;
    for (number, segment) in segments.iter().enumerate() {
        let ended = segment.ended.unwrap_or(until);
        if segment.began != at {
            let began = segment.began;
            return Err(format!(
                "segment {number} begins at {began}, the one before ended at {at}"
            ));
        }
        let spent = segment.held_ms.max(segment.rang_ms);
        if ended < segment.began || spent > segment.length_ms(until) {
            let (began, held) = (segment.began, spent);
            return Err(format!(
                "segment {number} is {began} to {ended} with {held} ms of hold or ringing"
            ));
        }
        at = ended;
    }
    // A call that is refused at once has no segments and no time.
    if at == until { Ok(()) } else { Err(format!("its segments end at {at}, the call at {until}")) }
}

fn check_sums(cdr: &Cdr) -> Result<(), String> {
    let sum = |of: fn(&SegmentKind) -> bool, ms: fn(&Segment, Millis) -> u64| -> u64 {
        let segments = cdr.segments.iter().filter(|segment| of(&segment.kind));
        segments.map(|segment| ms(segment, cdr.ended)).sum()
    };
    let waits = sum(|kind| matches!(kind, SegmentKind::Queue(_)), |s, until| s.length_ms(until));
    let talks = sum(|kind| matches!(kind, SegmentKind::Talk(_)), |s, until| s.length_ms(until));
    let holds = sum(|kind| matches!(kind, SegmentKind::Talk(_)), |s, _| s.held_ms);
    let pairs = [
        ("waited", cdr.wait_ms, waits),
        ("talked and held", cdr.talk_ms + cdr.hold_ms, talks),
        ("held", cdr.hold_ms, holds),
    ];
    match pairs.into_iter().find(|(_, said, is)| said != is) {
        Some((what, said, is)) => Err(format!("it says {what} {said} ms, its segments {is} ms")),
        None => Ok(()),
    }
}

fn check_answer(cdr: &Cdr) -> Result<(), String> {
    let Cdr { arrived, answered, ended, .. } = cdr;
    if ended < arrived || answered.is_some_and(|at| at < *arrived || at > *ended) {
        return Err(format!("arrived {arrived}, answered {answered:?}, ended {ended}"));
    }
    // Behind the bound of segments a conversation is part of what went before.
    let is_whole = cdr.segments.len() < SEGMENTS_MAX;
    let talked = cdr.segments.iter().any(|s| matches!(s.kind, SegmentKind::Talk(_)));
    if cdr.result == CallResult::Answered && is_whole && !talked {
        return Err("it was answered, but nobody talked".to_owned());
    }
    let is_refused = answered.is_none() && cdr.direction == Direction::Inbound;
    if is_refused != cdr.status.is_some() {
        return Err(format!("answered {answered:?}, but refused with {:?}", cdr.status));
    }
    Ok(())
}
