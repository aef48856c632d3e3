//! The training loop: batches → loss → gradients → optimizer, with callbacks for compression to hook into.

mod accumulate;
mod average;
mod best;
mod callback;
mod checkpoint;
pub mod data;
mod freeze;
mod groups;
mod keeper;
mod logits;
mod loss_scale;
pub mod metrics;
mod objective;
mod optimizer;
mod range_test;
mod reduce;
mod schedule;
mod state;
mod trainer;
mod weights;

pub use average::MovingAverage;
pub use best::{Best, EarlyStopping, Monitor};
pub use callback::{Callback, ClipGradients, Flow, Progress, Step};
pub use checkpoint::{Checkpoint, Position};
pub use freeze::{freeze, unfreeze};
pub use groups::ParamGroup;
pub use keeper::{Keeper, Why, Wish};
pub use logits::Logits;
pub use metrics::{Accuracy, EpochMetrics, Evaluation, Scores, evaluate, score};
pub use objective::{CrossEntropy, Objective, WeightedCrossEntropy};
pub use optimizer::{Optimizer, OptimizerConfig, ParamState};
pub use range_test::{RangeTest, Suggestions, Tested};
pub use reduce::Reduce;
pub use schedule::{Interpolation, Rates, Schedule};
pub use state::State;
pub use trainer::{Trainer, gradients};
