//! What relaying audio costs: both RTP ends here, the media engine in a process of its own.
//!
//! Prints a table and writes `target/bench/rtp_load.json`. Costs are CPU time of the engine's
//! threads from `/proc`, so they hold on a busy machine; delays include what this process takes
//! to read its sockets, and hold on a quiet one only. Run by `make bench`; one step of it with
//! `cargo bench --bench rtp_load -- relay 800 10` (calls, seconds).

#![expect(clippy::print_stdout, reason = "a benchmark reports on standard output")]
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot run should end")]

use std::fs;
use std::io::{BufRead, BufReader, Lines, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use tandem::media_engine::{
    Clip, CodecKind, CodecSpec, Engine, EngineConfig, PortKey, PortPlan, RecordTap, Source,
};

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// A packet of G.711: header and 20 ms.
const PACKET_BYTES: usize = 12 + 160;
const SLOTS: usize = 20;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["--engine"] => serve(),
        ["relay", calls, seconds] => {
            relay(calls.parse().unwrap(), seconds.parse().unwrap(), None).print();
        }
        ["record", calls, seconds] => {
            let directory = fresh_directory();
            relay(calls.parse().unwrap(), seconds.parse().unwrap(), Some(&directory)).print();
            fs::remove_dir_all(directory).unwrap();
        }
        ["churn", ports] => churn(ports.parse().unwrap()).print(),
        ["music", calls, seconds] => {
            music(calls.parse().unwrap(), seconds.parse().unwrap()).print();
        }
        // `cargo test --benches` starts benches too: nothing to check there.
        _ if words.contains(&"--test") => (),
        _ => everything(),
    }
}

fn everything() {
    relay(20, 2, None);
    let few = relay(100, 10, None);
    let many = relay(800, 10, None);
    let more = relay(1_200, 10, None);
    for run in [&few, &many, &more] {
        run.print();
    }
    let directory = fresh_directory();
    let recorded = relay(50, 10, Some(&directory));
    recorded.print();
    fs::remove_dir_all(directory).unwrap();
    let listening = music(500, 10);
    listening.print();
    let churned = churn(100_000);
    churned.print();
    let rows = [
        (
            "relayed G.711, 800 calls: CPU per packet in or out",
            many.cost_us(),
            "µs",
            9.0,
            PACKET_PEERS,
        ),
        ("relayed G.711, 800 calls: cores", many.cores(), "", 1.0, CALLS_PEERS),
        ("relayed G.711, 800 calls: lost", many.lost_percent(), "%", 0.0, ""),
        ("relayed G.711, 800 calls: added delay p99", many.delay_ms(0.99), "ms", 5.0, ""),
        ("relayed G.711, 1,200 calls: cores", more.cores(), "", 1.5, CALLS_PEERS),
        ("relayed G.711, 1,200 calls: lost", more.lost_percent(), "%", 0.0, ""),
        (
            "50 relayed calls recorded: cores",
            recorded.cores(),
            "",
            0.15,
            "Asterisk 0.30-0.36, FreeSWITCH 0.29",
        ),
        (
            "memory per relayed call",
            many.memory_kb(),
            "kB",
            80.0,
            "rtpengine 40, Asterisk 300, FreeSWITCH 920",
        ),
        ("500 callers hear music: cores", listening.cores(), "", 0.5, ""),
        ("a port opened and closed: CPU", churned.cost_us(), "µs", 100.0, ""),
        (
            "memory after 100,000 ports over before",
            churned.growth,
            "×",
            1.1,
            "RustPBX keeps 170 kB per finished call",
        ),
    ];
    report(&rows);
}

const PACKET_PEERS: &str = "rtpengine 7-9, RustPBX 16-17, Asterisk 20-25, FreeSWITCH 24-44";
const CALLS_PEERS: &str = "calls on one core: rtpengine 1,150-1,470, RustPBX 600, Asterisk 450";

/// What a run measured.
struct Run {
    name: String,
    calls: usize,
    seconds: f64,
    cpu_ns: f64,
    /// Packets in and packets out, or ports opened and closed.
    units: f64,
    sent: u64,
    received: u64,
    /// In microseconds, sorted.
    delays: Vec<u32>,
    memory_before_kb: f64,
    memory_kb: f64,
    growth: f64,
}

impl Run {
    fn cost_us(&self) -> f64 {
        self.cpu_ns / self.units / 1_000.0
    }

    fn cores(&self) -> f64 {
        self.cpu_ns / 1e9 / self.seconds
    }

    fn lost_percent(&self) -> f64 {
        100.0 * (1.0 - self.received as f64 / (self.sent as f64).max(1.0))
    }

