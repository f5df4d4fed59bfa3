//! A node: one start of the program on a simulated disk, between two crashes.
//!
//! Owns the driver, the centre, the servers of its calls, and the proposals whose fate it does
//! not know. All of it but the disk and the cache is lost with the power.

use std::collections::{BTreeMap, BTreeSet};

use tandem_center::{CallId, Center, Command, CommandId, HomeId, Millis, NodeId, Touched};
use tandem_cluster::clock::LogClock;
use tandem_cluster::presence::{Moment, Presence, Timing};
use tandem_cluster::{Driver, Index, Log, LogError, MemoryLog, Options, ReadId, SnapshotData};

use crate::claims::{Broken, broken};
use crate::disks::BrokenDisk;
use crate::ends::EndId;
use crate::event::Event;
use crate::schedule::Ending;
use crate::server::Server;
use crate::{MILLISECOND, Micros, SECOND};

/// Whose clock stood still for so long must notice it by what others send.
const SLEEP_NOTICED: Micros = 500 * MILLISECOND;

/// What every node's clock shows when the world begins.
pub(crate) const BEGINNING_MS: u64 = 1_764_000_000_000;

/// One machine, running or not.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) id: u64,
    pub(crate) disk: MemoryLog,
    /// The applied state as the disposable store has it; a crash may take it.
    pub(crate) cache: Option<Cache>,
    /// How many times it was started.
    pub(crate) starts: u64,
    pub(crate) running: Option<Running>,
    /// Its clock is this far from the world's.
    pub(crate) ahead_ms: i64,
    /// It ends after so many more outputs.
    pub(crate) crash_soon: Option<CrashSoon>,
    /// Each write to its disk takes so long, until then.
    pub(crate) slow: Option<(Micros, Micros)>,
    /// Its disk is full until then.
    pub(crate) full_until: Micros,
    /// The next write to its disk fails.
    pub(crate) broken: Option<BrokenDisk>,
    /// It was removed, or is not a member yet: nobody starts it.
    pub(crate) is_spare: bool,
    /// Its process was started then; that is the zero of the process' own clock,
    pub(crate) started_at: Micros,
    /// which is so many thousandths too fast.
    pub(crate) fast: i64,
    /// Its process is there and awake since then.
    pub(crate) there_since: Micros,
    /// The machine is there without a process, and refuses connections.
    pub(crate) refuses: bool,
    /// The process, or the machine with its clock, stands still.
    pub(crate) frozen: Option<Frozen>,
    /// For how long in all the clock of its process stood still.
    stood_still: Micros,
    /// From when to when it did so last.
    slept: (Micros, Micros),
    /// Until then it may not have noticed that its clock stood still.
    pub(crate) unaware_until: Micros,
}

/// What stands still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pause {
    /// The process; time passes for it, and what it is sent waits.
    Process,
    /// The machine with all clocks of its own; what it is sent is lost.
    Machine,
}

/// A process that stands still.
#[derive(Debug)]
pub(crate) struct Frozen {
    pub(crate) pause: Pause,
    since: Micros,
    /// What it will handle when it goes on.
    pub(crate) inbox: Vec<Event>,
}

/// A node that will end in the middle of a turn: between two outputs of its driver.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CrashSoon {
    pub(crate) outputs: u64,
    pub(crate) how: Ending,
    pub(crate) down: Micros,
}

/// The pairs of the applied state.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cache {
    pub(crate) pairs: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(crate) index: Index,
    pub(crate) at: u64,
    pub(crate) ledger: Ledger,
}

/// The call-detail records of a node: which call, and the commit that ended it.
pub(crate) type Ledger = BTreeMap<CallId, Index>;

