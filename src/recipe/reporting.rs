//! What a stage reports besides its network: figures to compare with, more scores, a range test.

use super::evaluate::{EvaluateConfig, RangeConfig};
use super::published::Published;
use lopper_engine::{Error, Result};
use serde::de::MapAccess;

/// The keys of a stage that change what is reported and not what is computed.
#[derive(Clone, Debug, Default)]
pub struct Reporting {
    /// Published figures, which are shown beside those of the stage.
    pub published: Option<Published>,
    /// Scores on other images or by more metrics.
    pub evaluate: Option<EvaluateConfig>,
    /// A range test before the training.
    pub lr_find: Option<RangeConfig>,
    /// Marks the stage as a control, and says of what.
    pub control: Option<String>,
    /// Earlier stages with which the stage is compared on the same images, besides the one that it starts from.
    pub against: Vec<String>,
}

impl Reporting {
    /// The keys.
    pub const NAMES: [&'static str; 5] = ["published", "evaluate", "lr_find", "control", "against"];

    /// Reads the value of `key` from `map`, or nothing if it is none of these keys.
    pub(super) fn read<'de, A: MapAccess<'de>>(
        &mut self,
        key: &str,
        map: &mut A,
    ) -> Option<Result<(), A::Error>> {
        Some(match key {
            "published" => map.next_value().map(|value| self.published = value),
            "evaluate" => map.next_value().map(|value| self.evaluate = value),
            "lr_find" => map.next_value().map(|value| self.lr_find = value),
            "against" => map.next_value().map(|value| self.against = value),
            "control" => map.next_value().map(|value| self.control = value),
            _ => return None,
        })
    }

    /// What the `round`-th round, from 1, of a stage that repeats reports.
    pub fn of_round(&self, round: usize) -> Self {
        let published = self.published.as_ref().map(|published| published.of_round(round));
        Self { published, ..self.clone() }
    }

    /// Checks the options of a stage that `trains` or not.
    pub(super) fn check(&self, trains: bool) -> Result<()> {
        if let Some(published) = &self.published {
            published.check(self.evaluate.as_ref(), trains)?;
        }
        self.evaluate.as_ref().map_or(Ok(()), EvaluateConfig::check)?;
        match self.lr_find {
            Some(_) if !trains => {
                Err(Error::invalid("lr_find: nothing is trained; expected `train` beside it"))
            }
            Some(range) => range.test().map(drop),
            None => Ok(()),
        }
    }
}
