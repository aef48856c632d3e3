//! The training loop: batches → loss → gradients → optimizer, with callbacks that compression hooks into.

mod callback;
mod freeze;
mod loss_scale;
mod metrics;
mod objective;
mod optimizer;
mod schedule;
mod trainer;

pub use callback::{Callback, ClipGradients, Progress, Step};
pub use freeze::{freeze, unfreeze};
pub use metrics::{Accuracy, EpochMetrics, Evaluation, evaluate};
pub use objective::{CrossEntropy, Objective};
pub use optimizer::{Optimizer, OptimizerConfig};
pub use schedule::{Rates, Schedule};
pub use trainer::{Trainer, gradients};
