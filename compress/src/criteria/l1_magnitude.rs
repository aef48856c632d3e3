//! The sum of magnitudes: like their mean, but large groups count for more.

use super::{LayerView, Reduction, Score, described};
use lopper_engine::Result;

/// `l1_magnitude`: `Σ |w|` over the group (Li et al. 2017, "Pruning filters for efficient ConvNets", equation 2).
///
/// Within a layer of equal groups it ranks as [`LargeFinal`](super::LargeFinal), which divides by the size of the group.
#[derive(Clone, Copy, Debug, Default)]
pub struct L1Magnitude;

described!(L1Magnitude, "Σ |w| over the group", "Li et al. 2017, Pruning filters for efficient ConvNets");

impl Score for L1Magnitude {
    fn name(&self) -> &str {
        "l1_magnitude"
    }

    fn score(&self, layer: &LayerView) -> Result<Vec<f32>> {
        let sums = Reduction::Sum.of(layer.groups(), |i| f64::from(layer.weight()[i].abs()));
        Ok(sums.into_iter().map(|sum| sum as f32).collect())
    }
}
