//! Who takes part in a drill: the parties with their sockets, and the calls between them.
//!
//! Made before the nodes' configuration, which names the parties' addresses. Owns the sockets;
//! decides nothing.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Instant;

use super::audio::{Ear, Mouth};
use super::leg::Leg;
use super::means::Means;
use super::phases::{Begins, Callee, Dials, Hands, PATIENT, Phase, Plan, SPREAD, URGENT};

/// The last byte of the first node's address, and how far behind it the parties' are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Addresses {
    pub(crate) first: u8,
    pub(crate) means: Means,
}

/// How far a node's service address is from its machine's, where they differ.
const SERVICE: u8 = 3;

impl Addresses {
    /// Node 0, 1 or 2: its machine, for the cluster and the API.
    pub(crate) fn node(self, node: usize) -> Ipv4Addr {
        self.at(node as u8)
    }

    /// Where its calls are.
    pub(crate) fn service(self, node: usize) -> Ipv4Addr {
        self.at(node as u8 + if self.means.has_machines() { SERVICE } else { 0 })
    }

    /// All that the parties stand on.
    pub(crate) fn of_parties(self) -> [Ipv4Addr; 3] {
        [self.callers(), self.callees(), self.web()]
    }

    pub(crate) fn callers(self) -> Ipv4Addr {
        self.at(10)
    }

    fn callees(self) -> Ipv4Addr {
        self.at(11)
    }

    /// The web service.
    pub(crate) fn web(self) -> Ipv4Addr {
        self.at(12)
    }

    fn at(self, behind: u8) -> Ipv4Addr {
        let [a, b, c, _] = self.means.network(self.first).octets();
        Ipv4Addr::new(a, b, c, self.first.saturating_add(behind))
    }
}

/// A caller or a callee.
#[derive(Debug)]
pub(crate) struct Party {
    /// Its id; an agent's, where it is an agent.
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) sip: UdpSocket,
    pub(crate) rtp: UdpSocket,
    pub(crate) mouth: Mouth,
    pub(crate) ear: Ear,
    /// Calls to it, in their order.
    pub(crate) sessions: Vec<Session>,
    /// Messages that belong to none of its calls.
    pub(crate) strays: Vec<(Instant, String)>,
}

/// Which side a party is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Caller { call: usize },
    Callee(Callee),
}

/// A call to a party.
#[derive(Debug)]
pub(crate) struct Session {
    /// Whose call it is, by the caller's number.
    pub(crate) call: usize,
    pub(crate) leg: Leg,
    pub(crate) invited: Instant,
    pub(crate) answered: Option<Instant>,
    pub(crate) ended: Option<Instant>,
}

/// A call of the drill.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) phase: Phase,
    pub(crate) plan: Plan,
    /// The caller's number, which no other call has.
    pub(crate) number: String,
    pub(crate) dials: String,
    /// The node that is called.
    pub(crate) node: usize,
    /// The caller.
    pub(crate) party: usize,
    /// The callee, when it has been called.
    pub(crate) callee: Option<usize>,
    /// How much later than the first of its kind it begins.
    pub(crate) delay_ms: u64,
    pub(crate) leg: Option<Leg>,
    pub(crate) times: Times,
    /// Why it is lost, and since when.
    pub(crate) losses: Vec<(Instant, String)>,
}

/// When what happened to a call, as the caller saw it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Times {
    pub(crate) begun: Option<Instant>,
    pub(crate) rang: Option<Instant>,
    pub(crate) answered: Option<Instant>,
    /// The caller's hold was accepted.
    pub(crate) held: Option<Instant>,
    pub(crate) retrieved: Option<Instant>,
    pub(crate) pressed: Option<Instant>,
    /// Somebody said BYE.
    pub(crate) ended: Option<Instant>,
    /// The BYE is answered, or came from the far end.
    pub(crate) over: Option<Instant>,
}

/// An agent for the configuration.
#[derive(Clone, Debug)]
pub(crate) struct Agent {
    pub(crate) id: String,
    pub(crate) queues: Vec<&'static str>,
    pub(crate) phone: SocketAddr,
    pub(crate) desk: bool,
}

/// See the file.
#[derive(Debug, Default)]
pub(crate) struct Cast {
    pub(crate) parties: Vec<Party>,
    pub(crate) calls: Vec<Call>,
    pub(crate) agents: Vec<Agent>,
    /// Numbers that lead to a callee's address.
    pub(crate) targets: Vec<(String, SocketAddr)>,
}

