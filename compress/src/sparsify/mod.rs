//! Sparsification: selects weights to drop and holds them at exactly zero, at once or while training.
//!
//! A method is four choices: the [`Granularity`](crate::granularity::Granularity) (which weights
//! are dropped together), the [`Criterion`](crate::criteria::Criterion) (how groups are scored), the
//! [`Context`](crate::Context) (whether layers are cut alike or against each other) and the [`SparsitySchedule`] (how
//! sparsity grows while training). [`SparsifyConfig`] is one of each.
//!
//! With a [`SparsityTarget`], layers get different granularities and sparsities: those that lose the least for the time or
//! the bytes that they save.
//!
//! Sparsity alone makes a network neither smaller nor faster; pruning, compaction and masked kernels do.

mod apply;
mod config;
mod drop;
mod layers;
mod measure;
mod record;
mod remembered;
mod rewind;
mod schedule;
mod schedule_about;
mod schedule_names;
mod sparsifier;
mod target;
mod technique;

pub use apply::sparsify;
pub use config::SparsifyConfig;
pub(crate) use drop::dropped_by;
pub(crate) use layers::{Target, some_targets, targets, weight, weight_mut};
pub use measure::{LayerSparsity, Sparsity};
pub use record::Record;
pub(crate) use schedule::check_window;
pub use schedule::{CustomSchedule, SparsitySchedule};
pub use sparsifier::Sparsifier;
pub use target::{Guided, SparsityTarget};
