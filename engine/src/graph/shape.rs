//! Shape inference: derives the output shape of every node from the image shape.

use crate::graph::layer::{checked, image};
use crate::{Error, Graph, Layer, Result};
use lopper_kernels::shapes::{AdaptivePool2d, Conv2d, Linear, PadShortcut};

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
            Self::Relu | Self::Relu6 | Self::Dropout { .. } => x.to_vec(),
            Self::MaxPool(pool) | Self::AvgPool(pool) => pool.geometry(x)?.y_shape().to_vec(),
            Self::AdaptiveAvgPool([oh, ow]) | Self::AdaptiveMaxPool([oh, ow]) => {
                adaptive_geometry(x, [*oh, *ow])?.y_shape().to_vec()
            }
            Self::Flatten => vec![x[0], x[1..].iter().product()],
            Self::Add => {
                if let Some(other) = inputs.iter().find(|&&other| other != x) {
                    return Err(Error::shape("add", format!("{x:?} and {other:?} differ")));
                }
                x.to_vec()
            }
            Self::Concat => {
                let mut shape = x.to_vec();
                let last = shape.len() - 1;
                if let Some(other) = inputs.iter().find(|o| o.len() != x.len() || o[..last] != x[..last]) {
                    return Err(Error::shape(
                        "concat",
                        format!("{x:?} and {other:?} differ before the last axis"),
                    ));
                }
                shape[last] = inputs.iter().map(|i| i[last]).sum();
                shape
            }
            Self::PadShortcut { stride, before, after } => {
                shortcut_geometry(x, *stride, *before, *after)?.y_shape().to_vec()
            }
        })
    }
}

/// The checked geometry of a convolution of `x` `[N, H, W, C]` with `w` `[O, KH, KW, C / groups]`.
pub fn conv2d_geometry(
    x: &[usize],
    w: &[usize],
    stride: [usize; 2],
    padding: [usize; 2],
    dilation: [usize; 2],
    groups: usize,
) -> Result<Conv2d> {
    let [n, h, width, c] = image("conv2d", x)?;
    let &[o, kh, kw, depth] = w else {
        return Err(Error::shape(
            "conv2d",
            format!("expected a weight [O, KH, KW, C / groups], found {w:?}"),
        ));
    };
    if depth.checked_mul(groups) != Some(c) {
        return Err(Error::shape(
            "conv2d",
            format!("expected {} input channels, found {c}", depth.saturating_mul(groups)),
        ));
    }
    let g = Conv2d { n, h, w: width, c, o, kh, kw, stride, padding, dilation, groups };
    checked("conv2d", g, Conv2d::check)
}

/// The checked geometry of a linear layer of `x` `[N, IN]` with `w` `[OUT, IN]`.
pub fn linear_geometry(x: &[usize], w: &[usize]) -> Result<Linear> {
    let &[outputs, inputs] = w else {
        return Err(Error::shape("linear", format!("expected a weight [OUT, IN], found {w:?}")));
    };
    match *x {
        [n, found] if found == inputs => checked("linear", Linear { n, inputs, outputs }, Linear::check),
        _ => Err(Error::shape("linear", format!("expected [N, {inputs}], found {x:?}"))),
    }
}

/// The checked geometry of adaptive pooling of `x` to `[height, width]`.
pub fn adaptive_geometry(x: &[usize], [oh, ow]: [usize; 2]) -> Result<AdaptivePool2d> {
    let [n, h, w, c] = image("adaptive pool", x)?;
    checked("adaptive pool", AdaptivePool2d { n, h, w, c, oh, ow }, AdaptivePool2d::check)
}

/// The checked geometry of a parameter-free shortcut of `x`.
pub fn shortcut_geometry(x: &[usize], stride: usize, before: usize, after: usize) -> Result<PadShortcut> {
    let [n, h, w, c] = image("pad shortcut", x)?;
    checked("pad shortcut", PadShortcut { n, h, w, c, stride, before, after }, PadShortcut::check)
}
