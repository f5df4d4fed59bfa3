//! Tables and values of a TOML file, read with their places so that every mistake can be
//! shown where it is.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{FlowError, Surroundings, nearest::hint};

/// Nearest names that are looked for in one file. Each costs a comparison with every valid
/// name; a file with more mistakes does without.
const HINTS_MAX: usize = 40;

/// What is noted while a file is read.
#[derive(Debug)]
pub(super) struct Notes<'a> {
    pub(super) around: &'a Surroundings,
    /// Place in bytes → what is wrong there.
    errors: RefCell<BTreeSet<(usize, String)>>,
    /// Variables that are put in somewhere, with the place.
    used: RefCell<Vec<(String, usize)>>,
    /// Variables that are set somewhere, with the first place.
    set: RefCell<BTreeMap<String, usize>>,
    /// Nearest names that were looked for.
    hints: Cell<usize>,
}

/// One table, whose keys are asked for by name; those nobody asked for are unknown.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    pub(super) notes: &'a Notes<'a>,
    table: &'a DeTable<'a>,
    /// Where a missing key is reported.
    at: usize,
    /// What the table describes, for messages.
    what: String,
    known: RefCell<Vec<&'static str>>,
}

/// One value with its place.
#[derive(Debug)]
pub(super) struct Value<'a> {
    pub(super) notes: &'a Notes<'a>,
    value: &'a Spanned<DeValue<'a>>,
    /// What the value is, for messages.
    pub(super) what: String,
}

impl<'a> Notes<'a> {
    pub(super) fn new(around: &'a Surroundings) -> Self {
        Self {
            around,
            errors: RefCell::default(),
            used: RefCell::default(),
            set: RefCell::default(),
            hints: Cell::default(),
        }
    }

    pub(super) fn error(&self, at: usize, message: impl Into<String>) {
        self.errors.borrow_mut().insert((at, message.into()));
    }

    /// What to add to an error about a name: the nearest valid one.
    pub(super) fn hint<'b>(&self, wrong: &str, valid: impl IntoIterator<Item = &'b str>) -> String {
        self.hints.set(self.hints.get() + 1);
        if self.hints.get() > HINTS_MAX { String::new() } else { hint(wrong, valid) }
    }

    /// A variable is put in at this place.
    pub(super) fn uses(&self, variable: &str, at: usize) {
        self.used.borrow_mut().push((variable.to_owned(), at));
    }

    /// A variable is set at this place.
    pub(super) fn sets(&self, variable: &str, at: usize) {
        if !crate::flow::is_variable_name(variable) {
            let rule = "small letters, digits and underscores, beginning with a letter";
            self.error(at, format!("`{variable}` is no name of a variable: {rule}"));
        }
        self.set.borrow_mut().entry(variable.to_owned()).or_insert(at);
    }

    pub(super) fn used(&self) -> Vec<(String, usize)> {
        self.used.borrow().clone()
    }

    pub(super) fn set(&self) -> BTreeMap<String, usize> {
        self.set.borrow().clone()
    }

    pub(super) fn is_clean(&self) -> bool {
        self.errors.borrow().is_empty()
    }

    /// The errors by place.
    pub(super) fn into_errors(self, text: &str, most: usize) -> Vec<FlowError> {
        let errors = self.errors.into_inner();
        (errors.into_iter().take(most))
            .map(|(at, message)| {
                let (line, column) = place(text, at);
                FlowError { line, column, message }
            })
            .collect()
    }
}

/// Line and column, from 1, of a place in bytes.
fn place(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
    (line, before[line_start..].chars().count() + 1)
}

impl<'a> Fields<'a> {
    pub(super) fn new(
        notes: &'a Notes<'a>,
        table: &'a DeTable<'a>,
        at: usize,
        what: impl Into<String>,
    ) -> Self {
        Self { notes, table, at, what: what.into(), known: RefCell::default() }
    }

