//! lopper makes convolutional networks smaller and faster, and shows exactly what each cut buys.
//!
//! This package is the command line and a facade over the four crates that do the work:
//!
//! - [`kernels`]: functions on slices, as plain loops and SIMD.
//! - [`engine`]: tensors, the tape, the graph, training, inference plans, model files.
//! - [`models`]: VGG, ResNet and others as graphs; data sets and augmentation.
//! - [`compress`]: sparsify, prune, distill, fold, factorize and compact.
//!
//! It also defines the [`recipe`] that the command line runs, the [`report`] of a run with the [`details`] of its stages
//! and its [`page`], and the [`atlas`] of sparse kernels.
//!
//! ```
//! use lopper::prelude::*;
//!
//! let options = BuildOptions::new(vec!["cat".into(), "dog".into()], [32, 32, 3]);
//! let network = lopper::models::build("resnet18", &options)?;
//! let folded = lopper::compress::fold(&network)?;
//! assert!(folded.graph.param_count() < network.param_count());
//! # Ok::<(), lopper::engine::Error>(())
//! ```

#![forbid(unsafe_code)]

pub mod atlas;
pub mod details;
pub mod findings;
pub mod page;
pub mod recipe;
pub mod report;

pub use {
    lopper_compress as compress, lopper_engine as engine, lopper_kernels as kernels, lopper_models as models,
};

/// The items that most programs need.
pub mod prelude {
    pub use lopper_engine::data::{Batch, Batches};
    pub use lopper_engine::plan::Plan;
    pub use lopper_engine::rewrite::{Rewrite, RewriteReport};
    pub use lopper_engine::tape::{Mode, Tape, Var};
    pub use lopper_engine::train::{
        Callback, Checkpoint, Flow, Keeper, Objective, Optimizer, OptimizerConfig, Schedule, Trainer,
        evaluate,
    };
    pub use lopper_engine::{Device, Error, Graph, Layer, Param, Result, Tensor};
    pub use lopper_models::Options as BuildOptions;
}
