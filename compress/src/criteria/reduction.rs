//! Reductions: from a number for each weight to a number for each group.

use crate::granularity::Groups;

/// How the numbers of a group become one. All are computed in f64, in the order of positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduction {
    /// `Σ x`.
    Sum,
    /// `Σ x / n`.
    Mean,
    /// `max x`.
    Max,
    /// `√(Σ x²)`.
    L2,
}

impl Reduction {
    /// The reduction of each group of `groups` over `value(i)`, `i` the position of a weight.
    pub fn of(self, groups: &Groups, value: impl Fn(usize) -> f64) -> Vec<f64> {
        let start = if self == Self::Max { f64::NEG_INFINITY } else { 0.0 };
        let mut reduced = vec![start; groups.count()];
        groups.for_each_weight(|i, group| {
            let x = value(i);
            match self {
                Self::Sum | Self::Mean => reduced[group] += x,
                // Unlike f64::max, keeps a NaN.
                Self::Max => {
                    reduced[group] = if x > reduced[group] || x.is_nan() { x } else { reduced[group] }
                }
                Self::L2 => reduced[group] += x * x,
            }
        });
        match self {
            Self::Mean => {
                reduced.iter_mut().enumerate().for_each(|(group, x)| *x /= groups.size_of(group) as f64);
            }
            Self::L2 => reduced.iter_mut().for_each(|x| *x = x.sqrt()),
            Self::Sum | Self::Max => {}
        }
        reduced
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reduction_agrees_with_a_hand_example() {
        // Columns of [2, 2]: {3, −4} and {−1, 0}.
        let values = [3.0, -1.0, -4.0, 0.0];
        let columns = Groups::new([2, 1, 2], [2, 1, 1]);
        let of = |reduction: Reduction| reduction.of(&columns, |i| values[i]);
        assert_eq!(of(Reduction::Sum), [-1.0, -1.0]);
        assert_eq!(of(Reduction::Mean), [-0.5, -0.5]);
        assert_eq!(of(Reduction::Max), [3.0, 0.0]);
        assert_eq!(of(Reduction::L2), [5.0, 1.0]);
    }

    #[test]
    fn a_mean_divides_by_the_weights_of_its_own_group() {
        // Three rows in blocks of two: {2, 4} and {9}.
        let rows = Groups::new([3, 1, 1], [2, 1, 1]);
        assert_eq!(Reduction::Mean.of(&rows, |i| [2.0, 4.0, 9.0][i]), [3.0, 9.0]);
    }

    #[test]
    fn no_reduction_hides_a_nan() {
        let pair = Groups::new([1, 1, 2], [1, 1, 2]);
        for values in [[f64::NAN, 1.0], [1.0, f64::NAN]] {
            for reduction in [Reduction::Sum, Reduction::Mean, Reduction::Max, Reduction::L2] {
                assert!(reduction.of(&pair, |i| values[i])[0].is_nan(), "{reduction:?}");
            }
        }
    }
}
