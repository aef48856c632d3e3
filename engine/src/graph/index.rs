//! An index for frequent graph lookups, built on first use.

use crate::graph::node::{Node, NodeId};
use std::collections::HashMap;
use std::sync::OnceLock;

/// The nodes by name, and the readers of each node. Code that changes names or wiring drops the index.
#[derive(Debug, Default)]
pub(crate) struct Index {
    names: OnceLock<HashMap<String, NodeId>>,
    readers: OnceLock<Vec<Vec<NodeId>>>,
}

impl Clone for Index {
    /// Returns an empty index, since a clone is usually about to be rewritten.
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Index {
    /// The nodes by name. If several share a name, which a checked graph rules out, the first.
    pub fn names(&self, nodes: &[Node]) -> &HashMap<String, NodeId> {
        self.names.get_or_init(|| {
            let last_to_first = nodes.iter().enumerate().rev();
            last_to_first.map(|(id, node)| (node.name.clone(), id)).collect()
        })
    }

    /// The readers of each node.
    pub fn readers(&self, nodes: &[Node]) -> &[Vec<NodeId>] {
        self.readers.get_or_init(|| {
            let mut readers = vec![Vec::new(); nodes.len()];
            for (id, node) in nodes.iter().enumerate() {
                node.inputs.iter().for_each(|&input| readers[input].push(id));
            }
            readers
        })
    }

    /// Adds a node that was appended to the graph.
    pub fn pushed(&mut self, node: &Node, id: NodeId) {
        if let Some(names) = self.names.get_mut() {
            names.insert(node.name.clone(), id);
        }
        if let Some(readers) = self.readers.get_mut() {
            readers.push(Vec::new());
            node.inputs.iter().for_each(|&input| readers[input].push(id));
        }
    }
}
