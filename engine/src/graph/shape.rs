//! Shape inference: derives the output shape of every node from the image shape.

use crate::graph::geometry::{dilate_geometry, gate_geometry, gathered, shortcut_geometry};
use crate::{Error, Graph, Layer, Result};

/// Maximum number of values in a node's output (16 GiB). Files and options that need more are rejected before anything
/// is allocated.
const MAX_VALUES: usize = 1 << 32;

impl Graph {
    /// The output shape of every node for an image of shape `[N, H, W, C]`. The error names the node that cannot take
    /// its inputs.
    pub fn shapes(&self, input: [usize; 4]) -> Result<Vec<Vec<usize>>> {
        let mut shapes: Vec<Vec<usize>> = Vec::with_capacity(self.nodes().len());
        for node in self.nodes() {
            let inputs: Vec<&[usize]> = node.inputs.iter().map(|&i| shapes[i].as_slice()).collect();
            let shape = match node.layer {
                Layer::Input { channels } if input[3] == channels => Ok(input.to_vec()),
                Layer::Input { channels } => Err(Error::shape(
                    "input",
                    format!("expected {channels} channels, found an image {input:?}"),
                )),
                _ => node.layer.output_shape(&inputs),
            };
            shapes.push(shape.and_then(bounded).map_err(|e| e.in_node(&node.name))?);
        }
        Ok(shapes)
    }
}

/// Returns `shape` if it has at most [`MAX_VALUES`] values.
fn bounded(shape: Vec<usize>) -> Result<Vec<usize>> {
    match shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d)) {
        Some(len) if len <= MAX_VALUES => Ok(shape),
        _ => Err(Error::shape("output", format!("{shape:?} holds more than {MAX_VALUES} values"))),
    }
}

/// The shape of the product of `inputs`, the first of shape `x`.
fn multiplied(x: &[usize], inputs: &[&[usize]]) -> Result<Vec<usize>> {
    match inputs {
        [_, gate] if *gate == x => {}
        [_, gate] => _ = gate_geometry(x, gate)?,
        _ => return Err(Error::shape("multiply", format!("expected two inputs, found {}", inputs.len()))),
    }
    Ok(x.to_vec())
}

/// The shape of `inputs`, the first of shape `x`, joined along the channels.
fn concatenated(x: &[usize], inputs: &[&[usize]]) -> Result<Vec<usize>> {
    let mut shape = x.to_vec();
    let last = shape.len() - 1;
    if let Some(other) = inputs.iter().find(|o| o.len() != x.len() || o[..last] != x[..last]) {
        return Err(Error::shape("concat", format!("{x:?} and {other:?} differ before the last axis")));
    }
    shape[last] = inputs.iter().map(|i| i[last]).sum();
    Ok(shape)
}

impl Layer {
    /// The output shape for the given input shapes. A [`Layer::Input`] has no inputs and gives an error.
    pub fn output_shape(&self, inputs: &[&[usize]]) -> Result<Vec<usize>> {
        let &x = inputs.first().ok_or_else(|| Error::shape(self.kind(), "has no input"))?;
        Ok(match self {
            Self::Input { .. } => return Err(Error::shape("input", "takes no input")),
            Self::Conv2d(conv) => conv.geometry(x)?.y_shape().to_vec(),
            Self::CompactConv2d(compact) => compact.geometry(x)?.y_shape().to_vec(),
            Self::Linear(linear) => {
                let g = linear.geometry(x)?;
                vec![g.n, g.outputs]
            }
            Self::BatchNorm(bn) => {
                if x.last() != Some(&bn.channels()) {
                    return Err(Error::shape(
                        "batch norm",
                        format!("expected {} channels, found {x:?}", bn.channels()),
                    ));
                }
                x.to_vec()
            }
            Self::LayerNorm(norm) => {
                norm.geometry(x)?;
                x.to_vec()
            }
            Self::GroupNorm(norm) => {
                norm.geometry(x)?;
                x.to_vec()
            }
            Self::PRelu(prelu) if x.last() != Some(&prelu.channels()) => {
                let channels = prelu.channels();
                return Err(Error::shape("prelu", format!("expected {channels} channels, found {x:?}")));
            }
            Self::Activation(_) | Self::PRelu(_) | Self::Softmax { .. } | Self::Dropout { .. } => x.to_vec(),
            Self::Pool(pool) => pool.geometry(x)?.y_shape().to_vec(),
            Self::Flatten => vec![x[0], x[1..].iter().product()],
            Self::Add => {
                if let Some(other) = inputs.iter().find(|&&other| other != x) {
                    return Err(Error::shape("add", format!("{x:?} and {other:?} differ")));
                }
                x.to_vec()
            }
            Self::Multiply => multiplied(x, inputs)?,
            Self::Gather { channels } => gathered(x, channels)?,
            Self::Resize(resize) => resize.geometry(x)?.y_shape().to_vec(),
            Self::Dilate { stride } => dilate_geometry(x, *stride)?.y_shape().to_vec(),
            Self::Concat => concatenated(x, inputs)?,
            Self::PadShortcut { stride, before, after } => {
                shortcut_geometry(x, *stride, *before, *after)?.y_shape().to_vec()
            }
        })
    }
}
