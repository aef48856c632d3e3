//! Normalizations: scores of different layers on one scale.

use crate::names::named;
use serde::{Deserialize, Serialize};

/// What the scores of a layer are divided by. The order of groups within a layer does not change, so it matters only
/// where layers are compared with each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Normalization {
    /// 1: scores stay as they are.
    #[default]
    None,
    /// Their sum.
    Sum,
    /// Their mean.
    Mean,
    /// Their maximum.
    Max,
    /// Their Euclidean norm `√(Σ s²)` (Molchanov et al. 2017, section 2.2).
    L2,
}

named!(Normalization, "normalization");

impl Normalization {
    /// Normalizes the `scores` of a layer, computed in f64. Scores that are all zero stay zero.
    pub fn apply(self, scores: &mut [f32]) {
        let values = scores.iter().map(|&score| f64::from(score));
        let divisor = match self {
            Self::None => return,
            Self::Sum => values.sum(),
            Self::Mean => values.sum::<f64>() / scores.len().max(1) as f64,
            Self::Max => values.fold(0.0, f64::max),
            Self::L2 => values.map(|score| score * score).sum::<f64>().sqrt(),
        };
        if divisor > 0.0 {
            scores.iter_mut().for_each(|score| *score = (f64::from(*score) / divisor) as f32);
        }
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
        let mut zeros = [0.0; 2];
        Normalization::L2.apply(&mut zeros);
        assert_eq!(zeros, [0.0; 2]);
    }
}
