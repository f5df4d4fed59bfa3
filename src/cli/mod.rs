//! The command line: `tandem run` is a node, the other commands are clients of one.
//!
//! Owns the arguments and what is printed. Passwords come from the terminal, the environment or
//! a file, never from the arguments, which every user of the machine can read.

mod address;
mod agent;
mod audit;
pub mod client;
mod ctl;
mod drill;
mod members;
mod recover;
mod replay;
mod run;
mod screen;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::api::hash_password;
use crate::config::types::Secret;
use crate::config::{Config, ConfigError};

/// A call centre that keeps its calls when a machine dies.
#[derive(Debug, Parser)]
#[command(name = "tandem", version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a node. Without a file: a complete call centre on this machine.
    Run(run::Arguments),
    /// Ask a node, or check a configuration.
    Ctl(ctl::Arguments),
    /// A desk in the terminal.
    Agent(agent::Arguments),
    /// Move a service address by hand, as a node does it when it adopts calls.
    Address(address::Arguments),
    /// Prove that no call is lost or double. Fails, and names the calls, if one is.
    Audit(audit::Arguments),
    /// Tell what happened to one call, step by step.
    Replay(replay::Arguments),
    /// Force the node that is left to be the cluster, when the others are lost for good.
    Recover(recover::Arguments),
    /// Try on real processes that no call is lost when a node dies.
    Drill(drill::Arguments),
    /// Read a password and print its hash, for `password_hash` in the configuration.
    HashPassword {
        /// Read the password from this file's first line instead of asking.
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
    },
}

impl Cli {
    /// Does what the arguments say. What went wrong is said on standard error.
    #[must_use]
    pub fn run(self) -> ExitCode {
        let result = match self.command {
            Command::Run(arguments) => arguments.run(),
            Command::Ctl(arguments) => arguments.run(),
            Command::Agent(arguments) => arguments.run(),
            Command::Address(arguments) => arguments.run(),
            Command::Audit(arguments) => arguments.run(),
            Command::Replay(arguments) => arguments.run(),
            Command::Recover(arguments) => arguments.run(),
            Command::Drill(arguments) => arguments.run(),
            Command::HashPassword { password_file } => {
                hash(screen::read_password("Password", password_file.as_deref()))
            }
        };
        match result {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                screen::complain(&error);
                ExitCode::FAILURE
            }
        }
    }
}

fn hash(password: anyhow::Result<Secret>) -> anyhow::Result<()> {
    screen::say(&hash_password(&password?));
    Ok(())
}

fn load(file: Option<&PathBuf>) -> Result<Config, ConfigError> {
    match file {
        Some(file) => Config::load(file),
        None => Ok(Config::built_in()),
    }
}
