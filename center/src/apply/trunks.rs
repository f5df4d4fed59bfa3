//! Calls leave by trunks and come in by them: which one is tried, which is next when it fails, and
//! how many there may be.
//!
//! What was tried stands in the leg, so whoever adopts a call goes on with the next trunk.

use std::sync::Arc;

use super::Turn;
use super::arrive::Invitation;
use crate::call::{LEG_NUMBERS_MAX, Reach, Role};
use crate::directory::{OutboundRule, Outside, TrunkConfig};
use crate::leg::Attempt;
use crate::timeline::What;
use crate::trunk::REST_SECONDS_MAX;
use crate::{
    Call, CallId, Cause, Center, LegNumber, LegState, Millis, NodeId, Phase, Rejected, Reply, hash,
};

/// What the far end of a trunk said, and what it means for the caller.
#[derive(Clone, Copy, Debug)]
pub(super) struct Failure {
    /// As received: whether another trunk is tried depends on it.
    pub(super) status: u16,
    /// What the caller is told if none is.
    pub(super) relayed: u16,
}

impl Center {
    /// How a call leaves: by one of the trunks that were not tried, do not rest and have room, and
    /// if there are such, which the node that has the call reaches. Of these the lowest priority
    /// number counts, and among equals the weights, as RFC 2782 has it. What decides by weight is
    /// committed with the call, so that every replica takes the same.
    pub(super) fn way_out(&self, at: Millis, call: &Call, attempt: Attempt) -> Option<Invitation> {
        let ways = self.directory.ways(&attempt.outside.prefix);
        let ways = ways.filter(|(rule, _)| !attempt.tried.contains(&rule.trunk));
        let mut free: Vec<(&OutboundRule, &TrunkConfig)> =
            ways.filter(|(rule, config)| self.takes_one_out(at, &rule.trunk, config)).collect();
        // Probes are advice: where no trunk answers them, the INVITE is the better probe.
        let is_reached = |rule: &OutboundRule| {
            let trunk = self.trunks.get(&rule.trunk);
            trunk.is_none_or(|trunk| !trunk.unreached_by.contains(&call.owner))
        };
        if free.iter().any(|(rule, _)| is_reached(rule)) {
            free.retain(|(rule, _)| is_reached(rule));
        }
        let first = free.iter().map(|(_, config)| config.priority).min()?;
        let equals = || free.iter().filter(|(_, config)| config.priority == first);
        let total: u64 = equals().map(|(_, config)| u64::from(config.weight.max(1))).sum();
        let mut point = hash::of_value(&(call.salt, call.id, call.next_leg)) % total;
        let (rule, config) = equals().find(|(_, config)| {
            let left = point.checked_sub(config.weight.max(1).into());
            point = left.unwrap_or(point);
            left.is_none()
        })?;
        let number = rule.rewrite(&attempt.outside.number);
        let mut invitation = Invitation::to(Role::Trunk(rule.trunk.clone()), number);
        invitation.shows = attempt.own.clone().or_else(|| config.shows.clone());
        if config.ring_seconds > 0 {
            invitation.ring_seconds = config.ring_seconds;
        }
        let mut attempt = attempt;
        attempt.tried.push(rule.trunk.clone());
        invitation.attempt = Some(Box::new(attempt));
        Some(invitation)
    }

    /// Counts a call that leaves by a trunk, and against its rate.
    pub(super) fn take_one_out(&mut self, turn: &mut Turn, name: &Arc<str>) {
        let Some(config) = self.directory.trunks.get(name) else { return };
        let rate = config.outgoing.per_second;
        let trunk = self.trunks.entry(name.clone()).or_default();
        trunk.outgoing.take(turn.at, rate);
        trunk.went.count(turn.at);
        turn.outcome.touched.trunks.insert(name.clone());
    }

    /// A node has come to another opinion on whether a trunk answers it.
    pub(super) fn trunk_seen(
        &mut self,
        turn: &mut Turn,
        node: NodeId,
        name: Arc<str>,
        reached: bool,
    ) -> Reply {
        let is_known = self.directory.trunks.contains_key(&name) && self.nodes.contains_key(&node);
        if !is_known || self.trunk_is_reached(&name, node) == reached {
            return Reply::Already;
        }
        let unreached_by = &mut self.trunks.entry(name.clone()).or_default().unreached_by;
        if reached {
            unreached_by.remove(&node);
        } else {
            unreached_by.insert(node);
        }
        turn.outcome.touched.trunks.insert(name);
        Reply::Done
    }

