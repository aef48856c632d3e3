//! A rewrite: a graph in, a graph out, with what was done to every node and how an optimizer's state follows.

use crate::Graph;
use std::fmt;

/// The result of a rewrite. Its input is untouched; parameters that did not change are shared with it.
#[derive(Clone, Debug)]
pub struct Rewrite {
    /// The new graph.
    pub graph: Graph,
    /// What happened to the parameters, in order.
    pub edits: Vec<Edit>,
    /// What happened to the nodes.
    pub report: Report,
}

/// A change of a parameter that state kept beside it (momentum, masks) has to follow.
#[derive(Clone, Debug, PartialEq)]
pub enum Edit {
    /// The slices `keep` of `axis` stay.
    Slice {
        /// Path of the parameter.
        param: String,
        /// The axis.
        axis: usize,
        /// Indices that stay, in their new order.
        keep: Vec<usize>,
    },
    /// The parameter is gone.
    Remove {
        /// Path of the parameter.
        param: String,
    },
    /// The parameter is new, or its values no longer mean what they did: its state starts afresh.
    Reset {
        /// Path of the parameter.
        param: String,
    },
}

/// What a rewrite did to a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was changed, removed or replaced: how.
    Changed(String),
    /// The rewrite does not apply to it: why.
    Skipped(String),
}

/// What a rewrite did to each node that it looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The rewrite's name.
    pub technique: &'static str,
    /// Node names and outcomes, in graph order.
    pub nodes: Vec<(String, Outcome)>,
}

impl Report {
    /// An empty report of `technique`.
    pub fn new(technique: &'static str) -> Self {
        Self { technique, nodes: Vec::new() }
    }

    /// Notes that `node` was changed, and how.
    pub fn changed(&mut self, node: &str, how: impl Into<String>) {
        self.nodes.push((node.to_string(), Outcome::Changed(how.into())));
    }

    /// Notes that `node` was left alone, and why.
    pub fn skipped(&mut self, node: &str, why: impl Into<String>) {
        self.nodes.push((node.to_string(), Outcome::Skipped(why.into())));
    }

    /// How many nodes were changed.
    pub fn changed_count(&self) -> usize {
        self.nodes.iter().filter(|(_, o)| matches!(o, Outcome::Changed(_))).count()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.nodes.iter().map(|(n, _)| n.len()).max().unwrap_or(0);
        writeln!(f, "{}: {} of {} layers changed", self.technique, self.changed_count(), self.nodes.len())?;
        for (node, outcome) in &self.nodes {
            match outcome {
                Outcome::Changed(how) => writeln!(f, "  {node:width$}  {how}")?,
                Outcome::Skipped(why) => writeln!(f, "  {node:width$}  skipped: {why}")?,
            }
        }
        Ok(())
    }
}
