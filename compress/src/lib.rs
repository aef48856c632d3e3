//! Techniques that make a network smaller. Each is a folder: a rewrite of a graph, a callback or an objective of its
//! training, and its [`techniques::Technique`].
//!
//! [`criteria`], [`granularity`] and [`Context`] are shared by sparsification and pruning.

#![forbid(unsafe_code)]

pub mod compact;
mod context_about;
pub mod criteria;
pub mod distill;
pub mod factorize;
pub mod fold;
pub mod granularity;
mod lists;
pub mod lottery;
mod names;
pub mod prune;
pub mod regularize;
mod select;
pub mod share;
pub mod slim;
pub mod sparse_training;
pub mod sparsify;
pub mod synthesize;
mod table;
mod targets;
pub mod techniques;
#[cfg(test)]
mod testing;
mod threads;
mod weights;

/// How channels are tied, which are dead, and how they are removed.
pub use lopper_engine::channels;

pub use compact::{CompactConfig, compact};
pub use criteria::Criterion;
pub use distill::{DistillConfig, Distillation};
pub use factorize::{ConvSplit, FactorizeConfig, factorize};
pub use fold::fold;
pub use granularity::Granularity;
pub use lottery::LotteryConfig;
pub use prune::{PruneConfig, PrunePlan, prune};
pub use regularize::RegularizeConfig;
pub use select::Context;
pub use share::{ShareConfig, Sharer, share};
pub use slim::SlimConfig;
pub use sparse_training::{SparseTrainConfig, SparseTrainer};
pub use sparsify::{Sparsifier, SparsifyConfig, sparsify};
pub use synthesize::{SynthesisConfig, Synthesizer};
pub use table::StageKeys;
pub use techniques::Technique;
pub use weights::squared_weights;
