//! Numbers that JSON cannot hold.

use serde::{Deserialize, Deserializer};

/// Reads a number that is written as null if it is not finite.
pub fn or_nan<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Option::<f64>::deserialize(deserializer).map(|number| number.unwrap_or(f64::NAN))
}
