//! What the far ends saw, compared with what the log and the records say of it.
//!
//! A record's times are those of the commits that it tells of, and these are at the moments at
//! which the far end heard and said it: where nothing was wrong with the cluster at the time.

use std::collections::BTreeMap;

use tandem_center::record::Cdr;
use tandem_center::{CallId, Millis};

use super::{Broken, Step, broken};
use crate::ends::{EndId, Far};
use crate::world::World;
use crate::{MILLISECOND, Micros, SECOND};

/// How far a record may be from the wire.
const APART_MAX: Micros = SECOND;

/// A clock that is wrong is made right by one of so many, and none is quite right before.
const RATE: u64 = 18;

/// So long after the end of a call nothing of it is left.
const LEFT_MAX: Micros = 35 * SECOND;

/// Between two looks at what is left.
pub(crate) const LOOK_EVERY: Micros = SECOND;

/// When calls were answered and ended, by the world's clock.
#[derive(Debug, Default)]
pub(crate) struct Wire {
    answered: BTreeMap<CallId, (Micros, Millis)>,
    ended: BTreeMap<CallId, (Micros, Millis)>,
    /// Calls that ended, and of which something may be left.
    leaving: BTreeMap<CallId, Micros>,
    /// When something was wrong with the cluster, and how long.
    troubles: Vec<(Micros, Micros)>,
    /// When a node led that knew the time only from its own clock of the day.
    strangers: Vec<Micros>,
}

impl Wire {
    /// A commit changed these calls.
    pub(super) fn note(&mut self, step: &Step<'_>, now: Micros) {
        let Ok(outcome) = step.result else { return };
        for id in &outcome.touched.calls {
            let answered = step.center.call(*id).and_then(|call| call.answered);
            if let Some(at) = answered {
                self.answered.entry(*id).or_insert((now, at));
            }
        }
    }

    /// A record was written.
    pub(super) fn a_record_has_the_times_of_its_commits(
        &mut self,
        cdr: &Cdr,
        at: Millis,
        now: Micros,
    ) -> Result<(), Broken> {
        self.ended.insert(cdr.call, (now, at));
        self.leaving.insert(cdr.call, now);
        // Who was answered and left with one commit was not seen in between.
        let answered = self.answered.get(&cdr.call).map(|(_, at)| *at).or(cdr.answered);
        if cdr.ended == at && cdr.answered == answered && cdr.arrived <= at {
            return Ok(());
        }
        let why =
            format!("{}: {:?} to {}, not {answered:?} to {at}", cdr.call, cdr.answered, cdr.ended);
        Err(broken("a_record_has_the_times_of_its_commits", why))
    }

    /// A node leads that has not applied what was stamped since it began.
    pub(crate) fn brings_its_own_time(&mut self, now: Micros) {
        self.strangers.push(now);
    }

    fn trouble(&mut self, now: Micros) {
        match self.troubles.last_mut() {
            Some((_, until)) if now - *until <= SECOND / 4 => *until = now,
            Some(_) | None => self.troubles.push((now, now)),
        }
    }

    /// Nothing was wrong around that moment.
    fn was_calm(&self, at: Micros) -> bool {
        let near = |&(from, until): &(Micros, Micros)| {
            from <= at + APART_MAX && at <= until + 2 * APART_MAX
        };
        !self.troubles.iter().any(near)
    }
}

impl World {
    /// Looked at every now and then, and when something goes wrong.
    pub(crate) fn note_trouble(&mut self) {
        let now = self.now;
        let is_well = |id: u64| {
            let node = &self.nodes[id as usize - 1];
            let disk = node.slow.is_none_or(|(_, until)| until <= now) && !node.is_disk_full(now);
            node.is_awake() && disk && self.may_act(id)
        };
        let runs = self.nodes.iter().filter(|node| !node.is_spare);
        let is_calm = self.network.is_fine()
            && runs.map(|node| node.id).all(is_well)
            && self.nodes.iter().any(crate::node::Node::is_leading);
        if !is_calm {
            self.model.wire.trouble(now);
        }
    }

    pub(crate) fn fault_was_played(&mut self) {
        self.model.wire.trouble(self.now);
    }

    /// At the end: a caller heard the answer, and the end, when the record says so.
    pub(crate) fn every_record_is_what_the_caller_heard(&self) -> Result<(), Broken> {
        let wire = &self.model.wire;
        let apart = |one: Micros, other: Micros| one.abs_diff(other) > APART_MAX;
        for end in self.ends.values() {
            let (EndId::Caller(_), Some(call), false) = (end.id, end.call, end.lost_some) else {
                continue;
            };
            let (Some(from), Some(until)) = (end.talked_from, end.talked_until) else { continue };
            let (Some(answered), Some(ended)) = (wire.answered.get(&call), wire.ended.get(&call))
            else {
                continue;
            };
            let ((answered, began_at), (ended, ended_at)) = (*answered, *ended);
            let is_calm = |heard, committed| wire.was_calm(heard) && wire.was_calm(committed);
            let (calm_from, calm_until) = (is_calm(from, answered), is_calm(until, ended));
            let recorded = ended_at.0.saturating_sub(began_at.0) * MILLISECOND;
            let talked = until - from;
            let is_one_time = !wire.strangers.iter().any(|at| (from..=until).contains(at));
            let is_wrong = calm_from && apart(from, answered)
                || calm_until && apart(until, ended)
                || calm_from
                    && calm_until
                    && is_one_time
                    && talked.abs_diff(recorded) > APART_MAX + talked / RATE;
            if is_wrong {
                let why = format!(
                    "{:?} talked from {from} to {until} µs in {call}, committed at {answered} and \
                     {ended}; the record has {recorded} µs",
                    end.id
                );
                return Err(broken("every_record_is_what_the_caller_heard", why));
            }
        }
        Ok(())
    }

    /// So long after its end, or after the last trouble, there is nothing of a call: no far end, no
    /// server, no value, nobody who is busy with it.
    pub(crate) fn nothing_is_left_35_s_after_the_end(&mut self) -> Result<(), Broken> {
        let now = self.now;
        let trouble = self.model.wire.troubles.last().map_or(0, |(_, until)| *until);
        if now < trouble + LEFT_MAX {
            return Ok(());
        }
        let due: Vec<CallId> = self
            .model
            .wire
            .leaving
            .iter()
            .filter(|(_, ended)| **ended + LEFT_MAX <= now)
            .map(|(call, _)| *call)
            .collect();
        for call in due {
            self.model.wire.leaving.remove(&call);
            if let Some(what) = self.left_of(call) {
                let why = format!("{call}: {what}");
                return Err(broken("nothing_is_left_35_s_after_the_end", why));
            }
        }
        Ok(())
    }

    fn left_of(&self, call: CallId) -> Option<String> {
        let end = self.ends.values().find(|end| end.call == Some(call) && end.far != Far::Gone);
        if let Some(end) = end {
            return Some(format!("{:?} is {:?}", end.id, end.far));
        }
        for node in &self.nodes {
            let Some(running) = &node.running else { continue };
            let busy = running.center.agents().find(|agent| agent.state.call() == Some(call));
            if let Some(agent) = busy {
                return Some(format!(
                    "at node {}, {} is {}",
                    node.id,
                    agent.id,
                    agent.state.name()
                ));
            }
            if running.servers.contains_key(&call) || running.center.call(call).is_some() {
                return Some(format!("node {} has it", node.id));
            }
        }
        None
    }
}
