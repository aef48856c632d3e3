//! Criteria: what a group of weights is worth. Groups with the lowest scores are dropped first, by sparsification as by
//! pruning.
//!
//! A criterion is a file: a type that implements [`Score`]. It says what evidence it needs besides the weights
//! ([`Need`]) and which parameter it reads ([`Subject`]), and gives each group a score, mostly by a [`Reduction`]. A
//! [`Normalization`] then makes the scores of different layers comparable. [`Scoring`] puts all of it together.
//!
//! [`Criterion`] is any of them, those of other crates included. To add one here, write its file and list it below.

mod criterion;
mod evidence;
mod evidence_state;
mod normalization;
mod reduction;
mod score;
mod scoring;
mod site;
mod view;

mod batch_norm_gamma;
mod l2_magnitude;
mod large_final;
mod random;
mod taylor;

pub use batch_norm_gamma::BatchNormGamma;
pub use l2_magnitude::L2Magnitude;
pub use large_final::LargeFinal;
pub use random::Random;
pub use taylor::Taylor;

/// Every criterion of this crate, in the order in which help texts list them.
pub static CRITERIA: &[&dyn Score] = &[&LargeFinal, &L2Magnitude, &Random, &Taylor, &BatchNormGamma];

pub use criterion::{ALIASES, Criterion};
pub use evidence::Evidence;
pub(crate) use evidence_state::{Arrays, Shapes, Steps};
pub use normalization::Normalization;
pub use reduction::Reduction;
pub use score::{Need, Score, Subject};
pub use scoring::Scoring;
pub use site::Site;
pub use view::{LayerView, StepView};
