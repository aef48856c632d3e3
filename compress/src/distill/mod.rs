//! Distillation: a student network learns from the outputs of teachers in addition to the labels.
//!
//! ```text
//!   before   L = task                   after   L = (1 − w)·task + w·(Σ logits + Σ features)
//!
//!   images ─┬─► student ── logits ─────► task
//!           │      └─ layer ─ adapter ─┐  └──► logits ◄─┐
//!           │                        features           │
//!           │      ┌─ layer ───────────┘                │
//!           └─► teacher ─────────────────────────── logits
//! ```
//!
//! [`losses`] holds the distances, one function each. [`DistillLoss`] and [`FeatureLoss`] name them. Conditions: teachers
//! have the student's classes; what is compared value by value has one resolution. Adapters, classifiers of branches and a
//! peer are trained along and dropped: the network of the stage is the student alone.

mod about;
mod bank;
mod branches;
mod cache;
mod companion;
mod compare;
mod config;
mod contrastive;
mod features;
mod kinds;
pub mod losses;
mod margins;
mod objective;
mod pairs;
mod renormalize;
mod teachers;
mod technique;

pub use config::{DistillConfig, Features, Hint};
pub use kinds::{DistillLoss, FeatureLoss};
pub use objective::Distillation;
pub use teachers::{Teacher, Teachers, WeightedTeacher};
pub use technique::DistillStage;
