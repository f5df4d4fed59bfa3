//! A service address moves between hosts of a real network: three hosts and a switch, each a
//! network namespace of this machine, joined by cables (veth) and a bridge.
//!
//! Owns the namespaces: made here under names of this process, and deleted at the end. Needs
//! root and iproute2, and fails without them.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test that cannot go on should end"
)]

use std::fs::File;
use std::net::{IpAddr, UdpSocket};
use std::num::NonZero;
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, Protocol, RecvFlags, SocketFlags, SocketType, recv, socket_with};
use rustix::thread::{
    CapabilitySet, CapabilitySets, LinkNameSpaceType, capabilities, move_into_link_name_space,
    set_capabilities,
};
use tandem::address::{AddressBackend, AddressError, Interface};

const SERVICE_V4: &str = "10.77.0.101";
const SERVICE_V6: &str = "fd00:77::101";
const PORT: u16 = 5060;

/// From the beginning of a take to the first packet that reaches the new holder.
const MOVE_MAX: Duration = Duration::from_secs(1);
/// The peer sends this often: what it adds to a measured time.
const PACKET_EVERY: Duration = Duration::from_millis(2);
/// How long a busy machine may need for what has no bound of its own.
const PATIENCE: Duration = Duration::from_secs(10);

const LIFETIME: Duration = Duration::from_secs(2);
/// The kernel ends lifetimes up to half a second early, and late on a busy machine: 1.8 to 2.3 s were
/// measured, and looking costs some time, too.
const WITHDRAWN_AFTER: [Duration; 2] = [Duration::from_millis(1_000), Duration::from_millis(3_500)];

#[test]
fn packets_reach_the_host_that_takes_the_address() {
    for service in [SERVICE_V4, SERVICE_V6] {
        let network = Network::new();
        let address: IpAddr = service.parse().unwrap();
        let (at_a, at_b) = (network.a.socket(), network.b.socket());
        network.a.run(&["take", "--lifetime-ms", "60000"], service).succeeds();
        let peer = network.peer.sends_to(address);
        receive(&at_a, PATIENCE);
        let known = network.peer.neighbour(service);
        assert!(known.contains(&network.a.hardware()), "the peer knows the holder: {known:?}");

        // A stays silent but keeps the address, as a frozen process does.
        let began = Instant::now();
        network.b.inside(move || backend().take(&[address], Some(LIFETIME))).unwrap();
        let taken = began.elapsed();
        receive(&at_b, MOVE_MAX);
        let moved = began.elapsed();
        eprintln!("{service}: taken after {taken:?}, the peer's packet arrived after {moved:?}");
        assert!(moved <= MOVE_MAX);
        let known = network.peer.neighbour(service);
        assert!(known.contains(&network.b.hardware()), "the peer knows the new one: {known:?}");

        // Planned, and by the command: B gives it up, A takes it back.
        network.b.run(&["release"], service).succeeds();
        assert!(!network.b.has(address));
        drain(&at_a);
        let began = Instant::now();
        network.a.run(&["take", "--lifetime-ms", "2000"], service).succeeds();
        receive(&at_a, MOVE_MAX);
        eprintln!("{service}: back by the command after {:?}", began.elapsed());
        drop(peer);
    }
}

