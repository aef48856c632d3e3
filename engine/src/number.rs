//! Validation of numbers in options and tables, in the type in which they are used.
//!
//! Numbers are read in double precision and used in single precision, where 1e39 is infinite, 1e-50 is zero and
//! 0.999999999999 is one. Kernels flush subnormal numbers to zero, so subnormal results count as vanished too.

use crate::{Error, Result};
use serde::{Deserialize, Deserializer};
use std::fmt::{self, Display};

/// The range of numbers that an option accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Range {
    /// `[0, 1)`.
    BelowOne,
    /// `[0, 1]`.
    UpToOne,
    /// `[0, ∞)`.
    AtLeastZero,
    /// `(0, ∞)`.
    AboveZero,
}

impl Range {
    /// Whether `value` is a finite number in the range.
    pub fn contains(self, value: f64) -> bool {
        match self {
            Self::BelowOne => (0.0..1.0).contains(&value),
            Self::UpToOne => (0.0..=1.0).contains(&value),
            Self::AtLeastZero => value >= 0.0 && value.is_finite(),
            Self::AboveZero => value > 0.0 && value.is_finite(),
        }
    }
}

impl Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BelowOne => "in [0, 1)",
            Self::UpToOne => "in [0, 1]",
            Self::AtLeastZero => "at least 0",
            Self::AboveZero => "above 0",
        })
    }
}

/// Converts `value` to single precision. Returns an error, which starts with `what`, if the value is outside `range`
/// before or after rounding, or if rounding makes it zero.
pub fn single(what: impl Display, value: f64, range: Range) -> Result<f32> {
    let found = shown(value);
    let refuse = |note: String| Err(Error::invalid(format!("{what}: expected {range}, found {found}{note}")));
    if !range.contains(value) {
        return refuse(String::new());
    }
    match narrowed(value) {
        Err(note) => refuse(format!(", which {note}")),
        Ok(rounded) if range.contains(rounded.into()) => Ok(rounded),
        Ok(rounded) => refuse(format!(", which rounds to {rounded} in single precision")),
    }
}

/// Formats `value`, with an exponent if it would otherwise have many zeros.
fn shown(value: f64) -> String {
    let plain = value == 0.0 || !value.is_finite() || (1e-4..1e7).contains(&value.abs());
    if plain { value.to_string() } else { format!("{value:e}") }
}

/// Converts `value` to single precision, or returns the reason why it does not fit. NaN and infinities pass: no range
/// contains them, so the range check reports them.
pub fn narrowed(value: f64) -> Result<f32, &'static str> {
    let rounded = value as f32;
    if value != 0.0 && rounded.abs() < f32::MIN_POSITIVE {
        return Err("vanishes in single precision");
    }
    if value.is_finite() && rounded.is_infinite() {
        return Err("overflows single precision");
    }
    Ok(rounded)
}

/// Deserializes a single-precision number with [`narrowed`], for `#[serde(deserialize_with)]`.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f32, D::Error> {
    let value = f64::deserialize(deserializer)?;
    narrowed(value).map_err(|note| serde::de::Error::custom(format!("{} {note}", shown(value))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_checked_before_and_after_rounding() {
        for (value, range, expected) in [
            (0.9, Range::BelowOne, None),
            (0.0, Range::BelowOne, None),
            (1.0, Range::UpToOne, None),
            (1.0, Range::BelowOne, Some("x: expected in [0, 1), found 1")),
            (
                0.999_999_999_999,
                Range::BelowOne,
                Some("x: expected in [0, 1), found 0.999999999999, which rounds to 1 in single precision"),
            ),
            (1e-38, Range::UpToOne, Some("vanishes in single precision")),
            (f64::from(f32::MIN_POSITIVE), Range::AboveZero, None),
            (0.0, Range::AboveZero, Some("x: expected above 0, found 0")),
            (1e39, Range::AboveZero, Some("overflows single precision")),
            (f64::from(f32::MAX), Range::AtLeastZero, None),
            (-1e-300, Range::AtLeastZero, Some("expected at least 0")),
            (f64::INFINITY, Range::AtLeastZero, Some("found inf")),
            (f64::NAN, Range::UpToOne, Some("found NaN")),
        ] {
            match (single("x", value, range), expected) {
                (Ok(rounded), None) => assert_eq!(rounded, value as f32),
                (Err(error), Some(words)) => assert!(error.to_string().contains(words), "{error}"),
                (found, _) => panic!("{value} {range}: {found:?}"),
            }
        }
    }

    #[test]
    fn deserialization_rejects_numbers_that_narrowing_loses() {
        #[derive(Debug, Deserialize)]
        struct Table {
            #[serde(deserialize_with = "deserialize")]
            x: f32,
        }
        let read = |json: &str| serde_json::from_str::<Table>(json);
        assert_eq!(read(r#"{"x": 0.5}"#).unwrap().x, 0.5);
        assert_eq!(read(r#"{"x": 2}"#).unwrap().x, 2.0);
        for (json, words) in [(r#"{"x": 1e-60}"#, "1e-60 vanishes"), (r#"{"x": 1e60}"#, "overflows")] {
            let message = read(json).unwrap_err().to_string();
            assert!(message.contains(words), "{message}");
        }
    }
}
