//! Granularities by name, as recipes and command lines write them.

use super::{GRANULARITIES, Granularity, Quota};
use crate::names::{one_of, unknown};
use lopper_engine::{Error, Result};
use serde::{Deserialize, Deserializer, de};
use std::str::FromStr;

impl Granularity {
    /// The names that recipes and command lines accept, as a list for help texts.
    pub fn names() -> String {
        let named = GRANULARITIES.iter().map(|granularity| match granularity.takes_block() {
            true => format!("{}:SIZE", granularity.name()),
            false => granularity.name().to_string(),
        });
        one_of(named.chain(["N:M".to_string()]))
    }
}

impl FromStr for Granularity {
    type Err = Error;

    /// Reads `NAME`, `NAME:SIZE` for a granularity of blocks, or `N:M` for N of every M weights.
    fn from_str(text: &str) -> Result<Self> {
        if let Some(quota) = Quota::read(text) {
            let Quota { n, m } = quota?;
            let granularity = Self::WEIGHT.keep(n, m);
            granularity.check()?;
            return Ok(granularity);
        }
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