/// A node between two crashes.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) driver: Driver<MemoryLog>,
    pub(crate) center: Center,
    pub(crate) ledger: Ledger,
    pub(crate) servers: BTreeMap<CallId, Server>,
    /// The calls that callers' INVITEs became.
    pub(crate) arrivals: BTreeMap<EndId, CallId>,
    /// To be proposed at the end of this turn.
    pub(crate) outbox: Vec<(Waiter, Command)>,
    /// Proposed, and not seen committed.
    pub(crate) waiting: BTreeMap<u64, Waiting>,
    pub(crate) cleared: BTreeSet<CallId>,
    /// Calls that changed in this turn.
    pub(crate) touched: BTreeSet<CallId>,
    /// What changed since the cache was written.
    pub(crate) uncached: Touched,
    /// The cluster knows that it was started.
    pub(crate) is_announced: bool,
    /// It has seen all that was committed when it started: it may speak with far ends.
    pub(crate) is_caught_up: bool,
    /// The newest acknowledged command when it asked whether it is.
    pub(crate) asked_at: Index,
    /// A proposal of these kinds is under way.
    pub(crate) ticks: bool,
    pub(crate) configures: bool,
    pub(crate) presence: Presence,
    /// When the others' beats came.
    pub(crate) heard: BTreeMap<u64, Moment>,
    /// When something was proposed about a node's presence.
    pub(crate) proposed: BTreeMap<u64, Micros>,
    /// Service addresses that are open here.
    pub(crate) open: BTreeSet<HomeId>,
    /// Addresses for which it acts no more: they are on their way back. In which epoch, and when
    /// that was proposed last.
    pub(crate) yielded: BTreeMap<HomeId, (u32, Micros)>,
    /// Who holds an address may have changed.
    pub(crate) homes_changed: bool,
    /// What it stamps entries with.
    pub(crate) clock: LogClock,
    /// The log is being written; what waits for the driver meanwhile.
    pub(crate) writing: Option<Vec<Event>>,
    sequence: u64,
    calls: u16,
}

/// Who waits for a proposal.
#[derive(Clone, Debug)]
pub(crate) enum Waiter {
    /// The server of this call proposed it.
    Call(CallId),
    /// This desk's command.
    Desk(usize, CommandId),
    /// Forgets calls.
    Cleared(Vec<CallId>),
    /// The leader's clock.
    Tick,
    /// The leader's configuration.
    Configure,
    /// This node says that it is there, during the lease of this number.
    Here(u64),
    /// A service address of another node is given back.
    Yield(HomeId),
    /// Nobody.
    Nobody,
}

/// A proposal whose fate is not known.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) waiter: Waiter,
    pub(crate) command: Command,
    pub(crate) since: Micros,
    pub(crate) term: u64,
}

impl Node {
    pub(crate) fn new(id: u64, disk: MemoryLog, is_spare: bool) -> Self {
        Self {
            id,
            disk,
            cache: None,
            starts: 0,
            running: None,
            ahead_ms: 0,
            crash_soon: None,
            slow: None,
            full_until: 0,
            broken: None,
            is_spare,
            started_at: 0,
            fast: 0,
            there_since: 0,
            refuses: false,
            frozen: None,
            stood_still: 0,
            slept: (0, 0),
            unaware_until: 0,
        }
    }

    /// The clock of its process, which nobody sets, and which is never right.
    pub(crate) fn moment(&self, now: Micros) -> Moment {
        let now = match &self.frozen {
            Some(Frozen { pause: Pause::Machine, since, .. }) => *since,
            Some(Frozen { pause: Pause::Process, .. }) | None => now,
        };
        let passed = (now - self.started_at - self.stood_still) / MILLISECOND;
        passed.saturating_add_signed(passed as i64 * self.fast / 1_000) + 1
    }

    /// What its clock shows.
    pub(crate) fn clock_ms(&self, now: Micros) -> u64 {
        (BEGINNING_MS + now / MILLISECOND).saturating_add_signed(self.ahead_ms)
    }

    /// What the log's clock shows here.
    pub(crate) fn log_ms(&mut self, now: Micros) -> u64 {
        let (moment, day) = (self.moment(now), self.clock_ms(now));
        let Some(running) = &mut self.running else { return day };
        let begins = !running.clock.is_set();
        let day = if begins { day.max(running.driver.applied_at()) } else { day };
        running.clock.read(moment, day, running.driver.role().leading)
    }

    pub(crate) fn stand_still(&mut self, now: Micros, pause: Pause) {
        self.frozen = Some(Frozen { pause, since: now, inbox: Vec::new() });
    }

