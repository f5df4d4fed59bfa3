//! The kinds of steps, each read from its table.

use std::{cell::RefCell, ops::RangeInclusive};

use toml::de::{DeTable, DeValue};

use super::reader::{Fields, Notes, Value};
use crate::flow::{
    Case, Collect, Comparison, DIGITS_MAX, Digits, HangUpCause, HttpMethod, HttpStep, Listen, Menu,
    Say, Step, StepName, Template, Test, interpret::is_key,
};

/// Milliseconds that a step may wait for a key.
const KEY_MS: RangeInclusive<u32> = 100..=60_000;

/// Milliseconds to the first key: time to think after a menu of five choices.
const FIRST_DIGIT_MS_DEFAULT: u32 = 5_000;

/// Milliseconds between keys: time to look at the next digit of a long number.
const BETWEEN_DIGITS_MS_DEFAULT: u32 = 3_000;

/// Milliseconds that a web service may take. The caller hears nothing meanwhile.
const HTTP_MS: RangeInclusive<u32> = 100..=30_000;

/// Milliseconds for a web service: silence of three seconds is what callers bear.
const HTTP_MS_DEFAULT: u32 = 3_000;

/// How often a caller may be asked again.
const RETRIES: RangeInclusive<u32> = 0..=10;

/// Asked three times in all.
const RETRIES_DEFAULT: u32 = 2;

/// A choice of a menu has at most this many keys.
const CHOICE_KEYS_MAX: usize = 4;

/// Priorities of a queue: 0 is the usual one, 9 the most urgent.
const PRIORITY: RangeInclusive<u32> = 0..=9;

/// Bytes of a step's name.
const STEP_NAME_BYTES_MAX: usize = 64;

const KINDS: [(&str, Kind); 10] = [
    ("answer", Kind::Answer),
    ("play", Kind::Play),
    ("menu", Kind::Menu),
    ("collect", Kind::Collect),
    ("set", Kind::Set),
    ("branch", Kind::Branch),
    ("http", Kind::Http),
    ("enqueue", Kind::Enqueue),
    ("transfer", Kind::Transfer),
    ("hang_up", Kind::HangUp),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Answer,
    Play,
    Menu,
    Collect,
    Set,
    Branch,
    Http,
    Enqueue,
    Transfer,
    HangUp,
}

/// A step as far as it could be read.
#[derive(Debug)]
pub(super) struct ReadStep<'a> {
    pub(super) name: &'a str,
    /// The place of its name, in bytes.
    pub(super) at: usize,
    pub(super) kind: Option<Kind>,
    /// Where it leads, with the place of each target.
    pub(super) targets: Vec<(&'a str, usize)>,
    /// Nothing, if something is wrong with it.
    pub(super) step: Option<Step>,
}

impl<'a> ReadStep<'a> {
    pub(super) fn unreadable(name: &'a str, at: usize) -> Self {
        Self { name, at, kind: None, targets: vec![], step: None }
    }
}

/// Reads one step.
pub(super) fn read<'a>(
    notes: &'a Notes<'a>,
    name: &'a str,
    at: usize,
    table: &'a DeTable<'a>,
    language: &'a Template,
) -> ReadStep<'a> {
    let good = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-');
    if name.is_empty() || name.len() > STEP_NAME_BYTES_MAX || !name.chars().all(good) {
        let rule = "letters, digits, `_` and `-`, at most 64 bytes";
        notes.error(at, format!("`{name}` is no name of a step: {rule}"));
    }
    let fields = Fields::new(notes, table, at, format!("step `{name}`"));
    let kind = fields.required("do").and_then(|kind| kind.one_of(&KINDS));
    let Some(kind) = kind else {
        return ReadStep::unreadable(name, at); // Its keys cannot be judged.
    };
    let reading = Reading { fields, language, targets: RefCell::default() };
    let step = reading.step(kind);
    let Reading { fields, targets, .. } = reading;
    fields.finish();
    ReadStep { name, at, kind: Some(kind), targets: targets.into_inner(), step }
}

struct Reading<'a> {
    fields: Fields<'a>,
    language: &'a Template,
    targets: RefCell<Vec<(&'a str, usize)>>,
}

impl<'a> Reading<'a> {
    // In each of these, all keys are asked for before the first is used, so that one mistake
    // does not hide another.

