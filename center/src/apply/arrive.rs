//! Calls begin and are routed: screening, numbers, queues, targets, trunks, the echo.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::end::End;
use super::{Turn, check_text, check_wire, count};
use crate::call::{CALLS_MAX, LegState, Party};
use crate::directory::{Destination, Distribution, RING_SECONDS_DEFAULT, SKILLS_MAX, Skills};
use crate::event::Happened;
use crate::flow::Variables;
use crate::leg::Attempt;
use crate::queue::Place;
use crate::record::SegmentKind;
use crate::timeline::{Timeline, What};
use crate::{
    Arrived, Call, CallId, CallResult, Cause, Center, Direction, Leg, LegNumber, Phase, QueueId,
    Rejected, Reply, Role, Route, Side, Wire,
};

/// Routes that a call may follow within one command: a flow that transfers to a number that
/// leads to a flow, and so on. Past it the call is ended as failed: it goes in a circle.
const ROUTES_MAX: usize = 8;

impl Call {
    /// The caller asks for more, or for higher levels.
    pub(super) fn ask_for(&mut self, more: Skills) {
        if more.is_empty() {
            return;
        }
        let needs = Arc::make_mut(&mut self.needs);
        for (skill, level) in more {
            let is_known = needs.contains_key(&skill);
            if is_known || needs.len() < SKILLS_MAX {
                let needed = needs.entry(skill).or_default();
                *needed = level.max(*needed);
            }
        }
    }

    /// A call that just began, with one leg.
    pub(super) fn new(arrived: &Arrived, at: crate::Millis, direction: Direction) -> Self {
        Self {
            id: arrived.call,
            owner: arrived.owner,
            home: arrived.home.map(|(home, _)| home),
            epoch: 0,
            salt: arrived.salt,
            direction,
            caller: arrived.caller.clone(),
            called: arrived.called.clone(),
            came_by: arrived.trunk.clone(),
            dialled_by: arrived.phone.clone(),
            moved: None,
            arrived: at,
            answered: None,
            answer_ready: arrived.answer_ready,
            phase: Phase::Arriving,
            served: LegNumber::FIRST,
            recall: None,
            legs: BTreeMap::new(),
            next_leg: 0,
            next_act: 0,
            variables: Variables::default(),
            data: BTreeMap::new(),
            priority: 0,
            class_priority: 0,
            needs: Arc::default(),
            flow: None,
            queue: None,
            agent: None,
            recording: None,
            redirects: 0,
            trunk: None,
            transfers: 0,
            parties_most: 0,
            segments: Vec::new(),
            timeline: Timeline::default(),
            recording_paused: false,
            supervision: None,
            supervisors: BTreeSet::new(),
        }
    }
}

