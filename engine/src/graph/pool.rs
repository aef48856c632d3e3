//! Pooling layers: what is computed over each window, and which windows there are.

use crate::Result;
use crate::graph::geometry::{adaptive_geometry, checked, image};
use lopper_kernels::shapes::{AdaptivePool2d, Pool2d};
use serde::{Deserialize, Serialize};

/// A pooling of the pixels of `[N, H, W, C]`, separately for each channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pool {
    /// The value of a window.
    pub kind: PoolKind,
    /// The windows.
    pub window: Window,
}

/// The value that a pooling computes over a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PoolKind {
    /// The maximum of the pixels; padding never counts.
    Max,
    /// The mean of the pixels.
    Average,
}

/// The windows of a pooling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Window {
    /// Windows of a fixed size at fixed steps.
    Fixed(FixedWindow),
    /// As many windows as the given `[height, width]`, which divide the image as evenly as possible.
    Adaptive([usize; 2]),
    /// One window, the whole image.
    Global,
}

/// Windows of a fixed size at fixed steps; see [`Pool2d`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FixedWindow {
    /// Window size, `[height, width]`.
    pub kernel: [usize; 2],
    /// Stride between windows.
    pub stride: [usize; 2],
    /// Padding on each side.
    pub padding: [usize; 2],
    /// Whether to round the output size up.
    pub ceil_mode: bool,
    /// For average pooling, whether to divide by the whole window size, including padding.
    pub count_include_pad: bool,
}

impl FixedWindow {
    /// A square window.
    pub fn square(kernel: usize, stride: usize, padding: usize) -> Self {
        Self {
            kernel: [kernel; 2],
            stride: [stride; 2],
            padding: [padding; 2],
            ceil_mode: false,
            count_include_pad: true,
        }
    }

    /// The checked geometry for an input `[N, H, W, C]`.
    pub fn geometry(&self, x: &[usize]) -> Result<Pool2d> {
        let [n, h, w, c] = image("pool", x)?;
        let Self { kernel, stride, padding, ceil_mode, count_include_pad } = *self;
        checked(
            "pool",
            Pool2d { n, h, w, c, kernel, stride, padding, ceil_mode, count_include_pad },
            Pool2d::check,
        )
    }
}

impl From<FixedWindow> for Window {
    fn from(window: FixedWindow) -> Self {
        Self::Fixed(window)
    }
}

/// The geometry of a pooling of an image of known size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolGeometry {
    /// Of [`Window::Fixed`].
    Fixed(Pool2d),
    /// Of the other windows.
    Adaptive(AdaptivePool2d),
}

impl PoolGeometry {
    /// `[N, H, W, C]`.
    pub fn x_shape(&self) -> [usize; 4] {
        match *self {
            Self::Fixed(Pool2d { n, h, w, c, .. }) => [n, h, w, c],
            Self::Adaptive(AdaptivePool2d { n, h, w, c, .. }) => [n, h, w, c],
        }
    }

    /// `[N, OH, OW, C]`.
    pub fn y_shape(&self) -> [usize; 4] {
        match self {
            Self::Fixed(g) => g.y_shape(),
            Self::Adaptive(g) => g.y_shape(),
        }
    }
}

impl Pool {
    /// Max pooling over `window`.
    pub fn max(window: impl Into<Window>) -> Self {
        Self { kind: PoolKind::Max, window: window.into() }
    }

    /// Average pooling over `window`.
    pub fn average(window: impl Into<Window>) -> Self {
        Self { kind: PoolKind::Average, window: window.into() }
    }

    /// The kind of layer, for tables and messages.
    pub fn name(&self) -> &'static str {
        match (self.kind, self.window) {
            (PoolKind::Max, Window::Fixed(_)) => "max pool",
            (PoolKind::Max, Window::Adaptive(_)) => "adaptive max pool",
            (PoolKind::Max, Window::Global) => "global max pool",
            (PoolKind::Average, Window::Fixed(_)) => "avg pool",
            (PoolKind::Average, Window::Adaptive(_)) => "adaptive avg pool",
            (PoolKind::Average, Window::Global) => "global avg pool",
        }
    }

    /// Whether the zeros of the padding change the value of a window.
    pub fn reads_padding(&self) -> bool {
        match (self.kind, self.window) {
            (PoolKind::Average, Window::Fixed(window)) => {
                window.count_include_pad && window.padding != [0, 0]
            }
            _ => false,
        }
    }

    /// The output size `[height, width]`, if it does not depend on the image.
    pub fn output_size(&self) -> Option<[usize; 2]> {
        match self.window {
            Window::Fixed(_) => None,
            Window::Adaptive(size) => Some(size),
            Window::Global => Some([1, 1]),
        }
    }

    /// The checked geometry for an input `[N, H, W, C]`.
    pub fn geometry(&self, x: &[usize]) -> Result<PoolGeometry> {
        match self.window {
            Window::Fixed(window) => window.geometry(x).map(PoolGeometry::Fixed),
            Window::Adaptive(size) => adaptive_geometry(x, size).map(PoolGeometry::Adaptive),
            Window::Global => adaptive_geometry(x, [1, 1]).map(PoolGeometry::Adaptive),
        }
    }
}
