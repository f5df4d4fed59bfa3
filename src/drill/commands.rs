//! A drill of what desks are promised: a command that is acknowledged has been done, once.
//!
//! Desks at all nodes send as many commands as they get answers, several at a time, most of them
//! over the WebSocket and some over HTTP, while leaders are killed, frozen and moved. What is not
//! answered is repeated under its id at another node. Each command says something that no other
//! one does (an agent's reason), so that a supervisor, who resumes by index, can count each.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::bail;
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until, timeout};

use super::cast::{Addresses, Cast, NODES};
use super::cluster::Cluster;
use super::config::PASSWORD;
use super::fault::{self, STEP};
use super::judge::{Claim, Figures, Judged};
use super::watcher::{Counts, Watcher};
use crate::api::error::ErrorCode;
use crate::api::frame::{
    ClientFrame, CommandFrame, Do, Hello, NotReady, ReplyFrame, ServerFrame, VERSION,
};
use crate::cli::client::{ClientError, Cti, Server};
use crate::config::types::Secret;

/// Commands for each call that is ordered.
const COMMANDS: usize = 1_000;

/// Desks, and which of them send over HTTP: every so many.
pub(super) const DESKS: usize = 96;
const HTTP_EVERY: usize = 8;

/// Commands of a desk that wait for an answer. A node remembers the results of 64.
const WINDOW: usize = 8;

/// How long an answer may take before the next node is asked.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// The pause before the next node is asked, or the same again.
const PAUSE: Duration = Duration::from_millis(50);

/// How long all of it may take.
const DONE_WITHIN: Duration = Duration::from_secs(300);

/// How long the supervisor may take to be told of the last one.
const TOLD_WITHIN: Duration = Duration::from_secs(30);

/// What a drill is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Drill {
    pub(crate) name: &'static str,
}

/// What all desks know.
#[derive(Debug)]
struct Common {
    servers: Vec<String>,
    /// Commands that are still to be sent.
    left: AtomicUsize,
    /// The faults are not over: more are to be sent, even if it are enough.
    goes_on: AtomicBool,
}

impl Common {
    fn takes_one(&self) -> bool {
        let one = |left: usize| left.checked_sub(1);
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one).is_ok()
            || self.goes_on.load(Ordering::Relaxed)
    }
}

/// What a desk has at the end.
#[derive(Debug, Default)]
struct Done {
    /// Which of its commands were acknowledged; the place is the number.
    acknowledged: Vec<bool>,
    /// When each answer came, and how long it took from the first time that the command was sent.
    answers: Vec<(Instant, Duration)>,
    refused: Vec<String>,
    repeated: usize,
}

/// Plays it in `folder`, and judges it.
pub(crate) async fn play(
    drill: Drill,
    round: usize,
    (calls, addresses): (usize, Addresses),
    folder: &Path,
) -> anyhow::Result<Judged> {
    let mut cluster = Cluster::begin(&Cast::desks(addresses, DESKS), addresses, folder).await?;
    let servers: Vec<String> = (0..NODES).map(|node| cluster.base(node)).collect();
    let watcher = Watcher::open(&servers).await?;
    let mut tokens = Vec::new();
    for desk in 0..DESKS {
        let mut server = Server::new(&servers[desk % NODES])?;
        tokens.push(server.log_in(&name(desk), &Secret::new(PASSWORD)).await?.token);
    }
    let common = Arc::new(Common {
        servers,
        left: AtomicUsize::new(calls * COMMANDS),
        goes_on: AtomicBool::new(true),
    });
    let mut desks = JoinSet::new();
    for (desk, token) in tokens.into_iter().enumerate() {
        desks.spawn(Desk::new(desk, token, common.clone()).run());
    }
    let begin = Instant::now();
    sleep(STEP).await;
    let strikes = fault::of_leaders(&mut cluster).await?.at;
    common.goes_on.store(false, Ordering::Relaxed);
    let Ok(done) = timeout(DONE_WITHIN.saturating_sub(begin.elapsed()), desks.join_all()).await
    else {
        bail!("{} s were not enough", DONE_WITHIN.as_secs());
    };
    let took = begin.elapsed();
    let acknowledged = done.iter().flat_map(|(_, done)| &done.acknowledged).filter(|is| **is);
    let counts = watcher.counts_of(acknowledged.count(), TOLD_WITHIN).await;
    Ok(judge(drill, round, (&done, took, &strikes), &counts))
}