impl Center {
    pub(super) fn arrived(
        &mut self,
        turn: &mut Turn,
        mut arrived: Arrived,
    ) -> Result<Reply, Rejected> {
        check_wire(&arrived.wire)?;
        check_text(&arrived.called)?;
        check_text(&arrived.caller.number)?;
        check_text(arrived.caller.name.as_deref().unwrap_or_default())?;
        // One that is not configured any more has no limits.
        arrived.trunk = arrived.trunk.filter(|name| self.directory.trunks.contains_key(name));
        arrived.phone = arrived.phone.filter(|agent| self.directory.agents.contains_key(agent));
        let known = arrived.home.and_then(|(id, epoch)| Some((id, epoch, self.homes.get(&id)?)));
        arrived.home = known.map(|(id, epoch, _)| (id, epoch));
        arrived.owner = known.map_or(arrived.owner, |(_, _, home)| home.holder);
        self.check_new_call(arrived.call, arrived.owner)?;
        // Two calls of one INVITE would ring twice, and end each other.
        if let Some((home, ..)) = known.filter(|(_, epoch, home)| home.epoch != *epoch) {
            return Err(Rejected::AddressMoved { home });
        }

        let blocked = self.directory.screening.refuses(&arrived.caller.number);
        // Who is not let in anyway takes no place.
        let full = arrived.trunk.clone().filter(|_| blocked.is_none());
        let full = full.filter(|trunk| !self.take_one_in(turn, trunk));
        if full.is_some() {
            // It is not on the trunk: it would take the place of one that is.
            arrived.trunk = None;
        }

        let mut call = Call::new(&arrived, turn.at, Direction::Inbound);
        let node = arrived.owner;
        call.timeline.note(turn.at, What::Arrived { node });
        if let Some(class) = self.directory.class_of(&call.caller.number, &call.called) {
            call.class_priority = class.priority;
            call.needs = Arc::new(class.skills.clone());
            call.timeline.note(turn.at, What::Classed { class: class.name.clone() });
        }
        call.add_leg(Leg {
            role: Role::Caller,
            target: "".into(),
            shows: Party::default(),
            state: LegState::Arriving,
            auto_answer: false,
            ring_seconds: 0,
            attempt: None,
            held: false,
            held_at_desk: false,
            wire: arrived.wire,
            muted: false,
            keys: None,
            lives_elsewhere: 0,
        });
        let id = call.id;
        let screen = self.screen(turn, &call);
        turn.announce(Happened::CallBegan { call: screen });
        self.insert_call(turn, call);

        if let Some(status) = blocked {
            self.note(turn, id, What::Screened { status });
            let refused = Cause::Refused { status };
            self.end_call(turn, id, End(Side::System, refused, CallResult::Rejected));
            return Ok(Reply::Done);
        }
        if let Some(trunk) = full {
            self.note(turn, id, What::TrunkFull { trunk });
            // RFC 3261 §21.5.4: whoever has another way takes it.
            self.refuse(turn, id, 503);
            return Ok(Reply::Done);
        }
        match self.directory.numbers.get(&arrived.called).cloned() {
            Some(route) => self.route(turn, id, &route),
            // RFC 3261 §21.4.5: the user does not exist at this domain.
            None => self.refuse(turn, id, 404),
        }
        Ok(Reply::Done)
    }

    /// An id that is not used, and an owner who may own calls.
    pub(super) fn check_new_call(
        &self,
        call: CallId,
        owner: crate::NodeId,
    ) -> Result<(), Rejected> {
        if self.calls.contains_key(&call) {
            return Err(Rejected::CallExists { call });
        }
        if self.calls.len() >= CALLS_MAX {
            return Err(Rejected::TooManyCalls { max: CALLS_MAX });
        }
        match self.nodes.get(&owner) {
            Some(node) if !node.up => Err(Rejected::NodeIsLost { node: owner }),
            Some(_) | None => Ok(()),
        }
    }

    /// Sends a call where its route leads.
    pub(super) fn route(&mut self, turn: &mut Turn, id: CallId, route: &Route) {
        turn.routes += 1;
        if turn.routes > ROUTES_MAX {
            self.end_call(turn, id, End(Side::System, Cause::Failed, CallResult::Failed));
            return;
        }
        match route {
            Route::Flow(flow) => self.begin_flow(turn, id, flow),
            Route::Queue(queue) => self.enqueue(turn, id, queue, 0),
            Route::Target(uri) => {
                self.dial_leg(turn, id, Invitation::to(Role::Target, uri.clone()));
            }
            Route::Echo => {
                self.answer(turn, id);
                self.enter(turn, id, SegmentKind::Echo, |_| Phase::Echo);
            }
            Route::Agent(agent) => self.offer_directly(turn, id, agent),
            Route::Reject(status) => self.refuse(turn, id, *status),
        }
    }

    /// Sends a call to a number that was dialled here.
    pub(super) fn send_to(&mut self, turn: &mut Turn, id: CallId, destination: Destination) {
        match destination {
            Destination::Inside(route) => self.route(turn, id, &route),
            Destination::Outside(outside) => {
                let number = outside.number.clone();
                let attempt = Attempt::first(outside, self.shown_by_dialler(id));
                let call = self.calls.get(&id);
                match call.and_then(|call| self.way_out(turn.at, call, attempt)) {
                    Some(invitation) => self.dial_leg(turn, id, invitation),
                    None => {
                        self.note(turn, id, What::NoTrunkFree { number });
                        let cause = Cause::Refused { status: 503 };
                        self.end_call(turn, id, End(Side::System, cause, CallResult::Failed));
                    }
                }
            }
        }
    }

    /// The number that the agent who dialled this call shows, if there is one of their own.
    fn shown_by_dialler(&self, id: CallId) -> Option<Arc<str>> {
        let first = self.calls.get(&id)?.legs.get(&LegNumber::FIRST)?;
        self.config_of(first.role.agent()?)?.shows.clone()
    }

