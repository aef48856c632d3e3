//! Where PyTorch has the numbers of a layer: the order of axes, and of the features of flattened images.

use crate::{Error, Graph, Layer, Node, Result, Tensor};

/// The parameters and running statistics of a node, by slot.
pub(crate) fn slots(node: &Node) -> Vec<(&'static str, &Tensor)> {
    let params = node.layer.params().into_iter().map(|(slot, param)| (slot, param.value()));
    params.chain(node.layer.buffers()).collect()
}

/// PyTorch's layout of a node's tensors.
pub(crate) enum Layout {
    /// The same as ours.
    Same,
    /// A convolution: the weight is `[O, C/G, KH, KW]`.
    Convolution,
    /// A linear layer over a flattened image: column `i` of PyTorch's weight is our column `order[i]`.
    Columns(Vec<usize>),
    /// A norm or slopes of a flattened image: PyTorch's feature `i` is our feature `order[i]`.
    Features(Vec<usize>),
}

impl Layout {
    /// The tensor `slot` in PyTorch's layout.
    pub(crate) fn export(&self, slot: &str, ours: &Tensor) -> Tensor {
        match self {
            Self::Convolution if slot == "weight" => ours.permute(&[0, 3, 1, 2]),
            Self::Columns(order) if slot == "weight" => ours.select(1, order),
            Self::Features(order) => ours.select(0, order),
            _ => ours.clone(),
        }
    }

    /// The tensor `slot` in our layout.
    pub(crate) fn import(&self, slot: &str, theirs: &Tensor) -> Tensor {
        match self {
            Self::Convolution if slot == "weight" => theirs.permute(&[0, 2, 3, 1]),
            Self::Columns(order) if slot == "weight" => theirs.select(1, &inverse(order)),
            Self::Features(order) => theirs.select(0, &inverse(order)),
            _ => theirs.clone(),
        }
    }

    /// The shape in PyTorch's layout of a tensor whose shape is `ours` here.
    pub(crate) fn pytorch_shape(&self, ours: &[usize]) -> Vec<usize> {
        match (self, ours) {
            (Self::Convolution, &[o, kh, kw, c]) => vec![o, c, kh, kw],
            _ => ours.to_vec(),
        }
    }
}

/// The position of each element of `order`, a permutation.
pub(crate) fn inverse(order: &[usize]) -> Vec<usize> {
    let mut inverse = vec![0; order.len()];
    order.iter().enumerate().for_each(|(theirs, &ours)| inverse[ours] = theirs);
    inverse
}

/// The `channels` that a gathering reads, by PyTorch's position, of features in the order `order`.
pub(crate) fn gathered_positions(channels: &[u32], order: Option<&[usize]>) -> Vec<usize> {
    let channels = channels.iter().map(|&channel| channel as usize);
    match order.map(inverse) {
        Some(positions) => channels.map(|channel| positions[channel]).collect(),
        None => channels.collect(),
    }
}

/// The layout of every node.
pub(crate) fn layouts(graph: &Graph) -> Result<Vec<Layout>> {
    let orders = feature_orders(graph)?;
    let layout = |node: &Node| {
        let order = node.inputs.first().and_then(|&x| orders[x].clone());
        Ok(match (&node.layer, order) {
            (Layer::Conv2d(_), _) => Layout::Convolution,
            (Layer::CompactConv2d(_), _) => {
                let none = Error::invalid("a compact convolution has no counterpart in PyTorch");
                return Err(none.in_node(&node.name));
            }
            (Layer::Linear(_), Some(order)) => Layout::Columns(order),
            (Layer::BatchNorm(_) | Layer::LayerNorm(_) | Layer::PRelu(_), Some(order)) => {
                Layout::Features(order)
            }
            _ => Layout::Same,
        })
    };
    graph.nodes().iter().map(layout).collect()
}

/// For every node whose output consists of flattened images in an order other than PyTorch's, our feature at each
/// PyTorch position.
pub(crate) fn feature_orders(graph: &Graph) -> Result<Vec<Option<Vec<usize>>>> {
    let [h, w, c] = graph.info.input;
    let shapes = graph.shapes([1, h, w, c])?;
    let mut orders: Vec<Option<Vec<usize>>> = Vec::with_capacity(shapes.len());
    for node in graph.nodes() {
        let inputs = node.inputs.iter().map(|&i| (&orders[i], shapes[i].as_slice()));
        let order = match node.layer {
            Layer::Flatten => match shapes[node.inputs[0]][..] {
                [_, h, w, c] if h * w > 1 && c > 1 => Some(channels_first(h, w, c)),
                _ => orders[node.inputs[0]].clone(),
            },
            Layer::BatchNorm(_) | Layer::LayerNorm(_) | Layer::PRelu(_) => orders[node.inputs[0]].clone(),
            Layer::Activation(_) | Layer::Softmax { .. } | Layer::Dropout { .. } => {
                orders[node.inputs[0]].clone()
            }
            Layer::Add | Layer::Multiply
                if node.inputs.iter().any(|&i| orders[i] != orders[node.inputs[0]]) =>
            {
                let mixed = Error::invalid("combines features of differently flattened images");
                return Err(mixed.in_node(&node.name));
            }
            Layer::Add | Layer::Multiply => orders[node.inputs[0]].clone(),
            Layer::Concat => side_by_side(inputs),
            Layer::Input { .. }
            | Layer::Conv2d(_)
            | Layer::CompactConv2d(_)
            | Layer::Linear(_)
            | Layer::GroupNorm(_)
            | Layer::Pool(_)
            | Layer::Gather { .. }
            | Layer::Resize(_)
            | Layer::Dilate { .. }
            | Layer::PadShortcut { .. } => None,
        };
        orders.push(order);
    }
    Ok(orders)
}

/// Our index `(y·W + x)·C + c` of each feature, in the order `c, y, x`.
fn channels_first(h: usize, w: usize, c: usize) -> Vec<usize> {
    (0..c).flat_map(|channel| (0..h * w).map(move |pixel| pixel * c + channel)).collect()
}

/// The order of concatenated features.
fn side_by_side<'a>(
    parts: impl Iterator<Item = (&'a Option<Vec<usize>>, &'a [usize])> + Clone,
) -> Option<Vec<usize>> {
    parts.clone().find(|(order, _)| order.is_some())?;
    let mut joined = Vec::new();
    for (order, shape) in parts {
        let (start, len) = (joined.len(), shape[shape.len() - 1]);
        match order {
            Some(order) => joined.extend(order.iter().map(|&i| start + i)),
            None => joined.extend(start..start + len),
        }
    }
    Some(joined)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pytorch_flattens_features_channel_by_channel() {
        // A 1×2 image of 3 channels: ours is [a0 b0 c0 a1 b1 c1], PyTorch's [a0 a1 b0 b1 c0 c1].
        assert_eq!(channels_first(1, 2, 3), [0, 3, 1, 4, 2, 5]);
        assert_eq!(inverse(&[0, 3, 1, 4, 2, 5]), [0, 2, 4, 1, 3, 5]);
    }
}
