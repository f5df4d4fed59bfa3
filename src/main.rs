//! The `tandem` binary.

use std::process::ExitCode;

use clap::Parser as _;
use tandem::cli::Cli;

fn main() -> ExitCode {
    Cli::parse().run()
}
