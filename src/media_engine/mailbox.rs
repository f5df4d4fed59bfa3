//! What a packet thread is to do next, by port.
//!
//! Requests for one port merge: of two plans the later one counts, and a close undoes what came
//! before it. So the mailbox holds at most one entry for each port, is bounded by the number of
//! ports, and nobody who posts ever waits.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::mem;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::event::EventfdFlags;

use super::ports::Reservation;
use super::{PortKey, PortPlan, PortState};

/// Called with the exported state of a port.
pub(super) type ExportReply = Box<dyn FnOnce(Option<PortState>) + Send>;

/// How a port is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Close {
    /// Its peer is told by RTCP that the stream ends.
    Told,
    /// Another node serves the peer: it hears nothing from here.
    Silent,
}

/// A plan, and how many leases had been confirmed when it was seen whose the call is.
#[derive(Debug)]
pub(super) struct Described {
    pub(super) plan: PortPlan,
    pub(super) confirmed: u64,
}

/// The very RTP port that a leg's far end knows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hold {
    pub(super) ip: IpAddr,
    pub(super) rtp_port: u16,
    /// How often it is tried again.
    pub(super) tries: u16,
}

/// Requests for one port since the thread last looked, in the order of the fields.
#[derive(Default)]
pub(super) struct Request {
    pub(super) close: Option<Close>,
    pub(super) resume: Option<PortState>,
    pub(super) attach: Option<Reservation>,
    pub(super) hold: Option<Hold>,
    pub(super) plan: Option<Described>,
    pub(super) panic: bool,
    pub(super) export: Option<ExportReply>,
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("close", &self.close)
            .field("resume", &self.resume)
            .field("attach", &self.attach)
            .field("hold", &self.hold)
            .field("plan", &self.plan)
            .field("panic", &self.panic)
            .finish_non_exhaustive()
    }
}

/// Where a packet thread looks for requests.
#[derive(Debug)]
pub(super) struct Mailbox {
    inner: Mutex<Inner>,
    /// Readable while there is something in the mailbox.
    waker: OwnedFd,
}

#[derive(Debug, Default)]
struct Inner {
    requests: BTreeMap<PortKey, Request>,
    stop: bool,
}

/// What the thread took out.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) requests: BTreeMap<PortKey, Request>,
    pub(super) stop: bool,
}

impl Mailbox {
    pub(super) fn new() -> io::Result<Self> {
        let waker = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { inner: Mutex::default(), waker })
    }

    pub(super) fn attach(&self, key: PortKey, reservation: Reservation) {
        self.post(key, |request| request.attach = Some(reservation));
    }

    pub(super) fn hold(&self, key: PortKey, hold: Hold) {
        self.post(key, |request| request.hold = Some(hold));
    }

    pub(super) fn apply(&self, key: PortKey, plan: PortPlan, confirmed: u64) {
        self.post(key, |request| request.plan = Some(Described { plan, confirmed }));
    }

    pub(super) fn resume(&self, key: PortKey, state: PortState) {
        self.post(key, |request| request.resume = Some(state));
    }

    pub(super) fn close(&self, key: PortKey, how: Close) {
        let mut before = Request { close: Some(how), ..Request::default() };
        self.post(key, |request| mem::swap(request, &mut before));
        if let Some(reply) = before.export {
            reply(None);
        }
    }

    pub(super) fn export(&self, key: PortKey, reply: ExportReply) {
        let mut before = Some(reply);
        self.post(key, |request| mem::swap(&mut request.export, &mut before));
        if let Some(overtaken) = before {
            overtaken(None);
        }
    }

    pub(super) fn panic_port(&self, key: PortKey) {
        self.post(key, |request| request.panic = true);
    }

    /// Ends the thread after it has done what was asked before.
    pub(super) fn stop(&self) {
        self.lock().stop = true;
        self.wake();
    }

    /// Becomes readable when something is asked.
    pub(super) fn waker(&self) -> &OwnedFd {
        &self.waker
    }

    /// Takes everything; called when the waker is readable.
    pub(super) fn take(&self) -> Taken {
        // First the waker, so that what is posted from now on wakes the thread again.
        let mut count = [0; 8];
        let _ = rustix::io::read(&self.waker, &mut count);
        let mut inner = self.lock();
        Taken { requests: mem::take(&mut inner.requests), stop: inner.stop }
    }

    fn post(&self, key: PortKey, change: impl FnOnce(&mut Request)) {
        let first = {
            let requests = &mut self.lock().requests;
            let first = requests.is_empty();
            change(requests.entry(key).or_default());
            first
        };
        if first {
            self.wake();
        }
    }

    fn wake(&self) {
        // It cannot fail but by overflow, and then the thread is woken already.
        let _ = rustix::io::write(&self.waker, &1_u64.to_ne_bytes());
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
