//! The algorithms of a convolution, and the reasons why one does not apply.

use super::winograd::{self, Tiling};
use crate::cpu::lanes::{self, Rows};
use crate::pattern::Pattern;
use crate::shapes::Conv2d;
use std::fmt;

/// The algorithm that computes a convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// Performs every multiplication of the definition.
    Direct,
    /// Winograd's F(2×2, 3×3).
    Winograd2,
    /// Winograd's F(4×4, 3×3).
    Winograd4,
    /// Winograd's algorithm along rows, for large strided kernels and few channels: F(4, 3) or F(4, 4).
    WinogradRows,
    /// Row lanes: only the multiplications by nonzero weights, with a list for each filter.
    RowLanes,
}

impl Algorithm {
    /// The algorithms that compute every weight, zero or not.
    pub const DENSE: [Self; 4] = [Self::Direct, Self::Winograd2, Self::Winograd4, Self::WinogradRows];

    /// The tile size, if this is a Winograd algorithm.
    pub(super) fn tiling(self) -> Option<Tiling> {
        match self {
            Self::Direct | Self::WinogradRows | Self::RowLanes => None,
            Self::Winograd2 => Some(Tiling::F2),
            Self::Winograd4 => Some(Tiling::F4),
        }
    }

    /// The reason why this algorithm does not apply to `g` with the zeros of `pattern`, if there is one.
    pub(super) fn refuses(self, g: &Conv2d, pattern: &Pattern) -> Option<&'static str> {
        match self {
            Self::Direct => None,
            Self::Winograd2 | Self::Winograd4 => winograd::refuses(g),
            Self::WinogradRows => winograd::line_refuses(g),
            Self::RowLanes => lanes::refuses(g, pattern),
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Direct => "direct",
            Self::Winograd2 => "F(2×2)",
            Self::Winograd4 => "F(4×4)",
            Self::WinogradRows => "F(1×4)",
            Self::RowLanes => "row lanes",
        })
    }
}

/// The place from which a call reads its weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weights {
    /// Memory: between two calls, a cache's worth of other data evicts the weights.
    Memory,
    /// Cache: an earlier call packed them, and the network is small enough to stay cached.
    Cache,
    /// Packed for this call only, as in training.
    Fresh,
}

/// The algorithms that weights may be packed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// This algorithm if it applies, otherwise direct. The error bound of direct is a quarter of Winograd's, and so is
    /// the size of its packed weights.
    By(Algorithm),
    /// The fastest algorithm if calls read the weights from this place.
    Fastest(Weights),
    /// Row lanes of the images if they apply, otherwise direct: images stay in lanes between this convolution and its
    /// neighbors. Calls read the weights from this place.
    InLanes(Weights),
}

impl Packing {
    /// The rows of lanes of a kernel of one pixel.
    pub(super) fn rows(self) -> Rows {
        if matches!(self, Self::InLanes(_)) { Rows::OfImages } else { Rows::Joined }
    }
}