    fn step(&self, kind: Kind) -> Option<Step> {
        match kind {
            Kind::Answer => self.target("next").map(|next| Step::Answer { next }),
            Kind::Play => self.play(),
            Kind::Menu => self.menu().map(Step::Menu),
            Kind::Collect => self.collect().map(Step::Collect),
            Kind::Set => self.set(),
            Kind::Branch => self.branch(),
            Kind::Http => self.http().map(Step::Http),
            Kind::Enqueue => self.enqueue(),
            Kind::Transfer => {
                let number = self.fields.required("number")?.template()?;
                Some(Step::Transfer { number })
            }
            Kind::HangUp => {
                let cause = match self.fields.optional("cause") {
                    Some(cause) => cause.one_of(&HangUpCause::NAMES)?,
                    None => HangUpCause::Normal,
                };
                Some(Step::HangUp { cause })
            }
        }
    }

    fn target(&self, key: &'static str) -> Option<StepName> {
        self.target_of(&self.fields.required(key)?)
    }

    fn target_of(&self, value: &Value<'a>) -> Option<StepName> {
        let name = value.text()?;
        self.targets.borrow_mut().push((name, value.at()));
        Some(name.into())
    }

    fn prompts(&self, key: &'static str) -> Option<Vec<Say>> {
        match self.fields.optional(key) {
            Some(prompts) => prompts.prompts(self.language),
            None => Some(vec![]),
        }
    }

    fn play(&self) -> Option<Step> {
        let value = self.fields.required("prompts");
        let prompts = value.as_ref().and_then(|prompts| prompts.prompts(self.language));
        if let (Some(value), Some([])) = (value, prompts.as_deref()) {
            value.error(format!("{} has no prompt", value.what));
        }
        let barge_in = self.fields.boolean("barge_in", true);
        let next = self.target("next");
        Some(Step::Play { prompts: prompts?, barge_in: barge_in?, next: next? })
    }

    fn listen(&self) -> Option<Listen> {
        let fields = &self.fields;
        let prompts = self.prompts("prompts");
        let invalid = self.prompts("invalid");
        let no_input = self.prompts("no_input");
        let barge_in = fields.boolean("barge_in", true);
        let first = fields.number("first_digit_ms", KEY_MS, FIRST_DIGIT_MS_DEFAULT);
        let inter = fields.number("between_digits_ms", KEY_MS, BETWEEN_DIGITS_MS_DEFAULT);
        let retries = fields.number("retries", RETRIES, RETRIES_DEFAULT);
        let on_failure = self.target("on_failure");
        Some(Listen {
            prompts: prompts?,
            barge_in: barge_in?,
            first_ms: first?,
            inter_ms: inter?,
            retries: u8::try_from(retries?).ok()?,
            invalid: invalid?,
            no_input: no_input?,
            on_failure: on_failure?,
        })
    }

    fn menu(&self) -> Option<Menu> {
        let listen = self.listen();
        let value = self.fields.required("choices")?;
        let table = value.table()?;
        if table.is_empty() {
            value.error(format!("{} has no choice", value.what));
            return None;
        }
        let read = (table.iter()).map(|(keys, target)| {
            let what = format!("choice `{}` of {}", keys.get_ref(), value.what);
            let target = self.target_of(&Value::new(self.fields.notes, target, what));
            let keys_good = (1..=CHOICE_KEYS_MAX).contains(&keys.get_ref().len())
                && keys.get_ref().chars().all(is_key);
            if !keys_good {
                let rule = "one to four of the keys 0 to 9, * and #";
                let message = format!("`{}` cannot be pressed: {rule}", keys.get_ref());
                self.fields.notes.error(keys.span().start, message);
                return None;
            }
            Some((keys.get_ref().to_string(), target?))
        });
        let choices = read.collect::<Vec<_>>().into_iter().collect::<Option<_>>()?;
        Some(Menu { listen: listen?, choices })
    }

    fn collect(&self) -> Option<Collect> {
        let listen = self.listen();
        let digits = self.digits();
        let variable = self.fields.required("variable").and_then(|variable| {
            let name = variable.text()?;
            self.fields.notes.sets(name, variable.at());
            Some(name.to_owned())
        });
        let next = self.target("next");
        Some(Collect { listen: listen?, digits: digits?, variable: variable?, next: next? })
    }

    fn digits(&self) -> Option<Digits> {
        let most = u32::from(DIGITS_MAX);
        let max = self.fields.required("digits_max").and_then(|max| max.number(1..=most));
        let min_value = self.fields.optional("digits_min");
        let min = match &min_value {
            Some(min) => min.number(0..=max.unwrap_or(most)),
            None => Some(1),
        };
        let terminator = match self.fields.optional("terminator") {
            None => Some(Some('#')),
            Some(value) => value.text().and_then(|text| {
                let mut keys = text.chars();
                match (keys.next(), keys.next()) {
                    (None, _) => Some(None),
                    (Some(key), None) if is_key(key) => Some(Some(key)),
                    (Some(_), _) => value.must_be("one key, or \"\" for none"),
                }
            }),
        };
        let (max, min) = (u16::try_from(max?).ok()?, u16::try_from(min?).ok()?);
        Some(Digits { min, max, terminator: terminator? })
    }

