//! The values of a flow's file that are more than a text or a number: templates, prompts,
//! URLs, headers, JSON.

use std::collections::BTreeMap;

use toml::de::DeValue;

use super::reader::{Fields, Value};
use crate::flow::{Json, PROMPTS_MAX, Say, Template};

/// How deep a JSON body may be nested: deeper than any real service wants, and safe to walk.
const JSON_DEPTH_MAX: usize = 16;

/// Header fields that the client sets itself (RFC 9110 §7.2, RFC 9112 §6).
const HEADERS_RESERVED: [&str; 4] = ["host", "content-length", "transfer-encoding", "connection"];

impl Value<'_> {
    /// A text with variables.
    pub(super) fn template(&self) -> Option<Template> {
        let text = self.scalar()?;
        match Template::parse(&text) {
            Ok(template) => {
                template.variables().for_each(|name| self.notes.uses(name, self.at()));
                Some(template)
            }
            Err(error) => {
                self.error(format!("{}: {error}", self.what));
                None
            }
        }
    }

    /// A language, which may be in a variable.
    pub(super) fn language(&self) -> Option<Template> {
        let template = self.template()?;
        // `zh-CN` is spoken by the voice of `zh` if it has none of its own.
        let primary = |language: &str| language.split(['-', '_']).next().map(str::to_owned);
        if let (Some(language), Some(known)) = (template.as_fixed(), &self.notes.around.languages)
            && !known.contains(language)
            && !primary(language).is_some_and(|language| known.contains(&language))
        {
            let near = self.notes.hint(language, known.iter().map(String::as_str));
            self.error(format!("no voice speaks language `{language}`{near}"));
            return None;
        }
        Some(template)
    }

    /// A table of texts with variables, by name.
    pub(super) fn templates(&self) -> Option<BTreeMap<String, Template>> {
        let read = (self.table()?.iter()).map(|(name, value)| {
            let what = format!("`{}` of {}", name.get_ref(), self.what);
            let template = Value::new(self.notes, value, what).template()?;
            Some((name.get_ref().to_string(), template))
        });
        read.collect::<Vec<_>>().into_iter().collect() // All are read, so all errors are found.
    }

    /// A list of prompts, or one prompt.
    pub(super) fn prompts(&self, language: &Template) -> Option<Vec<Say>> {
        let DeValue::Array(_) = self.raw() else { return Some(vec![self.prompt(language)?]) };
        let items = self.list()?;
        if items.len() > PROMPTS_MAX {
            self.error(format!(
                "{} has {} prompts, at most {PROMPTS_MAX} fit",
                self.what,
                items.len()
            ));
        }
        let read: Vec<_> = items.iter().map(|item| item.prompt(language)).collect();
        read.into_iter().collect()
    }

    fn prompt(&self, language: &Template) -> Option<Say> {
        let DeValue::Table(table) = self.raw() else {
            let DeValue::String(_) = self.raw() else {
                return self.must_be("a text, or a table with `file`, `text` or `spell`");
            };
            return Some(Say::Text { language: language.clone(), text: self.template()? });
        };
        let fields = Fields::new(self.notes, table, self.at(), &self.what);
        let file = fields.optional("file");
        let text = fields.optional("text");
        let spell = fields.optional("spell");
        let own = fields.optional("language");
        let language =
            own.as_ref().map_or_else(|| Some(language.clone()), |language| language.language());
        fields.finish();
        match (file, text, spell) {
            (Some(file), None, None) => {
                if let Some(language) = own {
                    language.error("a file has no `language`: it is played as it is");
                }
                file.prompt_file().map(Say::File)
            }
            (None, Some(text), None) => {
                Some(Say::Text { text: text.template()?, language: language? })
            }
            (None, None, Some(text)) => {
                Some(Say::Spell { text: text.template()?, language: language? })
            }
            (None, None, None) | (_, Some(_), Some(_)) | (Some(_), ..) => {
                self.error(format!("{} needs one of `file`, `text` and `spell`", self.what));
                None
            }
        }
    }

    fn prompt_file(&self) -> Option<String> {
        let name = self.text()?;
        // The directory of prompts is all that a flow may read.
        let good = |part: &str| !matches!(part, "" | "." | "..") && !part.contains(['\\', '\0']);
        if !name.split('/').all(good) {
            self.error(format!("`{name}` is no name of a file in the prompt directory"));
            return None;
        }
        if let Some(known) = &self.notes.around.prompts
            && !known.contains(name)
        {
            let near = self.notes.hint(name, known.iter().map(String::as_str));
            self.error(format!("there is no prompt file `{name}`{near}"));
            return None;
        }
        Some(name.to_owned())
    }

    /// A URL whose scheme, host and port are fixed, so that no value can send the request
    /// elsewhere.
    pub(super) fn url(&self) -> Option<Template> {
        let template = self.template()?;
        let fixed = template.prefix();
        let rest = fixed.strip_prefix("http://").or_else(|| fixed.strip_prefix("https://"));
        let Some(rest) = rest else {
            self.error(format!("{} must begin with `http://` or `https://`", self.what));
            return None;
        };
        let host_end = rest.find(['/', '?', '#']);
        if host_end.is_none() && template.as_fixed().is_none() {
            self.error("a variable cannot be part of the host: write `/` before it");
            return None;
        }
        let host = &rest[..host_end.unwrap_or(rest.len())];
        let good = |c: char| c.is_ascii_alphanumeric() || "-.:[]_".contains(c);
        if host.is_empty() || !host.chars().all(good) {
            self.error(format!("`{host}` is no host of a web service"));
            return None;
        }
        let with_values = template.render_with(&crate::flow::Variables::default(), |_, out| {
            out.push('x');
        });
        let path = with_values.split(['?', '#']).next().unwrap_or_default();
        if with_values.contains(|c: char| c.is_control() || c == ' ')
            || path.split('/').any(|segment| matches!(segment, "." | ".."))
        {
            self.error(format!("{} has a space, or a `.` or `..` between slashes", self.what));
            return None;
        }
        Some(template)
    }

    /// Header fields by name.
    pub(super) fn headers(&self) -> Option<Vec<(String, Template)>> {
        let table = self.table()?;
        let names = table.iter().map(|(name, _)| (name.get_ref(), name.span().start));
        for (name, at) in names {
            // RFC 9110 §5.6.2.
            let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
            if name.is_empty() || !name.chars().all(token) {
                self.notes.error(at, format!("`{name}` is no name of a header"));
            } else if HEADERS_RESERVED.contains(&name.to_ascii_lowercase().as_str()) {
                self.notes.error(at, format!("the header `{name}` is not yours to set"));
            }
        }
        Some(self.templates()?.into_iter().collect())
    }

    /// A JSON document.
    pub(super) fn json(&self, depth: usize) -> Option<Json> {
        if depth > JSON_DEPTH_MAX {
            self.error(format!("{} is nested deeper than {JSON_DEPTH_MAX} levels", self.what));
            return None;
        }
        let inner = |value, what| Value::new(self.notes, value, what).json(depth + 1);
        match self.raw() {
            DeValue::String(_) => self.template().map(Json::Text),
            DeValue::Integer(_) => self.integer().map(|number| Json::Literal(number.to_string())),
            DeValue::Boolean(truth) => Some(Json::Literal(truth.to_string())),
            DeValue::Float(number) => match number.as_str().parse::<f64>() {
                Ok(number) if number.is_finite() => Some(Json::Literal(number.to_string())),
                Ok(_) | Err(_) => self.must_be("a number that JSON can hold"),
            },
            DeValue::Datetime(_) => self.must_be("a text (write dates and times in quotes)"),
            DeValue::Array(items) => {
                let read: Vec<_> =
                    items.iter().map(|item| inner(item, self.what.clone())).collect();
                read.into_iter().collect::<Option<_>>().map(Json::List)
            }
            DeValue::Table(table) => {
                let read: Vec<_> = (table.iter())
                    .map(|(name, value)| {
                        let json = inner(value, format!("`{}` of {}", name.get_ref(), self.what))?;
                        Some((name.get_ref().to_string(), json))
                    })
                    .collect();
                read.into_iter().collect::<Option<_>>().map(Json::Object)
            }
        }
    }

    /// Variables with the JSON pointer (RFC 6901) of the field that each is to hold.
    pub(super) fn save(&self) -> Option<BTreeMap<String, String>> {
        let read = (self.table()?.iter()).map(|(name, pointer)| {
            self.notes.sets(name.get_ref(), name.span().start);
            let pointer =
                Value::new(self.notes, pointer, format!("`{}` of {}", name.get_ref(), self.what));
            let text = pointer.text()?;
            if !text.is_empty() && !text.starts_with('/') {
                pointer.error(format!(
                    "`{text}` is no JSON pointer: it begins with `/`, as in `/customer/name`"
                ));
                return None;
            }
            Some((name.get_ref().to_string(), text.to_owned()))
        });
        read.collect::<Vec<_>>().into_iter().collect()
    }
}
