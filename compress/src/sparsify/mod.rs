//! Sparsification: choosing weights to drop and holding them at exactly zero, at once or while training.
//!
//! Four choices make a method, and each is a file: the [`Granularity`](crate::granularity::Granularity) (which weights
//! live and die together), the [`Criterion`](crate::criteria::Criterion) (what a group is worth), the
//! [`Context`](crate::Context) (whether layers are cut alike or against each other) and the [`Schedule`] (how sparsity
//! grows while training). [`SparsifyConfig`] is one of each.
//!
//! A sparse network is no smaller and no faster by itself: pruning, compacting and masked kernels make it so.

mod apply;
mod config;
mod layers;
mod measure;
mod schedule;
mod sparsifier;

pub use apply::sparsify;
pub use config::SparsifyConfig;
pub use measure::{LayerSparsity, Sparsity};
pub use schedule::Schedule;
pub use sparsifier::{Record, Sparsifier};
