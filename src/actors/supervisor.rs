//! Who is started again when it dies, and from what.
//!
//! Owns the list of the actors that run on this node. All of them are linked to one supervisor;
//! when one panics it is started again from the replicated value that it served. An actor that
//! dies again and again is given up: a call of it is ended with a reason rather than retried for
//! ever.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use ractor::{Actor, ActorId, ActorProcessingErr, ActorRef, SupervisionEvent};
use tandem_center::{AgentId, CallId, Cause, Command, QueueId};

use super::{agent, call, homes, queue, registrar, replica, sip_transport};
use crate::node::Node;

/// Deaths of one actor within [`RESTARTS_WITHIN`] after which it is given up. A fault that does
/// not go away by rebuilding would otherwise take a core.
const RESTARTS_MAX: usize = 5;
const RESTARTS_WITHIN: Duration = Duration::from_secs(10);

/// What an actor serves.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Serves {
    /// The replicated state as a whole.
    Replica,
    /// The SIP sockets.
    SipTransport,
    /// The registrations.
    Registrar,
    /// The service addresses.
    Homes,
    /// A call.
    Call(CallId),
    /// A queue.
    Queue(QueueId),
    /// An agent.
    Agent(AgentId),
}

impl Serves {
    /// The kind, as a label of metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Replica => "replica",
            Self::SipTransport => "sip_transport",
            Self::Registrar => "registrar",
            Self::Homes => "homes",
            Self::Call(_) => "call",
            Self::Queue(_) => "queue",
            Self::Agent(_) => "agent",
        }
    }
}

/// The running actors, for whoever wants to tell them something.
#[derive(Debug, Default)]
pub struct Actors {
    supervisor: OnceLock<ActorRef<()>>,
    running: Mutex<Running>,
}

#[derive(Debug, Default)]
struct Running {
    replica: Option<ActorRef<replica::Message>>,
    transport: Option<ActorRef<sip_transport::Message>>,
    registrar: Option<ActorRef<registrar::Message>>,
    homes: Option<ActorRef<homes::Message>>,
    queues: HashMap<QueueId, ActorRef<queue::Message>>,
    agents: HashMap<AgentId, ActorRef<agent::Message>>,
    /// What each actor serves, calls excepted: those are in the router.
    serves: HashMap<ActorId, Serves>,
}

impl Actors {
    /// Tells the replica's actor, if it runs; when it starts it looks at everything anyway.
    pub fn tell_replica(&self, message: replica::Message) {
        if let Some(actor) = &self.running().replica {
            drop(actor.send_message(message));
        }
    }

    /// Tells the registrar.
    pub fn tell_registrar(&self, message: registrar::Message) {
        if let Some(actor) = &self.running().registrar {
            drop(actor.send_message(message));
        }
    }

    /// Tells the transport.
    pub fn tell_transport(&self, message: sip_transport::Message) {
        if let Some(actor) = &self.running().transport {
            drop(actor.send_message(message));
        }
    }

    /// Tells who takes and lets go of service addresses; when it starts it looks anyway.
    pub fn tell_homes(&self, message: homes::Message) {
        if let Some(actor) = &self.running().homes {
            drop(actor.send_message(message));
        }
    }

    /// Tells a queue's actor.
    pub fn tell_queue(&self, queue: &QueueId, message: queue::Message) {
        if let Some(actor) = self.running().queues.get(queue) {
            drop(actor.send_message(message));
        }
    }

    /// Tells an agent's actor.
    pub fn tell_agent(&self, agent: &AgentId, message: impl FnOnce() -> agent::Message) {
        if let Some(actor) = self.running().agents.get(agent) {
            drop(actor.send_message(message()));
        }
    }

