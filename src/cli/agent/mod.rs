//! `tandem agent`: a desk in the terminal, for people and for scripts.
//!
//! Owns the terminal and the connection. When a node is lost it goes on at the next one, with
//! growing pauses, and resumes where it was: commands that were not answered are sent again under
//! the same ids, so nothing is lost and nothing is done twice.

mod desk;
mod line;

use std::io::{BufRead as _, IsTerminal as _};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use clap::Args;
use desk::{Desk, Pause, Step};
use rand::Rng as _;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};

use super::client::{ClientError, Cti, Server};
use super::screen;
use crate::api::error::ErrorCode;
use crate::api::frame::{CloseReason, ServerFrame};
use crate::config::types::Secret;

/// The first pause before another try; it doubles up to [`PAUSE_MAX`], and a half of it is random,
/// so that the clients of a lost node do not come all at once.
const PAUSE_MIN: Duration = Duration::from_millis(100);

/// The longest pause before another try.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Lines that were typed and not yet taken. Full: the terminal waits.
const LINES_WAITING: usize = 64;

/// How long the node may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(3);

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The nodes, separated by commas; the first one that answers is used.
    #[arg(
        long,
        value_name = "URL",
        value_delimiter = ',',
        default_value = "http://127.0.0.1:8080"
    )]
    server: Vec<String>,
    /// The name to log in with. The password is asked for, or taken from TANDEM_PASSWORD.
    #[arg(long, value_name = "NAME")]
    user: String,
    /// A file that holds the password in its first line.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Read commands from standard input without a prompt, and end with an error if one is
    /// refused. `wait EVENT [SECONDS]` and `sleep SECONDS` are understood as well.
    #[arg(long)]
    script: bool,
}

impl Arguments {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let password = screen::read_password("Password", self.password_file.as_deref())?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async { Terminal::new(self, password)?.run().await })
    }
}

/// How a connection ended.
enum Lost {
    /// Connect again.
    Again,
    /// It is the end.
    End,
}

struct Terminal {
    desk: Desk,
    servers: Vec<String>,
    next_server: usize,
    user: String,
    password: Secret,
    token: Option<String>,
    /// Nothing when the input has ended.
    lines: Option<mpsc::Receiver<String>>,
    script: bool,
    /// When goodbye was said.
    quit: Option<Instant>,
    /// The script waits, until then at most.
    waiting: Option<(Pause, Instant)>,
    failures: u32,
}

impl Terminal {
    fn new(arguments: Arguments, password: Secret) -> anyhow::Result<Self> {
        if arguments.server.is_empty() {
            bail!("there is no server");
        }
        let prefix = format!("{:016x}", rand::rng().random::<u64>());
        Ok(Self {
            desk: Desk::new(arguments.user.clone(), prefix),
            servers: arguments.server,
            next_server: 0,
            user: arguments.user,
            password,
            token: None,
            lines: Some(read_lines()),
            quit: None,
            script: arguments.script || !std::io::stdin().is_terminal(),
            waiting: None,
            failures: 0,
        })
    }

    async fn run(&mut self) -> anyhow::Result<()> {
        let mut failed = 0;
        loop {
            match self.connect().await {
                Ok(mut cti) => {
                    failed = 0;
                    let lost = self.converse(&mut cti).await;
                    cti.close().await;
                    match lost {
                        Lost::Again if self.quit.is_none() => {
                            screen::say("* the connection is lost");
                        }
                        Lost::Again | Lost::End => break,
                    }
                }
                Err(error) if self.is_final(&error) => return Err(error.into()),
                Err(error) => {
                    if failed == 0 {
                        screen::say(&format!("* {error}; trying again"));
                    }
                    failed += 1;
                    sleep(pause(failed)).await;
                }
            }
            self.next_server += 1;
        }
        if self.script && self.failures + self.desk.refused() > 0 {
            bail!("{} lines of the script failed", self.failures + self.desk.refused());
        }
        Ok(())
    }

    /// Whether trying again is of no use.
    fn is_final(&self, error: &ClientError) -> bool {
        match error {
            ClientError::Refused(error) => {
                [ErrorCode::WrongPassword, ErrorCode::Locked].contains(&error.code)
            }
            ClientError::Unreachable { .. } => false,
        }
    }

    /// Logs in if need be, connects, and says hello.
    async fn connect(&mut self) -> Result<Cti, ClientError> {
        let address = &self.servers[self.next_server % self.servers.len()];
        let mut server = Server::new(address)?;
        let token = match &self.token {
            Some(token) => token.clone(),
            None => server.log_in(&self.user, &self.password).await?.token,
        };
        let mut cti = server.connect().await?;
        let lost = || ClientError::Unreachable {
            server: server.base().to_owned(),
            reason: "the connection was lost".to_owned(),
        };
        cti.send(&self.desk.hello(&token)).await.map_err(|_| lost())?;
        self.token = Some(token);
        for frame in self.desk.unanswered() {
            cti.send(&frame).await.map_err(|_| lost())?;
        }
        Ok(cti)
    }

