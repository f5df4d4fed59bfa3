//! A new directory takes the place of the present one, with calls in progress.
//!
//! Conversations, dialling and flows go on as they began. Callers in a queue that is gone are
//! sent where it overflowed to, or let go; offers to agents who are gone return; agents who are
//! gone leave when their call ends.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Turn;
use super::end::End;
use crate::agent::reasons;
use crate::call::FlowKey;
use crate::event::{Happened, SessionEnd};
use crate::flow::{Flow, Surroundings};
use crate::state::FlowEntry;
use crate::timeline::Returned;
use crate::{
    Agent, AgentId, AgentState, CallId, CallResult, Cause, Center, Directory, Phase, Queue,
    QueueId, Rejected, Reply, Route, Side,
};

impl Center {
    pub(super) fn configure(
        &mut self,
        turn: &mut Turn,
        directory: Directory,
    ) -> Result<Reply, Rejected> {
        let hash = directory.hash();
        if hash == self.directory_hash {
            return Ok(Reply::Already);
        }
        directory.check()?;
        let flows = self.parse_flows(&directory)?;

        let old = std::mem::replace(&mut self.directory, Arc::new(directory));
        self.directory_hash = hash;
        turn.outcome.touched.directory = true;
        turn.announce(Happened::Reconfigured { hash });
        for (key, entry) in flows {
            turn.outcome.touched.flows.insert(key.clone());
            self.flows.insert(key, entry);
        }
        self.add_new(turn);
        self.rebuild_indexes(turn);
        self.forget_unused_flows(turn);
        self.forget_unknown_registrations(turn);
        self.forget_unknown_trunks(turn);
        self.drain_queues(turn, &old);
        self.drain_agents(turn);
        self.heal_agents(turn);
        self.settle_rings(turn);
        turn.restaffed.extend(self.queues.keys().cloned());
        turn.outcome.touched.queues.extend(self.queues.keys().cloned());
        Ok(Reply::Done)
    }

    /// The flows that are not here yet, parsed. All are checked against the new queues.
    fn parse_flows(&self, directory: &Directory) -> Result<BTreeMap<FlowKey, FlowEntry>, Rejected> {
        let queues = directory.queues.keys().map(ToString::to_string).collect();
        let around = Surroundings { queues: Some(queues), ..Surroundings::default() };
        let mut parsed = BTreeMap::new();
        for (name, text) in &directory.flows {
            let flow = Flow::parse_in(name, text, &around)
                .map_err(|errors| Rejected::Flow { flow: name.clone(), errors })?;
            let key = FlowKey { name: name.clone(), version: flow.version };
            if !self.flows.contains_key(&key) {
                let entry = FlowEntry { text: text.clone(), flow: Arc::new(flow), calls: 0 };
                parsed.insert(key, entry);
            }
        }
        Ok(parsed)
    }

    fn add_new(&mut self, turn: &mut Turn) {
        let directory = Arc::clone(&self.directory);
        for id in directory.queues.keys() {
            self.queues.entry(id.clone()).or_insert_with(|| Queue::new(id.clone()));
        }
        for (id, config) in &directory.agents {
            if !self.agents.contains_key(id) {
                let agent = Agent::new(id.clone(), turn.at, config.always_ready);
                self.agents.insert(id.clone(), Arc::new(agent));
                turn.outcome.touched.agents.insert(id.clone());
            }
        }
    }

    fn forget_unknown_trunks(&mut self, turn: &mut Turn) {
        let directory = Arc::clone(&self.directory);
        let is_unknown = |name: &&Arc<str>| !directory.trunks.contains_key(*name);
        turn.outcome.touched.trunks.extend(self.trunks.keys().filter(is_unknown).cloned());
        self.trunks.retain(|name, _| directory.trunks.contains_key(name));
    }

    fn forget_unused_flows(&mut self, turn: &mut Turn) {
        let unused =
            self.flows.iter().filter(|(key, entry)| entry.calls == 0 && !self.is_configured(key));
        let unused: Vec<FlowKey> = unused.map(|(key, _)| key.clone()).collect();
        for key in unused {
            self.flows.remove(&key);
            turn.outcome.touched.flows.insert(key);
        }
    }

