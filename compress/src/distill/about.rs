//! The formulas of the losses of distillation.

use super::DistillLoss;
use lopper_engine::About;

/// The definition of [`Hint`](super::Hint), which is a term beside the loss.
pub const HINT: About = About::new(
    "Σ (y_student − y_teacher)² / n of a pair of layers",
    "Romero et al. 2015, FitNets: hints for thin deep nets",
);

impl DistillLoss {
    /// Every loss, in the order in which they are listed.
    pub const ALL: &[Self] = &[Self::SoftTargets, Self::Logits];

    /// The formula, for logits z and temperature T, and where it is from.
    pub const fn about(self) -> About {
        match self {
            Self::SoftTargets => About::new(
                "T²·KL(softmax(z_teacher / T) ‖ softmax(z_student / T))",
                "Hinton et al. 2015, Distilling the knowledge in a neural network",
            ),
            Self::Logits => About::new(
                "Σ (z_student − z_teacher)² / n",
                "Ba & Caruana 2014, Do deep nets really need to be deep?",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::assert_all_listed;

    #[test]
    fn every_loss_is_listed() {
        assert_all_listed(DistillLoss::ALL);
    }
}
