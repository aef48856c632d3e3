//! The description of a plan's steps.

use super::amount::{Amount, Class};
use super::chosen::Chosen;
use super::lower::Op;
use super::work::{Plain, Work};
use crate::channels::live::Cut;
use std::fmt;

/// A description of one step of a plan, for tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The name of the computed node.
    pub name: String,
    /// The kind of layer that runs.
    pub kind: &'static str,
    /// The chosen kernel.
    pub kernel: &'static str,
    /// The reason for a choice between algorithms: the estimates, or why only one algorithm is possible.
    pub why: Option<String>,
    /// The names of the nodes fused into this step: a pool before it, and its epilogue.
    pub fused: Vec<String>,
    /// Multiply-accumulates for the whole batch, without skipped filters.
    pub macs: u64,
    /// Multiply-accumulates that the kernel performs for these; fewer with Winograd's algorithm.
    pub products: u64,
    /// Bytes of inputs, packed weights and output, each moved once.
    pub bytes: u64,
    /// The kernels whose time per unit of the estimate is alike.
    pub class: Class,
    /// The estimated work: multiply-accumulates of convolutions and linear layers, floats that others move.
    pub estimate: u64,
    /// The output shape, as it is computed.
    pub shape: Vec<usize>,
    /// The channels that are computed, if they are fewer than the layer's.
    pub channels: Option<LiveChannels>,
}

/// The channels that a step computes, where a mask leaves out some of its layer's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveChannels {
    /// Input channels that are read.
    pub inputs: usize,
    /// Input channels of the layer.
    pub all_inputs: usize,
    /// Output channels that are computed.
    pub outputs: usize,
    /// Output channels of the layer.
    pub all_outputs: usize,
    /// The channels that were left out, by reason, and where the layer's constant inputs went.
    pub why: String,
}

impl LiveChannels {
    /// The channels of `op`, whose node was `cut`. None if all are computed.
    fn new(op: &Op, work: &Work, cut: Option<&Cut>) -> Option<Self> {
        let width = |shape: &[usize]| shape.last().copied().unwrap_or(0);
        let (read, written) = (width(&op.x), width(&op.shape));
        let masked = work.pattern().map_or(0, |pattern| pattern.shape()[0] - pattern.filters().len());
        if cut.is_none() && masked == 0 {
            return None;
        }
        let skipped = (masked > 0).then(|| format!("{masked} masked, whose channels stay"));
        let cut_why = cut.map(|cut| cut.why.clone()).filter(|why| !why.is_empty());
        let why: Vec<String> = cut_why.into_iter().chain(skipped).collect();
        Some(Self {
            inputs: read,
            all_inputs: cut.map_or(read, |cut| cut.inputs),
            outputs: written - masked,
            all_outputs: cut.map_or(written, |cut| cut.outputs),
            why: why.join("; "),
        })
    }
}

impl fmt::Display for LiveChannels {
    /// Formats the counts that are not full: `33 of 64 inputs, 32 of 64 outputs (32 zero)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part =
            |live: usize, all: usize, what: &str| (live < all).then(|| format!("{live} of {all} {what}"));
        let inputs = part(self.inputs, self.all_inputs, "inputs");
        let outputs = part(self.outputs, self.all_outputs, "outputs");
        let parts: Vec<String> = inputs.into_iter().chain(outputs).collect();
        write!(f, "{}", parts.join(", "))?;
        if self.why.is_empty() { Ok(()) } else { write!(f, " ({})", self.why) }
    }
}

impl Step {
    /// The estimated work.
    pub fn amount(&self) -> Amount {
        Amount { class: self.class, units: self.estimate.max(1) as f64 }
    }

    /// Describes `op`, whose node was `cut`, with the `chosen` kernel; its inputs and output take `moved` bytes.
    pub(super) fn new(op: &Op, work: &Work, cut: Option<&Cut>, chosen: Chosen, moved: usize) -> Self {
        let macs = work.macs();
        let class = match work {
            Work::BatchNorm(..) | Work::LayerNorm(..) | Work::GroupNorm(..) => Class::BatchNorm,
            Work::Plain(Plain::Pool(_)) => Class::Pool,
            Work::Conv2d(_) | Work::Linear(_) | Work::PRelu(_) | Work::Plain(_) => Class::Elementwise,
        };
        let estimate = chosen.estimate.unwrap_or(Amount { class, units: moved as f64 / 4.0 });
        Self {
            name: op.node.name.clone(),
            kind: work.kind(&op.node.layer),
            kernel: chosen.kernel,
            why: chosen.why,
            fused: op.fused.iter().map(|node| node.name.clone()).collect(),
            macs,
            products: chosen.products.unwrap_or(macs),
            bytes: (moved + chosen.weight_bytes) as u64,
            class: estimate.class,
            estimate: estimate.units.ceil() as u64,
            shape: op.shape.clone(),
            channels: LiveChannels::new(op, work, cut),
        }
    }
}
