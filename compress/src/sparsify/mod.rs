//! Sparsification: choosing weights to drop and holding them at exactly zero, at once or while training.
//!
//! Four choices make a method, and each is a file: the [`Granularity`] (which weights live and die together),
//! the [`Criterion`] (what a group is worth), the [`Context`] (whether layers are cut alike or against each
//! other) and the [`Schedule`] (how sparsity grows while training). [`SparsifyConfig`] is one of each.
//!
//! A sparse network is no smaller and no faster by itself: pruning, compacting and masked kernels make it so.

mod apply;
mod config;
mod criterion;
mod granularity;
mod layers;
mod measure;
mod schedule;
mod select;
mod sparsifier;
mod taylor;

pub use apply::sparsify;
pub use config::{Context, SparsifyConfig};
pub use criterion::Criterion;
pub use granularity::{Granularity, Groups};
pub use measure::{LayerSparsity, Sparsity};
pub use schedule::Schedule;
pub(crate) use select::{Scored, select};
pub use sparsifier::{Record, Sparsifier};
pub use taylor::Taylor;