    /// Ends a call that is not wanted, with a status if it is not answered yet.
    pub(super) fn refuse(&mut self, turn: &mut Turn, id: CallId, status: u16) {
        let cause = Cause::Refused { status };
        self.end_call(turn, id, End(Side::System, cause, CallResult::Rejected));
    }

    /// Answers an arriving leg 0: at once if the node has its answer ready.
    pub(super) fn answer(&mut self, turn: &mut Turn, id: CallId) {
        let at = turn.at;
        self.edit_call(turn, id, |call| {
            let Some(leg) = call.legs.get_mut(&LegNumber::FIRST) else { return };
            if leg.state != LegState::Arriving {
                return;
            }
            if !call.answer_ready {
                leg.state = LegState::Answering;
                return;
            }
            leg.state = LegState::Answered { at };
            call.answered = Some(at);
            call.timeline.note(at, What::Answered { leg: LegNumber::FIRST });
        });
    }

    /// Puts a call into a phase, and its time on another account.
    pub(super) fn enter(
        &mut self,
        turn: &mut Turn,
        id: CallId,
        kind: SegmentKind,
        phase: impl FnOnce(&mut Call) -> Phase,
    ) {
        let at = turn.at;
        self.edit_call(turn, id, |call| {
            call.close_ring(at);
            call.phase = phase(call);
            call.begin_segment(kind, at);
        });
    }

    /// Puts a call into a queue, behind all of its priority who came before it.
    pub(super) fn enqueue(&mut self, turn: &mut Turn, id: CallId, queue: &QueueId, priority: u8) {
        let directory = Arc::clone(&self.directory);
        let (Some(config), Some(live)) = (directory.queues.get(queue), self.queues.get_mut(queue))
        else {
            self.end_call(turn, id, End(Side::System, Cause::Reconfigured, CallResult::Failed));
            return;
        };
        // Who is sent on from another queue keeps the place among those who came at that time.
        let kept = match self.calls.get(&id).map(|call| &call.phase) {
            Some(Phase::Queued { ticket, since, .. }) => Some((*ticket, *since)),
            Some(
                Phase::Arriving
                | Phase::Ivr { .. }
                | Phase::Direct { .. }
                | Phase::Dialing { .. }
                | Phase::Bridged { .. }
                | Phase::Parked { .. }
                | Phase::Echo
                | Phase::Ended { .. },
            )
            | None => None,
        };
        let class_priority = self.calls.get(&id).map_or(0, |call| call.class_priority);
        let priority = priority.saturating_add(config.priority).saturating_add(class_priority);
        turn.outcome.touched.queues.insert(queue.clone());
        live.totals.entered += 1;
        let Distribution { age_seconds, join_needs, stay_needs, detours, .. } =
            &config.distribution;
        let (ticket, since) = kept.unwrap_or((turn.index, turn.at));
        let place = Place::new(priority, ticket, id).aged(since, *age_seconds);
        let ahead = count(live.ahead_of(place));
        if !live.staff.meets(*join_needs) || !live.staff.meets(*stay_needs) {
            live.totals.overflowed += 1;
            self.offered_to_queue(turn, id, queue);
            self.note(turn, id, What::NoAgents { queue: queue.clone() });
            let way = detours.empty.as_ref().or(config.overflow.as_ref());
            self.overflow(turn, id, way, CallResult::QueueFull);
            return;
        }
        if config.max_length > 0 && count(live.length()) >= config.max_length {
            live.totals.overflowed += 1;
            self.offered_to_queue(turn, id, queue);
            self.note(turn, id, What::QueueFull { queue: queue.clone() });
            let way = detours.full.as_ref().or(config.overflow.as_ref());
            self.overflow(turn, id, way, CallResult::QueueFull);
            return;
        }
        if config.answer {
            self.answer(turn, id);
        }
        let at = turn.at;
        let until = (config.max_wait_seconds > 0).then(|| at.plus_seconds(config.max_wait_seconds));
        let patience = config.distribution.last_agent_seconds;
        let number = self.calls.get(&id).filter(|_| patience > 0).map(|call| &call.caller.number);
        let wanted = number.and_then(|number| self.last_agent(number, queue));
        let (ring, next) = config.distribution.ring_at(since, at);
        let widens = if wanted.is_some() { Some(at.plus_seconds(patience)) } else { next };
        self.enter(turn, id, SegmentKind::Queue(queue.clone()), |call| {
            call.priority = priority;
            call.queue = Some(queue.clone());
            call.timeline.note(at, What::Enqueued { queue: queue.clone(), ahead });
            if let Some(agent) = &wanted {
                call.timeline.note(at, What::WaitsFor { agent: agent.clone() });
            }
            let (queue, offers) = (queue.clone(), Vec::new());
            Phase::Queued { queue, ticket, since, until, offers, ring, wanted, widens }
        });
        turn.announce(Happened::CallQueued { call: id, queue: queue.clone(), ahead });
    }

