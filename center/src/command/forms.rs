//! The forms of a command in the log, one for each version that this build reads.
//!
//! Owns what is behind the version in a command's bytes. To change a command: see CONTRIBUTING.md.

use super::Command;

/// Appends the command as `version` writes it; false if that version has no such command.
pub(super) fn write(command: &Command, version: u8, bytes: &mut Vec<u8>) -> bool {
    match version {
        3 => append(command, bytes),
        #[cfg(feature = "next-version")]
        4 => append(&rehearsal::Form::of(command), bytes),
        _ => return false,
    }
    true
}

/// Reads what [`write`] has written.
///
/// # Errors
/// It has not.
pub(super) fn read(version: u8, bytes: &[u8]) -> Result<Command, String> {
    match version {
        3 => whole(bytes),
        #[cfg(feature = "next-version")]
        4 => whole::<rehearsal::Form<Command>>(bytes)?.command(),
        _ => Err(format!("there is no version {version}")),
    }
}

fn append(form: &impl serde::Serialize, bytes: &mut Vec<u8>) {
    *bytes = postcard::to_extend(form, std::mem::take(bytes))
        .expect("commands have no sequences of unknown length and a vector takes all bytes");
}

fn whole<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    match postcard::take_from_bytes(bytes) {
        Ok((form, [])) => Ok(form),
        Ok((_, rest)) => Err(format!("{} bytes too many", rest.len())),
        Err(error) => Err(error.to_string()),
    }
}

/// Version 4 of the rehearsal: every command carries a check of itself in front.
#[cfg(feature = "next-version")]
mod rehearsal {
    use serde::{Deserialize, Serialize};

    use super::super::Command;
    use crate::hash;

    #[derive(Serialize, Deserialize)]
    pub(super) struct Form<C> {
        check: u64,
        command: C,
    }

    impl<'a> Form<&'a Command> {
        pub(super) fn of(command: &'a Command) -> Self {
            Self { check: hash::of_value(command), command }
        }
    }

    impl Form<Command> {
        pub(super) fn command(self) -> Result<Command, String> {
            if self.check == hash::of_value(&self.command) {
                return Ok(self.command);
            }
            Err("its check is wrong".to_owned())
        }
    }
}
