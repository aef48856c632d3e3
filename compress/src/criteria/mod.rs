//! Criteria: what a group of weights is worth. Groups with the lowest scores are dropped first, by sparsification as by
//! pruning.
//!
//! A criterion, or a family of them, is a file: a type that implements [`Score`]. It says what evidence it needs besides
//! the weights
//! ([`Need`]) and which parameter it reads ([`Subject`]), and gives each group a score, mostly by a [`Reduction`]. A
//! [`Normalization`] then makes the scores of different layers comparable. [`Scoring`] puts all of it together.
//!
//! [`Criterion`] is any of them, those of other crates included. To add one here, write its file, with its formula and paper
//! ([`Described`]), and list it below.

mod coupling;
mod criterion;
mod curvature;
mod described;
mod evidence;
mod evidence_state;
mod finding;
mod normalization;
mod normalization_about;
mod reduction;
mod score;
mod scoring;
mod site;
mod view;

#[cfg(test)]
mod testing;

mod activations;
mod batch_norm_gamma;
mod geometric_median;
mod gradients;
mod initial;
mod input_products;
mod kfac;
mod l1_magnitude;
mod l2_magnitude;
mod lamp;
mod large_final;
mod lp_magnitude;
mod obs;
mod random;
mod sensitivity;
mod survey;
mod taylor;

pub use activations::{Apoz, HRank, MeanActivation, Wanda};
pub use batch_norm_gamma::BatchNormGamma;
pub use geometric_median::GeometricMedian;
pub use gradients::{MovementPruning, Obd, Snip, TaylorAbs, TaylorSquared};
pub use initial::{
    LargeInit, LargeInitLargeFinal, MagnitudeIncrease, Movement, Movmag, SmallFinal, SmallInit,
    SmallInitSmallFinal, UpdatingMagnitudeIncrease, UpdatingMovement, UpdatingMovmag,
};
pub(crate) use input_products::{MOST_INPUTS, input_products};
pub use kfac::Kfac;
pub use l1_magnitude::L1Magnitude;
pub use l2_magnitude::L2Magnitude;
pub use lamp::Lamp;
pub use large_final::LargeFinal;
pub use lp_magnitude::{LpMagnitude, SquaredFinal};
pub use obs::Obs;
pub use random::Random;
pub use sensitivity::{Gradient, SnipMomentum};
pub use survey::{Lookahead, SynFlow};
pub use taylor::Taylor;

/// Every criterion of this crate, in the order in which help texts list them.
pub static CRITERIA: &[&dyn Described] = &[
    &LargeFinal,
    &L1Magnitude,
    &L2Magnitude,
    &SquaredFinal,
    &Lamp,
    &GeometricMedian,
    &Lookahead,
    &Random,
    &Taylor,
    &TaylorAbs,
    &TaylorSquared,
    &Obd,
    &HessianDiagonal,
    &Obs,
    &Kfac,
    &Gradient,
    &Snip,
    &SnipMomentum,
    &GraSP,
    &SynFlow,
    &MovementPruning,
    &BatchNormGamma,
    &MeanActivation,
    &Apoz,
    &HRank,
    &Wanda,
    &LargeInit,
    &SmallInit,
    &SmallFinal,
    &LargeInitLargeFinal,
    &SmallInitSmallFinal,
    &MagnitudeIncrease,
    &Movement,
    &Movmag,
    &UpdatingMagnitudeIncrease,
    &UpdatingMovement,
    &UpdatingMovmag,
];

pub use coupling::Coupling;
pub(crate) use coupling::Joined;
pub use criterion::{ALIASES, Criterion};
pub use curvature::{GraSP, HessianDiagonal};
pub use described::Described;
use described::described;
pub use evidence::Evidence;
pub(crate) use evidence_state::{Arrays, Shapes, Steps};
pub use normalization::Normalization;
pub use reduction::Reduction;
pub use score::{Direction, Need, Score, Subject};
pub use scoring::Scoring;
pub use site::Site;
pub use view::{LayerView, StepView};
