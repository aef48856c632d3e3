//! Distillation: a student network learns from a teacher's outputs in addition to the labels.

mod about;
mod config;
mod objective;
mod renormalize;
mod technique;

pub use about::HINT;
pub use config::{DistillConfig, DistillLoss, Hint};
pub use objective::Distillation;
pub use technique::DistillStage;
