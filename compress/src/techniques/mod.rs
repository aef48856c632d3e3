//! The interface that all techniques share.
//!
//! A technique is its options and a [`Technique`]: how it checks them, how it rewrites a network, and how it takes part
//! in training. Recipes, the pipeline and the command line read only that trait and the table,
//! [`StageKeys`](crate::StageKeys). To add a technique, implement the trait in its file and list it in `table.rs`.

mod clock;
mod keys;
mod sketch;
mod technique;

pub use clock::{Attached, Clock, Measured};
pub(crate) use keys::stage_keys;
pub use keys::{Keys, Listed};
pub use sketch::Sketch;
pub use technique::{Applied, Demand, Kind, Role, Technique};
