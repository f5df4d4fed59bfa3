//! Random commands, thousands of them: whatever comes in whatever order, the invariants hold
//! (debug builds run them after each command), every replica and every way of storing leads to
//! the same state, and every call that was taken leaves exactly one record.
//!
//! A failure prints its seed; `ONLY_SEED=n` runs just that one.

mod books;
mod dice;
mod directory;

use std::collections::{BTreeMap, BTreeSet};

use tandem_center::audit::{Ledger, check_state};
use tandem_center::flow::IvrResult;
use tandem_center::version::{NEWEST, Reads};
use tandem_center::{
    AgentId, Arrived, CallId, Cause, Center, Command, CommandId, Dial, Happened, HomeId, LegNumber,
    Millis, NodeId, Party, Record, Reply, SessionId, SupervisionMode, WantedState, Wire,
};

use books::Books;
use dice::Dice;
use directory::{agent, directory, queue};

/// Seeds of one run; `SEEDS=n` runs more.
const SEEDS: u64 = 24;
const STEPS: u64 = 1_500;

/// The centre, a replica that reads the log, and what a store holds of it.
struct World {
    dice: Dice,
    center: Center,
    replica: Center,
    store: BTreeMap<Vec<u8>, Vec<u8>>,
    index: u64,
    now: Millis,
    taken: BTreeSet<CallId>,
    recorded: BTreeSet<CallId>,
    ledger: Ledger,
    books: Books,
    calls: u16,
    /// What was done that is rare.
    reached: Vec<&'static str>,
}

impl World {
    fn new(seed: u64) -> Self {
        Self {
            dice: Dice(seed),
            center: Center::new(),
            replica: Center::new(),
            store: BTreeMap::new(),
            index: 0,
            now: Millis(1_764_000_000_000),
            taken: BTreeSet::new(),
            recorded: BTreeSet::new(),
            ledger: Ledger::default(),
            books: Books::default(),
            calls: 0,
            reached: Vec::new(),
        }
    }

    fn apply(&mut self, command: Command) {
        self.index += 1;
        let bytes = command.encode(self.center.version()).expect("every version has them all");
        let read = Command::decode(&bytes).expect("what was written can be read");
        assert_eq!(read, command);
        let begins = matches!(command, Command::Arrived(_) | Command::Dial(_));
        let begun = command.call().filter(|_| begins);
        let was_there = begun.is_some_and(|call| self.taken.contains(&call));
        let before = self.dice.one_in(10).then(|| self.center.state_hash());
        let picks_up = matches!(command, Command::PickUp { .. });
        let joins = matches!(command, Command::ReferredWith { .. });
        let entered = Books::entered(&self.center);
        let outcome = self.center.apply(self.index, self.now, command);
        assert_eq!(self.replica.apply(self.index, self.now, read), outcome);
        let Ok(outcome) = outcome else {
            assert!(before.is_none_or(|before| self.center.state_hash() == before));
            return;
        };
        if !was_there {
            self.taken.extend(begun.filter(|call| self.center.call(*call).is_some()));
        }
        self.reached.extend(picks_up.then_some("picked up"));
        let joins = joins && outcome.reply == Reply::Done;
        self.reached.extend(joins.then_some("joined"));
        for event in &outcome.events {
            let supervised = matches!(event.what, Happened::Supervising { .. });
            self.reached.extend(supervised.then_some("supervised"));
            let parked = matches!(event.what, Happened::Parked { .. });
            self.reached.extend(parked.then_some("parked"));
        }

        self.books.counted(&entered, Books::entered(&self.center));
        outcome.records.iter().for_each(|record| self.books.take(record));
        self.books.balance(&self.center);
        self.ledger.applied(&self.center, &outcome);
        assert_eq!(self.ledger.faults(), []);
        for record in &outcome.records {
            if let Record::Cdr(cdr) = record {
                assert!(self.recorded.insert(cdr.call), "two records of {}", cdr.call);
                let total = cdr.ended.since_ms(cdr.arrived);
                assert!(cdr.wait_ms + cdr.talk_ms + cdr.hold_ms <= total, "{cdr:?}");
            }
        }
        for (key, value) in self.center.changed(&outcome.touched) {
            match value {
                Some(value) => self.store.insert(key, value),
                None => self.store.remove(&key),
            };
        }
    }

