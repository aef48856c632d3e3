//! The formulas of sparse training.

use super::{Densities, Method};
use lopper_engine::About;

impl Method {
    /// Every method, in the order in which they are listed.
    pub const ALL: &[Self] = &[Self::Static, Self::Set, Self::Rigl, Self::Gradual, Self::TopKast];

    /// What dies and what grows, and where it is from.
    pub const fn about(self) -> About {
        match self {
            Self::Static => About::new(
                "nothing dies or grows",
                "Evci et al. 2020, Rigging the lottery: making all tickets winners",
            ),
            Self::Set => About::new(
                "⌊f(t)·live⌋ of the smallest mean |w| die, as many grow at random",
                "Mocanu et al. 2018, Scalable training of artificial neural networks with adaptive sparse connectivity",
            ),
            Self::Rigl => About::new(
                "⌊f(t)·live⌋ of the smallest mean |w| die, as many of the largest mean |∂L/∂w| grow",
                "Evci et al. 2020, Rigging the lottery: making all tickets winners",
            ),
            Self::Gradual => About::new(
                "as rigl, while sparsity rises: s + (s₀ − s)(1 − t/end)³",
                "Liu et al. 2021, Sparse training via boosting pruning plasticity with neuroregeneration",
            ),
            Self::TopKast => About::new(
                "the largest mean |w| run forward; more of them learn by ∂L/∂w, and take the place of smaller ones",
                "Jayakumar et al. 2020, Top-KAST: Top-K always sparse training",
            ),
        }
    }
}

impl Densities {
    /// Every choice of densities, in the order in which they are listed.
    pub const ALL: &[Self] = &[Self::Uniform, Self::UniformPlus, Self::ErdosRenyi, Self::Erk, Self::Global];

    /// The density of a layer, and where it is from.
    pub const fn about(self) -> About {
        match self {
            Self::Uniform => About::common("1 − s"),
            Self::UniformPlus => About::new(
                "1 in the first convolution, at least 0.2 in the last linear layer, one number in the others",
                "Gale et al. 2019, The state of sparsity in deep neural networks",
            ),
            Self::ErdosRenyi => About::new(
                "ε·(IN + OUT) / (IN·OUT), at most 1",
                "Mocanu et al. 2018, Scalable training of artificial neural networks with adaptive sparse connectivity",
            ),
            Self::Erk => About::new(
                "ε·(IN + OUT + KH + KW) / (IN·OUT·KH·KW), at most 1",
                "Evci et al. 2020, Rigging the lottery: making all tickets winners",
            ),
            Self::Global => About::new(
                "as many as the largest live mean |w| of all layers leave, while sparsity rises",
                "Liu et al. 2021, Sparse training via boosting pruning plasticity with neuroregeneration",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::assert_all_listed;

    #[test]
    fn everything_is_listed() {
        assert_all_listed(Method::ALL);
        assert_all_listed(Densities::ALL);
    }
}
