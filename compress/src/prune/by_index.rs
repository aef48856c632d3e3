//! Plans by the indices of channels of a layer: what is coupled with them goes, too.
//!
//! ```text
//!   conv1 ─ bn ─ conv2        without_outputs("conv1", [2]): filter 2 of conv1, channel 2 of bn, input 2 of conv2
//!                             without_inputs("conv2", [2]):  the same
//! ```

use super::PrunePlan;
use super::plan::frozen;
use lopper_engine::channels::{ChannelFlow, Group};
use lopper_engine::{Error, Graph, NodeId, Result};

impl PrunePlan {
    /// Removes the output channels `channels` of `layer`, any layer, counted from 0.
    ///
    /// ```
    /// # use lopper_compress::{PrunePlan, prune::{Constants, prune}};
    /// # use lopper_engine::{Graph, Layer, Param, Result, Tensor, layer::Linear};
    /// # fn main() -> Result<()> {
    /// # let linear = |outputs, inputs| {
    /// #     Layer::Linear(Linear { weight: Param::new(Tensor::full(&[outputs, inputs], 1.0)), bias: None })
    /// # };
    /// # let mut graph = Graph::new(4);
    /// # let flat = graph.push("flatten", Layer::Flatten, &[0])?;
    /// # let first = graph.push("fc1", linear(8, 4), &[flat])?;
    /// # graph.push("fc2", linear(2, 8), &[first])?;
    /// # graph.info.input = [1, 1, 4];
    /// let plan = PrunePlan::without_outputs(&graph, "fc1", &[2, 6])?;
    /// let pruned = prune(&graph, &plan, Constants::Exact)?.graph;
    /// assert_eq!(pruned.param("fc1.weight")?.value().shape(), [6, 4]);
    /// assert_eq!(pruned.param("fc2.weight")?.value().shape(), [2, 6], "its inputs follow");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// If there is no such layer or channel, if a channel is tied to the image or the network's output, or if none of those
    /// that the same layers make would be left.
    pub fn without_outputs(graph: &Graph, layer: &str, channels: &[usize]) -> Result<Self> {
        without(graph, (layer, "output"), graph.id(layer)?, channels)
    }

    /// Removes the input channels `channels` of `layer`, any layer with one input, counted from 0: of a linear layer behind a
    /// flattened image, its inputs for all pixels of the channels.
    ///
    /// # Errors
    /// Those of [`PrunePlan::without_outputs`]; if the layer has no input, or several.
    pub fn without_inputs(graph: &Graph, layer: &str, channels: &[usize]) -> Result<Self> {
        match graph.nodes()[graph.id(layer)?].inputs[..] {
            [input] => without(graph, (layer, "input"), input, channels),
            ref inputs => Err(Error::invalid(format!(
                "prune: `{layer}` has {} inputs: expected a layer with one, or the outputs of one of them",
                inputs.len()
            ))),
        }
    }

    /// Removes what this plan or `other` removes.
    ///
    /// # Errors
    /// If they were made for different networks. That channels are left is checked when the plan is used.
    pub fn and(mut self, other: &Self) -> Result<Self> {
        for group in &other.groups {
            match self.groups.iter_mut().find(|own| own.layers == group.layers) {
                None => self.groups.push(group.clone()),
                Some(own) if own.units == group.units => own.keep.retain(|unit| group.keep.contains(unit)),
                Some(own) => {
                    return Err(Error::invalid(format!(
                        "prune plan: {} has {} channels in one plan and {} in the other: expected plans of one network",
                        own.layers.join(" and "),
                        own.units,
                        group.units
                    )));
                }
            }
        }
        Ok(self)
    }
}

/// The plan without the channels `channels` of the output of `node`. Errors call them the `side` channels of `layer`.
fn without(
    graph: &Graph,
    (layer, side): (&str, &str),
    node: NodeId,
    channels: &[usize],
) -> Result<PrunePlan> {
    let flow = ChannelFlow::new(graph)?;
    let units = flow.units(node);
    let mut removed = vec![false; flow.unit_count()];
    for &channel in channels {
        let unit = units.get(channel).ok_or_else(|| {
            let last = units.len().saturating_sub(1);
            Error::invalid(format!("prune: `{layer}` has {side} channels 0 to {last}, found {channel}"))
        })?;
        removed[*unit] = true;
    }
    let goes = |group: &&Group| group.units.iter().any(|unit| removed[unit.id]);
    let cut: Vec<&Group> = flow.groups().iter().filter(goes).collect();
    let made: usize = cut.iter().flat_map(|group| &group.units).filter(|unit| removed[unit.id]).count();
    if made < removed.iter().filter(|&&removed| removed).count() {
        return Err(frozen(layer, "the image"));
    }
    for group in cut {
        if let Some(why) = group.frozen {
            return Err(frozen(layer, why));
        }
        if group.units.iter().all(|unit| removed[unit.id]) {
            let layers = group.layer_names(graph).join(" and ");
            return Err(Error::invalid(format!(
                "prune: no channel of {layers} would be left: expected at least one to stay"
            )));
        }
    }
    let stays = |_: usize, group: &Group| {
        (0..group.units.len()).filter(|&unit| !removed[group.units[unit].id]).collect()
    };
    Ok(PrunePlan::from_kept(graph, &flow, stays).of_cuts())
}
