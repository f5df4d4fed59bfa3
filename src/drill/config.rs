//! The configuration of the cluster under test: files in the drill's folder, made for its cast.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tandem_media::wav;

use super::audio::rising_tone;
use super::cast::{Addresses, Cast, NODES};
use super::phases::{KEYS, PATIENT, URGENT};
use crate::api::hash_password;
use crate::config::types::Secret;

/// The password of everybody who logs in. The nodes are on loopback and end with the drill.
pub(crate) const PASSWORD: &str = "drill";

/// Who sees everything.
pub(crate) const SUPERVISOR: &str = "observer";

/// Who moves the leadership.
pub(crate) const ADMINISTRATOR: &str = "operator";

/// How long the rising tone lasts; no drill is longer.
const TONE_SECONDS: u32 = 115;

/// The queues, and whether their conversations are recorded.
const QUEUES: [(&str, bool); 12] = [
    (URGENT, false),
    (PATIENT, false),
    ("bridge", false),
    ("recorded", true),
    ("offer", false),
    ("phonehold", false),
    ("desk", false),
    ("transfer", false),
    ("consult", false),
    ("conference", false),
    ("wait", false),
    ("probe", false),
];

pub(crate) const SIP_PORT: u16 = 5060;
pub(crate) const HTTP_PORT: u16 = 8080;
pub(crate) const CLUSTER_PORT: u16 = 7000;

/// Writes everything into `folder`; the files of the nodes' configurations. Of all nodes the first
/// `with_calls` have calls, and the others are witnesses.
pub(crate) fn write(
    folder: &Path,
    (addresses, with_calls): (Addresses, usize),
    cast: &Cast,
    web: SocketAddr,
) -> io::Result<Vec<PathBuf>> {
    fs::create_dir_all(folder.join("flows"))?;
    fs::create_dir_all(folder.join("prompts"))?;
    addresses.means.write(folder)?;
    let tone = tone_file();
    fs::write(folder.join("prompts/rise.wav"), &tone)?;
    fs::write(folder.join("music.wav"), &tone)?;
    for (name, text) in flows(web) {
        fs::write(folder.join(format!("flows/{name}.toml")), text)?;
    }
    let shared = shared(cast, &hash_password(&Secret::new(PASSWORD)));
    let file = |node: usize| {
        let file = folder.join(format!("node{}.toml", node + 1));
        let shared = if node < with_calls { shared.as_str() } else { "" };
        fs::write(&file, format!("{}{shared}", own(folder, (addresses, with_calls), node)))?;
        Ok(file)
    };
    (0..NODES).map(file).collect()
}

fn tone_file() -> Vec<u8> {
    let samples = rising_tone(TONE_SECONDS);
    let mut file = wav::header(8_000, 1, samples.len() as u64 * 2).to_vec();
    file.extend(samples.iter().flat_map(|sample| sample.to_le_bytes()));
    file
}