    /// A node was started again: what it saw before holds no more.
    pub(super) fn forget_what_it_saw(&mut self, turn: &mut Turn, node: NodeId) {
        for (name, trunk) in &mut self.trunks {
            if trunk.unreached_by.remove(&node) {
                turn.outcome.touched.trunks.insert(name.clone());
            }
        }
    }

    fn takes_one_out(&self, at: Millis, name: &Arc<str>, config: &TrunkConfig) -> bool {
        let limits = config.outgoing;
        let (rests_until, bucket) = self
            .trunks
            .get(name)
            .map(|trunk| (trunk.rests_until, trunk.outgoing))
            .unwrap_or_default();
        rests_until.is_none_or(|until| until <= at)
            && (limits.calls == 0 || self.trunk_calls(name).outgoing < limits.calls)
            && bucket.has_room(at, limits.per_second)
    }

    /// Whether a trunk may bring one more call, and counts it if so.
    pub(super) fn take_one_in(&mut self, turn: &mut Turn, name: &Arc<str>) -> bool {
        let Some(config) = self.directory.trunks.get(name) else { return true };
        let (limits, at) = (config.incoming, turn.at);
        let carried = self.trunk_calls(name).incoming;
        let is_full = limits.calls > 0 && carried >= limits.calls;
        let bucket = self.trunks.get(name).map(|trunk| trunk.incoming).unwrap_or_default();
        if is_full || !bucket.has_room(at, limits.per_second) {
            return false;
        }
        let trunk = self.trunks.entry(name.clone()).or_default();
        trunk.incoming.take(at, limits.per_second);
        trunk.came.count(at);
        turn.outcome.touched.trunks.insert(name.clone());
        true
    }

    /// The trunk of a leg refused it, or said nothing.
    pub(super) fn trunk_failed(
        &mut self,
        turn: &mut Turn,
        (id, number): (CallId, LegNumber),
        failure: Failure,
        retry_after_seconds: Option<u32>,
    ) -> Result<Reply, Rejected> {
        let leg = self.looked_up(id)?.legs.get(&number);
        // RFC 3261 §21.5.4: a 503 with Retry-After speaks of the whole server, not of this call.
        if let Some(Role::Trunk(name)) = leg.map(|leg| leg.role.clone())
            && let Some(seconds) = retry_after_seconds.filter(|_| failure.status == 503)
            && self.directory.trunks.contains_key(&name)
        {
            let until = turn.at.plus_seconds(seconds.min(REST_SECONDS_MAX));
            self.trunks.entry(name.clone()).or_default().rests_until = Some(until);
            turn.outcome.touched.trunks.insert(name);
        }
        self.leg_failed(turn, (id, number), failure)
    }

    /// Tries the next trunk in place of a leg that failed. False if there is none, or if this is no
    /// failure of the trunk but an answer of who was called.
    pub(super) fn tries_next_trunk(
        &mut self,
        turn: &mut Turn,
        (id, number): (CallId, LegNumber),
        status: u16,
    ) -> bool {
        let Some(call) = self.calls.get(&id).cloned() else { return false };
        let awaited = match (&call.phase, call.conversation()) {
            (Phase::Dialing { leg, .. }, _) => Some(*leg),
            (_, Some((_, Some(consultation)))) => consultation.reach.leg(),
            (_, Some((_, None)) | None) => None,
        };
        if awaited != Some(number) || call.next_leg >= LEG_NUMBERS_MAX {
            return false;
        }
        let Some(leg) = call.legs.get(&number) else { return false };
        let (Role::Trunk(name), Some(attempt)) = (&leg.role, &leg.attempt) else { return false };
        let config = self.directory.trunks.get(name);
        if config.is_none_or(|config| !config.failover.contains(&status)) {
            return false;
        }
        let Some(next) = self.way_out(turn.at, &call, (**attempt).clone()) else { return false };
        let (at, until) = (turn.at, turn.at.plus_seconds(next.ring_seconds));
        self.edit_call(turn, id, |call| {
            call.set_leg(number, LegState::Ended { cause: Cause::Refused { status } });
            call.timeline.note(at, What::LegFailed { leg: number, status });
        });
        let new = self.invite(turn, id, next);
        self.edit_call(turn, id, |call| {
            call.legs.remove(&number);
            if let Phase::Dialing { leg, until: ends, .. } = &mut call.phase {
                (*leg, *ends) = (new, until);
            } else if let Phase::Bridged { consultation: Some(asks), .. } = &mut call.phase {
                asks.reach = Reach::Dialing { leg: new, until };
            }
        });
        true
    }
}

impl Attempt {
    /// The first one for a number.
    pub(super) fn first(outside: Outside, own: Option<Arc<str>>) -> Self {
        Self { outside, own, tried: Vec::new() }
    }
}
