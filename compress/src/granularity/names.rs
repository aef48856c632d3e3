//! Granularities by name, as recipes and command lines write them.

use super::{GRANULARITIES, Granularity};
use crate::names::{one_of, unknown};
use lopper_engine::{Error, Result};
use serde::{Deserialize, Deserializer, de};
use std::str::FromStr;

impl Granularity {
    /// The names that recipes and command lines accept, as a list for help texts.
    pub fn names() -> String {
        one_of(GRANULARITIES.iter().map(|granularity| match granularity.takes_block() {
            true => format!("{}:SIZE", granularity.name()),
            false => granularity.name().to_string(),
        }))
    }
}

impl FromStr for Granularity {
    type Err = Error;

    /// Reads `NAME`, or `NAME:SIZE` for a granularity of blocks.
    fn from_str(text: &str) -> Result<Self> {
        let (name, size) = text.split_once(':').map_or((text, None), |(name, size)| (name, Some(size)));
        let found = GRANULARITIES.iter().find(|granularity| granularity.name() == name);
        let granularity = *found.ok_or_else(|| unknown("granularity", &Self::names(), name))?;
        let granularity = match size {
            None => granularity,
            Some(_) if !granularity.takes_block() => {
                return Err(Error::invalid(format!("granularity {name}: takes no block size, found {text}")));
            }
            Some(size) => granularity.block(size.parse().unwrap_or(0)),
        };
        granularity.check()?;
        Ok(granularity)
    }
}

impl<'de> Deserialize<'de> for Granularity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}