    /// A test of the supervision: the actor that serves this dies. False if there is none.
    pub fn kill(&self, node: &Node, what: &Serves) -> bool {
        let running = self.running();
        match what {
            Serves::Replica => running
                .replica
                .as_ref()
                .map(|actor| drop(actor.send_message(replica::Message::Panic))),
            Serves::SipTransport => running
                .transport
                .as_ref()
                .map(|actor| drop(actor.send_message(sip_transport::Message::Panic))),
            Serves::Registrar => running
                .registrar
                .as_ref()
                .map(|actor| drop(actor.send_message(registrar::Message::Panic))),
            Serves::Homes => {
                running.homes.as_ref().map(|actor| drop(actor.send_message(homes::Message::Panic)))
            }
            Serves::Call(call) => {
                node.router.call(*call).map(|actor| drop(actor.send_message(call::Message::Panic)))
            }
            Serves::Queue(queue) => running
                .queues
                .get(queue)
                .map(|actor| drop(actor.send_message(queue::Message::Panic))),
            Serves::Agent(agent) => running
                .agents
                .get(agent)
                .map(|actor| drop(actor.send_message(agent::Message::Panic))),
        }
        .is_some()
    }

    /// Starts the actor of a call and routes the call to it. Returns at once; the actor's first
    /// step runs as a task.
    pub fn start_call(&self, node: &Arc<Node>, id: CallId, arguments: call::Arguments) {
        let Some(supervisor) = self.supervisor.get() else { return };
        let cell = supervisor.get_cell();
        let started = node.router.serve(id, || {
            ractor::ActorRuntime::spawn_linked_instant(None, call::CallActor, arguments, cell)
                .map(|(actor, _)| actor)
        });
        if let Err(error) = started {
            tracing::error!(call = %id, %error, "the call's actor does not start");
        }
    }

    fn running(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(&self, node: &Arc<Node>, what: Serves) {
        let Some(supervisor) = self.supervisor.get() else { return };
        let cell = supervisor.get_cell();
        let node = Arc::clone(node);
        let mut running = self.running();
        let started = match &what {
            Serves::Replica => spawn(replica::ReplicaActor, node, cell).map(|actor| {
                let id = actor.get_id();
                running.replica = Some(actor);
                id
            }),
            Serves::SipTransport => {
                spawn(sip_transport::SipTransportActor, node, cell).map(|actor| {
                    let id = actor.get_id();
                    running.transport = Some(actor);
                    id
                })
            }
            Serves::Registrar => spawn(registrar::RegistrarActor, node, cell).map(|actor| {
                let id = actor.get_id();
                running.registrar = Some(actor);
                id
            }),
            Serves::Homes => spawn(homes::HomesActor, node, cell).map(|actor| {
                let id = actor.get_id();
                running.homes = Some(actor);
                id
            }),
            Serves::Call(_) => None,
            Serves::Queue(queue) => {
                spawn(queue::QueueActor, (node, queue.clone()), cell).map(|actor| {
                    let id = actor.get_id();
                    running.queues.insert(queue.clone(), actor);
                    id
                })
            }
            Serves::Agent(agent) => {
                spawn(agent::AgentActor, (node, agent.clone()), cell).map(|actor| {
                    let id = actor.get_id();
                    running.agents.insert(agent.clone(), actor);
                    id
                })
            }
        };
        if let Some(id) = started {
            running.serves.insert(id, what);
        }
    }

    /// Starts what a new directory needs and stops what it does not know any more.
    pub fn follow_directory(&self, node: &Arc<Node>, queues: &[QueueId], agents: &[AgentId]) {
        let (new_queues, new_agents) = {
            let mut running = self.running();
            running.queues.retain(|id, actor| keep(queues.contains(id), actor));
            running.agents.retain(|id, actor| keep(agents.contains(id), actor));
            let new = |known: bool| !known;
            let queues: Vec<_> =
                queues.iter().filter(|id| new(running.queues.contains_key(*id))).cloned().collect();
            let agents: Vec<_> =
                agents.iter().filter(|id| new(running.agents.contains_key(*id))).cloned().collect();
            (queues, agents)
        };
        new_queues.into_iter().for_each(|id| self.start(node, Serves::Queue(id)));
        new_agents.into_iter().for_each(|id| self.start(node, Serves::Agent(id)));
    }

    fn forget(&self, id: ActorId) -> Option<Serves> {
        self.running().serves.remove(&id)
    }
}

fn keep<M: ractor::Message>(known: bool, actor: &ActorRef<M>) -> bool {
    if !known {
        actor.stop(None);
    }
    known
}

fn spawn<A: Actor>(
    behaviour: A,
    arguments: A::Arguments,
    supervisor: ractor::ActorCell,
) -> Option<ActorRef<A::Msg>> {
    match ractor::ActorRuntime::spawn_linked_instant(None, behaviour, arguments, supervisor) {
        Ok((actor, _)) => Some(actor),
        Err(error) => {
            tracing::error!(%error, "an actor does not start");
            None
        }
    }
}

/// The supervisor of a node.
#[derive(Debug)]
pub struct Supervisor;

/// Recent deaths, for the limit of restarts.
#[derive(Debug)]
pub struct State {
    node: Arc<Node>,
    deaths: Vec<(Serves, Instant)>,
}

impl Supervisor {
    /// Starts the supervisor and, under it, what every node has.
    ///
    /// # Errors
    /// The runtime refuses to start an actor.
    pub async fn start(node: &Arc<Node>) -> Result<(), ractor::SpawnErr> {
        let (supervisor, _) = Actor::spawn(None, Self, Arc::clone(node)).await?;
        let _ = node.actors.supervisor.set(supervisor);
        for what in [Serves::Registrar, Serves::Homes, Serves::Replica, Serves::SipTransport] {
            node.actors.start(node, what);
        }
        Ok(())
    }
}

impl Actor for Supervisor {
    type Msg = ();
    type State = State;
    type Arguments = Arc<Node>;

