//! Granularity: which weights are kept or dropped together.
//!
//! A [`Granularity`] is a value: for each kind of layer, how far a group reaches along the axes of the weight. Dividing
//! a weight by it gives [`Groups`]. A new one is a constant and a line of the table in `table.rs`.

mod groups;
mod names;
mod quota;
mod table;
mod value;

pub use groups::Groups;
pub use quota::Quota;
pub use table::{GRANULARITIES, QUOTA};
pub use value::{Extent, Granularity};
