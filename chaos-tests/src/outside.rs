//! Between the nodes and the people: orders and reports on their way, flows' actions, sockets of
//! desks, and what becomes of proposals.

use tandem_center::call::Act;
use tandem_center::flow::{Action, IvrResult};
use tandem_center::{
    Arrived, CallId, Command, CommandId, HomeId, LegNumber, Link, NodeId, Party, Rejected, Reply,
    SessionId,
};
use tandem_cluster::driver::Members;

use crate::claims::Broken;
use crate::desk::{Habit, View, Wish};
use crate::ends::{End, EndId, Far, Order, Temper, Where};
use crate::event::Event;
use crate::mutants::Mutant;
use crate::node::{Waiter, Waiting};
use crate::random::Of;
use crate::server::{Server, wire_of};
use crate::turn::Fate;
use crate::world::World;
use crate::{MILLISECOND, Micros, SECOND};

/// Between two tries of a proposal that was not committed.
const PROPOSE_AGAIN: Micros = 250 * MILLISECOND;

impl World {
    fn way(&mut self, end: EndId) -> Option<Micros> {
        let lost = self.lost;
        let random = self.dice.of(Of::Way(end));
        let (is_lost, after) = (random.permille(lost), 200 + random.about(4 * MILLISECOND));
        if is_lost && let Some(end) = self.ends.get_mut(&end) {
            end.lost_some = true;
        }
        (!is_lost).then_some(after)
    }

    /// Sends an order, if the node may. What is not sent is sent again when it may.
    pub(crate) fn signal(&mut self, id: u64, call: Option<CallId>, end: EndId, order: Order) {
        if !self.may_act(id) || call.is_some_and(|call| self.has_yielded(id, call)) {
            return;
        }
        let center = self.nodes[id as usize - 1].center();
        let value = call.and_then(|call| center.and_then(|center| center.call(call)));
        let home = value.and_then(|call| call.home);
        let at = match (home, self.ends.get(&end)) {
            (Some(home), _) => Where::Home(home),
            (None, Some(end)) if value.is_none() => end.at,
            (None, _) => Where::Node(id),
        };
        if let Some((call, epoch)) = value.map(|call| (call.id, call.epoch)) {
            self.note_signal(id, call, epoch);
        }
        if let Some(after) = self.way(end) {
            self.plan_in(after, Event::Order { node: id, at, call, end, order });
        }
    }

    pub(crate) fn order_arrives(
        &mut self,
        (node, at): (u64, Where),
        call: Option<CallId>,
        id: EndId,
        order: &Order,
    ) {
        let now = self.now;
        if let (EndId::Phone(of, leg), Order::Invite { auto_answer, target }) = (id, order)
            && !self.ends.contains_key(&id)
        {
            let temper = if self.is_open {
                Temper::of_phone(self.dice.of(Of::Temper(id)), *auto_answer)
            } else {
                self.nemesis.temper_of_phone(*auto_answer)
            };
            let mut phone = End::phone(now, (of, leg), at, temper);
            phone.called = target.clone();
            self.ends.insert(id, phone);
        }
        if let EndId::Phone(of, leg) = id {
            // A CANCEL that overtakes its INVITE ends it all the same: SIP sends it only after a
            // provisional response (RFC 3261 §9.1).
            self.ends.entry(id).or_insert_with(|| End::never(now, (of, leg), at));
        }
        let (far, leg) = match self.ends.get_mut(&id) {
            Some(end) => {
                if matches!((end.at, at), (Where::Node(_), Where::Node(_))) {
                    end.at = at;
                }
                (end.obey(now, call, order), end.leg)
            }
            None => (Far::Gone, LegNumber::FIRST),
        };
        self.trace.note(now, "order", [node, far.number()], || {
            format!("node {node} to {id:?}: {order:?}, which is {far:?}")
        });
        self.report(at, call, (id, leg), far);
        self.arm(id);
    }

