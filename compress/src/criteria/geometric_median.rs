//! The geometric median: filters that the others can replace matter least.

use super::{LayerView, Score, described};
use lopper_engine::Result;

/// `geometric_median`: `Σ_j ‖w_i − w_j‖₂` over the filters `j` of the layer (He et al. 2019, "Filter pruning via geometric
/// median for deep neural networks acceleration", equation 7).
///
/// A filter near the geometric median of its layer is redundant, whatever its size. It scores whole filters, or rows of
/// a linear layer, and its time is quadratic in their number.
#[derive(Clone, Copy, Debug, Default)]
pub struct GeometricMedian;

described!(
    GeometricMedian,
    "Σ_j ‖w_i − w_j‖₂ over the filters j of the layer",
    "He et al. 2019, Filter pruning via geometric median for deep convolutional neural networks acceleration"
);

impl Score for GeometricMedian {
    fn name(&self) -> &str {
        "geometric_median"
    }

    fn score(&self, layer: &LayerView) -> Result<Vec<f32>> {
        layer.require_filters()?;
        let filters = layer.groups().count();
        let len = layer.weight().len() / filters.max(1);
        let filter = |i: usize| &layer.weight()[i * len..][..len];
        let distance = |a: usize, b: usize| {
            let squares =
                filter(a).iter().zip(filter(b)).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2));
            squares.sum::<f64>().sqrt()
        };
        let mut sums = vec![0.0; filters];
        for a in 0..filters {
            for b in 0..a {
                let distance = distance(a, b);
                sums[a] += distance;
                sums[b] += distance;
            }
        }
        Ok(sums.into_iter().map(|sum| sum as f32).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::criteria::testing::{score, score_rows};
    use crate::granularity::Groups;

    #[test]
    fn the_filter_in_the_middle_goes_first() {
        // On a line at 0, 3 and 5 (rows [2] = (3, 4)·t/5): distances 3, 5 and 2.
        let weight = [0.0, 0.0, 1.8, 2.4, 3.0, 4.0];
        let scores = score_rows(&GeometricMedian, &[3, 2], &weight);
        for (score, expected) in scores.iter().zip([8.0, 5.0, 7.0]) {
            assert!((score - expected).abs() < 1e-5, "{scores:?}");
        }
        let single = Groups::new([3, 1, 2], [1; 3]);
        let message = score(&GeometricMedian, &single, &[3, 2], &weight).unwrap_err().to_string();
        assert!(message.contains("whole filters"), "{message}");
    }
}
