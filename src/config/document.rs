//! The reference of the configuration, made from the structs that read it.
//!
//! `docs/configuration.md` is what [`markdown`] returns; a test fails when it is not, and writes
//! the new text when `TANDEM_WRITE_DOCS` is set.

use std::fmt::Write as _;

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

use super::Config;

/// The JSON Schema of a configuration, everything inlined.
pub(super) fn schema() -> Value {
    let mut settings = SchemaSettings::draft2020_12();
    settings.inline_subschemas = true;
    settings.into_generator().into_root_schema_for::<Config>().to_value()
}

const HEAD: &str = "# Configuration

Made from the doc comments in `src/config/`; do not edit by hand. Run
`TANDEM_WRITE_DOCS=1 cargo test -p tandem --lib config` after a change there.

`tandem run --config FILE` reads one TOML file. Without one, the call centre of
`config/node.toml` runs on loopback. Every section and every key with a default may be left out.
A key that does not exist, a value outside its limits, a reference to something that does not
exist or a file of a secret that cannot be read stops the node with file, line and column;
`tandem ctl check-config FILE` says the same without starting.

Inputs (flows, prompts, music, files of secrets) with a relative path are looked up from the
folder of the configuration file; outputs (data, recordings) from the working directory.
`--data DIR` replaces `node.data`. The environment variable `TANDEM_LOG` replaces `log.filter`.
";

/// The reference as Markdown.
#[must_use]
pub fn markdown() -> String {
    let schema = schema();
    let mut text = HEAD.to_owned();
    for (name, section) in properties(&schema) {
        match section.get("items") {
            Some(items) => {
                table(&mut text, &format!("[[{name}]]"), items);
                inner_tables(&mut text, name, items);
            }
            None => {
                table(&mut text, &format!("[{name}]"), section);
                inner_tables(&mut text, name, section);
            }
        }
    }
    text
}

/// The lists of tables within a section.
fn inner_tables(text: &mut String, name: &str, section: &Value) {
    for (key, inner) in properties(section) {
        if let Some(items) = inner.get("items").filter(|items| is_table(items)) {
            table(text, &format!("[[{name}.{key}]]"), items);
        }
    }
}

fn is_table(schema: &Value) -> bool {
    schema.get("properties").is_some()
}

fn properties(schema: &Value) -> impl Iterator<Item = (&String, &Value)> {
    schema.get("properties").and_then(Value::as_object).into_iter().flat_map(Map::iter)
}

fn table(text: &mut String, title: &str, schema: &Value) {
    let _ = write!(text, "\n## {title}\n\n{}\n", describe(schema));
    let required: Vec<&str> = schema
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    for (key, value) in properties(schema) {
        if value.get("items").is_some_and(is_table) {
            continue; // It has a section of its own.
        }
        let mut facts = vec![kind(value)];
        match value.get("default") {
            _ if required.contains(&key.as_str()) => facts.push("**required**".to_owned()),
            None | Some(Value::Null) => facts.push("optional".to_owned()),
            Some(default) => facts.push(format!("default `{default}`")),
        }
        let _ = write!(text, "\n- **`{key}`** — {}. {}", facts.join(", "), describe(value));
    }
    text.push('\n');
}

/// The doc comment, its lines joined.
fn describe(schema: &Value) -> String {
    let description = schema.get("description").and_then(Value::as_str).unwrap_or_default();
    description.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The type in words: `integer 3 to 300 seconds`, `one of "agent", "supervisor"`.
fn kind(schema: &Value) -> String {
    if let Some(choices) = choices(schema) {
        return format!("one of {}", choices.join(", "));
    }
    if let Some(item) = schema.get("items") {
        return format!("list of {}", kind(item));
    }
    let name = match schema.get("type") {
        Some(Value::String(name)) => name.clone(),
        Some(Value::Array(names)) => {
            let names = names.iter().filter_map(Value::as_str).filter(|name| *name != "null");
            names.collect::<Vec<_>>().join(" or ")
        }
        _ => inner(schema).map_or_else(|| "value".to_owned(), kind),
    };
    let name = if name == "object" { "table of text".to_owned() } else { name };
    let limit = |key| schema.get(key).and_then(Value::as_i64);
    let unit = schema.get("x-unit").and_then(Value::as_str).unwrap_or_default();
    match (limit("minimum"), limit("maximum")) {
        (Some(low), Some(high)) => format!("{name} {low} to {high} {unit}").trim_end().to_owned(),
        _ => name,
    }
}

/// What an optional value holds when it is there.
fn inner(schema: &Value) -> Option<&Value> {
    schema
        .get("anyOf")?
        .as_array()?
        .iter()
        .find(|choice| choice.get("type") != Some(&"null".into()))
}

fn choices(schema: &Value) -> Option<Vec<String>> {
    if let Some(names) = schema.get("enum").and_then(Value::as_array) {
        return Some(names.iter().map(|name| format!("`{name}`")).collect());
    }
    let variants = schema.get("oneOf")?.as_array()?;
    let describe = |variant: &Value| match (variant.get("const"), variant.get("description")) {
        (Some(name), Some(Value::String(words))) => {
            let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
            Some(format!("`{name}` ({})", words.trim_end_matches('.')))
        }
        (Some(name), _) => Some(format!("`{name}`")),
        (None, _) => None,
    };
    variants.iter().map(describe).collect()
}
