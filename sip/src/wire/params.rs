//! Parameters: `;name=value` behind a URI, an address or a Via (RFC 3261 §7.3.1, §25.1).

use super::scan::{is_space, is_token, quoted_end, trim};

/// Parameters of a header's value, in their order. Names compare without case.
#[derive(Clone, Debug)]
pub struct Params<'a> {
    rest: &'a [u8],
}

impl<'a> Params<'a> {
    /// Over what follows an address or a Via: empty, or beginning with `;`.
    pub(super) fn of(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The value of the parameter: unquoted but not unescaped, empty when it has none.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        let mut all = self.clone();
        let (_, value) = all.find(|(other, _)| other.eq_ignore_ascii_case(name))?;
        let value = value.unwrap_or_default();
        let inner = value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
        Some(std::str::from_utf8(inner.unwrap_or(value)).unwrap_or_default())
    }

    /// Whether the grammar holds: `*(SEMI token [EQUAL (token / host / quoted-string)])`.
    pub(super) fn are_well_formed(bytes: &[u8]) -> bool {
        let mut at = skip_spaces(bytes, 0);
        while at < bytes.len() {
            if bytes[at] != b';' {
                return false;
            }
            let end = param_end(bytes, at + 1);
            let (name, value) = split(&bytes[at + 1..end]);
            let value_is_good = match value {
                None => true,
                Some([b'"', ..]) => value.is_some_and(|v| quoted_end(v, 0) == Some(v.len())),
                Some(word) => !word.is_empty() && !word.iter().any(|&b| is_separator(b)),
            };
            if !is_token(name) || !value_is_good {
                return false;
            }
            at = end;
        }
        true
    }
}

/// More than the grammar allows, as peers do: only what would be read as something else is out.
fn is_separator(byte: u8) -> bool {
    is_space(byte) || matches!(byte, b'"' | b',' | b'<' | b'>')
}

fn skip_spaces(bytes: &[u8], mut at: usize) -> usize {
    while at < bytes.len() && is_space(bytes[at]) {
        at += 1;
    }
    at
}

fn param_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start;
    while at < bytes.len() && bytes[at] != b';' {
        at = match bytes[at] {
            b'"' => quoted_end(bytes, at).unwrap_or(bytes.len()),
            _ => at + 1,
        };
    }
    at
}

fn split(param: &[u8]) -> (&[u8], Option<&[u8]>) {
    match param.iter().position(|&byte| byte == b'=') {
        Some(at) => (trim(&param[..at]), Some(trim(&param[at + 1..]))),
        None => (trim(param), None),
    }
}

impl<'a> Iterator for Params<'a> {
    /// Name and value, both as they were sent.
    type Item = (&'a str, Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        let start = self.rest.iter().position(|&byte| byte == b';')? + 1;
        let end = param_end(self.rest, start);
        let (name, value) = split(&self.rest[start..end]);
        self.rest = &self.rest[end..];
        Some((std::str::from_utf8(name).unwrap_or_default(), value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spaces_quotes_and_case_are_read() {
        let params = Params::of(b" ; Tag = a1 ;lr;x=\"a;b=\\\"c\";y=[2001:db8::1]");
        assert_eq!(params.get("tag"), Some("a1"));
        assert_eq!(params.get("LR"), Some(""));
        assert_eq!(params.get("x"), Some("a;b=\\\"c"));
        assert_eq!(params.get("y"), Some("[2001:db8::1]"));
        assert_eq!(params.get("z"), None);
        assert_eq!(params.count(), 4);
    }

    #[test]
    fn only_well_formed_parameters_are_well_formed() {
        for good in ["", "  ", ";a", "; a = b", ";a=\"\"", ";a=\"x;y\" ;b", ";a=é"] {
            assert!(Params::are_well_formed(good.as_bytes()), "{good:?}");
        }
        for bad in ["a", ";", ";;a", ";a=", ";=b", ";a b", ";a=\"x", ";a=\"x\"y", ";a,b", ";a=b c"]
        {
            assert!(!Params::are_well_formed(bad.as_bytes()), "{bad:?}");
        }
    }
}
