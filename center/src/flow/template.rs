//! Text with `{variable}` in it.
//!
//! A brace itself is written twice: `{{`, `}}`.

use serde::{Deserialize, Serialize};

use super::{Variables, is_variable_name};

/// Text that has variables in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Part {
    Text(String),
    Variable(String),
}

/// Why a text is no template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    #[error("`{{` is not closed; write `{{{{` for a brace itself")]
    Unclosed,
    #[error("`}}` without `{{`; write `}}}}` for a brace itself")]
    Unopened,
    #[error("{name:?} is no name of a variable: small letters, digits and underscores")]
    BadName { name: String },
}

impl Template {
    /// Reads a text.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            literal.push_str(&rest[..at]);
            let (brace, after) = rest[at..].split_at(1);
            if after.starts_with(brace) {
                literal.push_str(brace);
                rest = &after[1..];
                continue;
            }
            if brace == "}" {
                return Err(TemplateError::Unopened);
            }
            let Some((name, after)) = after.split_once('}') else {
                return Err(TemplateError::Unclosed);
            };
            if !is_variable_name(name) {
                return Err(TemplateError::BadName { name: name.to_owned() });
            }
            if !literal.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut literal)));
            }
            parts.push(Part::Variable(name.to_owned()));
            rest = after;
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(Part::Text(literal));
        }
        Ok(Self(parts))
    }

    /// A text without variables.
    #[must_use]
    pub fn fixed(text: &str) -> Self {
        Self(vec![Part::Text(text.to_owned())])
    }

    /// The text itself, if it has no variables.
    #[must_use]
    pub fn as_fixed(&self) -> Option<&str> {
        match self.0.as_slice() {
            [] => Some(""),
            [Part::Text(text)] => Some(text),
            [Part::Variable(_)] | [_, _, ..] => None,
        }
    }

    /// The fixed text before the first variable.
    #[must_use]
    pub fn prefix(&self) -> &str {
        match self.0.first() {
            Some(Part::Text(text)) => text,
            Some(Part::Variable(_)) | None => "",
        }
    }

    /// The names of the variables, in order.
    pub fn variables(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| match part {
            Part::Text(_) => None,
            Part::Variable(name) => Some(name.as_str()),
        })
    }

    /// The text with the variables put in. One that was never set is empty.
    #[must_use]
    pub fn render(&self, variables: &Variables) -> String {
        self.render_with(variables, |value, out| out.push_str(value))
    }

    /// The text with the variables put in by `put`, which escapes a value as its place needs.
    pub fn render_with(&self, variables: &Variables, put: impl Fn(&str, &mut String)) -> String {
        let mut out = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Variable(name) => put(variables.get(name).unwrap_or_default(), &mut out),
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_put_in_and_doubled_braces_are_braces() {
        let mut variables = Variables::default();
        variables.set("name", "Ana");
        let template = Template::parse("{{Hello}} {name}, {unknown}!").unwrap();
        assert_eq!(template.render(&variables), "{Hello} Ana, !");
        assert_eq!(template.variables().collect::<Vec<_>>(), ["name", "unknown"]);
        assert_eq!(template.prefix(), "{Hello} ");
    }

    #[test]
    fn a_brace_alone_is_an_error() {
        assert_eq!(Template::parse("a { b"), Err(TemplateError::Unclosed));
        assert_eq!(Template::parse("a } b"), Err(TemplateError::Unopened));
        assert_eq!(Template::parse("{Name}"), Err(TemplateError::BadName { name: "Name".into() }));
    }
}