    fn delay_ms(&self, share: f64) -> f64 {
        let last = self.delays.len().saturating_sub(1);
        self.delays.get((last as f64 * share) as usize).map_or(f64::NAN, |us| f64::from(*us) / 1e3)
    }

    fn memory_kb(&self) -> f64 {
        (self.memory_kb - self.memory_before_kb) / self.calls.max(1) as f64
    }

    fn print(&self) {
        println!(
            "{:<22} {:.2} µs each, {:.3} cores, {} sent, {:.4} % lost, \
             delay p50 {:.2} p99 {:.2} max {:.2} ms, {:.1} kB a call",
            self.name,
            self.cost_us(),
            self.cores(),
            self.sent,
            self.lost_percent(),
            self.delay_ms(0.5),
            self.delay_ms(0.99),
            self.delay_ms(1.0),
            self.memory_kb(),
        );
    }
}

/// Calls between two ends each, for some seconds.
fn relay(calls: usize, seconds: u64, record: Option<&Path>) -> Run {
    let mut server = Server::start();
    let memory_before_kb = server.memory_kb();
    let mut ends = Ends::open(2 * calls);
    let record = record.map_or("-".into(), |path| path.display().to_string());
    let ports: Vec<u16> = ends.ports();
    for (number, pair) in ports.chunks(2).enumerate() {
        server.order(&format!("call {number} {} {} {record}", pair[0], pair[1]));
        let answer = server.answer();
        let far: Vec<u16> = answer.split(' ').map(|port| port.parse().unwrap()).collect();
        ends.peers.extend(far.iter().map(|port| SocketAddr::new(HERE, *port)));
    }
    // Until the streams have latched and the first reports are out.
    ends.run(Duration::from_millis(1_000));
    ends.forget();
    let (cpu, began) = (server.cpu_ns(), Instant::now());
    ends.run(Duration::from_secs(seconds));
    let cpu_ns = server.cpu_ns() - cpu;
    let took = began.elapsed().as_secs_f64();
    ends.listen(Duration::from_millis(300));
    let memory_kb = server.memory_kb();
    ends.delays.sort_unstable();
    Run {
        name: format!("{calls} calls{}", if record == "-" { "" } else { ", recorded" }),
        calls,
        seconds: took,
        cpu_ns,
        units: (ends.sent + ends.received) as f64,
        sent: ends.sent,
        received: ends.received,
        delays: ends.delays,
        memory_before_kb,
        memory_kb,
        growth: f64::NAN,
    }
}

/// Callers that hear music and say nothing.
fn music(calls: usize, seconds: u64) -> Run {
    let mut server = Server::start();
    let memory_before_kb = server.memory_kb();
    let mut ends = Ends::open(calls);
    for (number, port) in ends.ports().into_iter().enumerate() {
        server.order(&format!("music {number} {port}"));
        server.answer();
    }
    ends.listen(Duration::from_millis(500));
    ends.forget();
    let (cpu, began) = (server.cpu_ns(), Instant::now());
    ends.listen(Duration::from_secs(seconds));
    let cpu_ns = server.cpu_ns() - cpu;
    Run {
        name: format!("{calls} hear music"),
        calls,
        seconds: began.elapsed().as_secs_f64(),
        cpu_ns,
        units: ends.received as f64,
        sent: ends.received,
        received: ends.received,
        delays: Vec::new(),
        memory_before_kb,
        memory_kb: server.memory_kb(),
        growth: f64::NAN,
    }
}

/// Ports opened and closed, none with traffic.
fn churn(ports: usize) -> Run {
    let mut server = Server::start();
    server.order("churn 5000");
    server.answer();
    let (memory_before_kb, cpu, began) = (server.memory_kb(), server.cpu_ns(), Instant::now());
    server.order(&format!("churn {ports}"));
    server.answer();
    let cpu_ns = server.cpu_ns() - cpu;
    let memory_kb = server.memory_kb();
    println!(
        "{ports} ports opened and closed, {:.0}/s",
        ports as f64 / began.elapsed().as_secs_f64()
    );
    Run {
        name: format!("{ports} ports"),
        calls: ports,
        seconds: began.elapsed().as_secs_f64(),
        cpu_ns,
        units: ports as f64,
        sent: 0,
        received: 0,
        delays: Vec::new(),
        memory_before_kb,
        memory_kb,
        growth: memory_kb / memory_before_kb,
    }
}

