//! The variables of a call: what the flow collected, looked up and set.
//!
//! Bounded, since they are part of the replicated state and their values come from callers
//! and web services.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::directory::{LEVEL_MAX, SKILLS_MAX, Skills};

/// Variables of one call. Past it a new one is not kept.
pub const VARIABLES_MAX: usize = 64;

/// Bytes of one value. A longer value is cut: a long answer of a web service must not end the
/// call.
pub const VALUE_BYTES_MAX: usize = 1024;

/// Bytes of a variable's name.
const NAME_BYTES_MAX: usize = 64;

/// The variable that holds the caller's number when a flow begins.
pub const CALLER_NUMBER: &str = "caller_number";

/// The variable that holds the caller's display name when a flow begins.
pub const CALLER_NAME: &str = "caller_name";

/// The variable that holds the number that was called.
pub const CALLED_NUMBER: &str = "called_number";

/// The variable that says what an agent must know for the caller, when a flow puts them into a
/// queue: names of skills, each with the level needed (1 unless said), as `german:3, billing`.
pub const SKILLS: &str = "skills";

/// What the variable [`SKILLS`] asks for. What cannot be read is not asked for: a slip in an answer
/// of a web service must not leave a caller without any agent.
#[must_use]
pub fn skills_asked(variables: &Variables) -> Skills {
    let asked = variables.get(SKILLS).unwrap_or_default().split(',').filter_map(|part| {
        let (name, level) = part.split_once(':').unwrap_or((part, "1"));
        let level: u8 = level.trim().parse().ok()?;
        let is_good = !name.trim().is_empty() && (1..=LEVEL_MAX).contains(&level);
        is_good.then(|| (name.trim().into(), level))
    });
    asked.take(SKILLS_MAX).collect()
}

/// The variables of a call by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Variables(BTreeMap<String, String>);

impl Variables {
    /// The variables that every flow finds at its first step.
    #[must_use]
    pub fn of_call(caller_number: &str, caller_name: &str, called_number: &str) -> Self {
        let mut variables = Self::default();
        variables.set(CALLER_NUMBER, caller_number);
        variables.set(CALLER_NAME, caller_name);
        variables.set(CALLED_NUMBER, called_number);
        variables
    }

    /// The value, or nothing for a variable that was never set.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Sets the value, cut to [`VALUE_BYTES_MAX`]. Answers whether the variable is kept: a bad
    /// name, or one more than [`VARIABLES_MAX`], is not.
    pub fn set(&mut self, name: &str, value: &str) -> bool {
        let is_new = !self.0.contains_key(name);
        if is_new && (self.0.len() >= VARIABLES_MAX || !is_variable_name(name)) {
            return false;
        }
        let mut end = value.len().min(VALUE_BYTES_MAX);
        while !value.is_char_boundary(end) {
            end -= 1;
        }
        self.0.insert(name.to_owned(), value[..end].to_owned());
        true
    }

    /// All variables, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// How many variables are set.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// No variable is set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Whether a variable may be called so: small letters, digits and underscores, beginning with
/// a letter or an underscore.
#[must_use]
pub fn is_variable_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    name.len() <= NAME_BYTES_MAX
        && bytes.next().is_some_and(|b| b.is_ascii_lowercase() || b == b'_')
        && bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_is_too_long_is_cut_between_characters() {
        let mut variables = Variables::default();
        assert!(variables.set("name", &"您".repeat(1000)));
        let kept = variables.get("name").unwrap();
        assert_eq!(kept.len(), 1023, "341 characters of three bytes fit in 1024 bytes");
    }

    #[test]
    fn the_sixty_fifth_variable_is_not_kept_but_an_old_one_can_change() {
        let mut variables = Variables::default();
        for n in 0..VARIABLES_MAX {
            assert!(variables.set(&format!("v{n}"), "1"));
        }
        assert!(!variables.set("one_more", "1"));
        assert!(variables.set("v0", "2"));
        assert_eq!((variables.len(), variables.get("v0")), (VARIABLES_MAX, Some("2")));
    }

    #[test]
    fn names_are_small_letters_digits_and_underscores() {
        for (name, good) in [
            ("tier", true),
            ("_x9", true),
            ("9x", false),
            ("", false),
            ("Name", false),
            ("a-b", false),
        ] {
            assert_eq!(is_variable_name(name), good, "{name:?}");
        }
    }
}
