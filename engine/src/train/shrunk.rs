//! A network that has lost channels while it trains, and how what accompanies it follows.

use crate::channels::Slices;
use crate::{Graph, Result, Tensor};
use std::collections::HashMap;

/// A network with fewer channels than the one that it replaces in a training.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// The network. It has the same layers.
    pub graph: Graph,
    /// The slices of the parameters and statistics of the old network that stay.
    pub slices: Slices,
}

impl Shrunk {
    /// The network that follows `other`, which has the layers of the network `before` with weights of its own, such as
    /// averages: what stays of it, changed by as much as the rewrite changed the weights in training (where these absorb
    /// constants). Without masks.
    pub fn follow(&self, before: &Graph, other: &Graph) -> Result<Graph> {
        let mut graph = self.graph.clone();
        for (path, param) in graph.params_mut() {
            // A bias that is new has nothing to follow.
            let (Ok(own), Ok(old)) = (other.param(&path), before.param(&path)) else { continue };
            let value = self.moved(&path, own.value(), old.value(), param.value());
            param.replace(value, None)?;
        }
        let [own, old] = [other, before].map(|graph| graph.buffers().collect::<HashMap<_, _>>());
        for (path, buffer) in graph.buffers_mut() {
            if let (Some(own), Some(old)) = (own.get(&path), old.get(&path)) {
                *buffer = self.moved(&path, own, old, buffer);
            }
        }
        Ok(graph)
    }

    /// What stays of `own`, moved as the tensor at `path` moved from what stays of `old` to `new`.
    fn moved(&self, path: &str, own: &Tensor, old: &Tensor, new: &Tensor) -> Tensor {
        let (own, old) = (self.slices.of_tensor(path, own), self.slices.of_tensor(path, old));
        let (own, old, moved) = (own.data(), old.data(), new.data());
        // An unchanged weight keeps every bit, also of −0.
        let value = |i: usize| if moved[i] == old[i] { own[i] } else { own[i] + (moved[i] - old[i]) };
        Tensor::from_fn(new.shape(), value)
    }
}
