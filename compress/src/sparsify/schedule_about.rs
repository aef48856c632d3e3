//! The formulas of the schedules.

use super::SparsitySchedule;
use lopper_engine::About;

impl SparsitySchedule {
    /// The share of the final sparsity at time x of the window, 0 to 1, and where it is from.
    pub const fn about(&self) -> About {
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
            Self::Exponential { .. } => About::common("(1 − e^(−RATE·x)) / (1 − e^(−RATE))"),
            Self::OneCycle => About::new(
                "(1 + e^(β−α)) / (1 + e^(β−αx)), α = 14, β = 6",
                "Hubens et al. 2021, One-cycle pruning: pruning ConvNets under a tight training budget",
            ),
            Self::CosineDsd => About::new(
                "(1 − cos 2πx) / 2",
                "Han et al. 2017, DSD: dense-sparse-dense training for deep neural networks",
            ),
            Self::AcDc { .. } => About::new(
                "0 before 0.1; 1, 0, 1, 0 … PHASES times each; 1 from 0.85 on",
                "Peste et al. 2021, AC/DC: alternating compressed/decompressed training of deep neural networks",
            ),
            Self::Table(_) => About::common("0, and from each time of TABLE on its share, as in 0=0.5,0.6=1"),
            Self::Custom(_) => About::common("a function of another crate"),
        }
    }
}
