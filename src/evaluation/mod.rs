//! Scores of a network on a set of images: `lopper eval`, and `evaluate` in a recipe.

mod evaluation;
mod scoring;

pub use evaluation::{chosen, evaluate};
pub use scoring::{Scored, score_views};
