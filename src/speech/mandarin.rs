//! Chinese text as pinyin with tone numbers, which espeak-ng's pinyin voice reads aloud.
//!
//! Characters of several readings are read as the words of [`super::polyphones`] say, else in
//! their commonest reading. Numbers are read as Chinese: up to four digits as a number, longer
//! ones, and those that begin with 0, digit by digit. Latin words are left to the voice.

use pinyin::ToPinyin as _;

use super::polyphones::WORDS;

/// The voice of espeak-ng that reads pinyin.
pub(super) const PINYIN_VOICE: &str = "cmn-latn-pinyin";

/// Goes up when this module reads a text otherwise than before, so that cached speech is
/// spoken anew.
pub(super) const REVISION: u32 = 1;

/// Digits of a number that is read as one.
const NUMBER_DIGITS_MAX: usize = 4;

const DIGITS: [&str; 10] =
    ["ling2", "yi1", "er4", "san1", "si4", "wu3", "liu4", "qi1", "ba1", "jiu3"];

/// The text as the pinyin voice reads it best.
#[must_use]
pub fn to_pinyin(text: &str) -> String {
    let mut out = Reading::default();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if let Some((word, syllables)) = longest_word(rest) {
            syllables.split(' ').for_each(|syllable| out.syllable(syllable));
            rest = &rest[word.len()..];
        } else if let Some(pinyin) = c.to_pinyin() {
            out.syllable(pinyin.with_tone_num_end());
            rest = &rest[c.len_utf8()..];
        } else if is_digit(c) {
            let end = rest.find(|c| !is_digit(c)).unwrap_or(rest.len());
            number(&rest[..end], &mut out);
            rest = &rest[end..];
        } else {
            out.other(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    out.text.trim().to_owned()
}

/// ASCII digits and those of full width.
fn is_digit(c: char) -> bool {
    c.is_ascii_digit() || matches!(c, '０'..='９')
}

fn longest_word(text: &str) -> Option<(&'static str, &'static str)> {
    (WORDS.iter())
        .filter(|(word, _)| text.starts_with(word))
        .max_by_key(|(word, _)| word.len())
        .copied()
}

#[derive(Default)]
struct Reading {
    text: String,
}

impl Reading {
    fn syllable(&mut self, syllable: &str) {
        // 不 is read in the second tone before a fourth (as in 不是).
        if syllable.ends_with('4') && self.text.ends_with("bu4") {
            self.text.truncate(self.text.len() - 1);
            self.text.push('2');
        }
        if self.text.ends_with(|c: char| c.is_alphanumeric() || ",.".contains(c)) {
            self.text.push(' ');
        }
        self.text.push_str(syllable);
    }

    fn other(&mut self, c: char) {
        match c {
            '，' | '、' | '；' | '：' | ',' | ';' | ':' => self.text.push_str(", "),
            '。' | '！' | '？' | '…' | '.' | '!' | '?' => self.text.push_str(". "),
            c if c.is_ascii_alphabetic() => {
                // A Latin word begins apart from the syllable before it.
                if self.text.ends_with(|c: char| c.is_ascii_digit()) {
                    self.text.push(' ');
                }
                self.text.push(c);
            }
            '\'' => self.text.push(c),
            _ if self.text.ends_with(' ') => (),
            _ => self.text.push(' '),
        }
    }
}

fn number(digits: &str, out: &mut Reading) {
    let digits: Vec<usize> = digits
        .chars()
        .filter_map(|c| c.to_digit(10).or_else(|| full_width(c)))
        .map(|d| d as usize)
        .collect();
    if digits.len() > NUMBER_DIGITS_MAX || (digits.len() > 1 && digits.first() == Some(&0)) {
        digits.iter().for_each(|digit| out.syllable(DIGITS[*digit]));
        return;
    }
    if digits == [0] {
        return out.syllable(DIGITS[0]);
    }
    const PLACES: [Option<&str>; NUMBER_DIGITS_MAX] =
        [None, Some("shi2"), Some("bai3"), Some("qian1")];
    let mut zero_due = false;
    for (n, digit) in digits.iter().enumerate() {
        let place = digits.len() - 1 - n;
        if *digit == 0 {
            zero_due = true; // One 零 for a row of zeros, none at the end.
            continue;
        }
        if zero_due {
            out.syllable(DIGITS[0]);
            zero_due = false;
        }
        // 12 is 十二, not 一十二.
        if !(*digit == 1 && place == 1 && n == 0) {
            out.syllable(DIGITS[*digit]);
        }
        if let Some(place) = PLACES[place] {
            out.syllable(place);
        }
    }
}

fn full_width(c: char) -> Option<u32> {
    ('０'..='９').contains(&c).then(|| u32::from(c) - u32::from('０'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_greeting_is_read_with_its_tones() {
        assert_eq!(to_pinyin("您好，欢迎致电。"), "nin2 hao3, huan1 ying2 zhi4 dian4.");
    }

    #[test]
    fn characters_of_several_readings_are_read_as_their_word_says() {
        for (text, pinyin) in [
            ("银行", "yin2 hang2"),
            ("行", "xing2"),
            ("重新", "chong2 xin1"),
            ("重要", "zhong4 yao4"),
            ("长途", "chang2 tu2"),
            ("请按井字键", "qing3 an4 jing3 zi4 jian4"),
            ("为您转接", "wei4 nin2 zhuan3 jie1"),
            ("还没有", "hai2 mei2 you3"),
        ] {
            assert_eq!(to_pinyin(text), pinyin, "{text}");
        }
    }

    #[test]
    fn bu_changes_its_tone_before_a_fourth() {
        assert_eq!(to_pinyin("不是"), "bu2 shi4");
        assert_eq!(to_pinyin("不好"), "bu4 hao3");
    }

    #[test]
    fn short_numbers_are_read_as_numbers_and_long_ones_as_digits() {
        for (text, pinyin) in [
            ("按1", "an4 yi1"),
            ("12", "shi2 er4"),
            ("20", "er4 shi2"),
            ("105", "yi1 bai3 ling2 wu3"),
            ("110", "yi1 bai3 yi1 shi2"),
            ("2005", "er4 qian1 ling2 wu3"),
            ("0", "ling2"),
            ("007", "ling2 ling2 qi1"),
            ("１３", "shi2 san1"),
            ("10086", "yi1 ling2 ling2 ba1 liu4"),
        ] {
            assert_eq!(to_pinyin(text), pinyin, "{text}");
        }
    }

    #[test]
    fn latin_words_stay_words() {
        assert_eq!(to_pinyin("欢迎使用Tandem系统"), "huan1 ying2 shi3 yong4 Tandem xi4 tong3");
        assert_eq!(to_pinyin("A B\n\u{7}C"), "A B C");
    }
}