    fn set(&self) -> Option<Step> {
        let value = self.fields.required("variables");
        let next = self.target("next");
        let value = value?;
        for name in value.table()?.keys() {
            self.fields.notes.sets(name.get_ref(), name.span().start);
        }
        Some(Step::Set { variables: value.templates()?, next: next? })
    }

    fn branch(&self) -> Option<Step> {
        let otherwise = self.target("otherwise");
        let cases = self.fields.required("cases")?.list()?;
        let cases: Vec<_> = cases.iter().map(|case| self.case(case)).collect();
        let cases = cases.into_iter().collect::<Option<_>>()?;
        Some(Step::Branch { cases, otherwise: otherwise? })
    }

    fn case(&self, case: &Value<'a>) -> Option<Case> {
        let fields = Fields::new(case.notes, case.table()?, case.at(), "a case");
        let variable = fields.required("variable").and_then(|variable| {
            let name = variable.text()?;
            case.notes.uses(name, variable.at());
            Some(name.to_owned())
        });
        let next = fields.required("next").and_then(|next| self.target_of(&next));
        let equals = fields.optional("equals").map(|v| v.template().map(Test::Equals));
        let matches =
            fields.optional("matches").map(|v| v.text().map(|text| Test::Matches(text.to_owned())));
        let mut tests = vec![equals, matches];
        for (key, comparison) in [
            ("below", Comparison::Below),
            ("at_most", Comparison::AtMost),
            ("at_least", Comparison::AtLeast),
            ("above", Comparison::Above),
        ] {
            let bound = fields.optional(key);
            tests.push(bound.map(|v| v.bound().map(|bound| Test::Number(comparison, bound))));
        }
        fields.finish();
        let mut tests = tests.into_iter().flatten();
        let (Some(test), None) = (tests.next(), tests.next()) else {
            let names = "`equals`, `matches`, `below`, `at_most`, `at_least`, `above`";
            case.error(format!("a case needs one of {names}"));
            return None;
        };
        Some(Case { variable: variable?, test: test?, next: next? })
    }

    fn http(&self) -> Option<HttpStep> {
        let fields = &self.fields;
        let methods = HttpMethod::ALL.map(|method| (method.name(), method));
        let method = match fields.optional("method") {
            Some(method) => method.one_of(&methods),
            None => Some(HttpMethod::Get),
        };
        let url = fields.required("url").and_then(|url| url.url());
        let headers = match fields.optional("headers") {
            Some(headers) => headers.headers(),
            None => Some(vec![]),
        };
        let json = fields.optional("json");
        if let (Some(json), Some(HttpMethod::Get)) = (&json, method) {
            json.error("a GET has no `json`: use POST, PUT, PATCH or DELETE"); // RFC 9110 §9.3.1
        }
        let body = json.map(|json| json.json(0));
        let timeout = fields.number("timeout_ms", HTTP_MS, HTTP_MS_DEFAULT);
        let save = fields.optional("save").map_or_else(|| Some(Default::default()), |v| v.save());
        let (on_ok, on_error) = (self.target("on_ok"), self.target("on_error"));
        Some(HttpStep {
            method: method?,
            url: url?,
            headers: headers?,
            body: match body {
                Some(body) => Some(body?),
                None => None,
            },
            timeout_ms: timeout?,
            save: save?,
            on_ok: on_ok?,
            on_error: on_error?,
        })
    }

    fn enqueue(&self) -> Option<Step> {
        let queue = self.fields.required("queue").and_then(|queue| {
            let name = queue.text()?;
            if let Some(known) = &queue.notes.around.queues
                && !known.contains(name)
            {
                let near = self.fields.notes.hint(name, known.iter().map(String::as_str));
                queue.error(format!("there is no queue `{name}`{near}"));
                return None;
            }
            Some(name.to_owned())
        });
        let priority = self.fields.number("priority", PRIORITY, 0);
        let data = match self.fields.optional("data") {
            Some(data) => data.templates(),
            None => Some(Default::default()),
        };
        let priority = u8::try_from(priority?).ok()?;
        Some(Step::Enqueue { queue: queue?, priority, data: data? })
    }
}

impl Value<'_> {
    /// A number to compare with: fixed, or in a variable.
    fn bound(&self) -> Option<Template> {
        let template = if let DeValue::Float(number) = self.raw() {
            Template::fixed(number.as_str())
        } else {
            self.template()?
        };
        match template.as_fixed() {
            Some(text) if crate::flow::render::number(text).is_none() => {
                self.must_be("a number, or a variable in braces")
            }
            Some(_) | None => Some(template),
        }
    }
}
