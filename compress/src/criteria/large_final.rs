//! Magnitude: groups of small weights matter least.

use super::{LayerView, Reduction, Score, described};
use lopper_engine::Result;

/// Magnitude, `large_final`: `Σ |w| / n` over the group (Han et al. 2015, "Learning both weights and connections for
/// efficient neural networks"; Li et al. 2017, "Pruning filters for efficient ConvNets", for filters). A mean and not a
/// sum, so that groups of different layers compare.
#[derive(Clone, Copy, Debug, Default)]
pub struct LargeFinal;

described!(
    LargeFinal,
    "Σ |w| / n over the group of n weights",
    "Han et al. 2015, Learning both weights and connections for efficient neural networks"
);

impl Score for LargeFinal {
    fn name(&self) -> &str {
        "large_final"
    }

    fn score(&self, layer: &LayerView) -> Result<Vec<f32>> {
        let means = Reduction::Mean.of(layer.groups(), |i| f64::from(layer.weight()[i].abs()));
        Ok(means.into_iter().map(|mean| mean as f32).collect())
    }
}
