//! Rewinding: at each update of the masks, the weights that live return to what they were early in the training.
//!
//! ```text
//!   w_0 ── w_k ─ train ─► mask ─┐
//!           ▲                   │ m ⊙ w_k          the lottery ticket hypothesis inside one training, as fasterai's `lth`
//!           └───────────────────┘
//! ```
//!
//! Running statistics return, too. The optimizer keeps its moments, and the schedule of the rate goes on.

use lopper_engine::channels::Slices;
use lopper_engine::{Error, Graph, Result, Tensor};
use std::collections::BTreeMap;

/// The network to return to, by path of parameters and running statistics. Empty before it is remembered.
#[derive(Clone, Debug, Default)]
pub(super) struct Rewind(BTreeMap<String, Tensor>);

impl Rewind {
    /// Remembers the weights and running statistics of `graph`.
    pub fn remember(graph: &Graph) -> Result<Self> {
        graph.fetch()?;
        let params = graph.params().map(|(path, param)| (path, param.value().clone()));
        Ok(Self(params.chain(graph.buffers().map(|(path, buffer)| (path, buffer.clone()))).collect()))
    }

    /// Whether there is something to return to.
    pub fn is_known(&self) -> bool {
        !self.0.is_empty()
    }

    /// Returns `graph` to it; masked weights stay zero.
    ///
    /// # Errors
    /// If a shape has changed.
    pub fn apply(&self, graph: &mut Graph) -> Result<()> {
        for (path, param) in graph.params_mut() {
            if let Some(value) = self.0.get(&path) {
                param
                    .set_value(value.clone())
                    .map_err(|e| Error::invalid(format!("rewind: `{path}`: {e}")))?;
            }
        }
        for (path, buffer) in graph.buffers_mut() {
            if let Some(value) = self.0.get(&path).filter(|value| value.shape() == buffer.shape()) {
                *buffer = value.clone();
            }
        }
        Ok(())
    }

    /// Keeps the slices `slices`, when the network loses channels.
    pub fn shrink(&mut self, slices: &Slices) {
        for (path, value) in &mut self.0 {
            *value = slices.of_tensor(path, value);
        }
    }

    /// The tensors by path, as a checkpoint keeps them.
    pub fn parts(&self) -> BTreeMap<String, Tensor> {
        self.0.clone()
    }

    /// What [`Rewind::parts`] took apart.
    pub fn from_parts(parts: BTreeMap<String, Tensor>) -> Self {
        Self(parts)
    }
}
