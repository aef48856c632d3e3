//! Sizes in bytes, in human-readable form.

use crate::{Error, Result};
use std::fmt;

/// First letters of the units; each unit is 1000 (`kB`) or 1024 (`KiB`) times the previous one.
const PREFIXES: &str = "KMGTPE";

/// A number of bytes, printed with a binary unit, such as "16.0 GiB".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes(
    /// The number of bytes.
    pub u64,
);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < 1024 {
            return write!(f, "{} bytes", self.0);
        }
        // Rounded to tenths first, so that a number just below the next unit is printed in that unit.
        let mut value = self.0 as f64 / 1024.0;
        let mut units = PREFIXES.chars().peekable();
        while (value * 10.0).round() >= 10_240.0 && units.clone().count() > 1 {
            value /= 1024.0;
            units.next();
        }
        write!(f, "{value:.1} {}iB", units.next().expect("a unit is left"))
    }
}

/// Parses a number of bytes: a number such as `3e9` or `1.5`, with an optional unit. `kB`, `MB`, `GB`, `TB`, `PB` and
/// `EB` are powers of 1000; `KiB`, `MiB`, `GiB` and so on, and bare letters such as `G`, are powers of 1024. Units are
/// case-insensitive. Returns an error for any other text, and for sizes below one byte or beyond 64 bits.
pub fn parse(text: &str) -> Result<u64> {
    let expected = || {
        Error::invalid(format!(
            "expected a number of bytes such as 4GB, 512MiB or 3e9, at least 1, found `{text}`"
        ))
    };
    let text = text.trim();
    let plain = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let (number, unit) = text.split_at(plain.len());
    let scale = scale(unit).ok_or_else(expected)?;
    if let Ok(count) = number.trim_end().parse::<u64>() {
        return count.checked_mul(scale).filter(|&bytes| bytes > 0).ok_or_else(expected);
    }
    let bytes = number.trim_end().parse::<f64>().map_err(|_| expected())? * scale as f64;
    // 2⁶⁴ is the first value that the cast would saturate.
    if (1.0..u64::MAX as f64).contains(&bytes) { Ok(bytes as u64) } else { Err(expected()) }
}

/// The number of bytes in `unit`.
fn scale(unit: &str) -> Option<u64> {
    let unit = unit.to_ascii_uppercase();
    let Some(power) = unit.chars().next().and_then(|c| PREFIXES.find(c)) else {
        return ["", "B"].contains(&unit.as_str()).then_some(1);
    };
    let base = match &unit[1..] {
        "B" => 1000u64,
        "" | "IB" => 1024,
        _ => return None,
    };
    base.checked_pow(power as u32 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_parsed_in_every_unit() {
        for (text, bytes) in [
            ("1", 1),
            ("512B", 512),
            ("3e9", 3_000_000_000),
            ("4GB", 4_000_000_000),
            ("4 gb", 4_000_000_000),
            ("4g", 4 << 30),
            ("512MiB", 512 << 20),
            ("1.5KiB", 1536),
            ("2kB", 2000),
            ("15EiB", 15 << 60),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(parse(text).unwrap(), bytes, "{text}");
        }
    }

    #[test]
    fn invalid_sizes_are_rejected() {
        for text in [
            "", "B", "GB", "0", "0GB", "0.1", "-1", "1e40", "16EiB", "99999EB", "1XB", "1GiBB", "nan", "inf",
            "infinity", "4G4",
        ] {
            let message = parse(text).unwrap_err().to_string();
            assert!(message.contains("such as 4GB") && message.contains(text), "{text}: {message}");
        }
    }

    #[test]
    fn sizes_are_printed_with_the_largest_unit_that_fits() {
        for (bytes, text) in [
            (0, "0 bytes"),
            (1023, "1023 bytes"),
            (1024, "1.0 KiB"),
            (17_179_869_184, "16.0 GiB"),
            ((1 << 30) - 1, "1.0 GiB"),
            (3_435_973_837, "3.2 GiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(Bytes(bytes).to_string(), text);
        }
    }
}
