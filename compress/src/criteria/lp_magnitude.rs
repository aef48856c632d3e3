//! Norms of any order, and squares.

use super::{LayerView, Reduction, Score, described};
use lopper_engine::{Error, Result};
use std::str::FromStr;

/// `lp_magnitude:P`: `‖w‖_p = (Σ |w|^p)^(1/p)` over the group, for any p above 0 (He et al. 2018, "Soft filter pruning for
/// accelerating deep convolutional neural networks", equation 2).
///
/// At p = 1 it is [`L1Magnitude`](super::L1Magnitude), at p = 2 [`L2Magnitude`](super::L2Magnitude); large p approach the
/// largest weight.
#[derive(Clone, Debug, PartialEq)]
pub struct LpMagnitude {
    p: f64,
    name: String,
}

impl LpMagnitude {
    /// The name before the order.
    pub const NAME: &'static str = "lp_magnitude";

    /// The norm of order `p`.
    ///
    /// # Errors
    /// If `p` is not a number above 0 and at most 64.
    pub fn new(p: f64) -> Result<Self> {
        match p > 0.0 && p <= 64.0 {
            true => Ok(Self { p, name: format!("{}:{p}", Self::NAME) }),
            false => Err(Error::invalid(format!(
                "criterion {}: expected an order above 0 and at most 64, as in {0}:3, found {p}",
                Self::NAME
            ))),
        }
    }
}

/// Of order 3, between the sum and the largest weight.
impl Default for LpMagnitude {
    fn default() -> Self {
        Self { p: 3.0, name: format!("{}:3", Self::NAME) }
    }
}

impl FromStr for LpMagnitude {
    type Err = Error;

    /// Reads the order.
    fn from_str(text: &str) -> Result<Self> {
        Self::new(text.parse().unwrap_or(f64::NAN))
    }
}

described!(
    LpMagnitude,
    "‖w‖_p over the group",
    "He et al. 2018, Soft filter pruning for accelerating deep convolutional neural networks"
);

impl Score for LpMagnitude {
    fn name(&self) -> &str {
        &self.name
    }

    fn score(&self, layer: &LayerView) -> Result<Vec<f32>> {
        // Relative to the largest weight of a group, so that no power overflows.
        let largest = Reduction::Max.of(layer.groups(), |i| f64::from(layer.weight()[i].abs()));
        let mut sums = vec![0.0; largest.len()];
        layer.groups().for_each_weight(|i, group| {
            let size = f64::from(layer.weight()[i].abs());
            sums[group] += if size > 0.0 { (size / largest[group]).powf(self.p) } else { 0.0 };
        });
        let norm = |(sum, largest): (f64, f64)| (largest * sum.powf(self.p.recip())) as f32;
        Ok(sums.into_iter().zip(largest).map(norm).collect())
    }
}

/// `squared_final`: the mean of `w²` over the group.
#[derive(Clone, Copy, Debug, Default)]
pub struct SquaredFinal;

described!(SquaredFinal, "mean w² over the group");

impl Score for SquaredFinal {
    fn name(&self) -> &str {
        "squared_final"
    }

    fn score(&self, layer: &LayerView) -> Result<Vec<f32>> {
        let means = Reduction::Mean.of(layer.groups(), |i| f64::from(layer.weight()[i]).powi(2));
        Ok(means.into_iter().map(|mean| mean as f32).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::criteria::testing::score_rows;
    use crate::criteria::{Criterion, L1Magnitude, L2Magnitude};

    #[test]
    fn each_order_agrees_with_a_hand_example() {
        let weight = [3.0, -4.0, 0.0, 0.0];
        let norm = |p: f64| score_rows(&LpMagnitude::new(p).unwrap(), &[2, 2], &weight);
        assert_eq!(norm(1.0), score_rows(&L1Magnitude, &[2, 2], &weight));
        assert_eq!(norm(2.0), score_rows(&L2Magnitude, &[2, 2], &weight));
        assert!((norm(3.0)[0] - 91f32.cbrt()).abs() < 1e-5);
        assert!((norm(0.5)[0] - (3f32.sqrt() + 2.0).powi(2)).abs() < 1e-4);
        assert_eq!(norm(3.0)[1], 0.0);
        // Powers of the weights themselves would overflow.
        let large = score_rows(&LpMagnitude::new(64.0).unwrap(), &[1, 2], &[1e30, 1e30])[0];
        assert!((large / 1.010_889_3e30 - 1.0).abs() < 1e-6, "{large}");
        assert_eq!(score_rows(&SquaredFinal, &[2, 2], &weight), [12.5, 0.0]);
    }

    #[test]
    fn the_order_is_part_of_the_name() {
        let criterion: Criterion = "lp_magnitude:1.5".parse().unwrap();
        assert_eq!(criterion.name(), "lp_magnitude:1.5");
        assert_eq!(criterion, LpMagnitude::new(1.5).unwrap().into());
        for text in ["lp_magnitude:0", "lp_magnitude:x", "lp_magnitude:", "lp_magnitude", "lp_magnitude:100"]
        {
            let message = text.parse::<Criterion>().unwrap_err().to_string();
            assert!(message.contains("lp_magnitude"), "{message}");
        }
    }
}
