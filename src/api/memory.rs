//! A backend without a cluster: one centre, in memory, on a clock that its owner moves.
//!
//! For tests and trials of whatever speaks to the API. Commands are applied at once, time stands
//! until [`MemoryBackend::advance`], and the telephony that a node would do is played by whoever
//! submits its commands. Nothing is kept.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tandem_center::record::Ended;
use tandem_center::{
    CallId, Cdr, Center, Command, Directory, Index, Millis, NodeId, Outcome, Record, RecordingId,
    Rejected, SessionId, audit,
};
use tandem_cluster::driver::{ChangeError, MembershipChange};

use super::backend::{
    Answer, Applied, Backend, CdrQuery, CdrRow, Cluster, Freshness, Member, Reader, Readiness,
    SubmitError, Unavailable,
};
use super::events::EventLog;
use crate::alarms::Alarms;
use crate::audit::report::{Evidence, Finding, Report};
use crate::audit::story::Story;
use crate::recordings::{Download, NoRecording, Recordings};
use crate::records;
use crate::replica::ChangeFailed;

/// Where the clock of a new one stands: a round time in 2026.
pub const START: Millis = Millis(1_780_000_000_000);

/// The centre, its clock and its records, in memory.
#[derive(Debug)]
pub struct MemoryBackend {
    state: Mutex<State>,
    events: Arc<EventLog>,
    alarms: Arc<Alarms>,
    now: AtomicU64,
    made: AtomicU64,
    has_leader: AtomicBool,
    readiness: Mutex<Readiness>,
    recordings: OnceLock<Arc<Recordings>>,
    records: OnceLock<records::Reader>,
}

#[derive(Debug, Default)]
struct State {
    center: Center,
    index: Index,
    /// In the order in which the calls ended.
    cdrs: Vec<Cdr>,
    /// What the ended calls went through.
    ended: BTreeMap<CallId, Ended>,
    /// The last word on each call; it may come before the record of the end.
    said: BTreeMap<CallId, (Arc<str>, Option<Arc<str>>)>,
}

impl MemoryBackend {
    const NODE: NodeId = NodeId(1);

    /// A centre with this directory.
    pub fn new(directory: Directory) -> Result<Arc<Self>, Rejected> {
        let backend = Arc::new(Self {
            state: Mutex::default(),
            events: Arc::new(EventLog::default()),
            alarms: Arc::default(),
            now: AtomicU64::new(START.0),
            made: AtomicU64::new(0),
            has_leader: AtomicBool::new(true),
            readiness: Mutex::new(Readiness::Ready),
            recordings: OnceLock::new(),
            records: OnceLock::new(),
        });
        backend.apply(Command::Configure(Box::new(directory)))?;
        backend.apply(Command::NodeUp {
            node: Self::NODE,
            homes: Vec::new(),
            sockets_are_lost: true,
        })?;
        Ok(backend)
    }

    /// Applies a command now. The events and records of the outcome are kept here.
    pub fn apply(&self, command: Command) -> Result<(Index, Outcome), Rejected> {
        let mut state = lock(&self.state);
        let state = &mut *state;
        state.index += 1;
        let at = self.now();
        let mut outcome = state.center.apply(state.index, at, command);
        let mut events = Vec::new();
        if let Ok(outcome) = &mut outcome {
            events = std::mem::take(&mut outcome.events);
            outcome.records.drain(..).for_each(|record| state.keep(record));
        }
        self.events.push(state.index, at, events);
        outcome.map(|outcome| (state.index, outcome))
    }

    /// Moves the clock, and lets happen what is due on the way.
    pub fn advance(&self, ms: u64) {
        let end = self.now().plus_ms(ms);
        while let Some(due) = self.look(Center::next_deadline).filter(|due| *due <= end) {
            let due = due.max(self.now());
            self.now.store(due.0, Ordering::Relaxed);
            if self.apply(Command::Tick).is_err() {
                break;
            }
        }
        self.now.store(end.0, Ordering::Relaxed);
    }

    /// Whether commands are taken: an election takes the leader away.
    pub fn set_leader(&self, has_leader: bool) {
        self.has_leader.store(has_leader, Ordering::Relaxed);
    }

    /// What [`Backend::readiness`] answers.
    pub fn set_readiness(&self, readiness: Readiness) {
        *lock(&self.readiness) = readiness;
    }

    /// Where [`Backend::recording`] finds recordings. Once.
    pub fn serve_recordings(&self, recordings: Arc<Recordings>) {
        let _ = self.recordings.set(recordings);
    }

    /// What [`Backend::records`] reads. Once.
    pub fn serve_records(&self, records: records::Reader) {
        let _ = self.records.set(records);
    }

    /// Looks at the centre.
    pub fn look<T>(&self, at: impl FnOnce(&Center) -> T) -> T {
        at(&lock(&self.state).center)
    }

    fn available(&self) -> Result<(), Unavailable> {
        if self.has_leader.load(Ordering::Relaxed) { Ok(()) } else { Err(Unavailable::NoLeader) }
    }
}

impl State {
    fn keep(&mut self, record: Record) {
        match record {
            Record::Cdr(cdr) => self.cdrs.push(*cdr),
            Record::Disposition(said) => {
                self.said.insert(said.call, (said.disposition, said.note));
            }
            Record::Stint(_) => {}
            Record::Timeline(ended) => drop(self.ended.insert(ended.call, *ended)),
        }
    }

