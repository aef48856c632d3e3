//! The options of synthesized images.

use lopper_engine::number::{self, Range};
use lopper_engine::{Error, Result};
use serde::{Deserialize, Serialize};

/// How images are synthesized. The weights are those of the paper for images of 32 × 32 pixels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SynthesisConfig {
    /// Steps of Adam for each batch of images. The paper takes 2000.
    pub steps: usize,
    /// The learning rate of the first step. It falls to 0 along half a cosine.
    pub learning_rate: f64,
    /// The weight α of the distance from the statistics of batch norms.
    #[serde(deserialize_with = "number::deserialize")]
    pub statistics: f32,
    /// The weight α_tv of the total variation.
    #[serde(deserialize_with = "number::deserialize")]
    pub total_variation: f32,
    /// The weight α_l2 of the norm.
    #[serde(deserialize_with = "number::deserialize")]
    pub l2: f32,
    /// The most pixels by which images are shifted, anew in each step, so that no pixel's place matters.
    pub jitter: usize,
}

impl Default for SynthesisConfig {
    fn default() -> Self {
        Self {
            steps: 500,
            learning_rate: 0.1,
            statistics: 10.0,
            total_variation: 2.5e-5,
            l2: 3e-8,
            jitter: 2,
        }
    }
}

/// More steps than anyone waits for, and more pixels than an image has.
const MOST_STEPS: usize = 1_000_000;
const MOST_JITTER: usize = 16_384;

impl SynthesisConfig {
    /// Checks the options. The error names the first invalid one.
    pub fn check(&self) -> Result<()> {
        let sizes = [("steps", self.steps, 1..=MOST_STEPS), ("jitter", self.jitter, 0..=MOST_JITTER)];
        for (key, found, range) in sizes {
            if !range.contains(&found) {
                let (least, most) = (range.start(), range.end());
                return Err(Error::invalid(format!(
                    "synthesis {key}: expected {least} to {most}, found {found}"
                )));
            }
        }
        number::single("synthesis learning_rate", self.learning_rate, Range::AboveZero)?;
        for (key, weight) in
            [("statistics", self.statistics), ("total_variation", self.total_variation), ("l2", self.l2)]
        {
            number::single(format_args!("synthesis {key}"), weight.into(), Range::AtLeastZero)?;
        }
        Ok(())
    }
}
