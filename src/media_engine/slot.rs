//! An open port: its sockets, its machine, and who hears it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::net::{RecvFlags, SendFlags};
use tandem_media::port::{Heard, Port, RecordTap, What};
use tandem_media::session::SenderState;

use super::ports::Reservation;
use super::recorder::{Batch, Recorder, Tap};
use super::worker::STOPPED;
use super::{PortKey, PortPlan, PortState};

/// Panics of one port before it is left silent until its next plan: one that dies at every
/// packet would cost the others their time.
const DEATHS_MAX: u32 = 16;

/// Recorded bytes that are handed to the recorder however young they are.
const BATCH_BYTES: usize = 16 * 1024;

/// How old the first packet of a batch becomes before it is handed over: what a crash can take
/// from a recording begins with this.
pub(super) const BATCH_AGE: Duration = Duration::from_millis(200);

#[derive(Debug)]
pub(super) struct Slot {
    pub(super) key: PortKey,
    pub(super) port: Port,
    pub(super) sockets: Reservation,
    /// The slots whose source is this port; this one itself for an echo.
    pub(super) listeners: Vec<u32>,
    /// It is in the wheel of the 20 ms clock.
    pub(super) ticking: bool,
    /// Nothing is sent: the peer is another node's, as far as can be known.
    pub(super) muted: bool,
    /// The process was stopped until then: whether the call is still here is not known.
    pub(super) doubted: Option<Instant>,
    /// The next thing that the machine does panics: a test of the supervision.
    pub(super) panic: bool,
    tap: Option<Tapped>,
    deaths: u32,
}

/// What is being recorded of a port, and what has not been handed over yet.
#[derive(Debug)]
struct Tapped {
    tap: Tap,
    batch: Batch,
}

impl Slot {
    pub(super) fn new(key: PortKey, sockets: Reservation, port: Port) -> Self {
        Self {
            key,
            port,
            sockets,
            listeners: Vec::new(),
            ticking: false,
            muted: false,
            doubted: None,
            panic: false,
            tap: None,
            deaths: 0,
        }
    }

    /// Builds the machine again from its plan, after it panicked. The output stream goes on;
    /// everything else is found out anew.
    pub(super) fn rebuild(&mut self, now: Instant) {
        self.deaths += 1;
        self.panic = false;
        let mut plan = self.port.plan().clone();
        if self.deaths > DEATHS_MAX {
            plan = PortPlan { remote: None, ..PortPlan::new(plan.codec) };
        }
        let state = self.port.state();
        self.port = Port::new(plan, random_stream(), now);
        self.port.resume(&state);
    }

    pub(super) fn apply(&mut self, plan: PortPlan, recorder: &Recorder, now: Instant) {
        self.deaths = 0;
        let codec = plan.codec.kind;
        let unchanged = match (&self.tap, &plan.record) {
            (Some(old), Some(new)) => old.tap.is(new, codec),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        if !unchanged {
            self.end_recording(recorder);
            self.tap = plan.record.as_ref().map(|RecordTap { path, channel, epoch }| {
                let tap = Tap {
                    path: Arc::from(path.as_path()),
                    channel: *channel,
                    epoch: *epoch,
                    codec,
                    key: self.key,
                };
                recorder.join(&tap, now);
                Tapped { tap, batch: Batch::default() }
            });
        }
        self.port.apply(plan, now);
    }

    /// Keeps a packet for the recording.
    pub(super) fn record(
        &mut self,
        heard: &Heard,
        datagram: &[u8],
        recorder: &Recorder,
        now: Instant,
    ) {
        if let (Some(tapped), What::Audio | What::LateAudio) = (&mut self.tap, heard.what) {
            tapped.batch.push(heard, &datagram[heard.payload.clone()], now);
            if tapped.batch.bytes() >= BATCH_BYTES || tapped.batch.age(now) >= BATCH_AGE {
                recorder.write(&tapped.tap, std::mem::take(&mut tapped.batch));
            }
        }
    }

    /// Whether it is being recorded.
    pub(super) fn is_recorded(&self) -> bool {
        self.tap.is_some()
    }

    /// Hands over what has been kept.
    pub(super) fn flush_recording(&mut self, recorder: &Recorder) {
        if let Some(tapped) = self.tap.as_mut().filter(|tapped| tapped.batch.bytes() > 0) {
            recorder.write(&tapped.tap, std::mem::take(&mut tapped.batch));
        }
    }

    pub(super) fn end_recording(&mut self, recorder: &Recorder) {
        self.flush_recording(recorder);
        if let Some(tapped) = self.tap.take() {
            recorder.leave(&tapped.tap);
        }
    }

    /// A datagram from a socket of the port, if there is one.
    pub(super) fn receive(&self, rtcp: bool, buffer: &mut [u8]) -> Option<(usize, SocketAddr)> {
        let socket = if rtcp { self.sockets.rtcp() } else { self.sockets.rtp() };
        let (taken, _, source) = rustix::net::recvfrom(socket, buffer, RecvFlags::empty()).ok()?;
        Some((taken, source?.try_into().ok()?))
    }

    /// Sends RTP to the peer, unless the process was stopped since it was made: the peer may be
    /// another node's by then. False when the kernel does not take it.
    pub(super) fn send(&self, packet: &[u8], made: Instant) -> bool {
        if self.muted || made.elapsed() > STOPPED {
            return true;
        }
        let Some(peer) = self.port.destination() else {
            return false;
        };
        rustix::net::sendto(self.sockets.rtp(), packet, SendFlags::empty(), &peer).is_ok()
    }

    /// Sends RTCP to the peer.
    pub(super) fn send_rtcp(&self, packet: &[u8]) -> bool {
        if self.muted {
            return true;
        }
        let Some(peer) = self.port.rtcp_destination() else {
            return false;
        };
        rustix::net::sendto(self.sockets.rtcp(), packet, SendFlags::empty(), &peer).is_ok()
    }

    /// Panics if a test asked for it.
    pub(super) fn trip(&mut self) {
        if std::mem::take(&mut self.panic) {
            panic!("a test panics port {:?}", self.key);
        }
    }
}

/// A machine for a port that is opened or adopted.
pub(super) fn new_port(plan: PortPlan, state: Option<PortState>, now: Instant) -> Port {
    let mut port = Port::new(plan, random_stream(), now);
    if let Some(state) = state {
        port.resume(&state);
    }
    port
}

/// SSRC, sequence number and timestamp begin at random (RFC 3550 §5.1).
fn random_stream() -> SenderState {
    SenderState { ssrc: rand::random(), sequence: rand::random(), timestamp: rand::random() }
}
