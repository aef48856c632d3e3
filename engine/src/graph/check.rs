//! Checks for graphs that this program did not build: parameters may not fit together, and sizes may be too large for
//! any kernel. A graph that passes runs on every image for which shape inference succeeds.

use crate::graph::layer::{BatchNorm, CompactConv2d, Conv2d, GroupNorm, LayerNorm, Linear, PRelu};
use crate::graph::pool::{FixedWindow, Pool, Window};
use crate::graph::resize::{Resize, ResizeSize};
use crate::{Error, Graph, Layer, Result};

/// The maximum stride, padding, dilation, window, group count or added width: far above any practical value, and small
/// enough that no product of two sizes overflows.
const MAX_SIZE: usize = 1 << 16;

impl Graph {
    /// Checks the wiring and every layer. Errors name the layer.
    pub fn check_layers(&self) -> Result<()> {
        self.check()?;
        self.nodes().iter().try_for_each(|node| node.layer.check().map_err(|e| e.in_node(&node.name)))
    }
}

impl Layer {
    /// Checks that the ranks and lengths of the parameters match, and that all other numbers are in range.
    pub fn check(&self) -> Result<()> {
        match self {
            Self::Input { channels } => sizes("input", 1, &[*channels]),
            Self::Conv2d(conv) => conv.check(),
            Self::CompactConv2d(compact) => compact.check(),
            Self::Linear(linear) => linear.check(),
            Self::BatchNorm(bn) => bn.check(),
            Self::LayerNorm(norm) => norm.check(),
            Self::GroupNorm(norm) => norm.check(),
            Self::PRelu(prelu) => prelu.check(),
            Self::Resize(resize) => resize.check(),
            Self::Gather { channels } if channels.is_empty() => {
                Err(Error::shape("gather", "expected a channel, found none"))
            }
            Self::Dilate { stride } => sizes("dilate", 1, stride),
            Self::Activation(activation) => {
                activation.check().map_err(|e| Error::shape(activation.name(), e.to_string()))
            }
            Self::Pool(pool) => pool.check(),
            Self::Dropout { p } if !(0.0..1.0).contains(p) => {
                Err(Error::shape("dropout", format!("expected a probability in [0, 1), found {p}")))
            }
            Self::PadShortcut { stride, before, after } => {
                sizes("pad shortcut", 1, &[*stride])?;
                sizes("pad shortcut", 0, &[*before, *after])
            }
            Self::Softmax { .. } | Self::Flatten | Self::Dropout { .. } | Self::Gather { .. } => Ok(()),
            Self::Add | Self::Multiply | Self::Concat => Ok(()),
        }
    }
}

impl Conv2d {
    fn check(&self) -> Result<()> {
        self.check_window("conv2d")?;
        expect_filled("conv2d", self.weight.value().shape())?;
        sizes("conv2d", 1, &[self.groups])?;
        match self.out_channels().is_multiple_of(self.groups) {
            true => Ok(()),
            false => {
                let (groups, filters) = (self.groups, self.out_channels());
                Err(Error::shape("conv2d", format!("{groups} groups do not divide {filters} filters")))
            }
        }
    }

    /// The checks shared with compact convolutions, which may have no filters or channels left.
    fn check_window(&self, op: &'static str) -> Result<()> {
        let shape = expect_rank(op, "weight", self.weight.value().shape(), 4)?;
        if let Some(bias) = &self.bias {
            expect_shape(op, "bias", bias.value().shape(), &shape[..1])?;
        }
        sizes(op, 1, &[self.kernel(), self.stride, self.dilation].concat())?;
        sizes(op, 0, &[self.padding, self.extra_padding].concat())
    }
}

impl CompactConv2d {
    fn check(&self) -> Result<()> {
        const OP: &str = "compact conv2d";
        self.conv.check_window(OP)?;
        let [kh, kw] = self.conv.kernel();
        let gathered = self.inputs.len() + usize::from(self.carrier);
        expect_shape(
            OP,
            "weight",
            self.conv.weight.value().shape(),
            &[self.outputs.len(), kh, kw, gathered],
        )?;
        sizes(OP, 1, &[self.in_width, self.fill.len()])?;
        let ascending = |index: &[u32], width: usize| {
            index.is_sorted_by(|a, b| a < b) && index.last().is_none_or(|&i| (i as usize) < width)
        };
        if self.conv.groups != 1 {
            return Err(Error::shape(OP, format!("expected one group, found {}", self.conv.groups)));
        }
        match ascending(&self.inputs, self.in_width) && ascending(&self.outputs, self.fill.len()) {
            true => Ok(()),
            false => Err(Error::shape(OP, "its channel indices do not ascend inside its width")),
        }
    }
}

