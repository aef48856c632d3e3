//! Classification metrics, computed from logits and labels.
//!
//! ```text
//!   logits [N, K], labels ──► Outcome per image ──► Scores ──► accuracy, top-k, loss, top losses
//!                                                          ├─► Confusion ──► precision, recall, F1
//!                                                          └─► Calibration
//! ```
//!
//! Counts are integers, so the metrics that derive from them are exact up to one rounding. Intervals are 95 % intervals:
//! `interval.rs` states their methods and sources.

mod accuracy;
mod calibration;
mod confusion;
mod epoch;
mod evaluate;
mod interval;
mod mcnemar;
mod outcome;
mod pruned;
mod scores;
mod sparsity;
mod student;
mod views;

pub use accuracy::Accuracy;
pub use calibration::{Bin, Calibration};
pub use confusion::{ClassScores, Confusion};
pub use epoch::EpochMetrics;
pub use evaluate::{Evaluation, evaluate, score};
pub use interval::{Estimate, wilson95};
pub use mcnemar::mcnemar;
pub use outcome::Outcome;
pub use pruned::{LayerPruned, Pruned};
pub use scores::Scores;
pub use sparsity::LayerSparsity;
pub use student::{mean95, t975};
pub use views::{Views, softmax};
