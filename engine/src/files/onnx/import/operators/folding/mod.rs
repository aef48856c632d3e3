//! Operators on constants alone: what they compute is a constant.
//!
//! Integers may depend on the number of images, as far as a result is known for every such number.

mod broadcast;
mod choices;
mod elementwise;
mod fold;
mod reductions;

pub(super) use choices::{gathered, joined, permuted, sliced};
pub(super) use fold::{FOLDED, cast, fold};
