//! The training loop: steps, rates, frozen layers, metrics, checkpoints.

mod accumulation;
mod averaging;
mod checkpoints;
mod freezing;
mod metrics;
mod optimizer;
mod steering;
mod training;

#[path = "../support/mod.rs"]
mod support;
