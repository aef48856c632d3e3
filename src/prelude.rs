//! The items that a program needs: `use lopper::prelude::*`.
//!
//! They are grouped by what one does with them; everything else is in the crates that the [front page](crate) lists.

// Values: tensors, networks, files.
pub use lopper_engine::info::{Preparation, Resize};
pub use lopper_engine::layer::{Activation, FixedWindow, Pool, Window};
pub use lopper_engine::plan::{Plan, PlanOptions};
pub use lopper_engine::rewrite::{Outcome, Rewrite, RewriteReport};
pub use lopper_engine::{
    Device, Error, Graph, Info, Layer, NodeId, Param, Result, Tensor, file, torchvision,
};

// Building networks and opening images.
pub use lopper_models::data::{DataConfig, DataName, Dataset, RgbImage, Splits};
pub use lopper_models::{
    Builder, Classifier, Conv, Guess, Head, Options as BuildOptions, build, numbered_classes,
};

// Training: a loss, hooks, an optimizer and schedules.
pub use lopper_engine::data::{Batch, Batches};
pub use lopper_engine::tape::{Gradients, Mode, Tape, Var};
pub use lopper_engine::train::{
    Best, Callback, Checkpoint, ClipGradients, CrossEntropy, EarlyStopping, Flow, InMemory, Interpolation,
    Keeper, Monitor, MovingAverage, Objective, Optimizer, OptimizerConfig, ParamGroup, Progress, RangeTest,
    Rates, Schedule, State, Step, Trainer, WeightedCrossEntropy, Why, Wish, freeze, unfreeze,
};
pub use lopper_engine::{ParamGradients, Pass};

// Metrics.
pub use lopper_engine::train::metrics::{Confusion, LayerSparsity, Views};
pub use lopper_engine::train::{Accuracy, EpochMetrics, Evaluation, Logits, Scores, evaluate, score};

// Compression.
pub use lopper_compress::criteria::{
    Evidence, LayerView, Need, Normalization, Reduction, Score, Scoring, StepView, Subject,
};
pub use lopper_compress::distill::{DistillLoss, Hint};
pub use lopper_compress::granularity::Extent;
pub use lopper_compress::prune::{Constants, GroupPlan, GroupScores, Proposals, UnitScores};
pub use lopper_compress::sparsify::{Sparsity, SparsitySchedule};
pub use lopper_compress::{
    CompactConfig, Context, Criterion, DistillConfig, Distillation, FactorizeConfig, Granularity,
    PruneConfig, PrunePlan, Sparsifier, SparsifyConfig, Technique, compact, factorize, fold, prune, sparsify,
};
