//! What a plan makes of the zeros of a network.
//!
//! A kernel that skips zeros changes the plan: another kernel runs, or the same one with fewer products. So a network is
//! planned twice, with its masks and with weights in their place: a step that is the same in both plans multiplies the
//! zeros. Nothing here knows which kernels exist.

mod alternatives;
mod report;
mod steps;

pub use report::Zeros;
