//! The layout of each value between the steps of a plan on the CPU.
//!
//! Sparse convolutions compute in row lanes, and convert channels-last images on the way in and out. A value stays in
//! lanes if its writer and all its readers work on the same lanes, as in the residual blocks of a ResNet:
//!
//! ```text
//!   x ─ conv ─► lanes ─ batch norm, relu ─► lanes ─ conv ─► lanes ─ batch norm, +, relu ─► lanes ─ conv …
//!   └─────────────── lanes ─────────────────────────────────────────────────────┘
//! ```
//!
//! - a convolution in row lanes reads and writes the lanes of its geometry, or channels-last images, and adds a residual
//!   in either layout;
//! - batch norms, activations and sums read and write one layout;
//! - depthwise 3×3 convolutions and 2×2 maximum pools read any lanes and write those of their output, or read and write
//!   channels-last images;
//! - everything else is channels-last.
//!
//! No conversion is inserted: a value that cannot stay in lanes is channels-last, which every kernel reads and writes.
//! Which convolutions compute in row lanes is chosen in `chains.rs`.

use super::lower::{Op, Value};
use super::work::{Convolution, Plain, Work};
use lopper_kernels::cpu::{
    Cpu, ImageLayout, ImageLayouts, Packing, conv2d_lane_images, conv2d_lanes_after, max_pool2d_lanes_after,
};
use lopper_kernels::shapes;

/// The layout of each value, and the algorithms that the weights of each operation may be packed for.
pub(super) struct Layouts {
    values: Vec<ImageLayout>,
    packings: Vec<Packing>,
}

/// The layouts that an operation can read and write.
#[derive(Clone, Copy)]
pub(super) enum Possible {
    /// Channels-last images, or these; a residual is as an output.
    Between([ImageLayout; 2]),
    /// Any, but the same for inputs and output.
    Same,
    /// Channels-last images, or any lanes that the depthwise convolution takes.
    Depthwise(shapes::Conv2d),
    /// The same for a maximum pool.
    MaxPool(shapes::Pool2d),
}

impl Layouts {
    /// Every value of `ops` is channels-last.
    pub fn channels_last(ops: &[Op], packing: Packing) -> Self {
        let values = ops.last().map_or(1, |op| op.output + 1);
        Self { values: vec![ImageLayout::ChannelsLast; values], packings: vec![packing; ops.len()] }
    }

    /// Keeps the values of `ops` in lanes that `possible` allows, with weights packed as `packings`.
    pub fn new(ops: &[Op], possible: &[Possible], packings: Vec<Packing>) -> Self {
        let values = ops.last().map_or(1, |op| op.output + 1);
        let mut layouts = Self { values: vec![ImageLayout::ChannelsLast; values], packings };
        // First every value that its writer can leave in lanes …
        for (op, possible) in ops.iter().zip(possible) {
            layouts.values[op.output] = possible.written(layouts.of(op.inputs[0]));
        }
        // … but not the output of the network, what a reader cannot take, and what is tied to those.
        let mut removed: Vec<Value> = ops.last().map(|op| op.output).into_iter().collect();
        let mut tied: Vec<Vec<Value>> = vec![Vec::new(); values];
        for (op, possible) in ops.iter().zip(possible) {
            match possible {
                Possible::Between([read, written]) => {
                    removed.extend(op.inputs.iter().filter(|&&value| layouts.of(value) != *read));
                    removed.extend(op.residual.filter(|&value| layouts.of(value) != *written));
                }
                Possible::Same | Possible::Depthwise(_) | Possible::MaxPool(_) => {
                    let after = |value| possible.written(layouts.of(value));
                    let inputs = op.inputs.iter().map(|&value| (value, after(value)));
                    for (value, layout) in inputs.chain(op.residual.map(|value| (value, layouts.of(value)))) {
                        tied[value].push(op.output);
                        tied[op.output].push(value);
                        if layout != layouts.of(op.output) || layout == ImageLayout::ChannelsLast {
                            removed.extend([value, op.output]);
                        }
                    }
                }
            }
        }
        while let Some(value) = removed.pop() {
            layouts.values[value] = ImageLayout::ChannelsLast;
            removed
                .extend(tied[value].iter().filter(|&&other| layouts.of(other) != ImageLayout::ChannelsLast));
        }
        layouts
    }

    /// The layout of `value`.
    pub fn of(&self, value: Value) -> ImageLayout {
        self.values[value]
    }

    /// The layouts of the first input, the residual and the output of `op`.
    pub fn around(&self, op: &Op) -> ImageLayouts {
        let residual = op.residual.map_or(ImageLayout::ChannelsLast, |value| self.of(value));
        ImageLayouts { x: self.of(op.inputs[0]), residual, y: self.of(op.output) }
    }

    /// The algorithms that the weights of each operation may be packed for.
    pub fn packings(&self) -> &[Packing] {
        &self.packings
    }

    /// The number of elements of the output of `op`.
    pub fn len(&self, op: &Op) -> usize {
        match self.of(op.output) {
            ImageLayout::ChannelsLast => op.len(),
            ImageLayout::RowLanes(images) => op.shape.last().map_or(0, |&channels| images.len(channels)),
        }
    }
}

impl Possible {
    /// The layout that the operation writes, if it reads `x` and its readers take what it can write.
    fn written(&self, x: ImageLayout) -> ImageLayout {
        let after = match (self, x) {
            (Self::Between([_, written]), _) => return *written,
            (Self::Same, _) | (_, ImageLayout::ChannelsLast) => return x,
            (Self::Depthwise(g), ImageLayout::RowLanes(images)) => conv2d_lanes_after(g, &images),
            (Self::MaxPool(g), ImageLayout::RowLanes(images)) => max_pool2d_lanes_after(g, &images),
        };
        after.map_or(ImageLayout::ChannelsLast, ImageLayout::RowLanes)
    }

    /// The layouts that `work` can read and write if its weights are packed as `packing` allows.
    pub fn of(cpu: &Cpu, packing: Packing, work: &Work) -> Self {
        if let Some(g) = work.max_pool() {
            return Self::MaxPool(*g);
        }
        let lanes = match work {
            Work::BatchNorm(..) | Work::Plain(Plain::Activation(_) | Plain::Add) => return Self::Same,
            Work::Conv2d(Convolution { g, compact: None, .. }) if g.is_depthwise() => {
                return Self::Depthwise(*g);
            }
            Work::Conv2d(conv @ Convolution { pattern, compact: None, .. }) => {
                // The lanes of a part are those of the batch, with fewer images.
                conv2d_lane_images(cpu, &conv.part(), pattern, packing)
                    .map(|lanes| lanes.map(|lanes| lanes.of_images(conv.g.n)))
            }
            Work::Conv2d(_) | Work::Linear(_) | Work::LayerNorm(..) | Work::GroupNorm(..) => [None; 2],
            Work::PRelu(_) | Work::Plain(_) => [None; 2],
        };
        Self::Between(lanes.map(|lanes| lanes.map_or(ImageLayout::ChannelsLast, ImageLayout::RowLanes)))
    }
}
