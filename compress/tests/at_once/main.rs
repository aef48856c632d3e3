//! Compression without training: criteria, contexts, granularities, and what is refused.

mod at_once;
mod contexts;
mod criteria;
mod errors;
mod second_order;
mod share;
mod sparsify;
mod torch_pruning;

#[path = "../support/mod.rs"]
mod support;
