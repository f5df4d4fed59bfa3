//! What a packet thread is to do next, by port.
//!
//! Requests for one port merge: of two plans the later one counts, and a close undoes what came
//! before it. So the mailbox holds at most one entry for each port, is bounded by the number of
//! ports, and nobody who posts ever waits.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::ports::Reservation;
use super::{PortKey, PortPlan, PortState};

/// Called with the exported state of a port.
pub(super) type ExportReply = Box<dyn FnOnce(Option<PortState>) + Send>;

/// Requests for one port since the thread last looked, in the order of the fields.
#[derive(Default)]
pub(super) struct Request {
    pub(super) close: bool,
    pub(super) resume: Option<PortState>,
    pub(super) attach: Option<Reservation>,
    pub(super) plan: Option<PortPlan>,
    pub(super) panic: bool,
    pub(super) export: Option<ExportReply>,
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("close", &self.close)
            .field("resume", &self.resume)
            .field("attach", &self.attach)
            .field("plan", &self.plan)
            .field("panic", &self.panic)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
pub(super) struct Mailbox {
    requests: Mutex<BTreeMap<PortKey, Request>>,
}

impl Mailbox {
    pub(super) fn attach(&self, key: PortKey, reservation: Reservation) {
        self.post(key, |request| request.attach = Some(reservation));
    }

    pub(super) fn apply(&self, key: PortKey, plan: PortPlan) {
        self.post(key, |request| request.plan = Some(plan));
    }

    pub(super) fn resume(&self, key: PortKey, state: PortState) {
        self.post(key, |request| request.resume = Some(state));
    }

    pub(super) fn close(&self, key: PortKey) {
        self.post(key, |request| *request = Request { close: true, ..Request::default() });
    }

    pub(super) fn export(&self, key: PortKey, reply: ExportReply) {
        self.post(key, |request| request.export = Some(reply));
    }

    pub(super) fn panic_port(&self, key: PortKey) {
        self.post(key, |request| request.panic = true);
    }

    fn post(&self, key: PortKey, change: impl FnOnce(&mut Request)) {
        change(self.lock().entry(key).or_default());
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<PortKey, Request>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
