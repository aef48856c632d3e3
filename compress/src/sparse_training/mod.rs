//! Sparse training: a network that has few weights from the first step on, and moves them while it trains.
//!
//! ```text
//!   begin   mask each layer at random, at its density        every few steps, until `end`:
//!           d = [uniform, uniform+, Erdős-Rényi, ERK]           drop the k live groups of the smallest mean |w|
//!   step    only live weights move                              grow k others, by the mean |gradient| or at random
//! ```
//!
//! | method | grows | number of live groups | paper |
//! | --- | --- | --- | --- |
//! | `static` | nothing | constant | Evci et al. 2020, "static" |
//! | `set` | at random | constant | Mocanu et al. 2018, "Scalable training of artificial neural networks with adaptive sparse connectivity" |
//! | `rigl` | by gradients | constant | Evci et al. 2020, "Rigging the lottery: making all tickets winners" |
//! | `gradual` | by gradients | falls from `initial_sparsity` to `sparsity` | Liu et al. 2021, "Sparse training via boosting pruning plasticity with neuroregeneration" |
//! | `top_kast` | by outgrowing live ones | constant | Jayakumar et al. 2020, "Top-KAST: Top-K always sparse training" |
//!
//! k is a share of the live groups that decays to 0: `k = ⌊f(t)·live⌋`, `f(t) = fraction/2 · (1 + cos(π t / end))`.
//! `gradual` lowers the number of live groups by `s(t) = s + (s₀ − s)(1 − t/end)³`, layer by layer where its paper ranks all
//! layers together, and drops k more than that, which it grows again.
//!
//! With `top_kast` the live groups are the largest of a layer, as many again learn unseen, and what outgrows a live group takes its
//! place with the weight that it has then. Of the other methods, a group that grows starts at zero. The gradients of masked weights are computed only in the steps that move masks, and
//! reach no optimizer; unlike in the authors' code, such a step also updates the weights.

mod about;
mod config;
mod densities;
mod growth;
mod layers;
mod technique;
mod top_kast;
mod trainer;

pub use config::{Method, SparseTrainConfig};
pub use densities::{Densities, LayerShape};
pub use trainer::{SparseTrainer, Update};
