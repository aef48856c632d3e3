//! Scores of a network on a set of images: `lopper eval`, and `evaluate` in a recipe.

mod evaluation;
mod metrics;
mod null;
mod scoring;
mod views;

pub use evaluation::{Evaluation, chosen};
pub use metrics::{Metrics, Valued};
use null::or_nan;
pub use scoring::{Scored, score_views};
pub use views::View;