/// Nodes of the cluster under test.
pub(crate) const NODES: usize = 3;

/// Calls at the nodes that the fault does not concern.
const WITNESSES: usize = 4;

/// Calls that ask for a decision after the fault, and the pause between them: the first second is
/// covered, in which a new leader is chosen.
const PROBES: usize = 10;
const PROBE_PAUSE_MS: u64 = 100;

/// The pause between two calls that begin. The order of waiting callers is then beyond doubt, and
/// the beginning is no test of load.
const BEGIN_PAUSE_MS: u64 = 20;

/// The pause between two callers of a drill of the queues: more than agents can serve.
const QUEUE_PAUSE_MS: u64 = 40;

/// Calls under way when the fault comes begin in so many milliseconds before it.
const INVITE_SPREAD_MS: u64 = 20;

impl Cast {
    /// So many calls, and the further ones that judge the nodes without them.
    pub(crate) fn new(addresses: Addresses, calls: usize) -> io::Result<Self> {
        let spread = SPREAD.into_iter().filter(|phase| addresses.means.keeps(*phase));
        let calls = spread.cycle().take(calls);
        let others = [Phase::Witness; WITNESSES].into_iter().chain([Phase::Probe; PROBES]);
        Self::of(addresses, calls.chain(others))
    }

    /// Calls in these phases.
    pub(crate) fn of(
        addresses: Addresses,
        phases: impl Iterator<Item = Phase>,
    ) -> io::Result<Self> {
        let mut cast = Self::default();
        for phase in phases {
            cast.add(addresses, phase)?;
        }
        Ok(cast)
    }

    /// So many calls that hear themselves, spread over all nodes.
    pub(crate) fn echoing(addresses: Addresses, calls: usize) -> io::Result<Self> {
        let mut cast = Self::default();
        for index in 0..calls {
            cast.add(addresses, Phase::Echo)?;
            cast.calls[index].node = index % NODES;
        }
        Ok(cast)
    }

    /// Callers who come to all nodes, into two queues in turn, and agents who serve both.
    pub(crate) fn queueing(
        addresses: Addresses,
        callers: usize,
        agents: usize,
    ) -> io::Result<Self> {
        let mut cast = Self::default();
        for index in 0..callers {
            cast.add(addresses, if index % 3 == 0 { Phase::Urgent } else { Phase::Patient })?;
            cast.calls[index].node = index % NODES;
            cast.calls[index].delay_ms = index as u64 * QUEUE_PAUSE_MS;
        }
        let queues = vec![URGENT, PATIENT];
        cast.staff(addresses, agents, &queues, Callee::AnswersBriefly)?;
        Ok(cast)
    }

