//! Finding the images of a data set and their classes, however its files are arranged.
//!
//! ```text
//!   directory ──Tree──► folders and names ──┬─ train/<class>/*, val/<class>/* ─┐
//!                                           ├─ <class>/*                       ├──► Listing: (split, class, path)
//!                                           └─ names that carry the class      │
//!   table of labels (CSV) ─────────────────────────────────────────────────────┘
//! ```
//!
//! The directory is read once, into a [`Tree`] of names; the arrangement is then recognized from the tree alone.

mod arrange;
mod holdout;
mod listing;
mod part;
mod pattern;
mod split;
mod table;
mod tree;

pub(super) use arrange::{Finding, find};
pub use holdout::Holdout;
#[cfg(test)]
pub(super) use listing::Found;
pub use listing::thousands;
pub(super) use listing::{Listing, counted, listed, number};
pub use part::Part;
pub use pattern::ClassPattern;
pub use split::Split;
pub use table::Columns;
pub(super) use table::read as read_table;
pub use tree::is_image;