    fn forget_unknown_registrations(&mut self, turn: &mut Turn) {
        let directory = Arc::clone(&self.directory);
        self.registrations.retain(|agent, _| {
            let is_known = directory.agents.contains_key(agent);
            if !is_known {
                turn.outcome.touched.registrations.insert(agent.clone());
            }
            is_known
        });
    }

    fn drain_queues(&mut self, turn: &mut Turn, old: &Directory) {
        let gone = self.queues.keys().filter(|id| !self.directory.queues.contains_key(*id));
        let gone: Vec<QueueId> = gone.cloned().collect();
        for id in gone {
            let waiting: Vec<CallId> =
                self.queues[&id].waiting().map(|waiting| waiting.call).collect();
            let overflow = old.queues.get(&id).and_then(|queue| queue.overflow.as_ref());
            let overflow = overflow.filter(|route| self.leads_somewhere(route)).cloned();
            for call in waiting {
                turn.routes = 0;
                self.return_offers(turn, call, Returned::Reconfigured);
                match &overflow {
                    Some(route) => self.route(turn, call, route),
                    None => {
                        let (cause, result) = (Cause::Reconfigured, CallResult::Failed);
                        self.end_call(turn, call, End(Side::System, cause, result));
                    }
                }
            }
            self.queues.remove(&id);
            turn.outcome.touched.queues.insert(id);
        }
    }

    /// Callers who wait stand in the rings that their queues have now.
    fn settle_rings(&mut self, turn: &mut Turn) {
        let waiting = self.calls.values().filter(|call| matches!(call.phase, Phase::Queued { .. }));
        let waiting: Vec<CallId> = waiting.map(|call| call.id).collect();
        for call in waiting {
            self.settle_ring(turn, call);
        }
    }

    fn leads_somewhere(&self, route: &Route) -> bool {
        match route {
            Route::Flow(flow) => self.directory.flows.contains_key(flow),
            Route::Queue(queue) => self.directory.queues.contains_key(queue),
            Route::Agent(agent) => self.directory.agents.contains_key(agent),
            Route::Target(_) | Route::Echo | Route::Reject(_) => true,
        }
    }

    fn drain_agents(&mut self, turn: &mut Turn) {
        let gone = self.agents.keys().filter(|id| !self.directory.agents.contains_key(*id));
        let gone: Vec<AgentId> = gone.cloned().collect();
        for id in gone {
            let Some(agent) = self.agents.get(&id).cloned() else { continue };
            if let Some(session) = agent.session {
                self.log_out(turn, session, SessionEnd::Reconfigured, reasons::SIGNED_OUT);
            } else if let Some(call) = self.offer_of(&agent) {
                self.return_offer(turn, call, &id, Returned::Reconfigured);
            }
            if self.agents.get(&id).is_some_and(|agent| agent.state.call().is_none()) {
                self.forget_agent(turn, &id);
            }
        }
    }

    /// Removes an agent who is not configured any more and whom nothing holds.
    pub(super) fn forget_agent(&mut self, turn: &mut Turn, id: &AgentId) {
        self.end_stint(turn, id);
        let agent = self.agents.remove(id);
        turn.outcome.touched.agents.insert(id.clone());
        if let Some(session) = agent.and_then(|agent| agent.session) {
            self.end_session(turn, session, SessionEnd::Reconfigured);
        }
        self.move_agent(turn, id);
        if let Some(results) = self.results.remove(id) {
            let slots = results.slots();
            turn.outcome.touched.results.extend(slots.map(|slot| (id.clone(), slot)));
        }
    }

    /// Agents who became always ready, or are it no more.
    fn heal_agents(&mut self, turn: &mut Turn) {
        let directory = Arc::clone(&self.directory);
        for (id, config) in &directory.agents {
            let Some(agent) = self.agents.get(id) else { continue };
            if agent.session.is_some() || agent.state.call().is_some() {
                continue;
            }
            let is_logged_out = matches!(agent.state, AgentState::LoggedOut { .. });
            if config.always_ready && is_logged_out {
                self.become_ready(turn, id);
            } else if !config.always_ready && !is_logged_out {
                let (since, reason) = (turn.at, reasons::SIGNED_OUT.into());
                self.set_agent(turn, id, AgentState::LoggedOut { since, reason });
            }
        }
    }
}
