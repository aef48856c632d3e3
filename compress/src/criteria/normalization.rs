//! Normalizations: scores of different layers on one scale.

use super::{Criterion, Score, Subject};
use crate::names::{named, one_of};
use serde::{Deserialize, Serialize};

/// The scale of a layer's scores: what is subtracted from them and what they are divided by. The order of groups within a
/// layer does not change, so it matters only where layers are compared with each other.
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
    /// Their standard deviation, after their mean is subtracted. Torch-Pruning calls it `gaussian`, and divides by the
    /// deviation of a sample: its scores are smaller by √((n − 1)/n), n the number of scores.
    Standardized,
    /// Their range, after their minimum is subtracted: the least becomes 0 and the largest 1. Torch-Pruning calls it
    /// `standarization`.
    MinMax,
    /// The median of their magnitudes, the lower one of two. Scores stay as they are if it is 0.
    Median,
    /// For each score, the sum of the magnitudes that are at least as large, as LAMP divides weights (Lee et al. 2021): the
    /// largest of a layer becomes 1.
    Lamp,
}

named!(Normalization, "normalization");

impl Normalization {
    /// The normalization with which layers compete by `criterion` if none is asked for. The scales of batch norms compare as
    /// they are, as in network slimming (Liu et al. 2017), and so does LAMP, which is normalized by itself. All other scores
    /// are divided as LAMP divides weights: of all normalizations, it left the most accuracy after equal cuts
    /// (`benches/normalizations.py`), because the last channels of a layer cost the most.
    pub fn across_layers(criterion: &Criterion) -> Self {
        match criterion.subject() {
            Subject::BatchNorm => Self::None,
            Subject::Weight if criterion.name() == super::Lamp.name() => Self::None,
            Subject::Weight => Self::Lamp,
        }
    }

    /// The names that recipes and command lines accept, as a list for help texts.
    pub fn names() -> String {
        one_of(Self::ALL.iter().map(ToString::to_string))
    }

    /// Normalizes the `scores` of a layer, computed in f64. Scores that are all zero stay zero.
    pub fn apply(self, scores: &mut [f32]) {
        let count = scores.len().max(1) as f64;
        let exact = || scores.iter().map(|&score| f64::from(score));
        let origin = match self {
            Self::Standardized => exact().sum::<f64>() / count,
            Self::MinMax => exact().fold(f64::INFINITY, f64::min),
            _ => 0.0,
        };
        let sizes = exact().map(|score| (score - origin).abs());
        let divisor = match self {
            Self::None => return,
            Self::Sum => sizes.sum(),
            Self::Mean => sizes.sum::<f64>() / count,
            Self::Max | Self::MinMax => sizes.fold(0.0, f64::max),
            Self::L2 => sizes.map(|size| size * size).sum::<f64>().sqrt(),
            Self::Standardized => (sizes.map(|size| size * size).sum::<f64>() / count).sqrt(),
            Self::Median => median(sizes.collect()),
            Self::Lamp => return divide_by_tails(scores),
        };
        let normalized = |score: f32| match divisor > 0.0 {
            true => ((f64::from(score) - origin) / divisor) as f32,
            false => (f64::from(score) - origin) as f32,
        };
        scores.iter_mut().for_each(|score| *score = normalized(*score));
    }
}

/// The median of `sizes`, the lower one of two.
fn median(mut sizes: Vec<f64>) -> f64 {
    sizes.sort_by(f64::total_cmp);
    sizes.get(sizes.len().saturating_sub(1) / 2).copied().unwrap_or(0.0)
}

/// Divides each score by the sum of the magnitudes that are at least as large as its own. Of equal ones, the first has the
/// larger sum.
fn divide_by_tails(scores: &mut [f32]) {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[a].abs().total_cmp(&scores[b].abs()));
    let mut tail = 0.0;
    for index in order.into_iter().rev() {
        tail += f64::from(scores[index].abs());
        if tail > 0.0 {
            scores[index] = (f64::from(scores[index]) / tail) as f32;
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
        assert_eq!(normalized(Normalization::Median), [3.0, 0.0, 4.0, 1.0], "1 is the lower one of 1 and 3");
        let lamp = [3.0 / 7.0, 0.0, 1.0, 1.0 / 8.0].map(|x: f64| x as f32);
        assert_eq!(normalized(Normalization::Lamp), lamp, "of tails 7, 8, 4 and 8");
        let mut scores = [3.0, 0.0, 4.0];
        Normalization::L2.apply(&mut scores);
        assert_eq!(scores, [0.6, 0.0, 0.8]);
        assert_eq!(
            normalized(Normalization::Standardized),
            [1.0, -2.0, 2.0, -1.0].map(|x: f32| x / 2.5f32.sqrt())
        );
        assert_eq!(normalized(Normalization::MinMax), [0.75, 0.0, 1.0, 0.25]);
        let mut negative = [-3.0, 1.0, -1.0];
        Normalization::MinMax.apply(&mut negative);
        assert_eq!(negative, [0.0, 1.0, 0.5], "of the range 4 above −3");
        let mut signed = [-3.0, 1.0];
        Normalization::Sum.apply(&mut signed);
        assert_eq!(signed, [-0.75, 0.25]);
        for normalization in
            [Normalization::L2, Normalization::Standardized, Normalization::Median, Normalization::Lamp]
        {
            let mut zeros = [0.0; 2];
            normalization.apply(&mut zeros);
            assert_eq!(zeros, [0.0; 2]);
        }
        for normalization in [Normalization::Standardized, Normalization::MinMax] {
            let mut equal = [2.0; 3];
            normalization.apply(&mut equal);
            assert_eq!(equal, [0.0; 3]);
        }
    }
}