    /// It came to a queue that does not take it, for no time: reports count it.
    fn offered_to_queue(&mut self, turn: &mut Turn, id: CallId, queue: &QueueId) {
        let at = turn.at;
        self.edit_call(turn, id, |call| {
            call.queue = Some(queue.clone());
            call.begin_segment(SegmentKind::Queue(queue.clone()), at);
        });
    }

    /// Sends a call on that a queue could not serve, or lets it go.
    pub(super) fn overflow(
        &mut self,
        turn: &mut Turn,
        id: CallId,
        route: Option<&Route>,
        result: CallResult,
    ) {
        match route {
            Some(route) => {
                self.note(turn, id, What::SentOn { to: describe(route) });
                self.route(turn, id, route);
            }
            None => self.end_call(turn, id, End(Side::System, Cause::WaitedTooLong, result)),
        }
    }

    /// Invites a target or a trunk, and lets the caller wait for it.
    pub(super) fn dial_leg(&mut self, turn: &mut Turn, id: CallId, invitation: Invitation) {
        let until = turn.at.plus_seconds(invitation.ring_seconds);
        let leg = self.invite(turn, id, invitation);
        self.enter(turn, id, SegmentKind::Ringing, |_| Phase::Dialing { leg, until, then: None });
    }

    /// Adds a leg that the node is to invite.
    pub(super) fn invite(
        &mut self,
        turn: &mut Turn,
        id: CallId,
        invitation: Invitation,
    ) -> LegNumber {
        let at = turn.at;
        let Invitation { role, target, shows, auto_answer, ring_seconds, attempt } = invitation;
        let trunk = match &role {
            Role::Trunk(name) => Some(name.clone()),
            Role::Caller | Role::Agent(_) | Role::Target => None,
        };
        if let Some(name) = &trunk {
            self.take_one_out(turn, name);
        }
        self.edit_call(turn, id, |call| {
            if let Role::Trunk(trunk) = &role {
                call.trunk = Some(trunk.clone());
            }
            let shows = shows.map(|number| Party { number, name: None });
            let leg = call.add_leg(Leg {
                role,
                target: target.clone(),
                shows: shows.unwrap_or_else(|| call.caller.clone()),
                state: LegState::Dialing,
                auto_answer,
                ring_seconds,
                attempt,
                held: false,
                held_at_desk: false,
                wire: Wire::default(),
                muted: false,
                keys: None,
                lives_elsewhere: 0,
            });
            call.timeline.note(at, What::Invited { leg, target });
            if let Some(trunk) = trunk {
                call.timeline.note(at, What::GoesBy { leg, trunk });
            }
            leg
        })
    }
}

/// Whom to invite, and how.
pub(super) struct Invitation {
    pub(super) role: Role,
    pub(super) target: Arc<str>,
    /// The number to show in place of the caller's number and name.
    pub(super) shows: Option<Arc<str>>,
    pub(super) auto_answer: bool,
    pub(super) ring_seconds: u32,
    /// Of a trunk: see [`crate::Leg::attempt`].
    pub(super) attempt: Option<Box<Attempt>>,
}

impl Invitation {
    pub(super) fn to(role: Role, target: Arc<str>) -> Self {
        let ring_seconds = RING_SECONDS_DEFAULT;
        Self { role, target, shows: None, auto_answer: false, ring_seconds, attempt: None }
    }
}

fn describe(route: &Route) -> Arc<str> {
    match route {
        Route::Flow(flow) => format!("flow {flow}").into(),
        Route::Queue(queue) => format!("queue {queue}").into(),
        Route::Target(uri) => uri.clone(),
        Route::Echo => "the echo".into(),
        Route::Agent(agent) => format!("agent {agent}").into(),
        Route::Reject(status) => format!("refusal with {status}").into(),
    }
}