pub(super) fn name(desk: usize) -> String {
    format!("agent{desk:03}")
}

/// What the supervisor is told that the agent's reason is now.
pub(super) fn reason(number: usize) -> String {
    format!("r{number}")
}

struct Desk {
    number: usize,
    token: String,
    common: Arc<Common>,
    at: usize,
    session: Option<String>,
    /// The last index that it was told.
    known: Option<u64>,
    unanswered: VecDeque<Sent>,
    done: Done,
}

/// A command without an answer.
#[derive(Clone, Copy, Debug)]
struct Sent {
    number: usize,
    at: Instant,
    after: Option<u64>,
}

impl Desk {
    fn new(number: usize, token: String, common: Arc<Common>) -> Self {
        Self {
            number,
            token,
            common,
            at: number % NODES,
            session: None,
            known: None,
            unanswered: VecDeque::new(),
            done: Done::default(),
        }
    }

    async fn run(mut self) -> (usize, Done) {
        loop {
            if let Ok(Some(cti)) = timeout(ANSWER_WITHIN, self.connect()).await {
                let is_over = if self.number.is_multiple_of(HTTP_EVERY) {
                    self.ask_by_http(cti).await
                } else {
                    self.converse(cti).await
                };
                if is_over {
                    return (self.number, self.done);
                }
            }
            self.at = (self.at + 1) % NODES;
            sleep(PAUSE).await;
        }
    }

    async fn connect(&mut self) -> Option<Cti> {
        let mut cti = Server::new(&self.common.servers[self.at]).ok()?.connect().await.ok()?;
        let hello = Hello {
            version: VERSION,
            token: Some(self.token.clone()),
            session: self.session.clone(),
            resume_from: None,
            sign_in: None,
        };
        cti.send(&ClientFrame::Hello(hello)).await.ok()?;
        loop {
            match cti.receive().await? {
                ServerFrame::Welcome(welcome) => {
                    self.session = welcome.session;
                    return Some(cti);
                }
                ServerFrame::Closing(_) => return None,
                ServerFrame::Snapshot(_)
                | ServerFrame::Events(_)
                | ServerFrame::Reply(_)
                | ServerFrame::Error(_)
                | ServerFrame::AlarmRaised(_)
                | ServerFrame::AlarmCleared(_)
                | ServerFrame::Pong(_) => (),
            }
        }
    }

    fn frame(&self, of: Sent) -> CommandFrame {
        let Sent { number, after, .. } = of;
        let command = Do::NotReady(NotReady { reason: reason(number), agent: None });
        CommandFrame { id: format!("{}-{number}", self.number), after, command }
    }

    /// A further command, if there is to be one.
    fn next(&mut self) -> Option<Sent> {
        self.common.takes_one().then(|| {
            let number = self.done.acknowledged.len();
            let sent = Sent { number, at: Instant::now(), after: self.known };
            self.done.acknowledged.push(false);
            self.unanswered.push_back(sent);
            sent
        })
    }

    fn answered(&mut self, number: usize) {
        if let Some(place) = self.unanswered.iter().position(|sent| sent.number == number)
            && let Some(sent) = self.unanswered.remove(place)
        {
            self.done.acknowledged[number] = true;
            let now = Instant::now();
            self.done.answers.push((now, now - sent.at));
        }
    }

