//! The rows of images that a convolution computes, and those that it computes them from.
//!
//! ```text
//!   x   rows 5 … 10 of each image      inputs: what the outputs read, without the padding, or more
//!   y   rows 6 …  9                    outputs
//! ```

use crate::shapes::Conv2d;
use std::ops::Range;

/// Rows of images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cpu) struct ImageRows {
    /// The rows of each image's output, in the order of which `y` consists.
    pub outputs: Range<usize>,
    /// The rows of each image, of which `x` consists.
    pub inputs: Range<usize>,
}

impl ImageRows {
    /// All rows of the images of `g`.
    pub fn all(g: &Conv2d) -> Self {
        Self { outputs: 0..g.oh(), inputs: 0..g.h }
    }

    /// The row of the inputs that a tap of offset zero reads for the first output. It may lie above or below them.
    pub fn origin(&self, g: &Conv2d) -> isize {
        (self.outputs.start * g.stride[0]) as isize - self.inputs.start as isize
    }

    /// The images whose outputs are these rows of the images of `g`. Where they have padding, the rows may have inputs.
    pub fn image(&self, g: &Conv2d) -> Conv2d {
        if *self == Self::all(g) {
            return *g;
        }
        let read = (self.outputs.len().max(1) - 1) * g.stride[0] + (g.kh - 1) * g.dilation[0] + 1;
        Conv2d { h: read.saturating_sub(2 * g.padding[0] + g.extra_padding[0]), ..*g }
    }
}
