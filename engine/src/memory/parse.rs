//! Reading a number of bytes as a user writes it.

use super::size::PREFIXES;
use crate::{Error, Result};

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
}
