//! Puts the variables of a call into prompts, requests, numbers and tests.
//!
//! Values come from callers and web services, so each place escapes them in its own way: a
//! value can never add a path segment to a URL, a header line or a field to a JSON document.

use std::fmt::Write as _;

use super::{
    Case, Comparison, HttpRequest, HttpStep, Json, Prompt, Say, Template, Test, Variables,
};

/// Characters of one spoken text. That is about a minute; a longer text is cut.
const SPOKEN_CHARS_MAX: usize = 1000;

/// Bytes of a URL with its variables: past it many servers refuse, and the step fails.
const URL_BYTES_MAX: usize = 2048;

/// Bytes of a request's body: past it the step fails.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// Characters of a number to be dialled: past it there is no such number. E.164 has 15 digits;
/// a SIP address is longer.
const NUMBER_CHARS_MAX: usize = 128;

/// The prompts as they are to be heard. A text that is empty says nothing and is left out.
pub(super) fn said(prompts: &[Say], variables: &Variables) -> Vec<Prompt> {
    let text = |language: &Template, text: String| {
        let text = speakable(&text);
        let language = language.render(variables);
        (!text.is_empty()).then_some(Prompt::Text { language, text })
    };
    let say = |say: &Say| match say {
        Say::File(name) => Some(Prompt::File(name.clone())),
        Say::Text { language, text: template } => text(language, template.render(variables)),
        Say::Spell { language, text: template } => {
            let spelled = template.render(variables);
            let spelled: Vec<_> = spelled.split_whitespace().flat_map(str::chars).collect();
            text(language, spelled.iter().map(|c| format!("{c} ")).collect())
        }
    };
    prompts.iter().filter_map(say).collect()
}

/// Control characters are commands to some engines; here they are spaces.
fn speakable(text: &str) -> String {
    let text: String =
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(SPOKEN_CHARS_MAX).collect();
    text.trim().to_owned()
}

/// The request with its variables, or nothing if they make it one that must not be sent.
pub(super) fn request(step: &HttpStep, variables: &Variables) -> Option<HttpRequest> {
    let url = step.url.render_with(variables, percent_encode);
    let path = url.split(['?', '#']).next().unwrap_or_default();
    // A value of ".." in a path would name another resource than the one that was meant; the
    // fixed part cannot hold one, the checker sees to it.
    if url.len() > URL_BYTES_MAX || path.split('/').any(|segment| matches!(segment, "." | "..")) {
        return None;
    }
    let headers = (step.headers.iter())
        .map(|(name, value)| (name.clone(), value.render_with(variables, header_text)))
        .collect();
    let body = step.body.as_ref().map(|json| json.render(variables));
    if body.as_ref().is_some_and(|body| body.len() > BODY_BYTES_MAX) {
        return None;
    }
    Some(HttpRequest {
        method: step.method,
        url,
        headers,
        body,
        timeout_ms: step.timeout_ms,
        save: step.save.clone(),
    })
}

/// All but the unreserved characters of RFC 3986 §2.3 is percent-encoded.
fn percent_encode(value: &str, out: &mut String) {
    for byte in value.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
}

/// What a header's value may hold in every client: visible ASCII and spaces (RFC 9110 §5.5).
fn header_text(value: &str, out: &mut String) {
    out.extend(value.chars().map(|c| if matches!(c, ' '..='~') { c } else { '?' }));
}

/// A number or address that can be dialled, or nothing.
pub(super) fn dialable(number: &str) -> Option<String> {
    let number: String = number.chars().filter(|c| !matches!(c, ' ' | '(' | ')')).collect();
    let good = |c: char| c.is_ascii_alphanumeric() || "+*#-_.@:".contains(c);
    let fits = !number.is_empty() && number.len() <= NUMBER_CHARS_MAX;
    (fits && number.chars().all(good)).then_some(number)
}

impl Json {
    /// The document with its variables put in.
    fn render(&self, variables: &Variables) -> String {
        let mut out = String::new();
        self.render_into(variables, &mut out);
        out
    }

