//! Rewrites: a graph in, a graph out, with a report of what happened to every node.

use crate::Graph;
use std::fmt;

/// Result of a rewrite. The input graph is unchanged, and shares unchanged parameters with the result.
#[derive(Clone, Debug)]
pub struct Rewrite {
    /// New graph.
    pub graph: Graph,
    /// Changes to the nodes.
    pub report: RewriteReport,
}

/// Effect of a rewrite on a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Changed, removed or replaced, and how.
    Changed(String),
    /// Not applicable, and why.
    Skipped(String),
}

/// Effects of a rewrite on the nodes that it considered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RewriteReport {
    /// Name of the rewrite.
    pub technique: &'static str,
    /// Node names and outcomes, in graph order.
    pub nodes: Vec<(String, Outcome)>,
}

impl RewriteReport {
    /// Creates an empty report of `technique`.
    pub fn new(technique: &'static str) -> Self {
        Self { technique, nodes: Vec::new() }
    }

    /// Records that `node` was changed, and how.
    pub fn changed(&mut self, node: &str, how: impl Into<String>) {
        self.nodes.push((node.to_string(), Outcome::Changed(how.into())));
    }

    /// Records that `node` was left unchanged, and why.
    pub fn skipped(&mut self, node: &str, why: impl Into<String>) {
        self.nodes.push((node.to_string(), Outcome::Skipped(why.into())));
    }

    /// Returns the number of changed nodes.
    pub fn changed_count(&self) -> usize {
        self.nodes.iter().filter(|(_, o)| matches!(o, Outcome::Changed(_))).count()
    }
}

impl fmt::Display for RewriteReport {
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