    async fn pre_start(
        &self,
        _: ActorRef<()>,
        node: Arc<Node>,
    ) -> Result<State, ActorProcessingErr> {
        Ok(State { node, deaths: Vec::new() })
    }

    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<()>,
        event: SupervisionEvent,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorFailed(cell, error) => state.restart(cell.get_id(), &error),
            SupervisionEvent::ActorTerminated(cell, ..) => {
                state.node.actors.forget(cell.get_id());
            }
            SupervisionEvent::ActorStarted(_) | SupervisionEvent::ProcessGroupChanged(_) => (),
        }
        Ok(())
    }
}

impl State {
    fn restart(&mut self, died: ActorId, error: &ActorProcessingErr) {
        let call = || self.node.router.call_of_actor(died).map(Serves::Call);
        let Some(what) = self.node.actors.forget(died).or_else(call) else { return };
        tracing::error!(?what, %error, "an actor died");
        self.node.metrics.actor_restarts_total.with_label_values(&[what.kind()]).inc();
        let now = Instant::now();
        self.deaths.retain(|(_, at)| now.duration_since(*at) < RESTARTS_WITHIN);
        self.deaths.push((what.clone(), now));
        let deaths = self.deaths.iter().filter(|(dead, _)| *dead == what).count();
        if let Serves::Call(call) = what {
            self.restart_call(call, died, deaths);
        } else if deaths > RESTARTS_MAX {
            tracing::error!(?what, "given up; restart the node");
            std::process::exit(4);
        } else {
            self.node.actors.start(&self.node, what);
        }
    }

    fn restart_call(&self, id: CallId, died: ActorId, deaths: usize) {
        self.node.router.release(id, died);
        let value = self.node.replica.read_local(|machine| machine.center().call(id).cloned());
        let Some(call) = value else { return };
        if deaths > RESTARTS_MAX {
            tracing::error!(call = %id, "the call's actor cannot live; the call is ended");
            // All of them: a conversation goes on as long as two are in it.
            for &leg in call.legs.keys() {
                let ended = Command::LegEnded { call: id, leg, cause: Cause::Failed };
                self.node.propose_then(&ended, |_| ());
            }
            return;
        }
        let arguments = call::Arguments::Committed { node: Arc::clone(&self.node), call };
        self.node.actors.start_call(&self.node, id, arguments);
    }
}
