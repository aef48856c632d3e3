//! Distillation: a student network learns from a teacher's outputs in addition to the labels.

mod config;
mod objective;
mod renormalize;
mod technique;

pub use config::{DistillConfig, DistillLoss, Hint};
pub use objective::Distillation;
pub use technique::DistillStage;
