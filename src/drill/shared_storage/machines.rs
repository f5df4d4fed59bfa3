//! The two processes over one directory: their configuration, the fault, and what the directory
//! and `/readyz` say.
//!
//! Ends exactly what it started, by its process.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::sleep;

use super::super::cast::Addresses;
use super::super::config::{HTTP_PORT, PASSWORD, SIP_PORT, SUPERVISOR};
use super::super::judge::Claim;
use super::LOOK;
use super::clerks::{AGENTS, CLERKS};
use crate::api::hash_password;
use crate::config::types::Secret;

/// How long a machine may take until it is active or stands by.
const UP_WITHIN: Duration = Duration::from_secs(60);

/// How long it may take to answer a question.
const ANSWER_WITHIN: Duration = Duration::from_millis(800);

const NAMES: [&str; 2] = ["alpha", "beta"];

/// One of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Machine {
    /// Which is active at first.
    Active,
    Standby,
}

/// See the file.
#[derive(Debug)]
pub(super) struct Machines {
    folder: PathBuf,
    addresses: Addresses,
    children: Vec<Child>,
    client: reqwest::Client,
}

impl Machines {
    /// Starts one, and then the other, which stands by.
    pub(super) async fn start(folder: &Path, addresses: Addresses) -> anyhow::Result<Self> {
        write(folder, addresses)?;
        // Another part of the process may have chosen already; either choice is good.
        let _chosen = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().timeout(ANSWER_WITHIN).no_proxy();
        let client = client.tls_certs_only([]).build()?;
        let (folder, children) = (folder.to_owned(), Vec::new());
        let mut machines = Self { folder, addresses, children, client };
        for (machine, says) in [(Machine::Active, "ready"), (Machine::Standby, "alpha holds")] {
            let child = machines.spawn(machine)?;
            machines.children.push(child);
            machines.wait(machine, says).await?;
        }
        Ok(machines)
    }

    fn spawn(&self, machine: Machine) -> anyhow::Result<Child> {
        let name = NAMES[machine as usize];
        let log = self.folder.join(format!("{name}.log"));
        let output = fs::OpenOptions::new().create(true).append(true).open(log)?;
        let program = std::env::current_exe()?;
        let mut command = Command::new(&program);
        command.args(["run", "--config"]).arg(self.folder.join(format!("{name}.toml")));
        command.arg("--data").arg(self.folder.join(name));
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        command.spawn().with_context(|| format!("{} cannot be started", program.display()))
    }

    async fn wait(&self, machine: Machine, says: &str) -> anyhow::Result<()> {
        let deadline = Instant::now() + UP_WITHIN;
        while Instant::now() < deadline {
            if self.readiness(machine).await.is_some_and(|text| text.contains(says)) {
                return Ok(());
            }
            sleep(LOOK).await;
        }
        bail!("{} does not say {says:?}", NAMES[machine as usize])
    }

    pub(super) fn sip(&self) -> SocketAddr {
        (self.addresses.node(0), SIP_PORT).into()
    }

    pub(super) fn base(&self, machine: Machine) -> String {
        format!("http://{}:{HTTP_PORT}", self.addresses.node(machine as usize))
    }

    async fn readiness(&self, machine: Machine) -> Option<String> {
        let address = format!("{}/readyz", self.base(machine));
        self.client.get(address).send().await.ok()?.text().await.ok()
    }

    pub(super) async fn is_ready(&self, machine: Machine) -> bool {
        self.readiness(machine).await.is_some_and(|text| text.starts_with("ready"))
    }

    /// SIGKILL, as a power cut would end it.
    pub(super) fn kill(&mut self) -> anyhow::Result<()> {
        self.children[0].kill()?;
        Ok(())
    }

    pub(super) fn freeze(&self) -> anyhow::Result<()> {
        self.signal(Signal::STOP)
    }

    pub(super) fn thaw(&mut self) -> anyhow::Result<()> {
        // What has ended cannot be continued.
        if self.has_ended()? { Ok(()) } else { self.signal(Signal::CONT) }
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        Ok(kill_process(Pid::from_child(&self.children[0]), signal)?)
    }

