//! Masking: the network that a pruned one must equal.
//!
//! ```text
//!   before   conv (w, b) ─ bn (γ, β) ─ …        after   w[o] = b[o] = γ[o] = β[o] = 0, held there by masks
//! ```
//!
//! Every parameter that produces or shifts a channel of a removed unit is zeroed, so that all its readers read zero, or
//! what the activations in between map zero to.

use super::PrunePlan;
use lopper_engine::channels::ChannelFlow;
use lopper_engine::rewrite::{Rewrite, RewriteReport};
use lopper_engine::{Graph, Param, Result, Tensor};

/// `graph` with the channels that `plan` removes at zero and all shapes unchanged. An error if the plan does not fit.
pub fn mask(graph: &Graph, plan: &PrunePlan) -> Result<Rewrite> {
    let flow = ChannelFlow::new(graph)?;
    let removed = plan.removed(graph, &flow)?;
    let mut report = RewriteReport::new("mask");
    for (id, node) in graph.nodes().iter().enumerate() {
        let width = flow.units(id).len();
        let zeroed = width - flow.kept(id, &removed).len();
        if zeroed > 0 && !node.layer.params().is_empty() {
            report.changed(&node.name, format!("{zeroed} of {width} channels zero"));
        }
    }
    Ok(Rewrite { graph: mask_units(graph, &flow, &removed)?, report })
}

/// `graph` with the channels of the units `removed` at zero.
pub(super) fn mask_units(graph: &Graph, flow: &ChannelFlow, removed: &[bool]) -> Result<Graph> {
    let mut masked = graph.clone();
    for id in 0..graph.nodes().len() {
        let dead: Vec<bool> = flow.units(id).iter().map(|&unit| removed[unit]).collect();
        if dead.contains(&true) {
            // Outputs are the first axis of every parameter: weight, bias, γ and β.
            let mut params = masked.layer_mut(id).params_mut().into_iter();
            params.try_for_each(|(_, param)| mask_rows(param, &dead))?;
        }
    }
    Ok(masked)
}

/// Masks the rows of `param` that are `dead`, in addition to its existing mask.
fn mask_rows(param: &mut Param, dead: &[bool]) -> Result<()> {
    let shape = param.value().shape().to_vec();
    let mut mask = param.mask().cloned().unwrap_or_else(|| Tensor::full(&shape, 1.0));
    let rows = mask.data_mut().chunks_exact_mut(shape[1..].iter().product());
    rows.zip(dead).filter(|(_, dead)| **dead).for_each(|(row, _)| row.fill(0.0));
    param.set_mask(Some(mask))
}
