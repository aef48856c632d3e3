//! What a recipe asks a stage to report besides: a range test, scores on other images, published figures beside its own.

mod against;
mod comparison;
mod findings;
mod range;
mod scores;
mod view;

pub use against::Against;
pub use comparison::{Compared, Comparison, Measured, Verdict, trainable};
pub use findings::Findings;
pub use range::{Found, TestedRate};
pub use scores::Evaluation;
pub use view::{Line, View};