    fn check(&self) {
        assert_eq!(check_state(&self.center), []);
        let hash = self.center.state_hash();
        assert_eq!(self.replica.state_hash(), hash);
        let stored = Center::from_pairs(&self.store).expect("the store can be read");
        assert_eq!(stored.state_hash(), hash, "the store differs");
        assert_eq!(stored.next_deadline(), self.center.next_deadline());
        let loaded = Center::load(&self.center.save()).expect("the snapshot can be read");
        assert_eq!(loaded.state_hash(), hash, "the snapshot differs");
        assert_eq!(loaded.index(), self.center.index());
        let live = self.center.calls().filter(|call| !call.has_ended()).map(|call| call.id);
        let live: BTreeSet<CallId> = live.collect();
        assert!(live.is_disjoint(&self.recorded));
        let accounted: BTreeSet<CallId> = live.union(&self.recorded).copied().collect();
        assert_eq!(accounted, self.taken, "every call is alive or recorded");
    }

    fn any_call(&mut self) -> CallId {
        let calls: Vec<CallId> = self.center.calls().map(|call| call.id).collect();
        if calls.is_empty() || self.dice.one_in(50) {
            return CallId(self.dice.below(100));
        }
        *self.dice.pick(&calls)
    }

    fn any_leg(&mut self, call: CallId) -> LegNumber {
        let legs: Vec<LegNumber> = self
            .center
            .call(call)
            .map(|call| call.legs.keys().copied().collect())
            .unwrap_or_default();
        if legs.is_empty() || self.dice.one_in(20) {
            return LegNumber(self.dice.below(4) as u16);
        }
        *self.dice.pick(&legs)
    }

    fn any_agent(&mut self) -> AgentId {
        let name = *self.dice.pick(&["ana", "bob", "cyd", "dan", "bot", "zed"]);
        agent(name)
    }

    fn any_node(&mut self) -> NodeId {
        NodeId(1 + self.dice.below(3))
    }

    /// A home, most often in its present epoch.
    fn any_home(&mut self) -> (HomeId, u32) {
        let home = HomeId::first_of(self.any_node());
        let known = self.center.homes().find(|(id, _)| *id == home);
        let epoch = known.map_or(0, |(_, home)| home.epoch);
        (home, epoch + u32::from(self.dice.one_in(10)))
    }

    fn any_command_id(&mut self) -> CommandId {
        CommandId::parse(&format!("c{}", self.dice.below(400))).expect("short")
    }

    fn new_call(&mut self) -> CallId {
        self.calls += 1;
        CallId::new(NodeId(1), self.now, self.calls)
    }

    fn report(&mut self) -> Command {
        let call = self.any_call();
        let leg = self.any_leg(call);
        match self.dice.below(8) {
            0 => Command::LegRinging { call, leg },
            1..=3 => {
                let mut wires = vec![(leg, Wire::from(vec![self.index as u8; 20]))];
                if self.dice.one_in(3) {
                    wires.push((LegNumber::FIRST, Wire::from(&b"first"[..])));
                }
                Command::LegAnswered { call, leg, wires }
            }
            4 => {
                let status = *self.dice.pick(&[404, 408, 480, 486, 487, 500, 503, 603]);
                Command::LegFailed { call, leg, status }
            }
            5 => {
                let cause = *self.dice.pick(&[Cause::HungUp, Cause::Cancelled, Cause::Lost]);
                match self.dice.one_in(4) {
                    true => Command::LegEndedBefore { call, leg, cause, ago_ms: 2_500 },
                    false => Command::LegEnded { call, leg, cause },
                }
            }
            6 => Command::LegHeld { call, leg, held: self.dice.one_in(2) },
            _ => Command::WireChanged { call, leg, wire: Wire::from(vec![1; 9]) },
        }
    }