    /// Whether nothing is left to be done.
    async fn converse(&mut self, mut cti: Cti) -> bool {
        for sent in self.unanswered.clone() {
            self.done.repeated += 1;
            if cti.send(&ClientFrame::Command(self.frame(sent))).await.is_err() {
                return false;
            }
        }
        loop {
            while self.unanswered.len() < WINDOW
                && let Some(sent) = self.next()
            {
                if cti.send(&ClientFrame::Command(self.frame(sent))).await.is_err() {
                    return false;
                }
            }
            if self.unanswered.is_empty() {
                return true;
            }
            let due = tokio::time::Instant::now() + ANSWER_WITHIN;
            let frame = tokio::select! {
                frame = cti.receive() => frame,
                () = sleep_until(due) => None,
            };
            match frame {
                Some(ServerFrame::Reply(reply)) => self.hear(&reply),
                Some(ServerFrame::Error(error)) => {
                    let id = error.id.unwrap_or_default();
                    if is_passing(error.error.code) {
                        sleep(PAUSE).await;
                        self.done.repeated += 1;
                        let Some(sent) = self.waiting(&id) else { return false };
                        let again = ClientFrame::Command(self.frame(sent));
                        if cti.send(&again).await.is_err() {
                            return false;
                        }
                    } else {
                        self.refuse(&id, error.error.to_string());
                    }
                }
                Some(ServerFrame::Closing(_)) | None => return false,
                Some(
                    ServerFrame::Welcome(_)
                    | ServerFrame::Snapshot(_)
                    | ServerFrame::Events(_)
                    | ServerFrame::AlarmRaised(_)
                    | ServerFrame::AlarmCleared(_)
                    | ServerFrame::Pong(_),
                ) => (),
            }
        }
    }

    fn hear(&mut self, reply: &ReplyFrame) {
        self.known = self.known.max(Some(reply.index));
        match number_of(&reply.id) {
            Some(number) => self.answered(number),
            None => self.done.refused.push(format!("an answer to {:?}", reply.id)),
        }
    }

    fn waiting(&self, id: &str) -> Option<Sent> {
        let number = number_of(id)?;
        self.unanswered.iter().find(|sent| sent.number == number).copied()
    }

    fn refuse(&mut self, id: &str, why: String) {
        self.done.refused.push(format!("{id}: {why}"));
        self.unanswered.retain(|sent| Some(sent.number) != number_of(id));
    }

    /// The same over HTTP, one at a time; the WebSocket only keeps the agent signed in.
    async fn ask_by_http(&mut self, mut cti: Cti) -> bool {
        let Ok(mut server) = Server::new(&self.common.servers[self.at]) else { return false };
        server.set_token(self.token.clone());
        loop {
            let Some(sent) = self.unanswered.front().copied().or_else(|| self.next()) else {
                return true;
            };
            let frame = self.frame(sent);
            let ask = server.post::<ReplyFrame>("/api/v1/commands", &frame);
            let answer = tokio::select! {
                answer = timeout(ANSWER_WITHIN, ask) => answer,
                () = is_closed(&mut cti) => return false,
            };
            match answer {
                Ok(Ok(reply)) => self.hear(&reply),
                Ok(Err(ClientError::Refused(error))) if !is_passing(error.code) => {
                    self.refuse(&frame.id, error.to_string());
                }
                Ok(Err(ClientError::Refused(_) | ClientError::Unreachable { .. })) | Err(_) => {
                    self.done.repeated += 1;
                    return false;
                }
            }
        }
    }
}

/// Reads until the connection is over.
async fn is_closed(cti: &mut Cti) {
    while cti.receive_text().await.is_some() {}
}

fn is_passing(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::Unavailable | ErrorCode::Unknown)
}

fn number_of(id: &str) -> Option<usize> {
    id.split_once('-')?.1.parse().ok()
}

