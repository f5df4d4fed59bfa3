//! What a port does without a lease, and while its call moves: with a lease that the test ends.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should end")]

use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use super::{CodecKind, CodecSpec, Engine, EngineConfig, PortKey, PortPlan, Source};
use crate::replica::Lease;

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const CALLER: PortKey = PortKey { call: 1, leg: 0 };
const PATIENCE: Duration = Duration::from_secs(10);

/// Longer than packets are apart, and shorter than a port is doubted.
const A_MOMENT: Duration = Duration::from_millis(300);

#[test]
fn a_port_that_was_silent_without_a_lease_speaks_when_its_call_is_described_again() {
    let site = Site::on(42_000..=42_009);
    site.opens();
    site.is_heard();
    site.falls_silent();
    site.lease.set(true);
    assert!(!site.hears_within(A_MOMENT), "it is not known yet whose the call is");
    site.is_described();
    site.is_heard();
}

#[test]
fn a_port_whose_peer_is_heard_again_before_the_lease_comes_is_silent_till_it_does() {
    let site = Site::on(42_040..=42_049);
    let port = site.opens();
    site.is_heard();
    site.falls_silent();
    // The node that had the call lets go of its address.
    site.is_spoken_to(port);
    assert!(!site.hears_within(A_MOMENT), "it is not known yet whose the call is");
    site.lease.set(true);
    site.is_described();
    site.is_heard();
}

/// A node that was cut off hears again who leads, and needs a second or two for what it missed of the
/// log. Its old ports are where the prompts were then.
#[test]
fn a_port_is_silent_for_as_long_as_a_new_lease_waits_to_be_confirmed() {
    let site = Site::on(42_050..=42_059);
    let port = site.opens();
    site.is_heard();
    site.falls_silent();
    site.lease.wait();
    for _ in 0..5 {
        site.is_spoken_to(port);
        assert!(!site.hears_within(A_MOMENT), "it is not known yet whose the call is");
    }
    site.lease.set(true);
    site.is_described();
    site.is_heard();
}

#[test]
fn a_port_that_is_opened_without_a_lease_is_silent_whoever_it_hears() {
    let site = Site::on(42_010..=42_019);
    site.lease.set(false);
    let port = site.opens();
    site.is_spoken_to(port);
    assert!(!site.hears_within(A_MOMENT), "what its socket had kept is no news of its peer");
    site.lease.set(true);
    site.is_described();
    site.is_heard();
}

#[test]
fn a_call_that_comes_back_at_once_has_its_port_though_that_is_being_closed() {
    let site = Site::on(42_020..=42_029);
    let port = site.opens();
    site.is_heard();
    for _ in 0..50 {
        site.engine.abandon(CALLER);
        site.engine.hold(CALLER, HERE, port);
        site.is_described();
        site.engine.hold(CALLER, HERE, port);
    }
    site.is_heard();
    assert_eq!(site.engine.stats().ports_open, 1);
    assert_eq!(site.engine.stats().pairs_in_use, 1);
}

#[test]
fn a_call_that_comes_here_waits_for_its_port_until_another_one_leaves_it() {
    let site = Site::on(42_030..=42_039);
    let other = site.engine.reserve(HERE).unwrap();
    site.engine.hold(CALLER, HERE, other.rtp_port());
    site.is_described();
    assert!(!site.hears_within(A_MOMENT), "the port is another call's");
    drop(other);
    site.is_heard();
}

/// An engine whose only port plays music to a phone.
struct Site {
    engine: Engine,
    lease: Lease,
    phone: UdpSocket,
}

impl Site {
    fn on(ports: std::ops::RangeInclusive<u16>) -> Self {
        let lease = Lease::for_ever();
        let config = EngineConfig { ports, lease: lease.clone(), ..EngineConfig::default() };
        let phone = UdpSocket::bind((HERE, 0)).unwrap();
        Self { engine: Engine::start(config, |_| ()).unwrap(), lease, phone }
    }

    fn opens(&self) -> u16 {
        let reservation = self.engine.reserve(HERE).unwrap();
        let port = reservation.rtp_port();
        self.engine.attach(CALLER, reservation);
        self.is_described();
        let begin = Instant::now();
        while self.engine.stats().ports_open == 0 {
            assert!(begin.elapsed() < PATIENCE, "the port does not open");
            std::thread::yield_now();
        }
        port
    }

    /// The lease ends, and its peer sends nothing here: another node may have it.
    fn falls_silent(&self) {
        self.lease.set(false);
        let silent = Instant::now();
        while self.hears_within(A_MOMENT) {
            assert!(silent.elapsed() < PATIENCE, "it goes on without a lease");
        }
    }

    /// Who describes it knows what is known under the present lease.
    fn is_described(&self) {
        let spec = CodecSpec {
            kind: CodecKind::Pcma,
            send_payload_type: 8,
            receive_payload_type: 8,
            ptime_ms: 20,
        };
        let clip = super::Clip::from_pcm(&[1_000; 8_000]).unwrap();
        let source = Source::Play { seq: 1, clips: vec![clip], repeat: true, from_ms: 0 };
        let remote = Some(self.phone.local_addr().unwrap());
        let plan = PortPlan { source, remote, ..PortPlan::new(spec) };
        self.engine.apply_under(self.lease.confirmed(), CALLER, plan);
    }

    fn is_spoken_to(&self, port: u16) {
        let mut packet = [0_u8; 172];
        (packet[0], packet[1]) = (0x80, 8);
        for _ in 0..10 {
            self.phone.send_to(&packet, (HERE, port)).unwrap();
        }
    }

    fn is_heard(&self) {
        assert!(self.hears_within(PATIENCE), "nothing is heard");
    }

    fn hears_within(&self, time: Duration) -> bool {
        self.phone.set_read_timeout(Some(time)).unwrap();
        self.phone.recv(&mut [0; 2_048]).is_ok()
    }
}
