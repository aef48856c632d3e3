//! What is looked up in a graph again and again, made when it is first asked for.

use crate::graph::{Node, NodeId};
use std::collections::HashMap;
use std::sync::OnceLock;

/// The nodes by name, and the readers of each: dropped by whoever changes names or wiring.
#[derive(Debug, Default)]
pub(crate) struct Index {
    names: OnceLock<HashMap<String, NodeId>>,
    readers: OnceLock<Vec<Vec<NodeId>>>,
}

impl Clone for Index {
    /// An empty index: a clone is mostly about to be rewritten.
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Index {
    /// The nodes by name; the first where several share one, which a checked graph does not have.
    pub fn names(&self, nodes: &[Node]) -> &HashMap<String, NodeId> {
        self.names.get_or_init(|| {
            let last_to_first = nodes.iter().enumerate().rev();
            last_to_first.map(|(id, node)| (node.name.clone(), id)).collect()
        })
    }

    /// For every node, the nodes that read it.
    pub fn readers(&self, nodes: &[Node]) -> &[Vec<NodeId>] {
        self.readers.get_or_init(|| {
            let mut readers = vec![Vec::new(); nodes.len()];
            for (id, node) in nodes.iter().enumerate() {
                node.inputs.iter().for_each(|&input| readers[input].push(id));
            }
            readers
        })
    }

    /// Takes in a node that was added at the end.
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
