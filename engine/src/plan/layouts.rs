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
//! - a convolution in row lanes reads and writes the lanes of its geometry, or channels-last images;
//! - batch norms, activations and sums read and write one layout, and so does a fused sum;
//! - everything else is channels-last.
//!
//! No conversion is inserted: a value that cannot stay in lanes is channels-last, which every kernel reads and writes.

use super::lower::{Op, Value};
use super::work::{Convolution, Plain, Work};
use lopper_kernels::cpu::{Cpu, ImageLayout, Packing, conv2d_lane_images};

/// The layout of each value.
pub(super) struct Layouts(Vec<ImageLayout>);

/// The layouts that an operation can read and write.
enum Possible {
    /// Channels-last images, or these.
    Between([ImageLayout; 2]),
    /// Any, but the same for inputs and output.
    Same,
}

impl Layouts {
    /// Every value of `ops` is channels-last.
    pub fn channels_last(ops: &[Op]) -> Self {
        let values = ops.last().map_or(1, |op| op.output + 1);
        Self(vec![ImageLayout::ChannelsLast; values])
    }

    /// Chooses the layouts for `works`, the work of `ops`, with convolutions packed as `packing` allows.
    pub fn choose(cpu: &Cpu, packing: Packing, ops: &[Op], works: &[Work]) -> Self {
        let possible: Vec<Possible> = works.iter().map(|work| Possible::of(cpu, packing, work)).collect();
        let mut layouts = Self::channels_last(ops);
        // First every value that its writer can leave in lanes …
        for (op, possible) in ops.iter().zip(&possible) {
            layouts.0[op.output] = match possible {
                Possible::Between([_, written]) => *written,
                Possible::Same => layouts.of(op.inputs[0]),
            };
        }
        // … but not the output of the network, what a reader cannot take, and what is tied to those.
        let mut removed: Vec<Value> = ops.last().map(|op| op.output).into_iter().collect();
        let mut tied: Vec<Vec<Value>> = vec![Vec::new(); layouts.0.len()];
        for (op, possible) in ops.iter().zip(&possible) {
            let same = match possible {
                Possible::Between([read, _]) => {
                    removed.extend(op.inputs.iter().filter(|&&value| layouts.of(value) != *read));
                    &op.residual.map_or(vec![], |residual| vec![residual])
                }
                Possible::Same => &op.inputs.iter().copied().chain(op.residual).collect(),
            };
            for &value in same {
                tied[value].push(op.output);
                tied[op.output].push(value);
                if layouts.of(value) != layouts.of(op.output) {
                    removed.extend([value, op.output]);
                }
            }
        }
        while let Some(value) = removed.pop() {
            layouts.0[value] = ImageLayout::ChannelsLast;
            removed
                .extend(tied[value].iter().filter(|&&other| layouts.of(other) != ImageLayout::ChannelsLast));
        }
        layouts
    }

    /// The layout of `value`.
    pub fn of(&self, value: Value) -> ImageLayout {
        self.0[value]
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
    fn of(cpu: &Cpu, packing: Packing, work: &Work) -> Self {
        let lanes = match work {
            Work::BatchNorm(..) | Work::Plain(Plain::Activation(_) | Plain::Add) => return Self::Same,
            Work::Conv2d(Convolution { g, pattern, compact: None, .. }) => {
                conv2d_lane_images(cpu, g, pattern, packing)
            }
            Work::Conv2d(_) | Work::Linear(_) | Work::Plain(_) => [None; 2],
        };
        Self::Between(lanes.map(|lanes| lanes.map_or(ImageLayout::ChannelsLast, ImageLayout::RowLanes)))
    }
}
