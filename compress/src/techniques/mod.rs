//! What all techniques have in common, and the table of them.
//!
//! A technique is its options and a [`Technique`]: how it checks them, what it does to a network, and how it takes part in
//! training. Recipes, the pipeline and the command line read only that trait and the table in `table.rs`. To add a
//! technique, implement the trait in its file and list it there.

mod keys;
mod sketch;
mod table;
mod technique;

pub(crate) use keys::stage_keys;
pub use keys::{Keys, Listed};
pub use sketch::Sketch;
pub use table::StageKeys;
pub use technique::{Applied, Demand, Kind, Role, Technique};
