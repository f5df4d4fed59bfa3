//! What the command line prints and reads. A closed pipe is no error: who stopped reading knows.

use std::fs;
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::path::Path;

use anyhow::{Context as _, bail};
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

use crate::config::types::Secret;

/// The environment variable that holds a password for programs that log in.
const PASSWORD_VARIABLE: &str = "TANDEM_PASSWORD";

/// A line on standard output.
pub(super) fn say(text: &str) {
    let _closed = writeln!(io::stdout().lock(), "{text}");
}

/// The beginning of a line that a person goes on with.
pub(super) fn prompt(text: &str) {
    let mut output = io::stdout().lock();
    let _closed = write!(output, "{text}").and_then(|()| output.flush());
}

/// What a person types who is to type this name; nothing where nobody is asked.
pub(super) fn typed(name: &str) -> anyhow::Result<String> {
    let input = io::stdin();
    if !input.is_terminal() {
        return Ok(String::new());
    }
    prompt(&format!("Type {name} to go on: "));
    let mut line = String::new();
    input.lock().read_line(&mut line)?;
    Ok(line.trim().to_owned())
}

/// A line on standard error.
pub(super) fn complain(error: &anyhow::Error) {
    let _closed = writeln!(io::stderr().lock(), "tandem: {error:#}");
}

/// Whether a person reads standard error.
pub(super) fn is_terminal() -> bool {
    io::stderr().is_terminal()
}

/// The password of the file, else of the environment, else asked for without showing it.
pub(super) fn read_password(prompt: &str, file: Option<&Path>) -> anyhow::Result<Secret> {
    let line = match (file, std::env::var(PASSWORD_VARIABLE)) {
        (Some(file), _) => fs::read_to_string(file)
            .with_context(|| format!("{} cannot be read", file.display()))?,
        (None, Ok(password)) => password,
        (None, Err(_)) => ask(prompt)?,
    };
    match line.lines().next() {
        Some(password) if !password.is_empty() => Ok(Secret::new(password)),
        Some(_) | None => bail!("the password is empty"),
    }
}

fn ask(prompt: &str) -> anyhow::Result<String> {
    let input = io::stdin();
    let shown = if input.is_terminal() {
        let _closed = write!(io::stderr().lock(), "{prompt}: ");
        let _closed = io::stderr().flush();
        Some(tcgetattr(&input)?)
    } else {
        None
    };
    if let Some(shown) = &shown {
        let mut hidden = shown.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        tcsetattr(&input, OptionalActions::Flush, &hidden)?;
    }
    let mut line = String::new();
    let read = input.lock().read_line(&mut line);
    if let Some(shown) = &shown {
        tcsetattr(&input, OptionalActions::Flush, shown)?;
        let _closed = writeln!(io::stderr().lock());
    }
    read?;
    Ok(line)
}
