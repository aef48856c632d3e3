//! Sizes in bytes, in human-readable form.

use std::fmt;

/// First letters of the units; each unit is 1000 (`kB`) or 1024 (`KiB`) times the previous one.
pub(super) const PREFIXES: &str = "KMGTPE";

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

#[cfg(test)]
mod tests {
    use super::*;

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
