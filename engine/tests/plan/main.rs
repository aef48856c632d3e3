//! Plans compute what their graphs do.

mod batch_norm_variance;
mod exec;
mod fusion;
mod plan_lanes;
mod plan_parts;
mod plans;
mod strict;

#[path = "../support/mod.rs"]
mod support;
