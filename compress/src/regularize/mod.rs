//! Regularization: penalties on weights that make groups of them small before they are removed.
//!
//! ```text
//!   before   L = task(w)              after   L = task(w) + λ·s(t)·R(w)        gradient  ∂L/∂w ← ∂L/∂w + λ·s(t)·∂R/∂w
//! ```
//!
//! | penalty | R | ∂R/∂w | paper |
//! | --- | --- | --- | --- |
//! | `l1` | Σ \|w\| | sign w | Han et al. 2015, "Learning both weights and connections for efficient neural networks" |
//! | `l2` | ½ Σ w² | w | the same |
//! | `group_lasso` | Σ_g √n_g · ‖w_g‖ | √n_g · w / ‖w_g‖ | Wen et al. 2016, "Learning structured sparsity in deep neural networks" |
//! | `growing` | ½ Σ_{g chosen} ρ(t) · ‖w_g‖² | ρ(t) · w | Wang et al. 2021, "Neural pruning via growing regularization" (GReg-1) |
//! | `group_norm` | ½ Σ_u γ_u · ‖w_u‖² | γ_u · w | Fang et al. 2023, "DepGraph: towards any structural pruning" |
//! | `orthogonality` | ½ ‖W·Wᵀ − I‖² | 2 (W·Wᵀ − I)·W | Bansal et al. 2018, "Can we gain more from orthogonality regularizations" |
//!
//! A group g is one of the granularity, n_g its weights. A unit u is a set of coupled channels: all that pruning would
//! remove with it, in the layers that make, scale and read it. W is a layer's weight as a matrix of filters, transposed if
//! it has more filters than a filter has weights. s(t) is the schedule's share at that time, 1 without one.
//!
//! Of a coupled unit, `γ_u = 2^(α (max I − I_u) / (max I − min I))` with the norm I of all its weights: the smaller a unit is
//! among those of its group, the stronger it is pulled. Of `growing`, the groups with the lowest mean |w| of each layer,
//! `sparsity` of them, are chosen when the training begins, and ρ rises by `delta` every `every` steps up to `ceiling`.
//!
//! A penalty changes no shape and sets no weight to zero: pruning or sparsification by magnitude behind it does. The loss
//! that is reported is the task's.

mod about;
mod config;
mod coupled;
mod growing;
mod orthogonality;
mod penalties;
mod regularizer;
mod technique;

pub use config::{Penalty, RegularizeConfig};
pub use regularizer::Regularizer;
