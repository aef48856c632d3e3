//! What the name of a value stands for while a file is imported.

use super::array::Array;
use super::formula::Formula;
use super::view::{Axis, View};
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
    /// places: a shuffle of channels, if they are joined again.
    Groups {
        /// The image.
        of: View,
        /// The number of groups.
        groups: usize,
        /// Whether they changed places.
        swapped: bool,
    },
    /// A quantized value, with its scale and zero point.
    Quantized(View, [f32; 2]),
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

impl Part {
    /// Whether these are all rows or columns.
    pub fn is_whole(&self) -> bool {
        self.range == (0..self.of.size[self.axis as usize])
    }
}
