//! A layer as groups of weights that live or do not.

use crate::criteria::Reduction;
use crate::granularity::Groups;
use crate::sparsify::{Target, dropped_by, weight, weight_mut};
use lopper_engine::{Graph, Result, Tensor};

/// The path of the layer's weight.
pub(super) fn path(graph: &Graph, target: &Target) -> String {
    format!("{}.weight", graph.nodes()[target.node].name)
}

/// The mean |w| of each group.
pub(super) fn magnitudes(graph: &Graph, target: &Target) -> Result<Vec<f64>> {
    let value = weight(graph, target.node).value();
    value.fetch()?;
    Ok(Reduction::Mean.of(&target.groups, |i| f64::from(value.data()[i].abs())))
}

/// Whether each group lives.
pub(super) fn living(graph: &Graph, target: &Target) -> Vec<bool> {
    alive_in(weight(graph, target.node).mask(), &target.groups)
}

/// The groups that `mask` keeps at least in part.
pub(super) fn alive_in(mask: Option<&Tensor>, groups: &Groups) -> Vec<bool> {
    dropped_by(mask, groups).into_iter().map(|dead| !dead).collect()
}

/// The mask of a weight of this `shape`: 1 in the groups that are `chosen`, 0 elsewhere.
pub(super) fn mask_of(shape: &[usize], groups: &Groups, chosen: &[bool]) -> Tensor {
    let others: Vec<bool> = chosen.iter().map(|chosen| !chosen).collect();
    let mut mask = Tensor::full(shape, 1.0);
    groups.clear(&others, mask.data_mut());
    mask
}

/// Masks what is not `alive`.
pub(super) fn set_mask(graph: &mut Graph, target: &Target, alive: &[bool]) -> Result<()> {
    let param = weight_mut(graph, target.node);
    let mask = mask_of(param.value().shape(), &target.groups, alive);
    param.set_mask(Some(mask))
}