    /// The value of a key that may be missing.
    pub(super) fn optional(&self, key: &'static str) -> Option<Value<'a>> {
        self.known.borrow_mut().push(key);
        let value = self.table.get(key)?;
        Some(Value::new(self.notes, value, format!("`{key}` of {}", self.what)))
    }

    /// The value of a key that must be there.
    pub(super) fn required(&self, key: &'static str) -> Option<Value<'a>> {
        let value = self.optional(key);
        if value.is_none() {
            self.missing(key);
        }
        value
    }

    pub(super) fn missing(&self, key: &str) {
        self.notes.error(self.at, format!("{} has no `{key}`", self.what));
    }

    /// The number of a key, or `default`.
    pub(super) fn number(
        &self,
        key: &'static str,
        range: RangeInclusive<u32>,
        default: u32,
    ) -> Option<u32> {
        match self.optional(key) {
            Some(value) => value.number(range),
            None => Some(default),
        }
    }

    /// The truth value of a key, or `default`.
    pub(super) fn boolean(&self, key: &'static str, default: bool) -> Option<bool> {
        match self.optional(key) {
            Some(value) => value.boolean(),
            None => Some(default),
        }
    }

    /// Reports the keys that nobody asked for.
    pub(super) fn finish(self) {
        let known = self.known.into_inner();
        for key in self.table.keys().filter(|key| !known.contains(&key.get_ref().as_ref())) {
            let near = self.notes.hint(key.get_ref(), known.iter().copied());
            let message = format!("{} knows no `{}`{near}", self.what, key.get_ref());
            self.notes.error(key.span().start, message);
        }
    }
}

impl<'a> Value<'a> {
    pub(super) fn new(
        notes: &'a Notes<'a>,
        value: &'a Spanned<DeValue<'a>>,
        what: impl Into<String>,
    ) -> Self {
        Self { notes, value, what: what.into() }
    }

    /// The place of the value, in bytes.
    pub(super) fn at(&self) -> usize {
        self.value.span().start
    }

    pub(super) fn raw(&self) -> &'a DeValue<'a> {
        self.value.get_ref()
    }

    pub(super) fn error(&self, message: impl Into<String>) {
        self.notes.error(self.at(), message);
    }

    /// Reports that the value is of the wrong kind.
    pub(super) fn must_be<T>(&self, needs: &str) -> Option<T> {
        let is = match self.raw() {
            DeValue::String(_) => "a text",
            DeValue::Integer(_) | DeValue::Float(_) => "a number",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date or time",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        self.error(format!("{} must be {needs}, not {is}", self.what));
        None
    }

    pub(super) fn text(&self) -> Option<&'a str> {
        let DeValue::String(text) = self.raw() else { return self.must_be("a text") };
        Some(text)
    }

    /// A text, or a whole number as its digits.
    pub(super) fn scalar(&self) -> Option<String> {
        match self.raw() {
            DeValue::String(text) => Some(text.to_string()),
            DeValue::Integer(_) => self.integer().map(|number| number.to_string()),
            DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_)
            | DeValue::Table(_) => self.must_be("a text or a whole number"),
        }
    }

    pub(super) fn integer(&self) -> Option<i64> {
        let DeValue::Integer(number) = self.raw() else {
            return self.must_be("a whole number");
        };
        match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Some(number),
            Err(_) => self.must_be("a number of at most 18 digits"),
        }
    }

    pub(super) fn number(&self, range: RangeInclusive<u32>) -> Option<u32> {
        let number = self.integer()?;
        let fitting = u32::try_from(number).ok().filter(|number| range.contains(number));
        if fitting.is_none() {
            let (least, most) = (range.start(), range.end());
            self.error(format!("{} must be {least} to {most}, not {number}", self.what));
        }
        fitting
    }

    pub(super) fn boolean(&self) -> Option<bool> {
        let DeValue::Boolean(truth) = self.raw() else { return self.must_be("true or false") };
        Some(*truth)
    }

    pub(super) fn table(&self) -> Option<&'a DeTable<'a>> {
        let DeValue::Table(table) = self.raw() else { return self.must_be("a table") };
        Some(table)
    }

    /// The items of a list, each with its own place.
    pub(super) fn list(&self) -> Option<Vec<Self>> {
        let DeValue::Array(items) = self.raw() else { return self.must_be("a list") };
        let what = format!("an item of {}", self.what);
        Some(items.iter().map(|item| Self::new(self.notes, item, what.clone())).collect())
    }

    /// One of some names.
    pub(super) fn one_of<T: Copy>(&self, names: &[(&str, T)]) -> Option<T> {
        let text = self.text()?;
        let found = names.iter().find(|(name, _)| *name == text).map(|(_, value)| *value);
        if found.is_none() {
            let near = self.notes.hint(text, names.iter().map(|(name, _)| *name));
            self.error(format!("{} cannot be `{text}`{near}", self.what));
        }
        found
    }
}