#[test]
fn an_address_that_nobody_renews_is_withdrawn_and_not_renewed_any_more() {
    let network = Network::new();
    for service in [SERVICE_V4, SERVICE_V6] {
        let address: IpAddr = service.parse().unwrap();
        network.a.run(&["take", "--lifetime-ms", "2000"], service).succeeds();
        // Renewed for longer than its lifetime it stays.
        let renewed_until = Instant::now() + 2 * LIFETIME;
        while Instant::now() < renewed_until {
            network.a.run(&["refresh", "--lifetime-ms", "2000"], service).succeeds();
            assert!(network.a.has(address));
            thread::sleep(LIFETIME / 8);
        }
        network.a.run(&["refresh", "--lifetime-ms", "2000"], service).succeeds();
        let renewed = Instant::now();
        while network.a.has(address) {
            assert!(renewed.elapsed() < PATIENCE, "{service} stays without a renewal");
            thread::sleep(Duration::from_millis(10));
        }
        let withdrawn = renewed.elapsed();
        eprintln!("{service}: withdrawn {withdrawn:?} after its last renewal for {LIFETIME:?}");
        let [least, most] = WITHDRAWN_AFTER;
        assert!((least..=most).contains(&withdrawn), "{service} after {withdrawn:?}");
        // The process wakes up: the address may be another's now.
        let refresh = network.a.run(&["refresh", "--lifetime-ms", "2000"], service);
        refresh.fails_with("not renewed in time and withdrawn: [");
        assert!(!network.a.has(address), "a renewal took {service} again");
    }
}

#[test]
fn taking_and_releasing_can_be_repeated() {
    let network = Network::new();
    for service in [SERVICE_V4, SERVICE_V6] {
        let address: IpAddr = service.parse().unwrap();
        network.a.run(&["release"], service).succeeds();
        network.a.run(&["take"], service).succeeds();
        assert!(network.a.shown(service).contains("until deleted"), "{}", network.a.shown(service));
        network.a.run(&["take", "--lifetime-ms", "9000"], service).succeeds();
        assert!(network.a.shown(service).contains("9 s unless renewed"));
        network.a.run(&["release"], service).succeeds();
        network.a.run(&["release"], service).succeeds();
        assert!(!network.a.has(address));
    }
}

#[test]
fn an_address_that_the_machine_has_for_good_is_not_taken() {
    let network = Network::new();
    let take = network.a.run(&["take", "--lifetime-ms", "2000"], "10.77.0.1");
    take.fails_with("10.77.0.1 is configured on eth0 as 10.77.0.1/24");
    network.a.run(&["release"], "10.77.0.1").succeeds();
    assert!(network.a.has("10.77.0.1".parse().unwrap()), "what is not ours was deleted");
}

#[test]
fn without_the_capability_nothing_changes_and_the_error_names_it() {
    let network = Network::new();
    for (missing, name) in
        [(CapabilitySet::NET_ADMIN, "CAP_NET_ADMIN"), (CapabilitySet::NET_RAW, "CAP_NET_RAW")]
    {
        for service in [SERVICE_V4, SERVICE_V6] {
            let address: IpAddr = service.parse().unwrap();
            let error = network.a.inside(move || {
                // Of this thread alone.
                let all = capabilities(None).unwrap();
                let less = CapabilitySets { effective: all.effective - missing, ..all };
                set_capabilities(None, less).unwrap();
                backend().take(&[address], Some(LIFETIME)).unwrap_err()
            });
            let text = error.to_string();
            assert!(matches!(error, AddressError::NotPermitted { .. }), "{text}");
            assert!(text.contains(&format!("needs {name}: ")), "{text}");
            assert!(!network.a.has(address));
        }
    }
}

#[test]
fn an_interface_that_is_down_takes_nothing() {
    let network = Network::new();
    ip(&format!("-n {} link set eth0 down", network.a.name));
    network.a.run(&["take"], SERVICE_V4).fails_with("the interface eth0 is down");
    assert!(!network.a.has(SERVICE_V4.parse().unwrap()));
}

/// An announcement after the address was given up would take it from whoever has it then.
#[test]
fn an_address_is_announced_three_times_and_never_after_its_release() {
    let network = Network::new();
    // A request and a reply each time for IPv4.
    for (service, each) in [(SERVICE_V4, 2), (SERVICE_V6, 1)] {
        let address: IpAddr = service.parse().unwrap();
        let wire = network.peer.wire();
        network.a.run(&["take"], service).succeeds();
        assert_eq!(announcements(&wire, &network.a.hardware()), 3 * each, "{service}");
        network.a.inside(move || {
            let backend = backend();
            backend.take(&[address], Some(LIFETIME)).unwrap();
            backend.release(&[address]).unwrap();
        });
        assert_eq!(announcements(&wire, &network.a.hardware()), each, "{service} was released");
    }
}

