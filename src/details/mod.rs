//! The details of a stage: what it did to the network, layer by layer, and how the result classifies.
//!
//! ```text
//!   the network before ─┬─► layers     filters and weights before and after
//!   the network after  ─┤   channels   dead channels and their constants
//!                       └─► steps      time of each layer in the plan, before and after
//!   the rewrite ──────────► changes, spectra
//!   the training ─────────► epochs
//!   the scores ───────────► metrics: confusion matrix, classes, images with the largest losses
//! ```
//!
//! They are gathered when the stage ends and kept in `state.json`, so that the report of a resumed run has them.
//! Everything is bounded: a large layer is described by a sample of its values.

mod changes;
mod channels;
mod layers;
mod metrics;
mod null;
mod picture;
mod right;
mod sample;
mod spectra;
mod stage;
mod steps;

pub use changes::{Change, changes};
pub use channels::{DeadChannels, dead_channels};
pub use layers::{LayerSize, LayerSizes, layers};
pub use metrics::{ClassLine, Metrics, TopLoss, Valued};
pub(crate) use null::or_nan;
pub use picture::data_uri;
pub use right::{Paired, right};
pub use spectra::{SingularValue, Spectra, spectra};
pub use stage::Details;
pub use steps::{StepTime, StepTimes, steps};
