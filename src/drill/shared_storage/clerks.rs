//! Clerks who give commands one after the other, as fast as they are acknowledged, and note which
//! were.
//!
//! Each has agents of its own and writes a rising number into their states, so that an agent
//! whose number is lower than what was acknowledged tells of a loss.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::super::config::{PASSWORD, SUPERVISOR};
use super::super::judge::Claim;
use crate::api::cdr_view::CdrView;
use crate::api::frame::{CommandFrame, Do, NotReady, ReplyFrame};
use crate::api::page::Page;
use crate::api::view::Agent;
use crate::cli::client::Server;
use crate::config::types::Secret;

/// Clerks, and the agents of each.
pub(super) const CLERKS: usize = 8;
pub(super) const AGENTS: usize = 25;

/// How long a record may take. They are written every 100 ms.
const RECORDS_WITHIN: Duration = Duration::from_secs(10);

/// The number of the last command that was acknowledged, for each agent; and how many were.
#[derive(Debug, Default)]
struct Notes {
    last: BTreeMap<String, u64>,
    count: u64,
}

/// See the file.
#[derive(Debug)]
pub(super) struct Clerks {
    notes: Arc<Mutex<Notes>>,
}

impl Clerks {
    /// They give commands there until one is not acknowledged.
    pub(super) async fn start(base: &str) -> anyhow::Result<Self> {
        let notes = Arc::<Mutex<Notes>>::default();
        for clerk in 0..CLERKS {
            let server = logged_in(base).await?;
            tokio::spawn(write(server, clerk, Arc::clone(&notes)));
        }
        Ok(Self { notes })
    }

    pub(super) fn acknowledged(&self) -> u64 {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).count
    }

    /// Compares what was acknowledged with what is there.
    pub(super) async fn nothing_is_lost(&self, base: &str) -> Claim {
        let claim = "no acknowledged command is lost";
        let agents = match read::<Page<Agent>>(base, "/api/v1/agents").await {
            Ok(page) => page.items,
            Err(error) => return Claim::failed(claim, error.to_string()),
        };
        let number = |id: &str| {
            let agent = agents.iter().find(|agent| agent.id == id)?;
            agent.reason.as_deref()?.strip_prefix('n')?.parse::<u64>().ok()
        };
        let notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        if notes.count == 0 {
            return Claim::failed(claim, "none was acknowledged".to_owned());
        }
        let lost = notes.last.iter().filter(|(agent, last)| number(agent) < Some(**last));
        let lost = lost.map(|(agent, last)| format!("{agent}: n{last}, is {:?}", number(agent)));
        Claim::against(claim, lost.collect())
            .with_figures(format!("{} were acknowledged", notes.count))
    }
}

async fn write(server: Server, clerk: usize, notes: Arc<Mutex<Notes>>) {
    for number in 0_u64.. {
        let agent = format!("a{:03}", clerk * AGENTS + number as usize % AGENTS);
        let reason = format!("n{number}");
        let not_ready = NotReady { reason, agent: Some(agent.clone()) };
        let id = format!("clerk{clerk}-{number}");
        let frame = CommandFrame { id, after: None, command: Do::NotReady(not_ready) };
        if server.post::<ReplyFrame>("/api/v1/commands", &frame).await.is_err() {
            return; // The fault.
        }
        let mut notes = notes.lock().unwrap_or_else(PoisonError::into_inner);
        notes.last.insert(agent, number);
        notes.count += 1;
    }
}

/// Every call has exactly one record.
pub(super) async fn each_call_has_one_record(base: &str, calls: usize) -> Claim {
    let claim = "each call has one record";
    let deadline = Instant::now() + RECORDS_WITHIN;
    loop {
        let read = read::<Page<CdrView>>(base, "/api/v1/cdrs?limit=1000").await;
        let found = read.map(|page| page.items.len());
        match found {
            Ok(found) if found < calls && Instant::now() < deadline => {
                sleep(Duration::from_millis(100)).await;
            }
            Ok(found) => {
                let wrong = (found != calls).then(|| format!("{found} records of {calls} calls"));
                return Claim::against(claim, wrong.into_iter().collect());
            }
            Err(error) => return Claim::failed(claim, error.to_string()),
        }
    }
}

async fn logged_in(base: &str) -> anyhow::Result<Server> {
    let mut server = Server::new(base)?;
    server.log_in(SUPERVISOR, &Secret::new(PASSWORD)).await?;
    Ok(server)
}

async fn read<T: serde::de::DeserializeOwned>(base: &str, path: &str) -> anyhow::Result<T> {
    Ok(logged_in(base).await?.get(path).await?)
}