fn flows(web: SocketAddr) -> [(&'static str, String); 3] {
    let play = "[steps.play]\ndo = \"play\"\nprompts = { file = \"rise.wav\" }\n\
                barge_in = false\nnext = \"end\"\n\n[steps.end]\ndo = \"hang_up\"\n\n";
    let wrong = "[steps.wrong]\ndo = \"hang_up\"\ncause = \"failure\"\n";
    let begin = |next: &str| {
        format!("start = \"pick_up\"\n\n[steps.pick_up]\ndo = \"answer\"\nnext = \"{next}\"\n\n")
    };
    let digits = format!(
        "{}[steps.ask]\ndo = \"collect\"\nvariable = \"keys\"\ndigits_min = 4\ndigits_max = 4\n\
         terminator = \"\"\nfirst_digit_ms = 60000\nretries = 0\nnext = \"which\"\n\
         on_failure = \"wrong\"\n\n[steps.which]\ndo = \"branch\"\n\
         cases = [{{ variable = \"keys\", equals = \"{KEYS}\", next = \"play\" }}]\n\
         otherwise = \"wrong\"\n\n{play}{wrong}",
        begin("ask")
    );
    let asks = format!(
        "{}[steps.ask]\ndo = \"http\"\nurl = \"http://{web}/?caller={{caller_number}}\"\n\
         timeout_ms = 30000\non_ok = \"play\"\non_error = \"wrong\"\n\n{play}{wrong}",
        begin("ask")
    );
    [("prompt", format!("{}{play}", begin("play"))), ("digits", digits), ("web", asks)]
}

/// Where a node has its data.
pub(crate) fn data(folder: &Path, node: usize) -> PathBuf {
    folder.join(format!("data{}", node + 1))
}

/// What is different at each node.
fn own(folder: &Path, (addresses, with_calls): (Addresses, usize), node: usize) -> String {
    let (ip, service) = (addresses.node(node), addresses.service(node));
    let mut text = format!(
        "[node]\nid = {}\ndata = {:?}\ndrain_seconds = 0\n\n\
         [http]\nlisten = \"{ip}:{HTTP_PORT}\"\n\n",
        node + 1,
        data(folder, node),
    );
    if node < with_calls {
        let _ = write!(
            text,
            "[sip]\nudp = [\"{service}:{SIP_PORT}\"]\ntcp = [\"{service}:{SIP_PORT}\"]\n\n\
             [media]\ncodecs = [\"pcmu\"]\nmusic = \"music.wav\"\n\n"
        );
    }
    let _ = write!(
        text,
        "[cluster]\nlisten = \"{ip}:{CLUSTER_PORT}\"\nsecret = \"for this drill only\"\n\n"
    );
    text.push_str(&addresses.means.section(folder));
    for member in 0..NODES {
        let ip = addresses.node(member);
        let role = if member < with_calls { "calls" } else { "witness" };
        let _ = write!(
            text,
            "[[cluster.member]]\nid = {}\naddress = \"{ip}:{CLUSTER_PORT}\"\n\
             http = \"{ip}:{HTTP_PORT}\"\nrole = \"{role}\"\n\n",
            member + 1
        );
    }
    text
}

/// What is the same at all nodes.
fn shared(cast: &Cast, hash: &str) -> String {
    let mut text = String::from(
        "[flows]\ndirectory = \"flows\"\n\n[prompts]\ndirectory = \"prompts\"\n\n\
         [[number]]\nnumber = \"echo\"\necho = true\n\n",
    );
    for flow in ["prompt", "digits", "web"] {
        let _ = write!(text, "[[number]]\nnumber = \"{flow}\"\nflow = \"{flow}\"\n\n");
    }
    for (number, target) in &cast.targets {
        let _ = write!(
            text,
            "[[number]]\nnumber = \"{number}\"\ntarget = \"sip:{number}@{target}\"\n\n"
        );
    }
    for (queue, record) in QUEUES {
        // Who asks for a decision is answered by the agent and not by the queue: the answer then
        // says when the decision was carried out.
        let answer = queue != "probe" && queue != "offer";
        let priority = if queue == URGENT { 5 } else { 0 };
        let _ = write!(
            text,
            "[[number]]\nnumber = \"{queue}\"\nqueue = \"{queue}\"\n\n\
             [[queue]]\nid = \"{queue}\"\nring_seconds = 120\nwrap_up_seconds = 0\n\
             answer = {answer}\nrecord = {record}\npriority = {priority}\n\n"
        );
    }
    for agent in &cast.agents {
        let way_in = if agent.desk {
            format!("password_hash = \"{hash}\"")
        } else {
            "always_ready = true".to_owned()
        };
        let _ = write!(
            text,
            "[[agent]]\nid = \"{0}\"\nqueues = {1:?}\ndevice = \"sip:{0}@{2}\"\n{way_in}\n\n",
            agent.id, agent.queues, agent.phone
        );
    }
    for (name, role) in [(SUPERVISOR, "supervisor"), (ADMINISTRATOR, "administrator")] {
        let _ = write!(
            text,
            "[[agent]]\nid = \"{name}\"\npassword_hash = \"{hash}\"\nrole = \"{role}\"\n\n"
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::means::Means;
    use super::*;
    use crate::config::Config;

    #[test]
    fn a_node_takes_what_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let addresses = Addresses { first: 31, means: Means::Loopback };
        let cast = Cast::new(addresses, 26).unwrap();
        let web = "127.0.0.43:9".parse().unwrap();
        let files = write(folder.path(), (addresses, 2), &cast, web).unwrap();
        assert!(Config::load(&files[2]).unwrap().is_witness());
        for file in &files[..2] {
            let config = Config::load(file).unwrap();
            assert_eq!(config.queue.len(), QUEUES.len());
            assert_eq!(config.agent.iter().filter(|agent| agent.always_ready).count(), 17);
        }
    }
}
