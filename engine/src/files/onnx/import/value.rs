//! What the name of a value stands for while a file is imported.

use super::array::Array;
use super::formula::Formula;
use super::view::{Axis, View};
use crate::Tensor;
use crate::graph::pool::PoolKind;
use std::ops::Range;

/// A value of an ONNX graph.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// The output of a node.
    Computed(View),
    /// A constant.
    Constant(Array),
    /// A function of a value that is not a layer yet, and the name of the node that it came from.
    Formula(View, Formula, String),
    /// An image whose channels were divided into groups, `[N, G, C / G, H, W]`, or `[N, C / G, G, H, W]` once they changed
    /// places: a shuffle of channels, if they are joined again. An instance norm of `G` groups is a group norm.
    Groups {
        /// The image.
        of: View,
        /// The number of groups.
        groups: usize,
        /// Whether they changed places.
        swapped: bool,
        /// Whether the axes behind the groups are one, `[N, G, C / G · H · W]`.
        flat: bool,
    },
    /// A quantized value, with its scales and zero points.
    Quantized(View, Scales),
    /// Some rows or columns of an image: a window of an adaptive pool, if it is reduced next.
    Window(Part),
    /// The maximum or mean of such a window.
    Pooled(PoolKind, Part),
    /// The result of a node that is not understood.
    Unknown,
}

/// Some rows or columns of an image.
#[derive(Clone, Debug)]
pub(super) struct Part {
    /// The image.
    pub of: View,
    /// [`Axis::H`] for rows, [`Axis::W`] for columns.
    pub axis: Axis,
    /// Which ones.
    pub range: Range<usize>,
}

/// How numbers were quantized: `q = round(x / scale) + zero`.
#[derive(Clone, Debug)]
pub(super) struct Scales {
    /// A number for all values, or one for each position along `axis`.
    pub scale: Tensor,
    /// As many zero points.
    pub zero: Tensor,
    /// An axis of ONNX's shape, the batch included; 0 if there is one scale.
    pub axis: usize,
}

impl Scales {
    /// Whether numbers that were quantized by one are restored by the other.
    pub fn undo(&self, other: &Self) -> bool {
        let same = |a: &Tensor, b: &Tensor| a.data() == b.data();
        self.axis == other.axis && same(&self.scale, &other.scale) && same(&self.zero, &other.zero)
    }
}

impl Part {
    /// Whether these are all rows or columns.
    pub fn is_whole(&self) -> bool {
        self.cuts() == [0; 4]
    }

    /// What is cut off the image, `[top, left, bottom, right]`.
    pub fn cuts(&self) -> [usize; 4] {
        let (front, behind) = (self.range.start, self.of.size[self.axis as usize] - self.range.end);
        match self.axis {
            Axis::H => [front, 0, behind, 0],
            _ => [0, front, 0, behind],
        }
    }
}
