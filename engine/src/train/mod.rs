//! The training loop: batches → loss → gradients → optimizer, with callbacks for compression to hook into.

mod callback;
mod checkpoint;
pub mod data;
mod freeze;
mod keeper;
mod loss_scale;
mod metrics;
mod objective;
mod optimizer;
mod schedule;
mod state;
mod trainer;

pub use callback::{Callback, ClipGradients, Progress, Step};
pub use checkpoint::{Checkpoint, Position};
pub use freeze::{freeze, unfreeze};
pub use keeper::{Keeper, Why, Wish};
pub use metrics::{Accuracy, EpochMetrics, Evaluation, evaluate};
pub use objective::{CrossEntropy, Objective};
pub use optimizer::{Optimizer, OptimizerConfig, ParamState};
pub use schedule::{Rates, Schedule};
pub use state::State;
pub use trainer::{Trainer, gradients};
