//! Distillation: losses by their formulas, and training with teachers.

mod distill;
mod distill_losses;
mod synthesize;

#[path = "../support/mod.rs"]
mod support;
