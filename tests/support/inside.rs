//! A node inside the test's own process, on an address of its own, for hand-made calls.
//!
//! Its state can be looked at, and nothing else of it is touched from outside.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tandem::config::Config;
use tandem::node::Node;
use tandem::start::Running;

use super::line::Line;
use super::{fresh_directory, wait_until};

/// See the file.
pub struct Inside {
    running: Running,
    /// Where its flows are.
    pub flows: PathBuf,
    ip: String,
    // Last, so that the actors end before what they run on.
    _runtime: tokio::runtime::Runtime,
}

impl Inside {
    /// Starts a node with these entries of the configuration and these flows, and waits until its
    /// directory holds.
    pub fn start(ip: &str, entries: &str, flows: &[(&str, &str)]) -> Self {
        let folder = fresh_directory("inside");
        let place = folder.join("flows");
        fs::create_dir(&place).unwrap();
        for (name, text) in flows {
            fs::write(place.join(format!("{name}.toml")), text).unwrap();
        }
        let prompts = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/prompts");
        let text = format!(
            "[node]\nid = 1\ndata = {:?}\n[sip]\nudp = [\"{ip}:5060\"]\ntcp = [\"{ip}:5060\"]\n\
             [media]\naddress = \"{ip}\"\n[prompts]\ndirectory = {prompts:?}\n\
             [flows]\ndirectory = {place:?}\nreload_seconds = 1\n{entries}",
            folder.join("data"),
        );
        let config = Config::parse(&text, Path::new("inside.toml")).unwrap();
        // A test that holds up applying also holds up whoever wants to look: some must be left.
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(8).enable_all().build().unwrap();
        let running = runtime.block_on(Running::start(config)).unwrap();
        let inside = Self { running, flows: place, ip: ip.into(), _runtime: runtime };
        wait_until("the directory holds", Duration::from_secs(10), || {
            inside.looks_at(|center| !center.directory().numbers.is_empty())
        });
        inside
    }

    pub fn node(&self) -> &Arc<Node> {
        &self.running.node
    }

    /// Reads the replicated state.
    pub fn looks_at<T>(&self, look: impl FnOnce(&tandem_center::Center) -> T) -> T {
        self.node().replica.read_local(|machine| look(machine.center()))
    }

    pub fn sip(&self) -> SocketAddr {
        format!("{}:5060", self.ip).parse().unwrap()
    }

    /// A phone beside it, at any port.
    pub fn phone(&self) -> Line {
        Line::new(&self.ip, self.sip())
    }

    /// A phone beside it, at this port.
    pub fn phone_at(&self, port: u16) -> Line {
        Line::at(format!("{}:{port}", self.ip).parse().unwrap(), self.sip())
    }
}
