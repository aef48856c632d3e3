//! Fresh weights for a network of any widths.

use crate::init::Init;
use lopper_engine::layer::{BatchNorm, GroupNorm, LayerNorm, PRelu};
use lopper_engine::{Graph, Layer, Result, Tensor};

/// `graph` with all weights drawn anew: those of convolutions and linear layers from N(0, 2 / fan in) (He et al. 2015),
/// with biases of zero; norms and slopes of channels get their first values. Masks and widths stay. This is where a network trained from
/// scratch at the widths of a pruned one starts (Liu et al. 2019, "Rethinking the value of network pruning").
///
/// # Errors
/// If a parameter does not fit its layer.
pub fn redraw(graph: &Graph, seed: u64) -> Result<Graph> {
    let mut fresh = graph.clone();
    // What was claimed about the function of the old weights says nothing about the new ones.
    fresh.info.certificates.clear();
    for id in 0..graph.nodes().len() {
        let name = graph.nodes()[id].name.clone();
        if let Layer::BatchNorm(bn) = fresh.layer_mut(id) {
            let new = BatchNorm::new(bn.channels());
            (bn.running_mean, bn.running_var) = (new.running_mean, new.running_var);
            bn.weight.set_value(new.weight.value().clone())?;
            bn.bias.set_value(new.bias.value().clone())?;
            continue;
        }
        // A layer norm keeps its width, and the constants that it remembers.
        let first = match fresh.layer_mut(id) {
            Layer::LayerNorm(norm) => Some(LayerNorm::new(norm.channels(), norm.eps).weight),
            Layer::GroupNorm(norm) => Some(GroupNorm::new(norm.channels(), norm.groups, norm.eps).weight),
            Layer::PRelu(prelu) => Some(PRelu::new(prelu.channels()).weight),
            _ => None,
        };
        for (slot, param) in fresh.layer_mut(id).params_mut() {
            let shape = param.value().shape().to_vec();
            param.set_value(match (slot, &first) {
                ("weight", Some(first)) => first.value().clone(),
                ("weight", None) => Init::KaimingFanIn.weight(seed, &format!("{name}.{slot}"), &shape),
                _ => Tensor::zeros(&shape),
            })?;
        }
    }
    Ok(fresh)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Options, build, numbered_classes};

    #[test]
    fn weights_are_new_and_shapes_and_masks_are_not() {
        let graph = build("resnet8", &Options::new(numbered_classes(3), [16, 16, 3])).unwrap();
        let mut masked = graph.clone();
        let (path, first) = masked.params_mut().next().unwrap();
        let mut mask = Tensor::full(first.value().shape(), 1.0);
        mask.data_mut()[0] = 0.0;
        first.set_mask(Some(mask)).unwrap();
        let fresh = redraw(&masked, 5).unwrap();
        assert_eq!(fresh.param(&path).unwrap().value().data()[0], 0.0, "a masked weight stays zero");
        for ((path, old), (_, new)) in masked.params().zip(fresh.params()) {
            assert_eq!(old.value().shape(), new.value().shape());
            let (old, new) = (old.value().data(), new.value().data());
            match path.ends_with("bias") {
                true => assert!(new.iter().all(|&value| value == 0.0), "{path}"),
                // Batch norms start at one, as before.
                false => {
                    assert_eq!(old != new, masked.param(&path).unwrap().value().shape().len() > 1, "{path}")
                }
            }
        }
        let same =
            |seed| redraw(&masked, seed).unwrap().param("conv1.weight").unwrap().value().data().to_vec();
        assert!(same(5) == same(5) && same(5) != same(6));
    }
}
