//! Network slimming: filters whose output is scaled down matter least.

use super::{LayerView, Score, Subject, described};
use lopper_engine::Result;

/// `batch_norm_gamma`: `|γ|` of the batch norm that scales the filter's output (Liu et al. 2017, "Learning efficient
/// convolutional networks through network slimming").
#[derive(Clone, Copy, Debug, Default)]
pub struct BatchNormGamma;

described!(
    BatchNormGamma,
    "|γ| of the batch norm behind the filter",
    "Liu et al. 2017, Learning efficient convolutional networks through network slimming"
);

impl Score for BatchNormGamma {
    fn name(&self) -> &str {
        "batch_norm_gamma"
    }

    fn subject(&self) -> Subject {
        Subject::BatchNorm
    }

    fn score(&self, batch_norm: &LayerView) -> Result<Vec<f32>> {
        Ok(batch_norm.weight().iter().map(|gamma| gamma.abs()).collect())
    }
}
