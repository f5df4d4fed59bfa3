//! Two nodes whose connections stand still while datagrams pass.

use crate::counter::{addresses, count, counted, start, stop, wait_for};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tandem_cluster::wire::COPY_BYTES_MAX;

/// How often a thread of the relay looks whether it is over.
const LOOK: Duration = Duration::from_millis(20);

/// What stands between a node and those that dial it. Datagrams pass always.
struct Relay {
    address: SocketAddr,
    stands_still: Arc<AtomicBool>,
    is_over: Arc<AtomicBool>,
}

impl Relay {
    fn before(node: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let datagrams = UdpSocket::bind(address).unwrap();
        datagrams.set_read_timeout(Some(LOOK)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let (stands_still, is_over) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        let over = Arc::clone(&is_over);
        std::thread::spawn(move || {
            let mut buffer = vec![0; 65_536];
            while !over.load(Ordering::Relaxed) {
                if let Ok(length) = datagrams.recv(&mut buffer) {
                    let _lost = datagrams.send_to(&buffer[..length], node);
                }
            }
        });
        let (over, still) = (Arc::clone(&is_over), Arc::clone(&stands_still));
        std::thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                let Ok((stream, _)) = listener.accept() else {
                    std::thread::sleep(LOOK);
                    continue;
                };
                let Ok(other) = TcpStream::connect(node) else { continue };
                let ends = [(&stream, &other), (&other, &stream)];
                for (from, to) in ends.map(|(from, to)| (from.try_clone(), to.try_clone())) {
                    let flags = (Arc::clone(&still), Arc::clone(&over));
                    let (from, to) = (from.unwrap(), to.unwrap());
                    std::thread::spawn(move || pass(from, to, &flags));
                }
            }
        });
        Self { address, stands_still, is_over }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

fn pass(
    mut from: TcpStream,
    mut to: TcpStream,
    (still, over): &(Arc<AtomicBool>, Arc<AtomicBool>),
) {
    from.set_nonblocking(false).unwrap();
    from.set_read_timeout(Some(LOOK)).unwrap();
    let mut buffer = [0; 4096];
    while !over.load(Ordering::Relaxed) {
        if still.load(Ordering::Relaxed) {
            std::thread::sleep(LOOK);
            continue;
        }
        match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) if to.write_all(&buffer[..length]).is_err() => break,
            Ok(_) => (),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => (),
            Err(_) => break,
        }
    }
    let _closed = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

#[test]
fn nodes_whose_connections_stand_still_agree_by_datagrams_and_do_nothing_twice() {
    let data = tempfile::tempdir().unwrap();
    let own = addresses(2);
    let relays = [1, 2].map(|node| Relay::before(own[&node]));
    let as_seen_by = |node: usize| {
        let other = 3 - node as u64;
        let relay = relays[other as usize - 1].address;
        BTreeMap::from([(node as u64, own[&(node as u64)]), (other, relay)])
    };
    let nodes =
        [1, 2].map(|node| start(node as u64, data.path(), &as_seen_by(node), |_| ()).unwrap());
    nodes.iter().for_each(|node| {
        count(node, "before");
    });
    // By then each knows that the other hears it.
    wait_for("leases", || nodes.iter().all(|node| node.0.lease_number() > 0));
    relays.iter().for_each(|relay| relay.stands_still.store(true, Ordering::Relaxed));
    let mut once = Vec::new();
    for number in 0..40 {
        let name = format!("step {number}");
        let node = &nodes[number % 2];
        match node.0.propose(name.as_bytes().to_vec()).wait() {
            Ok(_) => once.push(name),
            // A busy machine may have elected anew.
            Err(_) => drop(count(node, "another")),
        }
    }
    // What stood still comes now, long after it was taken; and behind it, in both directions, what is
    // too long for a datagram.
    relays.iter().for_each(|relay| relay.stands_still.store(false, Ordering::Relaxed));
    let long = "after".repeat(COPY_BYTES_MAX / 5);
    nodes.iter().for_each(|node| {
        count(node, &long);
    });
    for node in &nodes {
        wait_for("everywhere", || counted(node, &long) >= 2);
        for name in &once {
            assert_eq!(counted(node, name), 1, "{name}");
        }
    }
    assert!(once.len() >= 20, "{once:?}");
    nodes.into_iter().for_each(stop);
}
