//! What the criteria of this crate say about themselves.

use super::Score;
use lopper_engine::About;

/// A criterion that a recipe can name: it comes with its formula and its paper.
pub trait Described: Score {
    /// The formula of a group's score, and where it is from.
    fn about(&self) -> About;
}

/// Implements [`Described`]: `described!(Type, "formula", "paper")`, or without a paper for common knowledge.
macro_rules! described {
    ($criterion:ty, $formula:expr, $paper:expr $(,)?) => {
        impl $crate::criteria::Described for $criterion {
            fn about(&self) -> lopper_engine::About {
                lopper_engine::About::new($formula, $paper)
            }
        }
    };
    ($criterion:ty, $formula:expr $(,)?) => {
        impl $crate::criteria::Described for $criterion {
            fn about(&self) -> lopper_engine::About {
                lopper_engine::About::common($formula)
            }
        }
    };
}
pub(super) use described;
