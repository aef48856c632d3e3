//! The report of a run as one HTML file, without network access.
//!
//! ```text
//!   Report ─┬─► sections of the report: result, recipe, how to repeat it
//!           └─► for each stage: why, training, sparsity, filters, constants, spectra, latency, confusion, worst images, what the
//!                                    recipe asks for besides
//! ```
//!
//! A section is a file with a function from the report to HTML; empty text leaves it out. The page is readable without
//! its script, which only opens what is folded away before printing. Text that comes from a user reaches it through
//! `html::Text`, which escapes it.

mod figures;
mod html;
mod page;
mod sections;
mod sensitivity;
mod svg;
mod why;

pub use page::{page, picture};
pub use sensitivity::sensitivity_page;
pub use why::{WHYS, Why, why};
