//! The formulas of the penalties.

use super::Penalty;
use lopper_engine::About;

impl Penalty {
    /// Every penalty, in the order in which they are listed.
    pub const ALL: &[Self] =
        &[Self::L1, Self::L2, Self::GroupLasso, Self::Growing, Self::GroupNorm, Self::Orthogonality];

    /// The formula of what is added to the loss, λ the weight, and where it is from.
    pub const fn about(self) -> About {
        match self {
            Self::L1 => About::new(
                "λ Σ |w|",
                "Han et al. 2015, Learning both weights and connections for efficient neural networks",
            ),
            Self::L2 => About::new(
                "λ/2 Σ w²",
                "Han et al. 2015, Learning both weights and connections for efficient neural networks",
            ),
            Self::GroupLasso => About::new(
                "λ Σ_g √n_g ‖w_g‖ over groups g of n_g weights",
                "Wen et al. 2016, Learning structured sparsity in deep neural networks",
            ),
            Self::Growing => About::new(
                "ρ/2 Σ ‖w_g‖² over the groups chosen at the start, ρ ← ρ + delta",
                "Wang et al. 2021, Neural pruning via growing regularization",
            ),
            Self::GroupNorm => About::new(
                "λ/2 Σ 2^(alpha·(max I − I) / (max I − min I)) I², I the norm of coupled channels",
                "Fang et al. 2023, DepGraph: towards any structural pruning",
            ),
            Self::Orthogonality => About::new(
                "λ/2 ‖W·Wᵀ − 1‖², W a layer's filters",
                "Bansal et al. 2018, Can we gain more from orthogonality regularizations in training deep networks?",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::assert_all_listed;

    #[test]
    fn every_penalty_is_listed() {
        assert_all_listed(Penalty::ALL);
    }
}
