//! Distillation: a student network learns from a teacher's outputs in addition to the labels.

mod config;
mod objective;

pub use config::{DistillConfig, DistillLoss, Hint};
pub use objective::Distillation;