    /// The process that was active at first.
    pub(super) fn has_ended(&mut self) -> anyhow::Result<bool> {
        Ok(self.children[0].try_wait()?.is_some())
    }

    /// Whether the directory is the standby's.
    pub(super) fn is_taken(&self) -> bool {
        self.generation(2, "beta").exists()
    }

    fn generation(&self, number: u64, name: &str) -> PathBuf {
        self.folder.join(format!("disk/generation-{number:010}.{name}"))
    }

    pub(super) fn nothing_is_left_of_the_former_holder(&self) -> Claim {
        let left = self.generation(1, "alpha").exists();
        Claim::against(
            "the directory has one generation",
            left.then(|| "the former holder's is still there".to_owned()).into_iter().collect(),
        )
    }

    /// Starts what was active again.
    pub(super) async fn comes_back_as_standby(&mut self) -> Claim {
        let claim = "the machine comes back, and stands by";
        // It may have ended.
        let _ended = self.children[0].kill();
        let _status = self.children[0].wait();
        match self.spawn(Machine::Active) {
            Ok(child) => self.children[0] = child,
            Err(error) => return Claim::failed(claim, error.to_string()),
        }
        let waited = self.wait(Machine::Active, "beta holds").await;
        Claim::against(claim, waited.err().map(|error| error.to_string()).into_iter().collect())
    }
}

impl Drop for Machines {
    fn drop(&mut self) {
        for child in &mut self.children {
            // A process that has ended already is no error, and a stopped one is killed, too.
            let _ended = child.kill();
            let _status = child.wait();
        }
    }
}

/// Two files that differ in what is a machine's own.
fn write(folder: &Path, addresses: Addresses) -> std::io::Result<()> {
    fs::create_dir_all(folder.join("disk"))?;
    fs::create_dir_all(folder.join("flows"))?;
    let fence = folder.join("fence");
    fs::write(&fence, "#!/bin/sh\nexit 0\n")?;
    fs::set_permissions(&fence, fs::Permissions::from_mode(0o700))?;
    let (ip, hash) = (addresses.node(0), hash_password(&Secret::new(PASSWORD)));
    for (index, name) in NAMES.iter().enumerate() {
        let http = addresses.node(index);
        let text = format!(
            "[node]\nid = 1\ndrain_seconds = 0\n[sip]\nudp = [\"{ip}:{SIP_PORT}\"]\n\
             tcp = [\"{ip}:{SIP_PORT}\"]\n[http]\nlisten = \"{http}:{HTTP_PORT}\"\n\
             [media]\ncodecs = [\"pcmu\"]\n[flows]\ndirectory = \"flows\"\n\
             [cluster]\nsecret = \"for this drill only\"\n\
             [shared]\nname = \"{name}\"\nfence_command = {fence:?}\n\
             [[number]]\nnumber = \"echo\"\necho = true\n\
             [[agent]]\nid = \"{SUPERVISOR}\"\npassword_hash = \"{hash}\"\nrole = \"supervisor\"\n\
             [[agent_range]]\nprefix = \"a\"\nfirst = 0\ncount = {}\ndigits = 3\nqueues = []\n\
             always_ready = true\ndevice = \"sip:{{id}}@{ip}:5999\"\n",
            CLERKS * AGENTS
        );
        fs::write(folder.join(format!("{name}.toml")), text)?;
        symlink("disk", folder.join(name))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::drill::means::Means;

    #[test]
    fn both_machines_take_what_is_written() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), Addresses { first: 31, means: Means::Loopback }).unwrap();
        let [alpha, beta] =
            NAMES.map(|name| Config::load(&folder.path().join(format!("{name}.toml"))).unwrap());
        assert_eq!(alpha.sip.udp, beta.sip.udp);
        assert_ne!(alpha.shared.name, beta.shared.name);
        assert_eq!(alpha.people().len(), CLERKS * AGENTS + 1);
    }
}
