//! Layer-adaptive magnitude: the share of a group among those of its layer that are at least as large.

use super::{LayerView, Reduction, Score, described};
use lopper_engine::Result;

/// `lamp`: `‖w_u‖² / Σ ‖w_v‖²` over the groups `v` of the layer with `‖w_v‖ ≥ ‖w_u‖` (Lee et al. 2021, "Layer-adaptive
/// sparsity for the magnitude-based pruning", equation 5, with groups in place of single weights).
///
/// The largest group of every layer scores 1, so layers of different scale compare without a
/// [`Normalization`](super::Normalization), and none is emptied before the others. Of groups of equal norm, the first
/// has the smaller score, as the paper breaks ties by position.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lamp;

described!(
    Lamp,
    "‖w_u‖² / Σ ‖w_v‖² over the groups v of the layer with ‖w_v‖ ≥ ‖w_u‖",
    "Lee et al. 2021, Layer-adaptive sparsity for the magnitude-based pruning"
);

impl Score for Lamp {
    fn name(&self) -> &str {
        "lamp"
    }

    fn score(&self, layer: &LayerView) -> Result<Vec<f32>> {
        let squares = Reduction::Sum.of(layer.groups(), |i| f64::from(layer.weight()[i]).powi(2));
        let mut order: Vec<usize> = (0..squares.len()).collect();
        order.sort_by(|&a, &b| squares[a].total_cmp(&squares[b]));
        let (mut scores, mut tail) = (vec![0.0; squares.len()], 0.0);
        for &group in order.iter().rev() {
            tail += squares[group];
            // A layer of zeros has no tail: its groups are all worth nothing.
            scores[group] = if tail > 0.0 { (squares[group] / tail) as f32 } else { 0.0 };
        }
        Ok(scores)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::criteria::testing::score_rows;

    #[test]
    fn the_largest_group_of_a_layer_scores_one() {
        // Squares 4, 1, 1 and 16: tails 4 + 16, 1 + 1 + 4 + 16, 1 + 4 + 16 and 16.
        let scores = score_rows(&Lamp, &[4, 1], &[2.0, 1.0, -1.0, 4.0]);
        assert_eq!(scores, [4.0 / 20.0, 1.0 / 22.0, 1.0 / 21.0, 1.0]);
        assert_eq!(score_rows(&Lamp, &[2, 1], &[0.0, 0.0]), [0.0, 0.0]);
        let scaled = score_rows(&Lamp, &[4, 1], &[200.0, 100.0, -100.0, 400.0]);
        assert_eq!(scaled, scores, "the scale of a layer does not matter");
    }
}