/// Counts gratuitous ARP and unsolicited advertisements of this sender until the wire has been
/// watched for longer than announcing takes.
fn announcements(wire: &OwnedFd, sender: &str) -> usize {
    let until = Instant::now() + Duration::from_millis(400);
    let mut found = 0;
    let mut frame = [0; 1_600];
    while Instant::now() < until {
        let Ok((bytes, _)) = recv(wire, &mut frame, RecvFlags::empty()) else { continue };
        let frame = &frame[..bytes];
        let octets: Vec<String> = frame[6..12].iter().map(|octet| format!("{octet:02x}")).collect();
        let is_arp = frame[12..14] == [0x08, 0x06] && frame[28..32] == frame[38..42];
        let is_advertisement = frame[12..14] == [0x86, 0xdd]
            && frame[20] == 58 // ICMPv6
            && frame[21] == 255 // hops
            && frame[38..54] == [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]
            && frame[54] == 136;
        if octets.join(":") == sender && (is_arp || is_advertisement) {
            found += 1;
        }
    }
    found
}

fn backend() -> AddressBackend {
    AddressBackend::Interface(Interface::new("eth0"))
}

/// Hosts A, B and a peer on one switch.
struct Network {
    a: Host,
    b: Host,
    peer: Host,
    switch: String,
}

impl Network {
    fn new() -> Self {
        static NETWORKS: AtomicU32 = AtomicU32::new(0);
        assert!(rustix::process::geteuid().is_root(), "this test needs root for its namespaces");
        let number = NETWORKS.fetch_add(1, Ordering::Relaxed);
        let name = |part| format!("tandem-{}-{number}-{part}", std::process::id());
        let hosts = ["a", "b", "peer"].map(|part| Host { name: name(part) });
        let [a, b, peer] = hosts;
        let network = Self { a, b, peer, switch: name("switch") };
        let switch = &network.switch;
        ip(&format!("netns add {switch}"));
        ip(&format!("-n {switch} link add bridge0 type bridge"));
        ip(&format!("-n {switch} link set bridge0 up"));
        for (number, host) in [&network.a, &network.b, &network.peer].into_iter().enumerate() {
            let (number, name) = (number + 1, &host.name);
            ip(&format!("netns add {name}"));
            ip(&format!("-n {switch} link add port{number} type veth peer name eth0 netns {name}"));
            ip(&format!("-n {switch} link set port{number} master bridge0 up"));
            ip(&format!("-n {name} link set lo up"));
            ip(&format!("-n {name} link set eth0 up"));
            ip(&format!("-n {name} address add 10.77.0.{number}/24 dev eth0"));
            ip(&format!("-n {name} address add fd00:77::{number}/64 dev eth0 nodad"));
        }
        network
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for name in [&self.a.name, &self.b.name, &self.peer.name, &self.switch] {
            let deleted = Command::new("ip").args(["netns", "delete", name]).output();
            if !deleted.is_ok_and(|output| output.status.success()) {
                eprintln!("the namespace {name} is left over");
            }
        }
    }
}

/// A host is a network namespace with one interface, eth0.
struct Host {
    name: String,
}