    fn report(&mut self, to: Where, call: Option<CallId>, at: (EndId, LegNumber), far: Far) {
        let (end, leg) = at;
        if let Some(after) = self.way(end) {
            self.plan_in(after, Event::Report { at: to, node: None, call, end, leg, far });
        }
    }

    /// Plans the next thing that a far end does.
    pub(crate) fn arm(&mut self, id: EndId) {
        let now = self.now;
        let Some(end) = self.ends.get_mut(&id) else { return };
        let Some(next) = end.next_wake() else { return };
        if end.wake_at.is_none_or(|planned| next < planned || planned <= now) {
            end.wake_at = Some(next);
            self.plan_in(next.saturating_sub(now), Event::Wake { end: id });
        }
    }

    pub(crate) fn wake(&mut self, id: EndId) {
        let now = self.now;
        let Some(end) = self.ends.get_mut(&id) else { return };
        if end.wake_at.is_some_and(|planned| planned <= now) {
            end.wake_at = None;
        }
        let (at, call, leg) = (end.at, end.call, end.leg);
        if let Some(far) = end.wake(now) {
            self.trace.note(now, "report", [u64::from(leg.0), far.number()], || {
                format!("{id:?} to {at:?}: {far:?}")
            });
            self.report(at, call, (id, leg), far);
        }
        self.arm(id);
    }

    pub(crate) fn report_arrives(
        &mut self,
        (node, to): (u64, Where),
        call: Option<CallId>,
        (end, leg): (EndId, LegNumber),
        far: Far,
    ) -> Result<(), Broken> {
        let may_act = self.may_act(node);
        let clock = self.nodes[node as usize - 1].clock_ms(self.now);
        let Some(running) = &mut self.node(node).running else { return Ok(()) };
        // Before that it would take calls that it has not read yet for unknown ones.
        let is_closed = matches!(to, Where::Home(home) if !running.open.contains(&home));
        if !running.is_caught_up || is_closed {
            return Ok(());
        }
        let known = call.or_else(|| running.arrivals.get(&end).copied());
        if let Some(call) = known
            && let Some(server) = running.servers.get_mut(&call)
        {
            // An order of another call's server to a far end that is not its own.
            server.report(leg, far);
            self.do_deeds(node, call);
            return self.perform(node);
        }
        if !may_act {
            return Ok(());
        }
        match far {
            Far::Invites => {
                let call = running.new_call(node, clock);
                self.arrive(node, to, call, end);
                return self.perform(node);
            }
            Far::Answers | Far::Talks => self.signal(node, call, end, Order::End),
            Far::Cancels | Far::HangsUp | Far::Refuses(_) => {
                self.signal(node, call, end, Order::Release);
            }
            Far::Waits | Far::Rings | Far::Gone => (),
        }
        Ok(())
    }

    /// The epoch of an address as a node knows it.
    fn epoch_seen(&mut self, node: u64, home: HomeId) -> u32 {
        let running = self.node(node).running.as_ref();
        let homes = running.and_then(|running| running.center.homes().find(|(id, _)| *id == home));
        homes.map_or(0, |(_, home)| home.epoch)
    }

    fn arrive(&mut self, node: u64, at: Where, call: CallId, end: EndId) {
        let called = self.ends.get(&end).map(|end| end.called.clone()).unwrap_or_default();
        let arrived = Arrived {
            call,
            salt: self.dice.of(Of::Service(end)).next(),
            owner: NodeId(node),
            home: match at {
                Where::Home(home) => Some((home, self.epoch_seen(node, home))),
                Where::Node(_) => None,
            },
            trunk: None,
            phone: None,
            caller: Party { number: "100".into(), name: None },
            called,
            wire: wire_of(end),
            answer_ready: self.dice.of(Of::Service(end)).percent(70),
        };
        let Some(running) = &mut self.node(node).running else { return };
        running.arrivals.insert(end, call);
        let arrived = Command::Arrived(Box::new(arrived));
        running.servers.insert(call, Server::arriving(call, end, arrived));
        self.do_deeds(node, call);
    }

