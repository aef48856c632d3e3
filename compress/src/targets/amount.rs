//! Amounts of a target: a share of the network's own, or a number with a unit.

use serde::de::{Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// How much of something a network may have.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Amount {
    /// A share of what it has now, such as `0.5x`.
    Share(f64),
    /// A number: of milliseconds, multiply-accumulates, parameters or bytes.
    Number(f64),
}

/// Units behind a number, and what they multiply it by.
const UNITS: [(&str, f64); 8] =
    [("ms", 1.0), ("us", 1e-3), ("kB", 1e3), ("MB", 1e6), ("GB", 1e9), ("B", 1.0), ("M", 1e6), ("G", 1e9)];

impl Amount {
    /// The amount for a network that has `now`.
    pub fn of(self, now: f64) -> f64 {
        match self {
            Self::Share(share) => share * now,
            Self::Number(number) => number,
        }
    }
}

impl FromStr for Amount {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refuse = || {
            format!(
                "expected a share such as 0.5x, or a number above 0 such as 3.2ms, 1e6 or 4MB, found {text}"
            )
        };
        let trimmed = text.trim();
        let number = |text: &str| text.trim().parse::<f64>().ok().filter(|n| n.is_finite() && *n > 0.0);
        let found = match trimmed.strip_suffix('x') {
            Some(share) => number(share).map(Self::Share),
            None => {
                let unit =
                    UNITS.iter().find_map(|(unit, factor)| Some((trimmed.strip_suffix(unit)?, factor)));
                let (digits, factor) = unit.unwrap_or((trimmed, &1.0));
                number(digits).map(|number| Self::Number(number * factor))
            }
        };
        found.ok_or_else(refuse)
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Share(share) => write!(f, "{share}x"),
            Self::Number(number) => number.fmt(f),
        }
    }
}

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Share(_) => serializer.collect_str(self),
            Self::Number(number) => number.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl Visitor<'_> for Either {
            type Value = Amount;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a share such as \"0.5x\", or a number above 0")
            }

            fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Amount, E> {
                value.to_string().parse().map_err(E::custom)
            }

            fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Amount, E> {
                value.to_string().parse().map_err(E::custom)
            }

            fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Amount, E> {
                value.to_string().parse().map_err(E::custom)
            }

            fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Amount, E> {
                value.parse().map_err(E::custom)
            }
        }

        deserializer.deserialize_any(Either)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_and_numbers_with_units_are_read() {
        for (text, amount) in [
            ("0.5x", Amount::Share(0.5)),
            ("3.2ms", Amount::Number(3.2)),
            ("500us", Amount::Number(0.5)),
            ("1e6", Amount::Number(1e6)),
            ("4MB", Amount::Number(4e6)),
            ("40M", Amount::Number(4e7)),
        ] {
            assert_eq!(text.parse(), Ok(amount), "{text}");
        }
        for wrong in ["", "x", "0x", "-1", "nan", "infx", "1e999", "half", "3 seconds", "0", "1.5.2x"] {
            let message = wrong.parse::<Amount>().unwrap_err();
            assert!(message.contains("such as 0.5x") && message.ends_with(wrong), "{message}");
        }
        assert_eq!(Amount::Share(0.5).of(8.0), 4.0);
        assert_eq!(Amount::Number(3.0).of(8.0), 3.0);
    }
}
