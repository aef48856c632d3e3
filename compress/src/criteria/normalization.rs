//! Normalizations: scores of different layers on one scale.

use crate::names::named;
use serde::{Deserialize, Serialize};

/// The divisor of a layer's scores. The order of groups within a layer does not change, so it matters only
/// where layers are compared with each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Normalization {
    /// 1: scores stay as they are.
    #[default]
    None,
    /// The sum of their magnitudes.
    Sum,
    /// The mean of their magnitudes.
    Mean,
    /// The maximum of their magnitudes.
    Max,
    /// Their Euclidean norm `√(Σ s²)` (Molchanov et al. 2017, section 2.2).
    L2,
    /// Their standard deviation, after their mean is subtracted.
    Standardized,
}

named!(Normalization, "normalization");

impl Normalization {
    /// Normalizes the `scores` of a layer, computed in f64. Scores that are all zero stay zero.
    pub fn apply(self, scores: &mut [f32]) {
        let count = scores.len().max(1) as f64;
        let mean = match self {
            Self::Standardized => scores.iter().map(|&score| f64::from(score)).sum::<f64>() / count,
            _ => 0.0,
        };
        let sizes = scores.iter().map(|&score| (f64::from(score) - mean).abs());
        let divisor = match self {
            Self::None => return,
            Self::Sum => sizes.sum(),
            Self::Mean => sizes.sum::<f64>() / count,
            Self::Max => sizes.fold(0.0, f64::max),
            Self::L2 => sizes.map(|size| size * size).sum::<f64>().sqrt(),
            Self::Standardized => (sizes.map(|size| size * size).sum::<f64>() / count).sqrt(),
        };
        let normalized = |score: f32| match divisor > 0.0 {
            true => ((f64::from(score) - mean) / divisor) as f32,
            false => (f64::from(score) - mean) as f32,
        };
        scores.iter_mut().for_each(|score| *score = normalized(*score));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_normalization_agrees_with_a_hand_example() {
        let normalized = |normalization: Normalization| {
            let mut scores = [3.0, 0.0, 4.0, 1.0];
            normalization.apply(&mut scores);
            scores
        };
        assert_eq!(normalized(Normalization::None), [3.0, 0.0, 4.0, 1.0]);
        assert_eq!(normalized(Normalization::Sum), [0.375, 0.0, 0.5, 0.125]);
        assert_eq!(normalized(Normalization::Mean), [1.5, 0.0, 2.0, 0.5]);
        assert_eq!(normalized(Normalization::Max), [0.75, 0.0, 1.0, 0.25]);
        let mut scores = [3.0, 0.0, 4.0];
        Normalization::L2.apply(&mut scores);
        assert_eq!(scores, [0.6, 0.0, 0.8]);
        assert_eq!(
            normalized(Normalization::Standardized),
            [1.0, -2.0, 2.0, -1.0].map(|x: f32| x / 2.5f32.sqrt())
        );
        let mut signed = [-3.0, 1.0];
        Normalization::Sum.apply(&mut signed);
        assert_eq!(signed, [-0.75, 0.25]);
        for normalization in [Normalization::L2, Normalization::Standardized] {
            let mut zeros = [0.0; 2];
            normalization.apply(&mut zeros);
            assert_eq!(zeros, [0.0; 2]);
        }
        let mut equal = [2.0; 3];
        Normalization::Standardized.apply(&mut equal);
        assert_eq!(equal, [0.0; 3]);
    }
}
