//! `[takeover]`: how the address of a node that is gone is taken by another.
//!
//! Owns the section and its sense; the values become an [`AddressBackend`] here.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{AddressBackend, Hook, Interface};
use crate::config::types::{AddressLifetimeMs, Name};

/// What becomes of the calls of a node that is gone.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Takeover {
    /// How its calls reach the node that adopts them. `loopback` by default, which is right for
    /// nodes on one machine and nowhere else: nodes on several need `interface` where they share
    /// a network, `hook` where something else moves addresses, `reinvite` where nothing does.
    /// All nodes of a cluster have the same. With a wrong one calls are adopted and stay silent.
    pub mode: TakeoverMode,
    /// The network interface that gets the addresses, for `interface`: the one that faces phones
    /// and trunks. On another one, callers' packets do not arrive.
    pub interface: Option<Name>,
    /// The program that moves addresses, for `hook`: called `PROGRAM take|refresh|release ADDRESS`
    /// with at most 5 s for each. One that returns before the address has moved lets calls be
    /// restored where no packet arrives yet.
    pub hook: Option<PathBuf>,
    /// How long the kernel keeps an address that is not renewed, so that a frozen node loses it.
    /// 2000 ms; the kernel counts whole seconds, a begun one as a whole, and withdraws up to half
    /// a second early or, on a busy machine, late. 1000 ms frees the address sooner, but a node that stalls for half a second
    /// loses its calls; above, a frozen node goes on answering for an address that another has
    /// taken.
    pub lifetime_ms: AddressLifetimeMs,
}

impl Default for Takeover {
    fn default() -> Self {
        Self {
            mode: TakeoverMode::Loopback,
            interface: None,
            hook: None,
            lifetime_ms: AddressLifetimeMs::of::<2_000>(),
        }
    }
}

/// How calls reach the node that adopts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TakeoverMode {
    /// By addresses of 127.0.0.0/8, which every process of the machine can bind.
    Loopback,
    /// By a further address of `interface`, which the neighbours are told.
    Interface,
    /// By what `hook` does.
    Hook,
    /// By a re-INVITE from the adopter's own address: slower, and a far end that does not know
    /// re-INVITEs loses its call.
    Reinvite,
}

/// Why the section makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TakeoverError {
    /// The mode needs a key that is not there.
    #[error("mode {mode:?} needs {key}")]
    Missing {
        /// The mode.
        mode: &'static str,
        /// The key.
        key: &'static str,
    },
    /// A key that this mode does not read.
    #[error("{key} is read in mode {mode:?} only")]
    Idle {
        /// The mode that reads it.
        mode: &'static str,
        /// The key.
        key: &'static str,
    },
}

impl Takeover {
    /// How addresses are moved; none where they stay.
    pub fn backend(&self) -> Result<Option<AddressBackend>, TakeoverError> {
        let (interface, hook) = ("interface", "hook");
        if self.mode != TakeoverMode::Interface && self.interface.is_some() {
            return Err(TakeoverError::Idle { mode: interface, key: interface });
        }
        if self.mode != TakeoverMode::Hook && self.hook.is_some() {
            return Err(TakeoverError::Idle { mode: hook, key: hook });
        }
        match self.mode {
            TakeoverMode::Loopback => Ok(Some(AddressBackend::Loopback)),
            TakeoverMode::Interface => {
                let missing = TakeoverError::Missing { mode: interface, key: interface };
                let name = self.interface.as_ref().ok_or(missing)?;
                Ok(Some(AddressBackend::Interface(Interface::new(name.as_str()))))
            }
            TakeoverMode::Hook => {
                let missing = TakeoverError::Missing { mode: hook, key: hook };
                let program = self.hook.as_ref().ok_or(missing)?;
                Ok(Some(AddressBackend::Hook(Hook::new(program))))
            }
            TakeoverMode::Reinvite => Ok(None),
        }
    }

    /// How long an address is kept that is not renewed.
    #[must_use]
    pub fn lifetime(&self) -> Duration {
        Duration::from_millis(self.lifetime_ms.get().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Takeover {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn without_a_word_the_nodes_are_on_one_machine() {
        let takeover = read("");
        assert!(matches!(takeover.backend(), Ok(Some(AddressBackend::Loopback))));
        assert_eq!(takeover.lifetime(), Duration::from_secs(2));
    }

    #[test]
    fn every_mode_makes_what_it_says() {
        let made = |text| read(text).backend().unwrap();
        let of_interface = made("mode = \"interface\"\ninterface = \"eth0.100\"");
        assert!(matches!(of_interface, Some(AddressBackend::Interface(_))));
        let of_hook = made("mode = \"hook\"\nhook = \"/etc/tandem/move-address\"");
        assert!(matches!(of_hook, Some(AddressBackend::Hook(_))));
        assert!(made("mode = \"reinvite\"").is_none());
    }

    #[test]
    fn a_key_that_is_missing_or_idle_is_named() {
        let said = |text| read(text).backend().unwrap_err().to_string();
        assert_eq!(said("mode = \"interface\""), "mode \"interface\" needs interface");
        assert_eq!(said("mode = \"hook\""), "mode \"hook\" needs hook");
        assert_eq!(said("interface = \"eth0\""), "interface is read in mode \"interface\" only");
        assert_eq!(said("hook = \"/bin/true\""), "hook is read in mode \"hook\" only");
    }

    #[test]
    fn a_lifetime_that_the_kernel_cannot_keep_is_refused() {
        let error = toml::from_str::<Takeover>("lifetime_ms = 400").unwrap_err().to_string();
        assert!(error.contains("400 is outside 1000 to 60000 ms"), "{error}");
    }
}