    /// Lines go out and frames come in, until the connection is over.
    async fn converse(&mut self, cti: &mut Cti) -> Lost {
        self.show_prompt();
        loop {
            let until = self.waiting.as_ref().map(|(_, until)| *until);
            let goodbye = self.quit.map(|quit| quit + GOODBYE);
            let step = tokio::select! {
                frame = cti.receive() => match frame {
                    Some(frame) => self.handle_frame(frame),
                    None => return Lost::Again,
                },
                line = next_line(&mut self.lines), if until.is_none() => match line {
                    Some(_) if self.quit.is_some() => return Lost::End, // The session ends later.
                    Some(line) => self.desk.handle_line(&line),
                    None => {
                        self.lines = None;
                        self.desk.handle_line("quit")
                    }
                },
                () = sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => {
                    self.stop_waiting();
                    Step::default()
                }
                () = sleep_until(goodbye.unwrap_or_else(Instant::now)), if goodbye.is_some() => {
                    return Lost::End;
                }
            };
            self.quit = match (self.desk.is_quitting(), self.quit) {
                (true, since) => since.or_else(|| Some(Instant::now())),
                // Signing out was refused, and nobody is there to try again.
                (false, _) if self.lines.is_none() => return Lost::End,
                (false, _) => None,
            };
            if let Some(frame) = &step.sends
                && cti.send(frame).await.is_err()
            {
                return Lost::Again; // It is among the unanswered.
            }
            if let Some(lost) = self.take(step) {
                return lost;
            }
        }
    }

    fn handle_frame(&mut self, frame: ServerFrame) -> Step {
        if let ServerFrame::Error(error) = &frame
            && error.id.is_none()
            && error.error.code == ErrorCode::NotLoggedIn
        {
            self.token = None; // It has expired: log in, then connect again.
            return Step::default();
        }
        self.desk.handle_frame(frame)
    }

    /// Prints, waits, or ends, as the step says.
    fn take(&mut self, step: Step) -> Option<Lost> {
        for line in &step.says {
            screen::say(line);
        }
        if let Some(pause) = step.waits {
            let seconds = match &pause {
                Pause::Until { seconds, .. } | Pause::Seconds(seconds) => *seconds,
            };
            self.waiting = Some((pause, Instant::now() + Duration::from_secs(seconds)));
        }
        if let Some((Pause::Until { what, .. }, _)) = &self.waiting
            && self.desk.has_happened(what)
        {
            self.waiting = None;
        }
        if !step.says.is_empty() || step.sends.is_some() {
            self.show_prompt();
        }
        match step.ends? {
            CloseReason::SignedOut | CloseReason::Reconfigured | CloseReason::ForcedOut => {
                Some(Lost::End)
            }
            CloseReason::SignedInElsewhere => {
                screen::say("* signed in elsewhere");
                self.failures += 1;
                Some(Lost::End)
            }
            CloseReason::ConnectionLost
            | CloseReason::GoingAway
            | CloseReason::TooSlow
            | CloseReason::Silent
            | CloseReason::TooManyErrors
            | CloseReason::Refused => {
                self.know_servers();
                Some(Lost::Again)
            }
        }
    }

    /// Nodes that were not named on the command line are tried, too.
    fn know_servers(&mut self) {
        for server in &self.desk.servers {
            let known = self.servers.iter().any(|known| known.ends_with(server.as_str()));
            if !known {
                self.servers.push(server.clone());
            }
        }
    }

    fn stop_waiting(&mut self) {
        if let Some((Pause::Until { what, seconds }, _)) = self.waiting.take() {
            screen::say(&format!("! {what} did not happen within {seconds} seconds"));
            self.failures += 1;
        }
    }

    fn show_prompt(&self) {
        if !self.script {
            screen::prompt(&self.desk.prompt());
        }
    }
}

/// The next line, or nothing at the end of the input; never comes back after that.
async fn next_line(lines: &mut Option<mpsc::Receiver<String>>) -> Option<String> {
    match lines {
        Some(lines) => lines.recv().await,
        None => std::future::pending().await,
    }
}

fn pause(failed: u32) -> Duration {
    let doubled = PAUSE_MIN.saturating_mul(1 << failed.min(10)).min(PAUSE_MAX);
    doubled.mul_f64(rand::rng().random_range(0.5..1.0))
}

/// The lines of the terminal, read on a thread of their own.
fn read_lines() -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel(LINES_WAITING);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let Ok(line) = line else { return };
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_differ() {
        for failed in 1..40 {
            let pause = pause(failed);
            assert!(pause >= PAUSE_MIN && pause <= PAUSE_MAX, "{failed}: {pause:?}");
        }
        let some: Vec<_> = (0..20).map(|_| pause(3)).collect();
        assert!(some.iter().any(|pause| *pause != some[0]));
    }
}
