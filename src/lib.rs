//! lopper makes convolutional networks smaller and faster, and shows exactly what each cut buys.
//!
//! This package is the command line and a facade over the four crates that do the work:
//!
//! - [`kernels`]: functions over slices; plain loops and SIMD.
//! - [`engine`]: tensors, the tape, the graph, training, inference plans, model files.
//! - [`models`]: VGG, ResNet and others as graphs; data sets and augmentation.
//! - [`compress`]: sparsify, prune, distil, fold, factorize and compact.
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

pub use {compress, engine, kernels, models};

/// What most programs that use lopper need.
pub mod prelude {
    pub use engine::data::{Batch, Batches};
    pub use engine::plan::Plan;
    pub use engine::rewrite::{Edit, Report, Rewrite};
    pub use engine::tape::{Mode, Tape, Var};
    pub use engine::train::{Callback, Objective, Optimizer, OptimizerConfig, Schedule, Trainer, evaluate};
    pub use engine::{Device, Error, Graph, Layer, Param, Result, Tensor};
    pub use models::Options as BuildOptions;
}
