//! Calls go through flows: the interpreter says what is next, this does it.
//!
//! A call finishes on the version of the flow that it began with; that version is kept as long
//! as a call is in it.

use std::sync::Arc;

use super::Turn;
use super::end::End;
use crate::call::{Act, FlowKey};
use crate::flow::{self, CALLED_NUMBER, CALLER_NAME, CALLER_NUMBER, HangUpCause};
use crate::flow::{IvrResult, Next};
use crate::record::SegmentKind;
use crate::timeline::What;
use crate::{CallId, CallResult, Cause, Center, Phase, QueueId, Rejected, Reply, Side};

/// How long an action of a flow may take, in seconds, counted anew with every
/// [`crate::Command::IvrProgress`]. Longer than any prompt; past it the node has lost it, and the
/// flow goes on as if it had failed.
const ACT_SECONDS_MAX: u32 = 900;

/// Characters of the reason of a failed action that the timeline keeps.
const REASON_CHARS_MAX: usize = 200;

impl Center {
    /// Puts a call at the start of the present version of a flow.
    pub(super) fn begin_flow(&mut self, turn: &mut Turn, id: CallId, name: &Arc<str>) {
        let version = self.flow_versions.get(name);
        let key = version.map(|version| FlowKey { name: name.clone(), version: *version });
        let Some((key, flow)) = key.and_then(|key| Some((key.clone(), self.flow(&key)?.clone())))
        else {
            self.end_call(turn, id, End(Side::System, Cause::Reconfigured, CallResult::Failed));
            return;
        };
        let at = turn.at;
        let next = self.edit_call(turn, id, |call| {
            call.flow = Some(name.clone());
            let version = key.version;
            call.timeline.note(at, What::EnteredFlow { flow: name.clone(), version });
            call.begin_segment(SegmentKind::Ivr(name.clone()), at);
            call.variables.set(CALLER_NUMBER, &call.caller.number);
            call.variables.set(CALLER_NAME, call.caller.name.as_deref().unwrap_or_default());
            call.variables.set(CALLED_NUMBER, &call.called);
            flow::start(&flow, &mut call.variables)
        });
        self.follow(turn, id, key, next);
    }

    pub(super) fn ivr(
        &mut self,
        turn: &mut Turn,
        id: CallId,
        seq: u32,
        result: IvrResult,
    ) -> Result<Reply, Rejected> {
        let call = self.looked_up(id)?;
        let (key, position) = match &call.phase {
            Phase::Ivr { flow, position, act, .. } if act.seq == seq => {
                (flow.clone(), position.clone())
            }
            // The caller is elsewhere by now, or this action's end was reported before.
            Phase::Arriving
            | Phase::Ivr { .. }
            | Phase::Queued { .. }
            | Phase::Direct { .. }
            | Phase::Dialing { .. }
            | Phase::Bridged { .. }
            | Phase::Parked { .. }
            | Phase::Echo
            | Phase::Ended { .. } => return Ok(Reply::Already),
        };
        let Some(flow) = self.flow(&key).cloned() else {
            self.end_call(turn, id, End(Side::System, Cause::Failed, CallResult::Failed));
            return Ok(Reply::Done);
        };
        let at = turn.at;
        let next = self.edit_call(turn, id, |call| {
            if let IvrResult::Failed { reason } = &result {
                let reason: String = reason.chars().take(REASON_CHARS_MAX).collect();
                call.timeline.note(at, What::ActionFailed { reason: reason.into() });
            }
            flow::resume(&flow, &position, result, &mut call.variables)
        });
        self.follow(turn, id, key, next);
        Ok(Reply::Done)
    }