/// The phones: sockets that send a packet each 20 ms, and read what arrives.
struct Ends {
    sockets: Vec<OwnedFd>,
    peers: Vec<SocketAddr>,
    epoll: OwnedFd,
    ready: Vec<epoll::Event>,
    packet: [u8; PACKET_BYTES],
    /// When time begins for the stamps in the packets.
    epoch: Instant,
    /// Packets stamped before this do not count.
    since: u64,
    number: u16,
    sent: u64,
    received: u64,
    delays: Vec<u32>,
}

impl Ends {
    fn open(count: usize) -> Self {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
        let sockets: Vec<OwnedFd> = (0..count)
            .map(|index| {
                let socket = rustix::net::socket_with(
                    AddressFamily::INET,
                    SocketType::DGRAM,
                    SocketFlags::NONBLOCK | SocketFlags::CLOEXEC,
                    None,
                );
                let socket = socket.unwrap();
                rustix::net::bind(&socket, &SocketAddr::new(HERE, 0)).unwrap();
                let data = epoll::EventData::new_u64(index as u64);
                epoll::add(&epoll, &socket, data, epoll::EventFlags::IN).unwrap();
                socket
            })
            .collect();
        let mut packet = [0xD5; PACKET_BYTES];
        packet[..2].copy_from_slice(&[0x80, 8]);
        Self {
            sockets,
            peers: Vec::new(),
            epoll,
            ready: Vec::with_capacity(1_024),
            packet,
            epoch: Instant::now(),
            since: 0,
            number: 0,
            sent: 0,
            received: 0,
            delays: Vec::new(),
        }
    }

    fn ports(&self) -> Vec<u16> {
        let port = |socket| {
            let name = rustix::net::getsockname(socket).unwrap();
            SocketAddr::try_from(name).unwrap().port()
        };
        self.sockets.iter().map(port).collect()
    }

    /// From now on only what is sent from now on counts.
    fn forget(&mut self) {
        self.since = self.epoch.elapsed().as_nanos() as u64;
        (self.sent, self.received) = (0, 0);
        self.delays.clear();
    }

    /// Talks for a while, a twentieth of the phones each millisecond.
    fn run(&mut self, time: Duration) {
        let began = Instant::now();
        let mut slot = 0_usize;
        while began.elapsed() < time || !slot.is_multiple_of(SLOTS) {
            if slot.is_multiple_of(SLOTS) {
                self.number = self.number.wrapping_add(1);
            }
            for index in (slot % SLOTS..self.peers.len()).step_by(SLOTS) {
                self.send(index);
            }
            slot += 1;
            self.read_until(began + Duration::from_millis(slot as u64));
        }
    }

    fn listen(&mut self, time: Duration) {
        self.read_until(Instant::now() + time);
    }

    fn send(&mut self, index: usize) {
        let timestamp = u32::from(self.number) * 160;
        let stamp = self.epoch.elapsed().as_nanos() as u64;
        self.packet[2..4].copy_from_slice(&self.number.to_be_bytes());
        self.packet[4..8].copy_from_slice(&timestamp.to_be_bytes());
        self.packet[8..12].copy_from_slice(&(index as u32 + 1).to_be_bytes());
        self.packet[12..20].copy_from_slice(&stamp.to_be_bytes());
        let (socket, peer) = (&self.sockets[index], &self.peers[index]);
        rustix::net::sendto(socket, &self.packet, SendFlags::empty(), peer).unwrap();
        self.sent += 1;
    }

    /// Reads what arrives until then, at least once.
    fn read_until(&mut self, until: Instant) {
        loop {
            let left = until.saturating_duration_since(Instant::now());
            self.ready.clear();
            let timeout =
                Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
            let spare = rustix::buffer::spare_capacity(&mut self.ready);
            let _ = epoll::wait(&self.epoll, spare, Some(&timeout));
            for event in std::mem::take(&mut self.ready) {
                self.read(event.data.u64() as usize);
            }
            self.ready.reserve(1_024);
            if left.is_zero() {
                break;
            }
        }
    }

    fn read(&mut self, index: usize) {
        let mut packet = [0; 2_048];
        let bytes = match rustix::net::recv(&self.sockets[index], &mut packet, RecvFlags::empty()) {
            Ok((bytes, _)) => bytes,
            Err(Errno::AGAIN) => return,
            Err(error) => panic!("{error}"),
        };
        // Not the frame of silence that opens the path: only it has no stamp.
        let stamp = u64::from_be_bytes(packet[12..20].try_into().unwrap());
        let now = self.epoch.elapsed().as_nanos() as u64;
        if bytes == PACKET_BYTES && (self.since..now).contains(&stamp) {
            self.delays.push(((now - stamp) / 1_000) as u32);
            self.received += 1;
        } else if bytes == PACKET_BYTES && self.peers.is_empty() {
            self.received += 1;
        }
    }
}

