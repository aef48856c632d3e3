//! The rank of a matrix: by a fraction, by what is kept of it, or by what is not noise.

use super::vbmf;

/// A rule for the rank of a layer, at least 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Rule {
    /// `(1 − f)` of the full rank.
    Fraction(f64),
    /// The smallest rank that keeps this share of Σ σ².
    Energy(f64),
    /// The smallest rank with at most this relative error `√(Σ_{i > rank} σ_i² / Σ σ_i²)`.
    Error(f64),
    /// The number of singular values above the noise.
    Vbmf,
}

impl Rule {
    /// The rank out of `full`, if it does not depend on singular values.
    pub fn rank_of(self, full: usize) -> Option<usize> {
        match self {
            // Rounded down, but robust to the last bit: removing 0.3 of 10 leaves 7.
            Self::Fraction(fraction) => Some((((1.0 - fraction) * full as f64 + 1e-9) as usize).max(1)),
            _ => None,
        }
    }

    /// The rank of a matrix of these sides with the singular values whose `squares` are given, the largest first.
    pub fn rank(self, squares: &[f64], [short, long]: [usize; 2]) -> usize {
        let rank = match self {
            Self::Fraction(_) => self.rank_of(squares.len()).unwrap_or(1),
            Self::Energy(energy) => rank_for(squares, energy),
            Self::Error(error) => rank_within(squares, error),
            Self::Vbmf => vbmf::rank(squares, [short, long]),
        };
        rank.clamp(1, squares.len().max(1))
    }

    /// The rule for each of two modes whose errors add up to that of the whole: `‖e‖² ≤ ‖e₁‖² + ‖e₂‖²`.
    pub fn of_two_modes(self) -> Self {
        match self {
            Self::Energy(energy) => Self::Energy((1.0 + energy) / 2.0),
            Self::Error(error) => Self::Error(error / std::f64::consts::SQRT_2),
            alone => alone,
        }
    }
}

/// The smallest rank that keeps the share `energy` of Σ σ².
pub(super) fn rank_for(squares: &[f64], energy: f64) -> usize {
    let wanted = energy * squares.iter().sum::<f64>();
    let mut kept = 0.0;
    let enough = |square: &f64| {
        kept += square;
        kept >= wanted
    };
    squares.iter().position(enough).map_or(squares.len(), |last| last + 1)
}

/// The smallest rank whose tail is at most `error` of the whole. The tail is summed from the smallest on, so that it
/// keeps its digits.
fn rank_within(squares: &[f64], error: f64) -> usize {
    let allowed = error * error * squares.iter().sum::<f64>();
    let mut tail = 0.0;
    let dropped = squares.iter().rev().take_while(|&square| {
        tail += square;
        tail <= allowed
    });
    squares.len() - dropped.count()
}

/// `‖W − W_r‖ / ‖W‖` in the Frobenius norm: the tail of the singular values.
pub(super) fn relative_error(squares: &[f64], rank: usize) -> f64 {
    let total: f64 = squares.iter().sum();
    let tail: f64 = squares[rank.min(squares.len())..].iter().rev().sum();
    if total == 0.0 { 0.0 } else { (tail / total).sqrt() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_agrees_with_a_hand_example() {
        let squares = [16.0, 4.0, 4.0, 1.0];
        let rank = |rule: Rule| rule.rank(&squares, [4, 9]);
        assert_eq!(rank(Rule::Fraction(0.5)), 2);
        assert_eq!(rank(Rule::Fraction(0.9)), 1);
        assert_eq!(rank(Rule::Energy(0.8)), 2);
        assert_eq!(rank(Rule::Energy(0.81)), 3);
        assert_eq!(rank(Rule::Error(0.2)), 3, "√(1/25) is within");
        assert_eq!(rank(Rule::Error(0.19)), 4);
        assert_eq!(rank(Rule::Error(1.0)), 1, "never 0");
        assert_eq!(relative_error(&squares, 2), (5.0f64 / 25.0).sqrt());
        assert_eq!(Rule::Energy(1.0).rank(&[0.0; 3], [3, 3]), 1);
    }
}
