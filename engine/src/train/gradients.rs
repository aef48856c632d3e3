//! The loss of the batches of a step, and its gradients.

use super::accumulate::{Group, add};
use super::{LossParts, Objective};
use crate::autograd::exec::ParamGradients;
use crate::autograd::tape::{Mode, Tape};
use crate::train::data::Batch;
use crate::{Graph, Result};

/// The mean loss of a step's images, with its parts and gradients.
pub(super) struct Computed {
    pub loss: f32,
    pub parts: Option<LossParts>,
    pub gradients: ParamGradients,
}

/// The mean loss of the images of `group` and its gradients, on tapes that `tape` creates. Batch i of the group draws its
/// dropout from `seed + i`.
pub(super) fn mean_gradients(
    graph: &mut Graph,
    objective: &mut dyn Objective,
    group: &Group,
    seed: u64,
    tape: impl Fn() -> Tape,
) -> Result<Computed> {
    let (mut mean, mut parts, mut sum) = (0.0, None::<LossParts>, ParamGradients::new());
    for (i, batch) in group.batches.iter().enumerate() {
        let share = batch.labels.len() as f64 / group.images() as f64;
        let tape = tape().seed(seed.wrapping_add(i as u64)).weighted(share as f32);
        let device = tape.device().clone();
        let (loss, gradients) = gradients(graph, objective, batch, tape)?;
        if !loss.is_finite() {
            return Ok(Computed { loss, parts, gradients: ParamGradients::new() });
        }
        mean += share * f64::from(loss);
        parts = objective.parts().map(|own| parts.unwrap_or_default().plus(share, own));
        add(&mut sum, gradients, &device)?;
    }
    Ok(Computed { loss: mean as f32, parts, gradients: sum })
}

/// Computes the loss of `batch` and its gradients on `tape`, in training mode. If the loss is finite, the batch norms
/// of `graph` take in the batch's statistics; otherwise, there are no gradients. All other results of the pass are
/// freed on return, so that the optimizer updates the weights in place.
pub fn gradients(
    graph: &mut Graph,
    objective: &mut dyn Objective,
    batch: &Batch,
    mut tape: Tape,
) -> Result<(f32, ParamGradients)> {
    let pass = graph.forward(&mut tape, Mode::Train, batch.images.clone(), &objective.taps())?;
    tape.enter("loss", "loss");
    let loss = objective.loss(&mut tape, &pass, batch)?;
    let value = loss.value().item()?;
    if !value.is_finite() {
        return Ok((value, ParamGradients::new()));
    }
    let mut all = tape.backward(&loss)?;
    let own = objective.own_gradients(&mut all)?;
    let mut gradients = pass.gradients(all);
    gradients.extend(own);
    graph.commit(&pass)?;
    Ok((value, gradients))
}
