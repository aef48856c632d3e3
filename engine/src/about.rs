//! The formula and the source of an option that users choose by name.

use serde::Serialize;

/// The definition of a criterion, granularity, schedule, loss or technique in one line, and the paper that it is from.
///
/// Every item that a recipe or command line can name has one, beside its code, so that `lopper list` prints the
/// definition that is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct About {
    /// The formula, in plain text.
    pub formula: &'static str,
    /// Authors, year and title; `None` if it is common knowledge.
    pub paper: Option<&'static str>,
}

impl About {
    /// A formula of a paper.
    pub const fn new(formula: &'static str, paper: &'static str) -> Self {
        Self { formula, paper: Some(paper) }
    }

    /// A formula that is common knowledge.
    pub const fn common(formula: &'static str) -> Self {
        Self { formula, paper: None }
    }
}
