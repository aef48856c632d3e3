//! Network slimming: a penalty on the scales of batch norms, which sorts channels into those that matter and those that
//! do not (Liu et al. 2017, "Learning efficient convolutional networks through network slimming").
//!
//! ```text
//!   before   L = task(w, γ, β)                     after   L = task(w, γ, β) + λ · Σ |γ|
//! ```
//!
//! The scale γ of a batch norm multiplies a channel, so a channel whose γ is near zero carries almost nothing. The penalty
//! pulls every γ toward zero by the same force, whatever its size, and those that the task does not hold end there. The
//! subgradient of |γ| is `sign(γ)`, 0 at 0, as in the authors' code: `∂L/∂γ ← ∂L/∂γ + λ · sign(γ)`.
//!
//! Slimming changes no shape. Pruning by the criterion `batch_norm_gamma` then removes the channels with the lowest |γ|
//! of all layers: without normalization this is the paper's global threshold, except that every layer keeps a channel.
//!
//! Conditions: the network has batch norms, and trains. Weight decay on batch norms would compete with the penalty; in
//! recipes they do not decay.

mod config;
mod gammas;
mod slimmer;
mod technique;

pub use config::SlimConfig;
pub use gammas::{Gammas, LayerGammas};
pub use slimmer::Slimmer;
