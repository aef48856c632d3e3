//! The techniques that make a network smaller: each a folder, each a rewrite of a graph or a callback of its training.

#![forbid(unsafe_code)]

pub mod channels;
pub mod compact;
pub mod constants;
pub mod distill;
pub mod factorize;
pub mod fold;
mod lists;
mod names;
pub mod prune;
pub mod sparsify;
#[cfg(test)]
mod testing;
mod weights;

pub use compact::{CompactConfig, compact};
pub use distill::{DistillConfig, Distillation};
pub use factorize::{FactorizeConfig, factorize};
pub use fold::fold;
pub use prune::{PruneConfig, PrunePlan, prune};
pub use sparsify::{Sparsifier, SparsifyConfig, sparsify};