    /// Agents with these queues, who are always ready.
    fn staff(
        &mut self,
        addresses: Addresses,
        agents: usize,
        queues: &[&'static str],
        callee: Callee,
    ) -> io::Result<()> {
        for index in 0..agents {
            let id = format!("agent{index:03}");
            let party = self.add_party(addresses.callees(), id.clone(), Role::Callee(callee))?;
            let phone = self.parties[party].sip.local_addr()?;
            self.agents.push(Agent { id, queues: queues.to_vec(), phone, desk: false });
        }
        Ok(())
    }

    /// Agents who sit at desks and whom nobody calls.
    pub(crate) fn desks(addresses: Addresses, agents: usize) -> Self {
        let phone = (addresses.callees(), 9).into();
        let agent = |index| Agent {
            id: format!("agent{index:03}"),
            queues: vec!["bridge"],
            phone,
            desk: true,
        };
        Self { agents: (0..agents).map(agent).collect(), ..Self::default() }
    }

    /// Says which of the first `nodes` nodes are called: the carrier by most, those that the fault
    /// does not concern by the witnesses, those that live on by the probes.
    pub(crate) fn place(&mut self, (carrier, fault_at): (usize, usize), nodes: usize) {
        let untouched: Vec<usize> =
            (0..nodes).filter(|node| *node != carrier && *node != fault_at).collect();
        let alive: Vec<usize> = (0..nodes).filter(|node| *node != fault_at).collect();
        for (index, call) in self.calls.iter_mut().enumerate() {
            call.node = match call.phase {
                Phase::Witness => untouched[index % untouched.len()],
                Phase::Probe => alive[index % alive.len()],
                Phase::Inviting
                | Phase::Offered
                | Phase::DialingOut
                | Phase::EarlyMedia
                | Phase::Bridged
                | Phase::Echo
                | Phase::HeldByPhone
                | Phase::HeldAtDesk
                | Phase::Queued
                | Phase::Prompt
                | Phase::Digits
                | Phase::WebRequest
                | Phase::Recorded
                | Phase::Transferred
                | Phase::Consulting
                | Phase::Conference
                | Phase::Urgent
                | Phase::Patient => carrier,
            };
        }
    }

    fn add(&mut self, addresses: Addresses, phase: Phase) -> io::Result<()> {
        let (plan, index) = (phase.plan(), self.calls.len());
        let nth = self.calls.iter().filter(|call| call.plan.begins == plan.begins).count() as u64;
        let delay_ms = match plan.begins {
            Begins::Before => nth * BEGIN_PAUSE_MS,
            Begins::AtFault => nth * 3 % INVITE_SPREAD_MS,
            Begins::After => nth * PROBE_PAUSE_MS,
        };
        let number = format!("7{index:04}");
        let dials = match plan.dials {
            Dials::Shared(number) | Dials::Queue(number) => number.to_owned(),
            Dials::Target(number) => format!("{number}{index:04}"),
        };
        if let (Some(callee), false) = (plan.callee, plan.is_served_by_all()) {
            self.add_callee(addresses, index, &plan, callee)?;
        }
        if let Some((hands, second)) = plan.hands {
            let to = hands.number(index);
            let party = self.add_party(addresses.callees(), to.clone(), Role::Callee(second))?;
            self.targets.push((to, self.parties[party].sip.local_addr()?));
        }
        let party =
            self.add_party(addresses.callers(), number.clone(), Role::Caller { call: index })?;
        self.calls.push(Call {
            phase,
            plan,
            number,
            dials,
            node: 0,
            party,
            callee: None,
            delay_ms,
            leg: None,
            times: Times::default(),
            losses: Vec::new(),
        });
        Ok(())
    }

    fn add_callee(
        &mut self,
        addresses: Addresses,
        index: usize,
        plan: &Plan,
        callee: Callee,
    ) -> io::Result<()> {
        let queue = match plan.dials {
            Dials::Queue(queue) => Some(queue),
            Dials::Shared(_) | Dials::Target(_) => None,
        };
        // One agent serves all of a queue whose order is judged.
        let has_one = |agent: &Agent| queue.is_some_and(|queue| agent.queues.contains(&queue));
        if callee == Callee::AnswersBriefly && self.agents.iter().any(has_one) {
            return Ok(());
        }
        let id = format!("{}{index:04}", queue.unwrap_or("target"));
        let party = self.add_party(addresses.callees(), id.clone(), Role::Callee(callee))?;
        let phone = self.parties[party].sip.local_addr()?;
        match (queue, plan.dials) {
            (Some(queue), _) => {
                let desk = matches!(callee, Callee::AtDesk | Callee::AnswersBriefly);
                self.agents.push(Agent { id, queues: vec![queue], phone, desk });
            }
            (None, Dials::Target(number)) => {
                self.targets.push((format!("{number}{index:04}"), phone));
            }
            (None, Dials::Shared(_) | Dials::Queue(_)) => (),
        }
        Ok(())
    }

    fn add_party(&mut self, ip: Ipv4Addr, name: String, role: Role) -> io::Result<usize> {
        let socket = || {
            let socket = UdpSocket::bind((ip, 0))?;
            socket.set_nonblocking(true)?;
            Ok::<_, io::Error>(socket)
        };
        let index = self.parties.len();
        self.parties.push(Party {
            name,
            role,
            sip: socket()?,
            rtp: socket()?,
            mouth: Mouth::new(index as u16),
            ear: Ear::default(),
            sessions: Vec::new(),
            strays: Vec::new(),
        });
        Ok(index)
    }

    /// What an agent's desk does with its call, and the number of whoever gets it. An agent of such
    /// a queue is made for one call and named after it.
    pub(crate) fn hands_of(&self, agent: &Agent) -> Option<(Hands, String)> {
        let all = [Hands::Transfers, Hands::Consults, Hands::Confers];
        let hands = all.into_iter().find(|hands| agent.queues == [hands.queue()])?;
        let call: usize = agent.id.strip_prefix(hands.queue())?.parse().ok()?;
        Some((hands, hands.number(call)))
    }

    /// The call of this caller's number.
    pub(crate) fn call_of(&self, number: &str) -> Option<usize> {
        let index: usize = number.strip_prefix('7')?.parse().ok()?;
        (index < self.calls.len()).then_some(index)
    }
}