    fn render_into(&self, variables: &Variables, out: &mut String) {
        match self {
            Self::Literal(literal) => out.push_str(literal),
            Self::Text(text) => quote(&text.render(variables), out),
            Self::List(items) => {
                out.push('[');
                for (n, item) in items.iter().enumerate() {
                    if n > 0 {
                        out.push(',');
                    }
                    item.render_into(variables, out);
                }
                out.push(']');
            }
            Self::Object(fields) => {
                out.push('{');
                for (n, (name, value)) in fields.iter().enumerate() {
                    if n > 0 {
                        out.push(',');
                    }
                    quote(name, out);
                    out.push(':');
                    value.render_into(variables, out);
                }
                out.push('}');
            }
        }
    }
}

/// A JSON string (RFC 8259 §7).
fn quote(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if u32::from(c) < 0x20 => {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// Whether a case of a branch holds.
pub(super) fn test_holds(case: &Case, variables: &Variables) -> bool {
    let value = variables.get(&case.variable).unwrap_or_default();
    match &case.test {
        Test::Equals(text) => value == text.render(variables),
        Test::Matches(pattern) => matches_pattern(pattern, value),
        Test::Number(comparison, bound) => {
            let (Some(value), Some(bound)) = (number(value), number(&bound.render(variables)))
            else {
                return false;
            };
            match comparison {
                Comparison::Below => value < bound,
                Comparison::AtMost => value <= bound,
                Comparison::AtLeast => value >= bound,
                Comparison::Above => value > bound,
            }
        }
    }
}

/// A decimal number in billionths, exactly: account numbers of 18 digits differ in the last
/// one, which a floating-point number would not tell apart.
pub(super) fn number(text: &str) -> Option<i128> {
    const PLACES: usize = 9;
    const WHOLE_DIGITS_MAX: usize = 27;
    let text = text.trim();
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let is_digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    if !is_digits(whole) || !is_digits(fraction) || whole.len() > WHOLE_DIGITS_MAX {
        return None;
    }
    let fraction: String = fraction.chars().chain("000000000".chars()).take(PLACES).collect();
    let parsed: i128 = format!("{whole}{fraction}").parse().ok()?;
    Some(sign * parsed)
}

/// `*` is any text, `?` any one character. Linear in the value for each star, without
/// recursion.
fn matches_pattern(pattern: &str, value: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let value: Vec<char> = value.chars().collect();
    let (mut p, mut v) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while v < value.len() {
        if p < pattern.len() && pattern[p] == '*' {
            star = Some((p, v));
            p += 1;
        } else if p < pattern.len() && (pattern[p] == '?' || pattern[p] == value[v]) {
            (p, v) = (p + 1, v + 1);
        } else if let Some((at, taken)) = star {
            star = Some((at, taken + 1));
            (p, v) = (at + 1, taken + 1);
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_compare_exactly() {
        assert!(number("123456789012345678") < number("123456789012345679"));
        assert_eq!(number("1.5"), number(" 01.50 "));
        assert!(number("-2") < number("-1.999999999"));
        for no in ["", "-", "1.", ".5", "1e3", "12a", "1,5", "--1"] {
            assert_eq!(number(no), None, "{no:?}");
        }
    }

    #[test]
    fn patterns_match_the_whole_value() {
        for (pattern, value, holds) in [
            ("+86*", "+8613800138000", true),
            ("+86*", "008613800138000", false),
            ("1???", "1234", true),
            ("1???", "12345", false),
            ("*8*8", "180088", true),
            ("*8*8", "18", false),
            ("", "", true),
            ("*", "", true),
            ("您*", "您好", true),
        ] {
            assert_eq!(matches_pattern(pattern, value), holds, "{pattern:?} {value:?}");
        }
    }

    #[test]
    fn a_number_to_dial_has_only_what_can_be_dialled() {
        assert_eq!(dialable("+86 (10) 1234-5678"), Some("+86101234-5678".into()));
        for no in ["", " ", "12\r\nInvite", "a>b", "sip:<x>", &"1".repeat(200)] {
            assert_eq!(dialable(no), None, "{no:?}");
        }
    }
}
