//! Filters and weights of each layer, before and after a stage.

use lopper_engine::channels::Filters;
use lopper_engine::{Graph, Layer, Node};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// Sizes of a convolution or linear layer before and after a stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LayerSizes {
    /// Name of the layer.
    pub layer: String,
    /// Its kind, such as `conv2d`.
    pub kind: String,
    /// Sizes before the stage; none if the layer is new.
    pub before: Option<LayerSize>,
    /// Sizes after the stage; none if the layer is gone.
    pub after: Option<LayerSize>,
}

/// Size of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerSize {
    /// Filters of a convolution, or outputs of a linear layer.
    pub filters: usize,
    /// Those with a weight that is not zero.
    pub live: usize,
    /// Weights and biases.
    pub params: u64,
    /// Weights that a mask holds at zero.
    pub masked: u64,
}

/// The layers of `before`, if there is a network before, and of `after`, in the order of `after`; layers that are gone
/// come last.
pub fn layers(before: Option<&Graph>, after: &Graph) -> Vec<LayerSizes> {
    let found = |graph: &Graph| -> Vec<(String, &'static str, LayerSize)> {
        let size = |node: &Node| Some((node.name.clone(), node.layer.kind(), size(&node.layer)?));
        graph.nodes().iter().filter_map(size).collect()
    };
    let old = before.map(found).unwrap_or_default();
    let mut known: HashMap<&str, LayerSize> =
        old.iter().map(|(name, _, size)| (name.as_str(), *size)).collect();
    let new = found(after);
    let mut lines: Vec<LayerSizes> = new
        .iter()
        .map(|(name, kind, size)| LayerSizes {
            layer: name.clone(),
            kind: kind.to_string(),
            before: known.remove(name.as_str()),
            after: Some(*size),
        })
        .collect();
    let gone = old.iter().filter(|(name, ..)| known.contains_key(name.as_str()));
    lines.extend(gone.map(|(name, kind, size)| LayerSizes {
        layer: name.clone(),
        kind: kind.to_string(),
        before: Some(*size),
        after: None,
    }));
    lines
}

/// The size of `layer`, if it is a convolution or a linear layer.
fn size(layer: &Layer) -> Option<LayerSize> {
    let params = layer.params().iter().map(|(_, param)| param.value().len() as u64).sum();
    if let Layer::CompactConv2d(compact) = layer {
        let filters = compact.fill.len();
        return Some(LayerSize { filters, live: compact.outputs.len(), params, masked: 0 });
    }
    let filters = Filters::of(layer)?;
    let live = (0..filters.outputs()).filter(|&o| filters.filter(o).iter().any(|&w| w != 0.0)).count();
    let zeros = |mask: &lopper_engine::Tensor| mask.data().iter().filter(|&&kept| kept == 0.0).count();
    let masked = filters.weight.mask().map_or(0, zeros) as u64;
    Some(LayerSize { filters: filters.outputs(), live, params, masked })
}

#[cfg(test)]
mod tests {
    use super::*;
    use lopper_engine::layer::Linear;
    use lopper_engine::{Param, Tensor};

    fn linear(outputs: usize, inputs: usize) -> Layer {
        let (weight, bias) = (Tensor::full(&[outputs, inputs], 1.0), Tensor::zeros(&[outputs]));
        Layer::Linear(Linear { weight: Param::new(weight), bias: Some(Param::new(bias)) })
    }

    #[test]
    fn layers_are_matched_by_name() {
        let mut before = Graph::new(3);
        let a = before.push("a", linear(4, 3), &[0]).unwrap();
        before.push("b", linear(2, 4), &[a]).unwrap();
        let mut after = Graph::new(3);
        let a = after.push("a", linear(4, 3), &[0]).unwrap();
        after.push("b.0", linear(1, 4), &[a]).unwrap();
        let mask = Tensor::from_fn(&[4, 3], |i| f32::from(i >= 6));
        after.param_mut("a.weight").unwrap().set_mask(Some(mask)).unwrap();
        let found = layers(Some(&before), &after);
        let names: Vec<&str> = found.iter().map(|line| line.layer.as_str()).collect();
        assert_eq!(names, ["a", "b.0", "b"]);
        let whole = LayerSize { filters: 4, live: 4, params: 16, masked: 0 };
        assert_eq!(found[0].before, Some(whole));
        assert_eq!(found[0].after, Some(LayerSize { live: 2, masked: 6, ..whole }));
        assert!(found[1].before.is_none() && found[2].after.is_none());
        assert!(layers(None, &after).iter().all(|line| line.before.is_none()));
    }
}
