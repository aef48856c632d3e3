//! The formulas of the schedules.

use super::SparsitySchedule;
use lopper_engine::About;

impl SparsitySchedule {
    /// The share of the final sparsity at time x of the window, 0 to 1, and where it is from.
    pub const fn about(self) -> About {
        match self {
            Self::OneShot => About::new(
                "1",
                "Han et al. 2015, Learning both weights and connections for efficient neural networks",
            ),
            Self::Iterative { .. } => About::new(
                "⌈x·STEPS⌉ / STEPS",
                "Han et al. 2015, Learning both weights and connections for efficient neural networks",
            ),
            Self::Linear => About::common("x"),
            Self::Cosine => About::common("(1 − cos πx) / 2"),
            Self::DenseSparseDense => About::new(
                "1 for 1/3 ≤ x < 2/3, else 0",
                "Han et al. 2017, DSD: dense-sparse-dense training for deep neural networks",
            ),
            Self::Gradual => About::new(
                "1 − (1 − x)³",
                "Zhu & Gupta 2017, To prune, or not to prune: exploring the efficacy of pruning for model compression",
            ),
            Self::Custom(_) => About::common("a function of another crate"),
        }
    }
}