    pub(super) fn ivr_progress(
        &mut self,
        turn: &mut Turn,
        id: CallId,
        seq: u32,
        offset_ms: u32,
    ) -> Result<Reply, Rejected> {
        match &self.looked_up(id)?.phase {
            Phase::Ivr { act, position, .. }
                if act.seq == seq && position.offset_ms <= offset_ms => {}
            Phase::Arriving
            | Phase::Ivr { .. }
            | Phase::Queued { .. }
            | Phase::Direct { .. }
            | Phase::Dialing { .. }
            | Phase::Bridged { .. }
            | Phase::Parked { .. }
            | Phase::Echo
            | Phase::Ended { .. } => return Ok(Reply::Already),
        }
        let at = turn.at;
        self.edit_call(turn, id, |call| {
            if let Phase::Ivr { position, until, heard_at, .. } = &mut call.phase {
                position.offset_ms = offset_ms;
                *heard_at = at;
                *until = at.plus_seconds(ACT_SECONDS_MAX);
            }
        });
        Ok(Reply::Done)
    }

    /// The end of an action was never reported.
    pub(super) fn act_is_due(&mut self, turn: &mut Turn, id: CallId) {
        let Some(act) = self.calls.get(&id).and_then(|call| call.act()) else { return };
        let (seq, reason) = (act.seq, "its end was not reported".to_owned());
        // The call is there and in this action, so nothing is rejected.
        let _: Result<Reply, Rejected> = self.ivr(turn, id, seq, IvrResult::Failed { reason });
    }

    fn follow(&mut self, turn: &mut Turn, id: CallId, key: FlowKey, next: Next) {
        if next.answered() {
            self.answer(turn, id);
        }
        match next {
            Next::Act(position, action) => {
                let at = turn.at;
                self.edit_call(turn, id, |call| {
                    call.timeline.note(at, What::Step { step: position.step.clone() });
                    let act = Act { seq: call.next_act, action };
                    call.next_act += 1;
                    let until = at.plus_seconds(ACT_SECONDS_MAX);
                    call.phase = Phase::Ivr { flow: key, position, act, heard_at: at, until };
                });
            }
            Next::Enqueue { queue, priority, data, .. } => {
                self.edit_call(turn, id, |call| {
                    call.data = data;
                    call.ask_for(flow::skills_asked(&call.variables));
                });
                match QueueId::parse(&queue) {
                    Ok(queue) => self.enqueue(turn, id, &queue, priority),
                    Err(_) => self.fail_flow(turn, id, &format!("there is no queue {queue:?}")),
                }
            }
            Next::Transfer { number, .. } => match self.directory.destination(&number) {
                Some(destination) => {
                    self.note(turn, id, What::SentOn { to: number.into() });
                    self.send_to(turn, id, destination);
                }
                None => self.fail_flow(turn, id, &format!("no rule says how to dial {number:?}")),
            },
            Next::HangUp { cause, .. } => self.end_by_flow(turn, id, cause),
        }
    }

    fn fail_flow(&mut self, turn: &mut Turn, id: CallId, reason: &str) {
        self.note(turn, id, What::ActionFailed { reason: reason.into() });
        self.end_call(turn, id, End(Side::System, Cause::Failed, CallResult::Failed));
    }

    /// A flow that says goodbye completes a call; one that never answered refused it.
    fn end_by_flow(&mut self, turn: &mut Turn, id: CallId, why: HangUpCause) {
        let served = self.calls.get(&id).and_then(|call| call.legs.get(&call.served));
        let is_answered = served.is_some_and(|leg| leg.state.is_answered());
        let refusal = Cause::Refused { status: why.sip_status() };
        let (cause, result) = match (why, is_answered) {
            (HangUpCause::Failure, _) => (Cause::Failed, CallResult::Failed),
            (_, true) => (Cause::FlowEnded, CallResult::IvrCompleted),
            (HangUpCause::Busy, false) => (refusal, CallResult::Busy),
            (
                HangUpCause::Normal
                | HangUpCause::Rejected
                | HangUpCause::Unavailable
                | HangUpCause::NoSuchNumber,
                false,
            ) => (refusal, CallResult::Rejected),
        };
        self.end_call(turn, id, End(Side::System, cause, result));
    }
}