    /// Goes on: what waited for it.
    pub(crate) fn go_on(&mut self, now: Micros, timing: Timing) -> Option<Vec<Event>> {
        let Frozen { pause, since, inbox } = self.frozen.take()?;
        if pause == Pause::Machine {
            self.stood_still += now - since;
            self.slept = (since, now);
            // By a clock that may be a hundredth too slow.
            self.unaware_until = now + timing.lease_ms * 102 / 100 * MILLISECOND;
        }
        Some(inbox)
    }

    /// Whether this beat of a node, which was heard at `heard` before, tells a node that slept so
    /// long that others may have its calls that it did.
    pub(crate) fn is_told_by(&self, peer: &Self, sent: Moment, heard: Moment) -> bool {
        let (since, woke) = self.slept;
        if woke < since + SLEEP_NOTICED || woke < peer.started_at {
            return false;
        }
        // By a process that it had heard shortly before, and whose clock went on.
        let was_heard = self.moment(woke) < heard + 2 * SECOND / MILLISECOND;
        let is_same = peer.started_at + 3 * SECOND < since && peer.slept.1 < since;
        was_heard && is_same && sent >= peer.moment(woke)
    }

    /// Whether it may act on a lease that has ended, since its clock stood still.
    pub(crate) fn is_unaware(&self, now: Micros) -> bool {
        let sleeps = self.frozen.as_ref().is_some_and(|frozen| frozen.pause == Pause::Machine);
        sleeps || now < self.unaware_until
    }

    pub(crate) fn is_leading(&self) -> bool {
        self.running.as_ref().is_some_and(|running| running.driver.role().leading)
    }

    /// Starts it from its disk.
    pub(crate) fn start(
        &mut self,
        now: Micros,
        seed: u64,
        timing: Timing,
        acknowledged: Index,
    ) -> Result<(), Broken> {
        self.starts += 1;
        (self.started_at, self.there_since, self.refuses) = (now, now, false);
        (self.stood_still, self.unaware_until, self.slept) = (0, 0, (0, 0));
        self.disk.mend();
        self.broken = None;
        let mut options = Options::new(self.id);
        (options.seed, options.incarnation) = (seed, self.starts);
        let (mut center, mut ledger) = (Center::new(), Ledger::new());
        if let Some(snapshot) = self.disk.snapshot() {
            let data = SnapshotData::decode(&snapshot.data).map_err(unreadable)?;
            (center, ledger) = unseal(&data.state)?;
            (options.applied, options.applied_at) = (snapshot.get_metadata().index, data.at);
        }
        let log = self.disk.first_index()..=self.disk.last_index() + 1;
        if let Some(cache) = &self.cache
            && cache.index > options.applied
            && log.contains(&(cache.index + 1))
        {
            center = Center::from_pairs(&cache.pairs).map_err(unreadable)?;
            ledger = cache.ledger.clone();
            (options.applied, options.applied_at) = (cache.index, cache.at);
        } else {
            self.cache = None;
        }
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let driver = Driver::new(&options, self.disk.clone(), &logger).map_err(unreadable)?;
        // As the program does: its clock of the day, which may be set back.
        let presence = Presence::new(self.id, self.clock_ms(now), timing);
        let mut running = Running::new(driver, center, ledger, presence);
        running.know_members(self.moment(now), self.id);
        running.asked_at = acknowledged;
        running.driver.read(ReadId(0));
        running.look_at_all();
        self.running = Some(running);
        Ok(())
    }

    /// Writes what changed to the cache, as the store does every now and then.
    pub(crate) fn write_cache(&mut self) {
        let Some(running) = &mut self.running else { return };
        let (index, at) = running.driver.applied();
        if self.cache.as_ref().is_some_and(|cache| cache.index == index) {
            return;
        }
        let mut cache = match self.cache.take() {
            Some(cache) => cache,
            // A new cache begins with everything.
            None => {
                let pairs = pairs_of(&running.center.save()).unwrap_or_default();
                Cache { pairs: pairs.into_iter().collect(), ..Cache::default() }
            }
        };
        for (key, value) in running.center.changed(&std::mem::take(&mut running.uncached)) {
            match value {
                Some(value) => drop(cache.pairs.insert(key, value)),
                None => drop(cache.pairs.remove(&key)),
            }
        }
        (cache.index, cache.at) = (index, at);
        cache.ledger.clone_from(&running.ledger);
        self.cache = Some(cache);
    }

