//! The formulas of the losses of distillation.

use super::{DistillLoss, FeatureLoss};
use lopper_engine::About;

impl DistillLoss {
    /// Every loss, in the order in which they are listed.
    pub const ALL: &[Self] = &[
        Self::SoftTargets,
        Self::Logits,
        Self::Cosine,
        Self::Dkd,
        Self::Nkd,
        Self::Normkd,
        Self::Dist,
        Self::None,
    ];

    /// The formula, for logits z, temperature T, σ the softmax, p = σ(z) and p̂ the softmax over all classes but the label y,
    /// and where it is from.
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
            Self::Cosine => About::common("1 − z_student·z_teacher / (|z_student| |z_teacher|)"),
            Self::Dkd => About::new(
                "T²·(alpha·KL(b_teacher ‖ b_student) + beta·KL(p̂_teacher ‖ p̂_student)), b = (p_y, 1 − p_y) at T",
                "Zhao et al. 2022, Decoupled knowledge distillation",
            ),
            Self::Nkd => About::new(
                "−p_y teacher·log p_y student − beta·T²·Σ p̂_teacher log p̂_student",
                "Yang et al. 2023, From knowledge distillation to self-knowledge distillation: a unified approach",
            ),
            Self::Normkd => About::new(
                "(T·s)²·KL(σ(z / (T·s)) teacher ‖ σ(z / (T·s)) student), s the deviation of an image's logits",
                "Chi et al. 2023, NormKD: normalized logits for knowledge distillation",
            ),
            Self::Dist => About::new(
                "T²·(alpha·(1 − ρ of images) + beta·(1 − ρ of classes)), ρ Pearson's correlation of softmax(z / T)",
                "Huang et al. 2022, Knowledge distillation from a stronger teacher",
            ),
            Self::None => About::common("0: only outputs of layers are compared"),
        }
    }
}

impl FeatureLoss {
    /// Every loss, in the order in which they are listed.
    pub const ALL: &[Self] = &[
        Self::Mse,
        Self::Attention,
        Self::Boundaries,
        Self::Similarity,
        Self::Distances,
        Self::Angles,
        Self::Pkt,
        Self::Cwd,
        Self::Ofd,
        Self::Crd,
    ];

    /// The formula, for outputs F of two layers, A an adapter, G = F·Fᵀ over a batch, and where it is from.
    pub const fn about(self) -> About {
        match self {
            Self::Mse => About::new(
                "Σ (A(F_student) − F_teacher)² / n",
                "Romero et al. 2015, FitNets: hints for thin deep nets",
            ),
            Self::Attention => About::new(
                "mean (Q_student − Q_teacher)², Q = mean over channels of |F|^power, divided by its norm",
                "Zagoruyko & Komodakis 2017, Paying more attention to attention",
            ),
            Self::Boundaries => About::new(
                "mean max(0, margin − A(F_student))² where F_teacher > 0, else mean max(0, margin + A(F_student))²",
                "Heo et al. 2019, Knowledge transfer via distillation of activation boundaries",
            ),
            Self::Similarity => About::new(
                "‖Ĝ_student − Ĝ_teacher‖² / N², the rows of Ĝ those of G divided by their norms",
                "Tung & Mori 2019, Similarity-preserving knowledge distillation",
            ),
            Self::Distances => About::new(
                "mean over pairs of huber(d_student − d_teacher), d = ‖f_i − f_j‖ / its mean",
                "Park et al. 2019, Relational knowledge distillation",
            ),
            Self::Angles => About::new(
                "mean over triples of huber(cos ∠ student − cos ∠ teacher)",
                "Park et al. 2019, Relational knowledge distillation",
            ),
            Self::Pkt => About::new(
                "mean p_teacher log(p_teacher / p_student), rows of p proportional to 1 + cos(f_i, f_j)",
                "Passalis & Tefas 2018, Learning deep representations with probabilistic knowledge transfer",
            ),
            Self::Cwd => About::new(
                "T²/C·Σ_c KL(φ_teacher ‖ φ_student), φ the softmax of a channel of A(F) / T over its pixels",
                "Shu et al. 2021, Channel-wise knowledge distillation for dense prediction",
            ),
            Self::Ofd => About::new(
                "mean (s − t)², 0 where s = A(F_student) ≤ t ≤ 0; t = max(F_teacher, E[F_teacher | F_teacher < 0])",
                "Heo et al. 2019, A comprehensive overhaul of feature distillation",
            ),
            Self::Crd => About::new(
                "−log h(u, v) − Σ_N log(1 − h(u, v₋)), h = p / (p + N/M), p = exp(u·v/τ) / Z; both networks as u",
                "Tian et al. 2020, Contrastive representation distillation",
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
        assert_all_listed(FeatureLoss::ALL);
    }
}
