//! etcd's three members, and a gRPC client that costs little: HTTP/2 by the `h2` crate, the one
//! request that is needed encoded by hand.

use crate::BYTES;
use crate::member::micros;
use crate::report::{Load, cpu};
use bytes::Bytes;
use h2::client::SendRequest;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// Clients of one connection: below what one HTTP/2 connection carries at once.
const CLIENTS_PER_CONNECTION: usize = 100;

/// Three members, with etcd's own settings.
pub(crate) struct Cluster {
    folder: PathBuf,
    members: Vec<Child>,
    runtime: tokio::runtime::Runtime,
}

impl Cluster {
    /// `None` if etcd is not installed.
    pub(crate) fn start(folder: &Path) -> Option<Self> {
        let folder = folder.join(format!("etcd-{}", micros()));
        let members = (1..=3).map(|node| member(&folder, node)).collect::<Result<_, _>>();
        let members = match members {
            Ok(members) => members,
            Err(error) => {
                println!("etcd is not measured: {error}");
                return None;
            }
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let cluster = Self { folder, members, runtime };
        cluster.elect();
        Some(cluster)
    }

    fn elect(&self) -> usize {
        let until = Instant::now() + Duration::from_secs(30);
        loop {
            if let Some(leader) = self.leader() {
                return leader;
            }
            assert!(Instant::now() < until, "etcd elects a leader");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Kills the leader; from then to the first put that another confirms; then starts it again.
    pub(crate) fn failover(&mut self) -> Duration {
        let leader = self.elect();
        let others: Vec<_> = (1..=3).filter(|node| *node != leader).collect();
        let connections: Vec<_> = others
            .iter()
            .map(|node| self.runtime.block_on(connect(*node)).expect("a connection"))
            .collect();
        let killed = Instant::now();
        self.members[leader - 1].kill().unwrap();
        self.members[leader - 1].wait().unwrap();
        let took = self.runtime.block_on(async {
            let mut tasks = JoinSet::new();
            let mut every = tokio::time::interval(Duration::from_millis(5));
            loop {
                every.tick().await;
                // Each put would wait for etcd's time-out; so there is always a new one.
                for connection in connections.clone() {
                    tasks.spawn(async move { call(connection, PUT, &put(1)).await.is_some() });
                }
                while let Some(done) = tasks.try_join_next() {
                    if done.unwrap() {
                        return killed.elapsed();
                    }
                }
                assert!(killed.elapsed() < Duration::from_secs(30), "etcd fails over");
            }
        });
        self.members[leader - 1] = member(&self.folder, leader).unwrap();
        std::thread::sleep(Duration::from_millis(1_500));
        took
    }

    /// The member that leads, by its own word.
    fn leader(&self) -> Option<usize> {
        (1..=3).find(|node| {
            self.runtime
                .block_on(async {
                    let connection = connect(*node).await?;
                    let status = call(connection, "/etcdserverpb.Maintenance/Status", &[]).await?;
                    let (leader, own) = leader_and_own_id(&status)?;
                    (leader == own && leader != 0).then_some(())
                })
                .is_some()
        })
    }

    pub(crate) fn load(&mut self, clients: usize, time: Duration) -> Load {
        let leader = self.elect();
        let used = |members: &[Child]| members.iter().map(|m| cpu(m.id())).sum::<Duration>();
        let before = used(&self.members);
        let (micros, failed, took) = self.runtime.block_on(run(leader, clients, time));
        let after = used(&self.members);
        Load::new(micros, failed, took, after - before)
    }

    pub(crate) fn stop(self) {
        for mut member in self.members {
            member.kill().unwrap();
            member.wait().unwrap();
        }
    }
}

/// The method that is measured.
const PUT: &str = "/etcdserverpb.KV/Put";

fn member(folder: &Path, node: usize) -> std::io::Result<Child> {
    let peers: Vec<_> = (1..=3).map(|n| format!("n{n}=http://127.0.0.{}:17801", n + 20)).collect();
    let (client, peer) = (address(node), format!("http://127.0.0.{}:17801", node + 20));
    Command::new("etcd")
        .args(["--name", &format!("n{node}"), "--log-level", "error"])
        .arg("--data-dir")
        .arg(folder.join(node.to_string()))
        .args(["--listen-client-urls", &format!("http://{client}")])
        .args(["--advertise-client-urls", &format!("http://{client}")])
        .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
        .args(["--initial-cluster", &peers.join(",")])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
}

fn address(node: usize) -> String {
    format!("127.0.0.{}:17800", node + 20)
}

async fn connect(node: usize) -> Option<SendRequest<Bytes>> {
    let stream = TcpStream::connect(address(node)).await.ok()?;
    stream.set_nodelay(true).ok()?;
    let (sender, connection) = h2::client::handshake(stream).await.ok()?;
    tokio::spawn(connection);
    Some(sender)
}

async fn run(leader: usize, clients: usize, time: Duration) -> (Vec<u32>, u64, Duration) {
    let mut connections = Vec::new();
    for _ in 0..clients.div_ceil(CLIENTS_PER_CONNECTION) {
        connections.push(connect(leader).await.expect("etcd accepts connections"));
    }
    let start = Instant::now();
    let until = start + time;
    let mut tasks = JoinSet::new();
    for client in 0..clients {
        let connection = connections[client % connections.len()].clone();
        tasks.spawn(async move {
            let (mut micros, mut failed) = (Vec::new(), 0);
            let request = put(client as u64);
            while Instant::now() < until {
                let began = Instant::now();
                match call(connection.clone(), PUT, &request).await {
                    Some(_) => micros.push(began.elapsed().as_micros() as u32),
                    None => failed += 1,
                }
            }
            (micros, failed)
        });
    }
    let (mut all, mut failed) = (Vec::new(), 0);
    while let Some(done) = tasks.join_next().await {
        let (micros, fails) = done.unwrap();
        all.extend(micros);
        failed += fails;
    }
    (all, failed, start.elapsed())
}

/// PutRequest { key = 1, value = 2 }.
fn put(key: u64) -> Vec<u8> {
    let mut request = vec![0x0a, 8];
    request.extend_from_slice(&key.to_be_bytes());
    let value = vec![0x5a; BYTES - 8];
    request.extend_from_slice(&[0x12, (value.len() & 0x7f | 0x80) as u8, (value.len() >> 7) as u8]);
    request.extend_from_slice(&value);
    request
}

/// One unary call; the response's message, or `None` if it failed.
async fn call(connection: SendRequest<Bytes>, path: &str, message: &[u8]) -> Option<Vec<u8>> {
    let mut connection = connection.ready().await.ok()?;
    let request = http::Request::post(format!("http://etcd{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .ok()?;
    let (response, mut body) = connection.send_request(request, false).ok()?;
    let mut framed = vec![0];
    framed.extend_from_slice(&(message.len() as u32).to_be_bytes());
    framed.extend_from_slice(message);
    body.send_data(framed.into(), true).ok()?;
    let mut response = response.await.ok()?.into_body();
    let mut bytes = Vec::new();
    while let Some(chunk) = response.data().await {
        let chunk = chunk.ok()?;
        response.flow_control().release_capacity(chunk.len()).ok()?;
        bytes.extend_from_slice(&chunk);
    }
    let trailers = response.trailers().await.ok()??;
    (trailers.get("grpc-status")?.as_bytes() == b"0").then_some(bytes)
}

/// Of a framed StatusResponse { header = 1 { member_id = 2 }, leader = 4 }.
fn leader_and_own_id(framed: &[u8]) -> Option<(u64, u64)> {
    let mut leader = 0;
    let mut own = 0;
    fields(framed.get(5..)?, |field, value, inside| match (field, inside) {
        (1, Some(header)) => {
            fields(header, |field, value, _| {
                if field == 2 {
                    own = value;
                }
            });
        }
        (4, None) => leader = value,
        _ => (),
    });
    Some((leader, own))
}

/// The fields of a protobuf message: number, varint, or bytes.
fn fields(mut bytes: &[u8], mut each: impl FnMut(u64, u64, Option<&[u8]>)) {
    let varint = |bytes: &mut &[u8]| {
        let (mut value, mut shift) = (0_u64, 0);
        while let Some((byte, rest)) = bytes.split_first() {
            *bytes = rest;
            value |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
        value
    };
    while !bytes.is_empty() {
        let tag = varint(&mut bytes);
        let value = varint(&mut bytes);
        if tag & 7 == 2 {
            let (inside, rest) = bytes.split_at((value as usize).min(bytes.len()));
            bytes = rest;
            each(tag >> 3, 0, Some(inside));
        } else {
            each(tag >> 3, value, None);
        }
    }
}