fn judge(
    drill: Drill,
    round: usize,
    (done, took, strikes): (&[(usize, Done)], Duration, &[Instant]),
    counts: &Counts,
) -> Judged {
    let (mut all, mut lost, mut twice) = (0, Vec::new(), Vec::new());
    for (desk, done) in done {
        for (number, is_acknowledged) in done.acknowledged.iter().enumerate() {
            all += usize::from(*is_acknowledged);
            match counts.of(*desk, number) {
                0 if *is_acknowledged => lost.push(format!("{} {}", name(*desk), reason(number))),
                0 | 1 => (),
                more => twice.push(format!("{} {}: {more} times", name(*desk), reason(number))),
            }
        }
    }
    let desks = || done.iter().map(|(_, done)| done);
    let repeated: usize = desks().map(|done| done.repeated).sum();
    let refused: Vec<String> = desks().flat_map(|done| done.refused.clone()).collect();
    let lost_count = lost.len();
    let rate = all as f64 / took.as_secs_f64();
    let waits = Figures::of(desks().flat_map(|done| done.answers.iter().map(|(_, took)| *took)));
    let figures = format!(
        "{all} acknowledged in {:.1} s, {rate:.0} a second, after p50/p99/max {} ms; {repeated} \
         asked again; the supervisor connected again {} times",
        took.as_secs_f64(),
        waits.words(),
        counts.returns
    );
    let mut moments: Vec<Instant> =
        desks().flat_map(|done| done.answers.iter().map(|(at, _)| *at)).collect();
    moments.sort_unstable();
    Judged {
        drill: drill.name,
        round,
        calls: all,
        lost: lost_count,
        gaps: Figures::default(),
        decisions: Figures::of(strikes.iter().map(|at| pause_after(*at, &moments))),
        claims: vec![
            Claim::against("what is acknowledged has been done", lost).with_figures(figures),
            Claim::against("nothing is done twice", twice),
            Claim::against("no command is refused", refused),
            Claim::against("a supervisor who resumes misses nothing", counts.odd.clone()),
        ],
        played: None,
    }
}

/// The longest time in which nothing was acknowledged, from a fault on until the next is near.
fn pause_after(strike: Instant, moments: &[Instant]) -> Duration {
    let end = strike + STEP;
    let within = moments.iter().copied().filter(|at| (strike..end).contains(at));
    let mut before = strike;
    let pauses = within.chain([end]).map(|at| at - std::mem::replace(&mut before, at));
    pauses.max().unwrap_or(STEP)
}

#[cfg(test)]
mod tests {
    use super::super::judge::Verdict;
    use super::*;

    /// Two commands of a desk; the first was acknowledged.
    fn judged(told: &[usize]) -> Vec<Verdict> {
        let done = Done { acknowledged: vec![true, false], ..Done::default() };
        let mut counts = Counts::default();
        told.iter().for_each(|number| counts.add(&name(3), &reason(*number)));
        let drill = Drill { name: "commands" };
        let judged = judge(drill, 1, (&[(3, done)], Duration::from_secs(1), &[]), &counts);
        assert_eq!(judged.calls, 1);
        judged.claims.iter().take(2).map(|claim| claim.verdict).collect()
    }

    #[test]
    fn a_pause_is_the_longest_time_without_an_answer_behind_a_fault() {
        let begin = Instant::now();
        let at = |ms: &u64| begin + Duration::from_millis(*ms);
        let pause = |answers: &[u64]| {
            let moments: Vec<Instant> = answers.iter().map(at).collect();
            pause_after(at(&1_000), &moments).as_millis()
        };
        assert_eq!(pause(&[10, 990, 1_400, 2_300, 2_310, 3_400, 9_000]), 1_090);
        assert_eq!(pause(&[990, 1_900, 2_500, 3_000]), 900);
        assert_eq!(pause(&[990, 4_000]), 2_500, "none at all");
    }

    #[test]
    fn an_acknowledged_command_is_there_once_and_another_at_most_once() {
        use Verdict::{Failed, Passed};
        assert_eq!(judged(&[0]), [Passed, Passed]);
        assert_eq!(judged(&[0, 1]), [Passed, Passed]);
        assert_eq!(judged(&[]), [Failed, Passed]);
        assert_eq!(judged(&[1]), [Failed, Passed]);
        assert_eq!(judged(&[0, 0]), [Passed, Failed]);
        assert_eq!(judged(&[0, 1, 1]), [Passed, Failed]);
    }
}
