//! Bytes to words: spans, the character classes of RFC 3261 §25.1, commas outside quotes.

use std::ops::Range;

/// The longest URI, address or Via, in bytes. What is longer is none; with it, all that a message
/// cannot be without fits into one, whatever peers send.
pub(super) const VALUE_BYTES_MAX: usize = 8 * 1024;

/// Where something is in a buffer of at most [`u16::MAX`] bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Span {
    start: u16,
    end: u16,
}

impl Span {
    /// A span of a buffer whose length was checked before.
    pub(super) fn new(start: usize, end: usize) -> Self {
        debug_assert!(start <= end && end <= usize::from(u16::MAX));
        Self { start: start as u16, end: end as u16 }
    }

    /// The bytes it covers; none if the buffer is another one.
    pub(super) fn of(self, bytes: &[u8]) -> &[u8] {
        bytes.get(self.range()).unwrap_or_default()
    }

    /// The text it covers; none if it is not UTF-8.
    pub(super) fn text(self, bytes: &[u8]) -> &str {
        std::str::from_utf8(self.of(bytes)).unwrap_or_default()
    }

    pub(super) fn is_empty(self) -> bool {
        self.start == self.end
    }

    pub(super) fn range(self) -> Range<usize> {
        usize::from(self.start)..usize::from(self.end)
    }

    /// The same place when `by` bytes stand before the buffer.
    pub(super) fn moved(self, by: usize) -> Self {
        let by = by as u16;
        Self { start: self.start + by, end: self.end + by }
    }
}

const TOKEN: u8 = 1;
const HOST: u8 = 2;

/// The classes of each byte.
const CLASS: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut out = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let letter = byte as u8;
        if letter.is_ascii_alphanumeric() {
            out[byte] = TOKEN | HOST;
        }
        byte += 1;
    }
    let marks = b"-.!%*_+`'~";
    let mut at = 0;
    while at < marks.len() {
        out[marks[at] as usize] |= TOKEN;
        at += 1;
    }
    out[b'.' as usize] |= HOST;
    out[b'-' as usize] |= HOST;
    // Not in the grammar, but in many a private host name.
    out[b'_' as usize] |= HOST;
    out
}

pub(super) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&byte| CLASS[usize::from(byte)] & TOKEN != 0)
}

pub(super) fn is_host_name(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&byte| CLASS[usize::from(byte)] & HOST != 0)
}

pub(super) fn is_space(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

/// The part of `bytes[range]` without white space round it.
pub(super) fn trimmed(bytes: &[u8], range: Range<usize>) -> Range<usize> {
    let Range { mut start, mut end } = range;
    while start < end && is_space(bytes[start]) {
        start += 1;
    }
    while end > start && is_space(bytes[end - 1]) {
        end -= 1;
    }
    start..end
}

/// The bytes without white space round them.
pub(super) fn trim(bytes: &[u8]) -> &[u8] {
    &bytes[trimmed(bytes, 0..bytes.len())]
}

/// Reads digits only: no sign, no white space, at most `max`.
pub(super) fn number(digits: &[u8], max: u32) -> Option<u32> {
    if digits.is_empty() {
        return None;
    }
    let mut value: u64 = 0;
    for &digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        value = value * 10 + u64::from(digit - b'0');
        if value > u64::from(max) {
            return None;
        }
    }
    Some(value as u32)
}

/// Where the quoted string that begins at `bytes[start]` ends, behind its closing quote.
pub(super) fn quoted_end(bytes: &[u8], start: usize) -> Option<usize> {
    let mut at = start + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    None
}

/// The comma-separated parts of a header's value. Commas in quotes and in `<>` do not separate.
#[derive(Clone, Debug)]
pub(super) struct Commas<'a> {
    bytes: &'a [u8],
    at: usize,
    done: bool,
}

impl<'a> Commas<'a> {
    pub(super) fn of(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, done: false }
    }
}

impl Iterator for Commas<'_> {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        if self.done {
            return None;
        }
        let (start, mut angled) = (self.at, false);
        let mut at = start;
        while at < self.bytes.len() {
            match self.bytes[at] {
                b'"' if !angled => {
                    // An unbalanced quote takes the rest; the reader of the part finds it.
                    at = quoted_end(self.bytes, at).unwrap_or(self.bytes.len());
                    continue;
                }
                b'<' => angled = true,
                b'>' => angled = false,
                b',' if !angled => {
                    self.at = at + 1;
                    return Some(trimmed(self.bytes, start..at));
                }
                _ => (),
            }
            at += 1;
        }
        self.done = true;
        Some(trimmed(self.bytes, start..self.bytes.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(value: &str) -> Vec<&str> {
        Commas::of(value.as_bytes()).map(|range| &value[range]).collect()
    }

    #[test]
    fn commas_in_quotes_and_brackets_do_not_separate() {
        assert_eq!(
            parts(r#""a, \"b" <sip:x,y@h> , <sip:z@h>;p="1,2""#),
            [r#""a, \"b" <sip:x,y@h>"#, r#"<sip:z@h>;p="1,2""#]
        );
        assert_eq!(parts("a,,b,"), ["a", "", "b", ""]);
        assert_eq!(parts("\"open, b"), ["\"open, b"]);
    }

    #[test]
    fn numbers_are_digits_within_their_range() {
        assert_eq!(number(b"0068", 255), Some(68));
        assert_eq!(number(b"256", 255), None);
        for not in ["", "-1", "+1", " 1", "1 ", "0x1", "99999999999999999999999999"] {
            assert_eq!(number(not.as_bytes(), u32::MAX), None, "{not:?}");
        }
    }
}