impl Linear {
    fn check(&self) -> Result<()> {
        let shape = expect_rank("linear", "weight", self.weight.value().shape(), 2)?;
        expect_filled("linear", shape)?;
        match &self.bias {
            Some(bias) => expect_shape("linear", "bias", bias.value().shape(), &[shape[0]]),
            None => Ok(()),
        }
    }
}

impl BatchNorm {
    fn check(&self) -> Result<()> {
        let shape = expect_rank("batch norm", "weight", self.weight.value().shape(), 1)?;
        expect_filled("batch norm", shape)?;
        expect_shape("batch norm", "bias", self.bias.value().shape(), shape)?;
        expect_shape("batch norm", "running_mean", self.running_mean.shape(), shape)?;
        expect_shape("batch norm", "running_var", self.running_var.shape(), shape)?;
        match self.eps >= 0.0 && self.eps.is_finite() && (0.0..=1.0).contains(&self.momentum) {
            true => Ok(()),
            false => Err(Error::shape(
                "batch norm",
                format!("ε of {} or momentum of {} is out of range", self.eps, self.momentum),
            )),
        }
    }
}

impl LayerNorm {
    fn check(&self) -> Result<()> {
        const OP: &str = "layer norm";
        let shape = expect_rank(OP, "weight", self.weight.value().shape(), 1)?;
        expect_filled(OP, shape)?;
        expect_shape(OP, "bias", self.bias.value().shape(), shape)?;
        let constants = !self.is_whole() || (self.sum, self.squares) == (0.0, 0.0);
        // The largest number that every kernel counts to.
        if self.width > i32::MAX as usize || !constants {
            let (width, channels) = (self.width, shape[0]);
            return Err(Error::shape(OP, format!("a width of {width} does not fit {channels} channels")));
        }
        self.geometry(&[1, shape[0]]).map(|_| ())
    }
}

impl GroupNorm {
    fn check(&self) -> Result<()> {
        const OP: &str = "group norm";
        let shape = expect_rank(OP, "weight", self.weight.value().shape(), 1)?;
        expect_filled(OP, shape)?;
        expect_shape(OP, "bias", self.bias.value().shape(), shape)?;
        self.geometry(&[1, 1, 1, shape[0]]).map(|_| ())
    }
}

impl PRelu {
    fn check(&self) -> Result<()> {
        expect_filled("prelu", expect_rank("prelu", "weight", self.weight.value().shape(), 1)?)
    }
}

impl Resize {
    fn check(&self) -> Result<()> {
        match &self.size {
            ResizeSize::Times(size) | ResizeSize::Fixed(size) => sizes("resize", 1, size),
        }
    }
}

impl Pool {
    fn check(&self) -> Result<()> {
        match &self.window {
            Window::Fixed(FixedWindow { kernel, stride, padding, .. }) => {
                sizes("pool", 1, &[*kernel, *stride].concat())?;
                sizes("pool", 0, padding)
            }
            Window::Adaptive(size) => sizes("adaptive pool", 1, size),
            Window::Global => Ok(()),
        }
    }
}

fn expect_rank<'a>(op: &'static str, what: &str, shape: &'a [usize], rank: usize) -> Result<&'a [usize]> {
    match shape.len() == rank {
        true => Ok(shape),
        false => Err(Error::shape(op, format!("expected a {what} of {rank} axes, found {shape:?}"))),
    }
}

fn expect_filled(op: &'static str, shape: &[usize]) -> Result<()> {
    match shape.contains(&0) {
        false => Ok(()),
        true => Err(Error::shape(op, format!("a weight without elements: {shape:?}"))),
    }
}

fn expect_shape(op: &'static str, what: &str, found: &[usize], expected: &[usize]) -> Result<()> {
    match found == expected {
        true => Ok(()),
        false => Err(Error::shape(op, format!("expected a {what} of shape {expected:?}, found {found:?}"))),
    }
}

fn sizes(op: &'static str, least: usize, sizes: &[usize]) -> Result<()> {
    match sizes.iter().find(|&&s| s < least || s > MAX_SIZE) {
        None => Ok(()),
        Some(size) => Err(Error::shape(op, format!("a size of {size} is not in {least}..={MAX_SIZE}"))),
    }
}