    fn ivr(&mut self) -> Command {
        let call = self.any_call();
        let act = self.center.call(call).and_then(|call| call.act().cloned());
        let seq = act.map_or(0, |act| act.seq) + u32::from(self.dice.one_in(10));
        let digits = || IvrResult::Digits { digits: "1".into() };
        let result = match self.dice.below(6) {
            0 => IvrResult::NoInput,
            1 => IvrResult::Failed { reason: "broken".into() },
            2 => IvrResult::Finished,
            3 => digits(),
            4 => IvrResult::Digits { digits: self.dice.below(6).to_string() },
            _ => return Command::IvrProgress { call, seq, offset_ms: self.dice.below(9) as u32 },
        };
        Command::Ivr { call, seq, result }
    }

    /// A call and an agent, most often two that have to do with each other.
    fn pair(&mut self) -> (CallId, AgentId) {
        let id = self.any_call();
        let mut agents: Vec<AgentId> = Vec::new();
        if let Some(call) = self.center.call(id) {
            agents.extend(call.offers().iter().map(|offer| offer.agent.clone()));
            agents.extend(call.legs.values().filter_map(|leg| leg.role.agent()).cloned());
        }
        if agents.is_empty() || self.dice.one_in(10) {
            return (id, self.any_agent());
        }
        let agent = self.dice.pick(&agents).clone();
        (id, agent)
    }

    fn desk(&mut self) -> Command {
        let (call, agent) = self.pair();
        let command = self.any_command_id();
        match self.dice.below(15) {
            13 => Command::Deflect {
                agent,
                call,
                to: (*self.dice.pick(&["rest", "0123", "bob", "x"])).into(),
                command,
            },
            14 => Command::PickUp {
                agent: self.any_agent(),
                slot: 1 + self.dice.below(3) as u16,
                command,
            },
            0..=3 => Command::AcceptOffer { agent, call, command },
            4 => Command::DeclineOffer { agent, call, command },
            5 | 6 => Command::Hold { agent, call, command },
            7 | 8 => Command::Retrieve { agent, call, command },
            9 => Command::HangUp { agent, call, command },
            10 => {
                let (disposition, note) = ("done".into(), None);
                Command::Dispose { agent, call, disposition, note, command }
            }
            11 => Command::EndWrapUp { agent: self.any_agent(), command },
            _ => {
                let to =
                    (*self.dice.pick(&["0123", "service", "sales", "ana", "menu", "x"])).into();
                let (call, owner) = (self.new_call(), self.any_node());
                let agent = self.any_agent();
                Command::Dial(Box::new(Dial { agent, call, salt: 3, to, owner, command }))
            }
        }
    }

    /// Something about a conversation, if there is one: else it would hardly be hit.
    fn talk(&mut self) -> Command {
        let talks = self.center.calls().filter(|call| call.conversation().is_some());
        let talks: Vec<_> = talks.cloned().collect();
        if talks.is_empty() {
            return Command::Tick;
        }
        if let Some(joins) = self.joins().filter(|_| self.dice.one_in(3)) {
            return joins;
        }
        let (value, command) = (self.dice.pick(&talks).clone(), self.any_command_id());
        let call = value.id;
        let agents: Vec<AgentId> =
            value.legs.values().filter_map(|leg| leg.role.agent()).cloned().collect();
        let agent =
            if agents.is_empty() { self.any_agent() } else { self.dice.pick(&agents).clone() };
        let asked = value.conversation().and_then(|(_, asked)| asked?.reach.leg());
        match self.dice.below(13) {
            11 | 12 => {
                let called = *self.dice.pick(&["service", "sales", "bob", "menu", "echo"]);
                self.arrives(called, Some(agent))
            }
            0..=2 => {
                let to =
                    *self.dice.pick(&["0123", "service", "ana", "bob", "cyd", "sales", "0123"]);
                Command::Consult { agent, call, to: to.into(), command }
            }
            3 => Command::Alternate { agent, call, command },
            4 => Command::Conference { agent, call, command },
            5 if self.dice.one_in(2) => Command::Reconnect { agent, call, command },
            5 => Command::Transfer { agent, call, to: None, command },
            6 if self.dice.one_in(2) => {
                let to = *self.dice.pick(&["0123", "service", "rest", "ana", "echo", "closed"]);
                Command::Transfer { agent, call, to: Some(to.into()), command }
            }
            10 => match self.dice.below(6) {
                0 => Command::Mute { agent, call, muted: self.dice.one_in(2), command },
                1 => Command::SendKeys { agent, call, keys: "12#".into(), command },
                2 => Command::PauseRecording { agent, call, paused: self.dice.one_in(2), command },
                3 => {
                    let (leg, to) = (self.any_leg(call), "0123".into());
                    Command::Referred { call, leg, to }
                }
                _ => Command::Park { agent, call, command },
            },
            _ => {
                let leg = asked.unwrap_or(LegNumber::FIRST);
                Command::LegAnswered { call, leg, wires: Vec::new() }
            }
        }
    }