    /// Performs an action of a flow: in the end there is a result.
    pub(crate) fn perform_act(&mut self, node: u64, start: u64, call: CallId, act: &Act) {
        let random = self.dice.of(Of::Service(EndId::Phone(call, LegNumber::FIRST)));
        let result = match &act.action {
            Action::Play { .. } => IvrResult::Finished,
            Action::Collect { .. } => match random.below(5) {
                0 => IvrResult::NoInput,
                digit => IvrResult::Digits { digits: digit.to_string() },
            },
            Action::Http(_) => {
                let ok = random.percent(60);
                IvrResult::Http { ok, fields: std::collections::BTreeMap::new() }
            }
        };
        let after = random.about(2 * SECOND);
        self.plan_in(after, Event::Acted { node, start, call, seq: act.seq, result });
    }

    /// A server proposes something, if it is still there.
    pub(crate) fn propose_for(
        &mut self,
        node: u64,
        start: u64,
        call: CallId,
        command: Command,
    ) -> Result<(), Broken> {
        if !self.runs(node, start) {
            return Ok(());
        }
        let Some(running) = &mut self.node(node).running else { return Ok(()) };
        if running.servers.contains_key(&call) {
            running.propose(Waiter::Call(call), command);
        }
        self.perform(node)
    }

    /// The fate of a proposal is known, or is known to be unknown.
    pub(crate) fn resolve(&mut self, id: u64, waiting: Waiting, fate: Fate) {
        let Waiting { waiter, command, .. } = waiting;
        let insists = self.plan.mutant == Some(Mutant::ArrivesTwice);
        let node = self.node(id);
        let start = node.starts;
        let Some(running) = &mut node.running else { return };
        match (waiter, fate) {
            (Waiter::Call(call), Fate::Done(reply)) => {
                if let Some(server) = running.servers.get_mut(&call)
                    && matches!(command, Command::Arrived(_))
                {
                    server.decided(reply.is_ok());
                    // It may be over by now, at another node.
                    running.touched.insert(call);
                    self.do_deeds(id, call);
                }
            }
            (Waiter::Call(call), Fate::NotTaken | Fate::Unknown) => {
                if matches!(command, Command::Arrived(_)) && !insists {
                    // Never again: the call may have come and gone at another node meanwhile, and
                    // would begin a second time. If it is committed after all, it is served.
                    if let Some(server) = running.servers.get_mut(&call) {
                        server.not_committed();
                    }
                    return self.do_deeds(id, call);
                }
                let command = Box::new(command);
                self.plan_in(PROPOSE_AGAIN, Event::Again { node: id, start, call, command });
            }
            (Waiter::Desk(desk, command), fate) => {
                let reply = match fate {
                    Fate::Done(reply) => Some(reply),
                    Fate::NotTaken => None,
                    Fate::Unknown => return,
                };
                let socket = (id, start);
                let answer = Event::Answer { desk, socket, id: command, reply };
                self.plan_in(MILLISECOND, answer);
            }
            (Waiter::Cleared(calls), Fate::NotTaken | Fate::Unknown) => {
                running.cleared.extend(calls);
            }
            (Waiter::Tick, _) => running.ticks = false,
            (Waiter::Configure, _) => running.configures = false,
            (Waiter::Here(lease), Fate::Done(_)) => {
                running.is_announced = true;
                running.presence.confirm(lease);
            }
            (Waiter::Yield(home), Fate::Done(_)) => drop(running.yielded.remove(&home)),
            (Waiter::Cleared(_) | Waiter::Here(_) | Waiter::Yield(_) | Waiter::Nobody, _) => (),
        }
    }

