//! Resizing layers.

use crate::Result;
use crate::graph::geometry::{checked, image};
use lopper_kernels::shapes::{self, ResizeMode};
use serde::{Deserialize, Serialize};

pub use lopper_kernels::shapes::{Coordinates, Rounding};

/// A resizing of the pixels of `[N, H, W, C]`, separately for each channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resize {
    /// The pixels that an output pixel consists of.
    pub sampling: Sampling,
    /// The size of the output.
    pub size: ResizeSize,
}

/// The pixels that an output pixel of a resizing consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sampling {
    /// The nearest one. PyTorch's `nearest` is asymmetric and rounds down; its `nearest-exact` has half pixels and rounds
    /// halves up.
    Nearest(Coordinates, Rounding),
    /// The four nearest ones, weighted by their distance. PyTorch's `bilinear` has half pixels, unless it aligns corners.
    Bilinear(Coordinates),
}

/// The size of the output of a resizing, `[height, width]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ResizeSize {
    /// This many times the input's.
    Times([usize; 2]),
    /// Always this.
    Fixed([usize; 2]),
}

impl Resize {
    /// PyTorch's `nearest`, to this many times the size.
    pub fn nearest(times: usize) -> Self {
        let sampling = Sampling::Nearest(Coordinates::Asymmetric, Rounding::Floor);
        Self { sampling, size: ResizeSize::Times([times; 2]) }
    }

    /// PyTorch's `bilinear` without aligned corners, to this many times the size.
    pub fn bilinear(times: usize) -> Self {
        Self { sampling: Sampling::Bilinear(Coordinates::HalfPixel), size: ResizeSize::Times([times; 2]) }
    }

    /// The checked geometry for an input `[N, H, W, C]`.
    pub fn geometry(&self, x: &[usize]) -> Result<shapes::Resize> {
        let [n, h, w, c] = image("resize", x)?;
        let [oh, ow] = match self.size {
            ResizeSize::Times([rows, cols]) => [h.saturating_mul(rows), w.saturating_mul(cols)],
            ResizeSize::Fixed(size) => size,
        };
        let mode = match self.sampling {
            Sampling::Nearest(coordinates, rounding) => ResizeMode::Nearest(coordinates, rounding),
            Sampling::Bilinear(coordinates) => ResizeMode::Linear(coordinates),
        };
        checked("resize", shapes::Resize { n, h, w, c, oh, ow, mode }, shapes::Resize::check)
    }
}