    /// A transfer of one call of a phone to another, if a phone has two.
    fn joins(&self) -> Option<Command> {
        let dialled = self.center.calls().filter(|call| !call.has_ended());
        dialled.filter(|call| call.answered.is_some()).find_map(|other| {
            let agent = other.dialled_by.as_ref()?;
            let call = self.center.agent(agent)?.state.call()?;
            let leg = self.center.call(call)?.talking_leg_of(agent)?;
            Some(Command::ReferredWith { call, leg, other: other.id })
        })
    }

    fn arrives(&mut self, called: &str, phone: Option<AgentId>) -> Command {
        Command::Arrived(Box::new(Arrived {
            call: if self.dice.one_in(30) { self.any_call() } else { self.new_call() },
            salt: 1,
            owner: self.any_node(),
            home: (!self.dice.one_in(3)).then(|| self.any_home()),
            trunk: None,
            phone,
            caller: Party { number: "100".into(), name: None },
            called: called.into(),
            wire: Wire::from(vec![0; 30]),
            answer_ready: !self.dice.one_in(4),
        }))
    }

    /// What a supervisor does, most often to somebody in a conversation.
    fn supervisor(&mut self) -> Command {
        let called = self.center.calls().find_map(|call| {
            let supervision = call.supervision.as_ref().filter(|_| call.supervised().is_none())?;
            Some((call.id, supervision.leg))
        });
        if let Some((call, leg)) = called {
            return Command::LegAnswered { call, leg, wires: Vec::new() };
        }
        let talks = self.center.agents().filter(|agent| {
            let call = agent.state.call().and_then(|call| self.center.call(call));
            call.is_some_and(|call| call.talking_leg_of(&agent.id).is_some())
        });
        let mut talks: Vec<AgentId> = talks.map(|agent| agent.id.clone()).collect();
        talks.push(self.any_agent());
        let mut free = vec![agent("dan"), agent("bot")];
        free.retain(|name| {
            let state = self.center.agent(name).map(|agent| agent.state.clone());
            state.is_some_and(|state| state.call().is_none() && state.name() != "logged out")
        });
        free.push(agent("dan"));
        let (agent, of) = (free[0].clone(), self.dice.pick(&talks).clone());
        let (call, command) = (self.any_call(), self.any_command_id());
        match self.dice.below(12) {
            0..=5 => {
                let modes =
                    [SupervisionMode::Listen, SupervisionMode::Whisper, SupervisionMode::Barge];
                let mode = *self.dice.pick(&modes);
                Command::Supervise { agent, of, mode, command }
            }
            6 | 7 => Command::TakeOver { agent, of, command },
            8 => Command::ForceState { agent, of, state: WantedState::Ready, command },
            9 => Command::ForceLogOut { agent, of, command },
            10 => {
                let priority = self.dice.one_in(2).then(|| self.dice.below(300) as u8);
                Command::Prioritise { agent, call, priority, command }
            }
            _ => {
                let name = *self.dice.pick(&["sales", "rest", "extra"]);
                let queue = queue(name);
                Command::MoveToQueue { agent, call, queue, command }
            }
        }
    }

    fn person(&mut self) -> Command {
        let agent = self.any_agent();
        let session = SessionId(1 + self.dice.below(12));
        let node = self.any_node();
        let command = self.any_command_id();
        match self.dice.below(10) {
            0..=2 => Command::SignIn { agent, session, node, command },
            3 => Command::SignOut { agent, session, command },
            4 => Command::SessionLost { session, node },
            5 => Command::SessionBack { session, node },
            6 => {
                let state = WantedState::NotReady { reason: "tea".into() };
                Command::SetState { agent, state, command }
            }
            _ => Command::SetState { agent, state: WantedState::Ready, command },
        }
    }

