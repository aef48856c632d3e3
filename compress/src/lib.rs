//! Techniques that make a network smaller. Each is a folder: a rewrite of a graph, a callback or an objective of its
//! training, and its [`techniques::Technique`].
//!
//! [`criteria`], [`granularity`] and [`Context`] are shared by sparsification and pruning.

#![forbid(unsafe_code)]

pub mod channels;
pub mod compact;
pub mod constants;
pub mod criteria;
pub mod distill;
pub mod factorize;
pub mod fold;
pub mod granularity;
mod lists;
mod names;
pub mod prune;
mod select;
pub mod sparsify;
pub mod techniques;
#[cfg(test)]
mod testing;
mod weights;

pub use compact::{CompactConfig, compact};
pub use criteria::Criterion;
pub use distill::{DistillConfig, Distillation};
pub use factorize::{FactorizeConfig, factorize};
pub use fold::fold;
pub use granularity::Granularity;
pub use prune::{PruneConfig, PrunePlan, prune};
pub use select::Context;
pub use sparsify::{Sparsifier, SparsifyConfig, sparsify};