    fn rows(&self, query: &CdrQuery) -> Vec<CdrRow> {
        let said = |cdr: &Cdr| self.said.get(&cdr.call).map(|(said, _)| &**said);
        let mut cdrs: Vec<&Cdr> =
            self.cdrs.iter().filter(|cdr| query.matches(cdr, said(cdr))).collect();
        cdrs.sort_by_key(|cdr| std::cmp::Reverse((cdr.arrived, cdr.call)));
        let row =
            |cdr: &Cdr| CdrRow { cdr: cdr.clone(), disposition: self.said.get(&cdr.call).cloned() };
        cdrs.into_iter().take(query.limit).map(row).collect()
    }
}

impl Backend for MemoryBackend {
    fn node(&self) -> NodeId {
        Self::NODE
    }

    fn now(&self) -> Millis {
        Millis(self.now.load(Ordering::Relaxed))
    }

    fn submit(&self, command: Command) -> Answer<'_, Result<Applied, SubmitError>> {
        Box::pin(async move {
            self.available()?;
            let (index, outcome) = self.apply(command)?;
            Ok(Applied { index, reply: outcome.reply })
        })
    }

    fn read(&self, freshness: Freshness, reader: Reader) -> Answer<'_, Result<(), Unavailable>> {
        Box::pin(async move {
            match freshness {
                Freshness::Local => (),
                Freshness::Linear => self.available()?,
            }
            reader(&lock(&self.state).center);
            Ok(())
        })
    }

    fn alarms(&self) -> &Arc<Alarms> {
        &self.alarms
    }

    fn events(&self) -> &Arc<EventLog> {
        &self.events
    }

    fn new_call(&self) -> (CallId, u64) {
        let made = self.made.fetch_add(1, Ordering::Relaxed);
        (CallId::new(Self::NODE, self.now(), made as u16), made)
    }

    fn new_session(&self) -> SessionId {
        SessionId(self.made.fetch_add(1, Ordering::Relaxed) + 1)
    }

    fn cdrs(&self, query: CdrQuery) -> Answer<'_, Result<Vec<CdrRow>, Unavailable>> {
        Box::pin(async move { Ok(lock(&self.state).rows(&query)) })
    }

    fn story(&self, call: CallId) -> Answer<'_, Result<Option<Story>, Unavailable>> {
        let state = lock(&self.state);
        let live = state.center.call(call).map(|call| Story::of_live(call));
        let cdr = state.cdrs.iter().find(|cdr| cdr.call == call);
        let ended = cdr.zip(state.ended.get(&call));
        let story =
            live.or_else(|| ended.map(|(cdr, ended)| Story::of_ended(cdr, &ended.timeline)));
        Box::pin(async move { Ok(story) })
    }

    fn audit(&self) -> Answer<'_, Result<Report, Unavailable>> {
        let mut report = Report { node: Self::NODE.0, good: true, ..Report::default() };
        let state = lock(&self.state);
        let faults = audit::check_state(&state.center).into_iter();
        let faults = faults.chain(state.cdrs.iter().flat_map(audit::check_record));
        report.add(faults.map(|fault| Finding::of(Evidence::State, &fault)));
        Box::pin(async move { Ok(report) })
    }

    fn recording(&self, id: RecordingId) -> Answer<'_, Result<Download, NoRecording>> {
        Box::pin(async move {
            match self.recordings.get() {
                Some(recordings) => recordings.get(&id).await,
                None => Err(NoRecording::Nobody),
            }
        })
    }

    fn records(&self) -> Option<records::Reader> {
        self.records.get().cloned()
    }

    fn recordings(&self) -> Option<Arc<Recordings>> {
        self.recordings.get().cloned()
    }

    fn cluster(&self) -> Cluster {
        let applied = lock(&self.state).index;
        let member = Member {
            node: Self::NODE,
            address: "memory".to_owned(),
            http: None,
            voter: true,
            witness: false,
            reachable: true,
            matched: Some(applied),
        };
        let leader = self.available().is_ok().then_some(Self::NODE);
        Cluster { leader, term: 1, committed: applied, applied, members: vec![member] }
    }

    fn readiness(&self) -> Readiness {
        lock(&self.readiness).clone()
    }

    fn transfer_leader(&self, to: NodeId) -> Answer<'_, Result<(), Unavailable>> {
        let result = if to == Self::NODE { Ok(()) } else { Err(Unavailable::NoLeader) };
        Box::pin(async move { result })
    }

    /// A node alone can neither be joined nor leave.
    fn change_members(&self, change: MembershipChange) -> Answer<'_, Result<(), ChangeFailed>> {
        let own = Self::NODE.0;
        let error = match change {
            MembershipChange::AddLearner { node, .. } if node == own => {
                ChangeError::Member { node }
            }
            MembershipChange::AddLearner { .. } => ChangeError::UnderWay,
            MembershipChange::Promote { node } => ChangeError::NotLearner { node },
            MembershipChange::Remove { node } if node == own => ChangeError::LastVoter { node },
            MembershipChange::Remove { node } => ChangeError::NotMember { node },
        };
        Box::pin(async move { Err(error.into()) })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