    fn any_command(&mut self) -> Command {
        match self.dice.below(100) {
            0..=13 => {
                let called = *self.dice.pick(&[
                    "service", "sales", "sales", "rest", "extra", "ana", "menu", "menu", "echo",
                    "closed", "nobody",
                ]);
                self.arrives(called, None)
            }
            14..=37 => self.report(),
            38..=49 => self.talk(),
            50..=57 => self.ivr(),
            58..=71 => self.desk(),
            72..=74 => self.supervisor(),
            75..=88 => self.person(),
            89..=93 => Command::Tick,
            94 | 95 => {
                let mut calls: Vec<CallId> = self.center.calls().map(|call| call.id).collect();
                calls.retain(|_| !self.dice.one_in(4));
                Command::Cleared { calls }
            }
            96 => {
                let contacts = Wire::from(vec![5; self.dice.below(3) as usize]);
                let until = self.now.plus_ms(self.dice.below(9_000));
                Command::Registered { agent: self.any_agent(), contacts, until }
            }
            97 if self.dice.one_in(4) => Command::NodeLost { node: self.any_node(), silent_ms: 0 },
            97 | 98 => {
                let node = self.any_node();
                let homes = (!self.dice.one_in(3))
                    .then(|| (HomeId::first_of(node), Wire::from(vec![1; 9])))
                    .into_iter()
                    .collect();
                if self.dice.one_in(3) {
                    let epoch = self.dice.below(4) as u32;
                    Command::HomeYielded { home: HomeId::first_of(node), epoch }
                } else if self.dice.one_in(4) {
                    let reads = Reads::HERE;
                    match self.dice.one_in(2) {
                        true => Command::Reads { node, reads, witness: self.dice.one_in(5) },
                        false => Command::Agree { version: NEWEST, nodes: vec![node] },
                    }
                } else if self.dice.one_in(3) {
                    match self.dice.one_in(2) {
                        true => Command::Drain { node },
                        false => Command::Resume { node },
                    }
                } else {
                    Command::NodeUp { node, homes, sockets_are_lost: self.dice.one_in(2) }
                }
            }
            _ => Command::Configure(Box::new(directory(self.dice.below(32)))),
        }
    }
}

#[test]
fn whatever_comes_the_state_is_sound_and_the_same_everywhere() {
    let number = |name| std::env::var(name).ok().and_then(|text: String| text.parse::<u64>().ok());
    let (only, seeds) = (number("ONLY_SEED"), number("SEEDS").unwrap_or(SEEDS));
    let mut phases = BTreeMap::<&str, u64>::new();
    for seed in only.map_or(0..seeds, |seed| seed..seed + 1) {
        let ran = std::panic::catch_unwind(|| {
            let mut seen = BTreeMap::<&str, u64>::new();
            let mut world = World::new(seed);
            world.apply(Command::Configure(Box::new(directory(0))));
            assert_eq!(world.center.directory().hash(), directory(0).hash(), "it is taken");
            for step in 0..STEPS {
                let command = world.any_command();
                world.apply(command);
                if world.dice.one_in(3) {
                    world.now = world.now.plus_ms(world.dice.below(2_000));
                }
                if step % 50 == 0 {
                    world.check();
                    for call in world.center.calls() {
                        *seen.entry(call.phase_name()).or_default() += 1;
                    }
                }
            }
            world.check();
            for reached in world.reached {
                *seen.entry(reached).or_default() += 1;
            }
            seen
        });
        match ran {
            Ok(seen) => seen.into_iter().for_each(|(k, n)| *phases.entry(k).or_default() += n),
            Err(panic) => {
                println!("seed {seed} failed: ONLY_SEED={seed} runs it again");
                std::panic::resume_unwind(panic);
            }
        }
    }
    // The dice reach everything: a test that sees no conversation checks none.
    let all = ["in a flow", "waiting", "offered", "dialling", "connected", "in the echo", "over"];
    for phase in all {
        assert!(phases.get(phase).copied().unwrap_or(0) > 20 || only.is_some(), "{phases:?}");
    }
    for phase in ["consulting", "in a conference", "parked", "supervised", "picked up", "joined"] {
        assert!(phases.get(phase).copied().unwrap_or(0) > 2 || only.is_some(), "{phases:?}");
    }
}
