//! Networks that lose channels while they train.
//!
//! ```text
//!   step ─ callbacks: after_step ─ shrink ─► smaller graph ─► optimizer's moments, averages, evidence … cut alike ─ step
//! ```
//!
//! A moment belongs to a weight, so the moments of the weights that stay are those of the larger network, bit for bit:
//! the training goes on as if the other channels had been masked.

use super::{Callback, Objective, Optimizer, Progress};
use crate::{Error, Graph, NodeId, Result};

/// Lets `callbacks` shrink `graph`. What the optimizer and the callbacks hold for its parameters follows.
///
/// # Errors
/// Those of the callbacks; [`Error::Invalid`] if `objective` compares the output of a layer that would lose channels.
pub(super) fn shrink(
    graph: &mut Graph,
    progress: Progress,
    callbacks: &mut [&mut dyn Callback],
    optimizer: &mut Optimizer,
    objective: &dyn Objective,
) -> Result<()> {
    for i in 0..callbacks.len() {
        let Some(shrunk) = callbacks[i].shrink(graph, progress)? else { continue };
        for tap in objective.taps() {
            require_width(graph, &shrunk.graph, tap)?;
        }
        optimizer.shrink(&shrunk.slices)?;
        callbacks.iter_mut().try_for_each(|callback| callback.on_shrunk(graph, &shrunk))?;
        *graph = shrunk.graph;
    }
    Ok(())
}

/// Returns an error if the output of `node` has another shape in `after` than in `before`.
fn require_width(before: &Graph, after: &Graph, node: NodeId) -> Result<()> {
    let [h, w, c] = before.info.input;
    let (old, new) = (before.shapes([1, h, w, c])?, after.shapes([1, h, w, c])?);
    match old[node] == new[node] {
        true => Ok(()),
        false => Err(Error::invalid(format!(
            "the loss compares the output of layer `{}`, which loses channels in this training: {:?} → {:?}",
            before.nodes()[node].name,
            old[node],
            new[node]
        ))),
    }
}
