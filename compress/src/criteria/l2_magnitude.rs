//! The Euclidean norm: like magnitude, but a few large weights count for more than many small ones.

use super::{LayerView, Reduction, Score, described};
use lopper_engine::Result;

/// `l2_magnitude`: `‖w‖₂ = √(Σ w²)` over the group (He et al. 2018, "Soft filter pruning for accelerating deep
/// convolutional neural networks", with p = 2).
///
/// A norm grows with the size of the group, so groups of different layers compare only after a
/// [`Normalization`](super::Normalization), or in the local context.
#[derive(Clone, Copy, Debug, Default)]
pub struct L2Magnitude;

described!(
    L2Magnitude,
    "√(Σ w²) over the group",
    "He et al. 2018, Soft filter pruning for accelerating deep convolutional neural networks"
);

impl Score for L2Magnitude {
    fn name(&self) -> &str {
        "l2_magnitude"
    }

    fn score(&self, layer: &LayerView) -> Result<Vec<f32>> {
        let norms = Reduction::L2.of(layer.groups(), |i| f64::from(layer.weight()[i]));
        Ok(norms.into_iter().map(|norm| norm as f32).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::criteria::LargeFinal;
    use crate::criteria::testing::score_rows;

    #[test]
    fn one_large_weight_counts_for_more_than_two_of_half_its_size() {
        // Rows of [3, 2]: √(3² + 4²) = 5, √(0² + 6²) = 6 and √((−1)² + 0²) = 1.
        let rows = |criterion: &dyn Score| score_rows(criterion, &[3, 2], &[3.0, 4.0, 0.0, 6.0, -1.0, 0.0]);
        assert_eq!(rows(&L2Magnitude), [5.0, 6.0, 1.0]);
        assert_eq!(rows(&LargeFinal), [3.5, 3.0, 0.5], "the other order by mean magnitude");
    }
}
