//! The fields of a challenge or of credentials: `Digest name=value, name="value"` (RFC 7235).

/// Fields in their order, names as they came.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Fields(Vec<(String, String)>);

/// The most fields that are read: those of RFC 7616 are 13.
const FIELDS_MAX: usize = 32;

impl Fields {
    /// Reads a header's value; none when its scheme is not Digest or it is malformed.
    pub(super) fn parse(value: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(value).ok()?;
        let (scheme, mut rest) = text.split_once([' ', '\t'])?;
        if !scheme.eq_ignore_ascii_case("Digest") {
            return None;
        }
        let mut fields = Vec::new();
        loop {
            rest = rest.trim_start_matches([' ', '\t', ',']);
            if rest.is_empty() {
                return Some(Self(fields));
            }
            let (name, behind) = rest.split_once('=')?;
            let (value, behind) = field_value(behind.trim_start())?;
            if fields.len() == FIELDS_MAX {
                return None;
            }
            fields.push((name.trim().to_owned(), value));
            rest = behind;
        }
    }

    /// A field's value without its quotes. A field that comes twice is none: two readers would
    /// read two values.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let mut found = self.0.iter().filter(|(its, _)| its.eq_ignore_ascii_case(name));
        let (_, value) = found.next()?;
        found.next().is_none().then_some(value)
    }
}

/// A value and what is behind it.
fn field_value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(',').unwrap_or(text.len());
        return Some((text[..end].trim().to_owned(), &text[end..]));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' => value.push(characters.next()?.1),
            other => value.push(other),
        }
    }
    None
}

/// A value in quotes.
pub(super) fn quoted(value: &str) -> String {
    let mut out = String::from('"');
    for character in value.chars().filter(|character| !character.is_control()) {
        if matches!(character, '"' | '\\') {
            out.push('\\');
        }
        out.push(character);
    }
    out.push('"');
    out
}
