//! The formulas of the normalizations.

use super::Normalization;
use lopper_engine::About;

impl Normalization {
    /// Every normalization, in the order in which they are listed.
    pub const ALL: &[Self] = &[
        Self::None,
        Self::Sum,
        Self::Mean,
        Self::Max,
        Self::L2,
        Self::Standardized,
        Self::MinMax,
        Self::Median,
        Self::Lamp,
    ];

    /// The formula of a normalized score, and where it is from.
    pub const fn about(self) -> About {
        match self {
            Self::None => About::common("s: scores stay as they are"),
            Self::Sum => About::common("s / Σ |s| over the layer"),
            Self::Mean => About::common("s / mean |s| over the layer"),
            Self::Max => About::common("s / max |s| over the layer"),
            Self::L2 => About::new(
                "s / √(Σ s²) over the layer",
                "Molchanov et al. 2017, Pruning convolutional neural networks for resource efficient inference",
            ),
            Self::Standardized => About::common("(s − mean s) / standard deviation of s, over the layer"),
            Self::MinMax => About::common("(s − min s) / (max s − min s), over the layer"),
            Self::Median => About::common("s / median |s| over the layer"),
            Self::Lamp => About::new(
                "s / Σ |t| over the scores t of the layer with |t| ≥ |s|",
                "Lee et al. 2021, Layer-adaptive sparsity for the magnitude-based pruning",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::assert_all_listed;

    #[test]
    fn every_normalization_is_listed() {
        assert_all_listed(Normalization::ALL);
    }
}