    /// Makes a snapshot, and forgets the log before it but for a few entries.
    pub(crate) fn snapshot(&mut self, kept: u64) -> Result<(), LogError> {
        let Some(running) = &mut self.running else { return Ok(()) };
        let state = seal(&running.center, &running.ledger);
        let snapshot = running.driver.snapshot_of(state);
        let through = running.driver.applied().0.saturating_sub(kept);
        running.driver.compact(snapshot, through)
    }
}

impl Running {
    fn new(driver: Driver<MemoryLog>, center: Center, ledger: Ledger, presence: Presence) -> Self {
        Self {
            driver,
            center,
            ledger,
            servers: BTreeMap::new(),
            arrivals: BTreeMap::new(),
            outbox: Vec::new(),
            waiting: BTreeMap::new(),
            cleared: BTreeSet::new(),
            touched: BTreeSet::new(),
            uncached: Touched::default(),
            is_announced: false,
            is_caught_up: false,
            asked_at: 0,
            ticks: false,
            configures: false,
            presence,
            heard: BTreeMap::new(),
            proposed: BTreeMap::new(),
            open: BTreeSet::new(),
            yielded: BTreeMap::new(),
            homes_changed: true,
            clock: LogClock::default(),
            writing: None,
            sequence: 0,
            calls: 0,
        }
    }

    /// Tells the presence who belongs to the cluster, and whom this node follows.
    pub(crate) fn know_members(&mut self, moment: Moment, me: u64) {
        let members = self.driver.status().members;
        let all = members.voters.iter().chain(&members.learners).copied();
        let others: BTreeSet<u64> = all.filter(|node| *node != me).collect();
        self.presence.set_members(moment, &members.voters, others);
        self.presence.set_role(moment, self.driver.role());
    }

    /// The state is another one: every call is looked at.
    pub(crate) fn look_at_all(&mut self) {
        self.touched = self.center.calls().map(|call| call.id).collect();
        self.touched.extend(self.servers.keys());
    }

    pub(crate) fn next_sequence(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }

    pub(crate) fn new_call(&mut self, node: u64, clock_ms: u64) -> CallId {
        self.calls = self.calls.wrapping_add(1);
        CallId::new(NodeId(node), Millis(clock_ms), self.calls)
    }

    pub(crate) fn propose(&mut self, waiter: Waiter, command: Command) {
        self.outbox.push((waiter, command));
    }
}

fn unreadable(error: impl std::fmt::Display) -> Broken {
    broken("a_node_starts_from_its_disk", error.to_string())
}

/// The state as a snapshot carries it.
pub(crate) fn seal(center: &Center, ledger: &Ledger) -> Vec<u8> {
    let ledger: Vec<(u64, u64)> = ledger.iter().map(|(call, index)| (call.0, *index)).collect();
    postcard::to_allocvec(&(center.save(), ledger)).expect("a vector takes all bytes")
}

/// Reads what `seal` wrote.
pub(crate) fn unseal(bytes: &[u8]) -> Result<(Center, Ledger), Broken> {
    let (state, ledger): (Vec<u8>, Vec<(u64, u64)>) =
        postcard::from_bytes(bytes).map_err(unreadable)?;
    let center = Center::load(&state).map_err(unreadable)?;
    Ok((center, ledger.into_iter().map(|(call, index)| (CallId(call), index)).collect()))
}

/// Bytes before the pairs of a saved centre: what it is, and its version.
const SAVED_HEAD_BYTES: usize = 5;

/// A key with its value.
pub(crate) type Pair = (Vec<u8>, Vec<u8>);

/// The pairs of a saved centre.
pub(crate) fn pairs_of(saved: &[u8]) -> Option<Vec<Pair>> {
    postcard::from_bytes(saved.get(SAVED_HEAD_BYTES..)?).ok()
}