impl Host {
    /// Does something in the host's network, on a thread that stays there.
    fn inside<T: Send + 'static>(&self, what: impl FnOnce() -> T + Send + 'static) -> T {
        let namespace = File::open(format!("/run/netns/{}", self.name)).unwrap();
        let thread = thread::spawn(move || {
            let network = Some(LinkNameSpaceType::Network);
            move_into_link_name_space(namespace.as_fd(), network).unwrap();
            what()
        });
        thread.join().unwrap()
    }

    /// `tandem address …` on this host's interface.
    fn run(&self, arguments: &[&str], service: &str) -> Ran {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tandem"));
        command.arg("address").args(arguments).args(["--interface", "eth0", service]);
        Ran(self.inside(move || command.output().unwrap()))
    }

    /// The line about this address in `tandem address show`.
    fn shown(&self, service: &str) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tandem"));
        command.args(["address", "show", "--interface", "eth0"]);
        let output = self.inside(move || command.output().unwrap());
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().find(|line| line.starts_with(service)).unwrap_or_default().to_owned()
    }

    /// Whether the kernel has the address, by what iproute2 says.
    fn has(&self, address: IpAddr) -> bool {
        let shown = ip(&format!("-n {} -o address show dev eth0 to {address}", self.name));
        !shown.is_empty()
    }

    /// Whom this host remembers for an address.
    fn neighbour(&self, service: &str) -> String {
        ip(&format!("-n {} neighbour show {service} dev eth0", self.name))
    }

    fn hardware(&self) -> String {
        let shown = ip(&format!("-n {} -o link show eth0", self.name));
        let mut words = shown.split_whitespace().skip_while(|word| *word != "link/ether");
        words.nth(1).unwrap().to_owned()
    }

    /// Everything that arrives on this host's cable.
    fn wire(&self) -> OwnedFd {
        self.inside(|| {
            let everything = Protocol::from_raw(NonZero::new(u32::from(3_u16.to_be())).unwrap());
            let flags = SocketFlags::CLOEXEC;
            let socket =
                socket_with(AddressFamily::PACKET, SocketType::RAW, flags, Some(everything));
            let socket = socket.unwrap();
            set_socket_timeout(&socket, Timeout::Recv, Some(Duration::from_millis(10))).unwrap();
            socket
        })
    }

    /// A socket of this host on every address of it, also on those that it will have.
    fn socket(&self) -> UdpSocket {
        self.inside(|| UdpSocket::bind(("::", PORT)).unwrap())
    }

    /// Sends a packet to the address every 2 ms until the value is dropped.
    fn sends_to(&self, address: IpAddr) -> Sending {
        let socket = self.inside(|| UdpSocket::bind(("::", 0)).unwrap());
        let to = match address {
            IpAddr::V4(address) => (address.to_ipv6_mapped(), PORT),
            IpAddr::V6(address) => (address, PORT),
        };
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = stop.clone();
        let thread = thread::spawn(move || {
            while !stopping.load(Ordering::Relaxed) {
                // Between two holders there is nobody to send to.
                let _unreachable = socket.send_to(b"audio", to);
                thread::sleep(PACKET_EVERY);
            }
        });
        Sending { stop, thread: Some(thread) }
    }
}

struct Sending {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

/// How a command ended.
struct Ran(Output);

impl Ran {
    fn succeeds(&self) {
        assert!(self.0.status.success(), "{}", String::from_utf8_lossy(&self.0.stderr));
    }

    fn fails_with(&self, text: &str) {
        let said = String::from_utf8_lossy(&self.0.stderr);
        assert!(!self.0.status.success() && said.contains(text), "{text:?} is not in {said:?}");
    }
}

fn receive(socket: &UdpSocket, within: Duration) {
    socket.set_read_timeout(Some(within)).unwrap();
    let mut packet = [0; 64];
    socket.recv(&mut packet).expect("a packet of the peer arrives in time");
}

fn drain(socket: &UdpSocket) {
    socket.set_nonblocking(true).unwrap();
    let mut packet = [0; 64];
    while socket.recv(&mut packet).is_ok() {}
    socket.set_nonblocking(false).unwrap();
}

fn ip(arguments: &str) -> String {
    let run = Command::new("ip").args(arguments.split_whitespace()).output();
    let output = run.expect("this test needs the program `ip` (Debian package iproute2)");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "`ip {arguments}`, which needs network namespaces: {said}");
    String::from_utf8(output.stdout).unwrap()
}