/// The process with the engine.
struct Server {
    child: Child,
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Server {
    fn start() -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        let command = command.arg("--engine").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let orders = child.stdin.take().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut server = Self { child, orders, answers };
        assert_eq!(server.answer(), "ready");
        server
    }

    fn order(&mut self, order: &str) {
        writeln!(self.orders, "{order}").unwrap();
    }

    fn answer(&mut self) -> String {
        self.answers.next().unwrap().unwrap()
    }

    /// CPU time of all its threads.
    fn cpu_ns(&self) -> f64 {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        tasks
            .map(|task| {
                let times = fs::read_to_string(task.unwrap().path().join("schedstat")).unwrap();
                times.split(' ').next().unwrap().parse::<f64>().unwrap()
            })
            .sum()
    }

    fn memory_kb(&self) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = writeln!(self.orders, "end");
        let _ = self.child.wait();
    }
}

/// The other process.
fn serve() {
    let config = EngineConfig { ports: 20_000..=29_999, ..EngineConfig::default() };
    let engine = Engine::start(config, |_| ()).unwrap();
    let clip = Clip::from_pcm(&[100; 8_000]).unwrap();
    clip.prepare(CodecKind::Pcma).unwrap();
    println!("ready");
    for line in std::io::stdin().lines() {
        let line = line.unwrap();
        match line.split(' ').collect::<Vec<_>>().as_slice() {
            ["call", number, one, other, record] => {
                let keys = [0, 1].map(|leg| PortKey { call: number.parse().unwrap(), leg });
                let ports = [(keys[0], keys[1], one), (keys[1], keys[0], other)].map(
                    |(key, peer, port)| {
                        let mut plan = plan(Source::Relay(peer), port);
                        plan.record = (*record != "-").then(|| RecordTap {
                            path: PathBuf::from(record).join(format!("{number}.wav")),
                            channel: key.leg as u8,
                            epoch: 0,
                        });
                        open(&engine, key, plan)
                    },
                );
                println!("{} {}", ports[0], ports[1]);
            }
            ["music", number, port] => {
                let clips = vec![clip.clone()];
                let source = Source::Play { seq: 1, clips, repeat: true, from_ms: 0 };
                let key = PortKey { call: number.parse().unwrap(), leg: 0 };
                println!("{}", open(&engine, key, plan(source, port)));
            }
            ["churn", ports] => {
                for number in 0..ports.parse().unwrap() {
                    let key = PortKey { call: number, leg: 0 };
                    open(&engine, key, plan(Source::Silence, "9"));
                    engine.close(key);
                    // A busy node's pace, in bursts of some calls.
                    if number % 16 == 0 {
                        std::thread::sleep(Duration::from_micros(1_500));
                    }
                }
                println!("done");
            }
            _ => break,
        }
    }
}

fn open(engine: &Engine, key: PortKey, plan: PortPlan) -> u16 {
    let reservation = engine.reserve(HERE).unwrap();
    let port = reservation.rtp_port();
    engine.attach(key, reservation);
    engine.apply(key, plan);
    port
}

fn plan(source: Source, port: &str) -> PortPlan {
    let codec = CodecSpec {
        kind: CodecKind::Pcma,
        send_payload_type: 8,
        receive_payload_type: 8,
        ptime_ms: 20,
    };
    let remote = Some(SocketAddr::new(HERE, port.parse().unwrap()));
    PortPlan { remote, dtmf: Some(101), source, ..PortPlan::new(codec) }
}

fn fresh_directory() -> PathBuf {
    let name = format!("rtp-load-{}", std::process::id());
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&directory).unwrap();
    directory
}

fn report(rows: &[(&str, f64, &str, f64, &str)]) {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("bench");
    fs::create_dir_all(&directory).unwrap();
    let mut lines = String::new();
    println!("{:<54} {:>9} {:>3} {:>6}  peers", "measure", "value", "", "reach");
    for (name, value, unit, reach, peer) in rows {
        let mark = if value <= reach { "" } else { "  NOT REACHED" };
        println!("{name:<54} {value:>9.3} {unit:>3} {reach:>6}  {peer}{mark}");
        let row = serde_json::json!({
            "name": name, "value": value, "unit": unit, "reach": reach, "peer": peer,
        });
        lines.push_str(&format!("{row}\n"));
    }
    fs::write(directory.join("rtp_load.json"), lines).unwrap();
}
