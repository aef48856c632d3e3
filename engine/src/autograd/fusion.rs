//! Fusion of nodes of a run into one operation of the tape.
//!
//! ```text
//! x ─▶ batch norm ─▶ ReLU ─▶ y         x ─▶ batch norm ─▶ add ─▶ ReLU ─▶ y
//!                                                          ▲
//!                                             residual ────┘
//! ```
//!
//! If nothing else reads the values in between (a tap counts as a reader), a batch norm, the residual sum and the
//! activation after it form one operation, which runs in place of the activation: by then, everything it reads is
//! ready. The results are bit-identical, and every fused node saves a pass over memory. Only clamps are fused:
//! their gradient needs nothing but their output, and the backward kernels have no registers left for other functions.

use crate::{Graph, Layer, NodeId};
use lopper_kernels::params::Activation;

/// One operation of a run.
#[derive(Debug, PartialEq)]
pub(crate) struct Operation {
    /// The node it runs, followed by the nodes fused into it; its value is that of the last.
    pub nodes: Vec<NodeId>,
    /// Value added before the activation.
    pub residual: Option<NodeId>,
    /// Activation, applied last.
    pub activation: Activation,
}

/// Returns the operations of a run of `graph`, in order, where `reads` counts the reads of each node's output. A node
/// without reads need not run.
pub(crate) fn operations(graph: &Graph, reads: &[usize]) -> Vec<Operation> {
    let live = (0..reads.len()).filter(|&id| reads[id] > 0);
    let all: Vec<Operation> = live.map(|id| ending_at(graph, reads, id)).collect();
    let mut swallowed = vec![false; reads.len()];
    all.iter().flat_map(|op| op.nodes.split_last()).for_each(|(_, inner)| {
        inner.iter().for_each(|&id| swallowed[id] = true);
    });
    all.into_iter().filter(|op| op.nodes.last().is_some_and(|&id| !swallowed[id])).collect()
}

/// Returns the largest operation whose value is that of node `end`.
fn ending_at(graph: &Graph, reads: &[usize], end: NodeId) -> Operation {
    let node = |id: NodeId| &graph.nodes()[id];
    let alone = Operation { nodes: vec![end], residual: None, activation: Activation::None };
    let activation = match node(end).layer {
        Layer::Activation(activation) if activation.bounds().is_some() => activation,
        _ => return alone,
    };
    let normalizes = |id: NodeId| reads[id] == 1 && matches!(node(id).layer, Layer::BatchNorm(_));
    let &[x] = node(end).inputs.as_slice() else { return alone };
    match (&node(x).layer, node(x).inputs.as_slice()) {
        _ if normalizes(x) => Operation { nodes: vec![x, end], residual: None, activation },
        (Layer::Add, &[a, b]) if reads[x] == 1 && normalizes(a) => {
            Operation { nodes: vec![a, x, end], residual: Some(b), activation }
        }
        (Layer::Add, &[a, b]) if reads[x] == 1 && normalizes(b) => {
            Operation { nodes: vec![b, x, end], residual: Some(a), activation }
        }
        _ => alone,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::layer::BatchNorm;

    /// Builds two batch norms (1, 2) of the image, their sum (3), and a ReLU (4).
    fn residual() -> Graph {
        let mut g = Graph::new(2);
        let bn = || Layer::BatchNorm(BatchNorm::new(2));
        let (a, b) = (g.push("a", bn(), &[0]).unwrap(), g.push("b", bn(), &[0]).unwrap());
        let sum = g.push("sum", Layer::Add, &[a, b]).unwrap();
        g.push("relu", Layer::Activation(Activation::Relu), &[sum]).unwrap();
        g
    }

    /// Returns the nodes of each operation if the nodes are read `reads` times.
    fn nodes(reads: [usize; 5]) -> Vec<Vec<NodeId>> {
        operations(&residual(), &reads).into_iter().map(|op| op.nodes).collect()
    }

    #[test]
    fn a_sum_fuses_with_one_batch_norm() {
        assert_eq!(nodes([2, 1, 1, 1, 1]), [vec![0], vec![2], vec![1, 3, 4]]);
        let last = operations(&residual(), &[2, 1, 1, 1, 1]).pop().unwrap();
        assert_eq!((last.residual, last.activation), (Some(2), Activation::Relu));
    }

    #[test]
    fn a_node_with_another_reader_is_not_fused() {
        assert_eq!(nodes([2, 2, 1, 1, 1]), [vec![0], vec![1], vec![2, 3, 4]]);
        for reads in [[2, 1, 1, 2, 1], [2, 2, 2, 1, 1]] {
            assert_eq!(nodes(reads), [[0], [1], [2], [3], [4]]);
        }
    }

    #[test]
    fn a_node_that_does_not_run_fuses_with_nothing() {
        assert_eq!(nodes([2, 1, 1, 1, 0]), [[0], [1], [2], [3]]);
    }
}
