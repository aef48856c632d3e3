//! Patterns of file names that carry a class.
//!
//! `{class}` stands for the class, `#` for a whole run of digits, `*` for any characters, none included, and every other
//! character for itself. `{class}` takes the fewest characters that let the rest match: in `3_17.jpg`, `{class}_*`
//! finds `3`, and in `great_dane_17.jpg`, `{class}_#` finds `great_dane`. The extension is not part of the name.

use lopper_engine::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A pattern of file names that carry a class.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClassPattern {
    text: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Class,
    Digits,
    Any,
    Literal(char),
}

const CLASS: &str = "{class}";

impl ClassPattern {
    /// Returns the class in `stem`, a file name without its extension, or `None` if the name does not match.
    pub fn class<'a>(&self, stem: &'a str) -> Option<&'a str> {
        let at = matched(&self.parts, stem, 0)?;
        Some(&stem[at.0..at.1])
    }
}

/// Matches `parts` against `name` from byte `at` on, to its end. Returns the bytes that [`Part::Class`] takes, or an
/// empty range behind it.
fn matched(parts: &[Part], name: &str, at: usize) -> Option<(usize, usize)> {
    let rest = &name[at..];
    let Some((part, parts)) = parts.split_first() else { return rest.is_empty().then_some((at, at)) };
    // The ends of the first characters of `rest`, shortest first.
    let ends = || rest.char_indices().map(move |(i, c)| at + i + c.len_utf8());
    match part {
        Part::Literal(c) => rest.starts_with(*c).then(|| matched(parts, name, at + c.len_utf8())).flatten(),
        Part::Class => ends().find_map(|end| matched(parts, name, end).map(|_| (at, end))),
        Part::Any => std::iter::once(at).chain(ends()).find_map(|end| matched(parts, name, end)),
        Part::Digits => {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            (digits > 0).then(|| matched(parts, name, at + digits)).flatten()
        }
    }
}

impl FromStr for ClassPattern {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let invalid = |problem: &str| {
            Error::invalid(format!(
                "class_pattern: {problem} in `{text}`: expected a name such as {CLASS}_* or {CLASS}_#, in which {CLASS} \
                 stands for the class, # for digits and * for anything"
            ))
        };
        let Some((before, after)) = text.split_once(CLASS) else {
            return Err(invalid("no {class}"));
        };
        if after.contains(CLASS) {
            return Err(invalid("more than one {class}"));
        }
        if text.len() > 256 || text.matches('*').count() > 2 {
            return Err(invalid("more than 256 characters or two stars"));
        }
        let part = |c| match c {
            '#' => Part::Digits,
            '*' => Part::Any,
            c => Part::Literal(c),
        };
        let parts = before.chars().map(part).chain([Part::Class]).chain(after.chars().map(part)).collect();
        Ok(Self { text: text.to_string(), parts })
    }
}

impl TryFrom<String> for ClassPattern {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<ClassPattern> for String {
    fn from(pattern: ClassPattern) -> Self {
        pattern.text
    }
}

impl fmt::Display for ClassPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_class_is_found_where_the_pattern_says() {
        for (pattern, name, class) in [
            ("{class}_*", "3_17", Some("3")),
            ("{class}_*", "great_dane_17", Some("great")),
            ("{class}_#", "great_dane_17", Some("great_dane")),
            ("{class}_#", "great_dane", None),
            ("*-{class}", "2024-01-kätzchen", Some("01-kätzchen")),
            ("#-#-{class}", "2024-01-kätzchen", Some("kätzchen")),
            ("IMG_#_{class}_#", "IMG_0012_cat_3", Some("cat")),
            ("{class}", "cat", Some("cat")),
            ("{class}.*", "cat.4001", Some("cat")),
            ("{class}_*", "_17", None),
            ("{class}_*", "", None),
        ] {
            assert_eq!(pattern.parse::<ClassPattern>().unwrap().class(name), class, "{pattern} on {name}");
        }
    }

    #[test]
    fn invalid_patterns_are_refused() {
        for (pattern, word) in
            [("*_17", "no {class}"), ("{class}{class}", "more than one"), ("{class}***", "two stars")]
        {
            let error = pattern.parse::<ClassPattern>().unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }

    proptest! {
        #[test]
        fn any_class_and_number_are_told_apart(class in "[a-zé][a-zé_ -]{0,8}", id in 0u32..10_000) {
            let pattern: ClassPattern = "{class}_#".parse().unwrap();
            let name = format!("{class}_{id}");
            prop_assert_eq!(pattern.class(&name), Some(class.as_str()));
        }
    }
}