    /// A desk looks at its screen, or connects.
    pub(crate) fn think(&mut self, desk: usize) -> Result<(), Broken> {
        let now = self.now;
        if self.desks[desk].habit == Habit::Away {
            return Ok(());
        }
        let Some((id, start)) = self.desks[desk].socket else {
            if self.desks[desk].connect_at <= now {
                let id = self.dice.of(Of::Desk(desk)).between(1, self.plan.nodes + 1);
                let node = &self.nodes[id as usize - 1];
                if node.is_awake()
                    && node.running.as_ref().is_some_and(|running| running.is_caught_up)
                {
                    let start = node.starts;
                    self.desks[desk].connected(id, start);
                    self.trace.note(now, "socket", [desk as u64, id], || {
                        format!("desk of {} at node {id}", self.desks[desk].agent)
                    });
                } else {
                    self.desks[desk].connect_at = now + SECOND / 2;
                }
            }
            return Ok(());
        };
        if !self.runs(id, start) {
            let at = now + self.dice.of(Of::Desk(desk)).about(2 * SECOND);
            self.desks[desk].disconnected(at);
            return Ok(());
        }
        if self.nodes[id as usize - 1].frozen.is_some() {
            // The desk hears nothing, and after a while it tries another node.
            if self.dice.of(Of::Desk(desk)).percent(10) {
                self.desks[desk].disconnected(now + SECOND / 2);
            }
            return Ok(());
        }
        let clock = self.nodes[id as usize - 1].clock_ms(now);
        let Some(running) = &mut self.nodes[id as usize - 1].running else { return Ok(()) };
        let new_call = running.new_call(id, clock);
        let random = self.dice.of(Of::Desk(desk));
        let view = View { now, node: NodeId(id), center: &running.center, new_call };
        let Some(wish) = self.desks[desk].think(&view, random) else { return Ok(()) };
        match wish {
            Wish::Command(of, command) => running.propose(Waiter::Desk(desk, of), command),
            Wish::Tell(command) => running.propose(Waiter::Nobody, command),
            Wish::Disconnect => {
                let at = now + self.dice.of(Of::Desk(desk)).about(6 * SECOND);
                self.desks[desk].disconnected(at);
                return Ok(());
            }
        }
        self.perform(id)
    }

    pub(crate) fn answer_arrives(
        &mut self,
        desk: usize,
        socket: (u64, u64),
        id: &CommandId,
        reply: Option<Result<Reply, Rejected>>,
    ) {
        let now = self.now;
        let desk = &mut self.desks[desk];
        if desk.socket != Some(socket) {
            return;
        }
        match reply {
            Some(reply) => desk.answered(id, &reply),
            None => desk.not_taken(now, id),
        }
    }

    /// Sessions of this node whose agents' desks have no socket to it.
    pub(crate) fn sessions_without_a_desk(&self, id: u64, start: u64) -> Vec<SessionId> {
        let Some(center) = self.nodes[id as usize - 1].center() else { return Vec::new() };
        let live = center.sessions().filter(|s| s.node == NodeId(id) && s.link == Link::Live);
        let lost = live.filter(|session| {
            let mut desks = self.desks.iter().filter(|desk| desk.agent == session.agent);
            desks.all(|desk| desk.socket != Some((id, start)))
        });
        lost.map(|session| session.id).collect()
    }

    /// A node has applied a membership change: the leader switches off who is not a member any
    /// more. Others may be late, and the node may have been added again meanwhile.
    pub(crate) fn members_changed(&mut self, by: u64, members: &Members) {
        if let Some(gone) = members.removed
            && self.node(by).is_leading()
        {
            let node = self.node(gone);
            (node.running, node.frozen, node.refuses) = (None, None, false);
            node.is_spare = true;
            self.network.close_all(gone);
        }
    }
}

impl Far {
    fn number(self) -> u64 {
        match self {
            Self::Invites => 0,
            Self::Waits => 1,
            Self::Rings => 2,
            Self::Answers => 3,
            Self::Talks => 4,
            Self::Cancels => 5,
            Self::HangsUp => 6,
            Self::Gone => 7,
            Self::Refuses(status) => u64::from(status),
        }
    }
}
