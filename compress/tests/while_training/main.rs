//! Compression while training: schedules, masks, removal, regularization, rewinding.

mod lottery;
mod pruning_steps;
mod pruning_while_training;
mod regularize;
mod rewinding;
mod schedules;
mod slim;
mod sparse_training;
mod sparsify_training;
mod top_kast;

#[path = "../support/mod.rs"]
mod support;
