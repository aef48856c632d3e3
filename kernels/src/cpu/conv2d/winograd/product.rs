//! The convolution that Winograd's algorithm computes.

use super::filters::{Direction, Filters};
use crate::cpu::conv2d::Epilogue;
use crate::cpu::conv2d::scatter::Scatter;
use crate::shapes::Conv2d;

/// A stride-1 convolution of `source` `[n, h, w, channels]` to `[n, oh, ow, columns]` with transformed filters.
#[derive(Clone, Copy)]
pub struct Winograd<'a> {
    pub n: usize,
    pub source_size: [usize; 2],
    pub target_size: [usize; 2],
    pub channels: usize,
    pub columns: usize,
    pub padding: [usize; 2],
    pub source: &'a [f32],
    pub filters: &'a Filters,
    pub packed: &'a [f32],
    /// A source pixel of zeros, for patches that reach into the padding.
    pub zeros: &'a [f32],
    pub scatter: Option<&'a Scatter>,
    pub epilogue: Epilogue<'a>,
}

impl<'a> Winograd<'a> {
    /// Creates the forward pass of `g`, or its input gradient, for which `source` is dy. With a scatter, `filters`
    /// holds only the live filters.
    pub fn new(
        g: &Conv2d,
        source: &'a [f32],
        filters: &'a Filters,
        packed: &'a [f32],
        zeros: &'a [f32],
        scatter: Option<&'a Scatter>,
        epilogue: Epilogue<'a>,
    ) -> Self {
        let (n, image, map) = (g.n, [g.h, g.w], [g.oh(), g.ow()]);
        let (source_size, target_size, channels, padding) = match filters.direction {
            Direction::Forward => (image, map, g.c, g.padding),
            Direction::InputGrad => (map, image, g.o, g.padding.map(|p| 2 - p)),
        };
        Self {
            n,
            source_size,
            target_size,
            channels,
            columns: filters.columns(),
            padding,
            source,
            filters,
            packed,
            zeros,
            scatter,
            epilogue,
        }
    }

    /// The number of tiles in the target.
    pub fn tiles(&self) -> usize {
        self.n * self.tiles_down() * self.tiles_across()
    }

    pub fn side(&self) -> usize {
        self.filters.tiling.side()
    }

    pub fn tiles_down(&self) -> usize {
        self.target_size[0].div_ceil(self.side())
    }

    pub fn tiles_across(&self) -> usize {
        self.target_size[1].div_ceil(self.side())
    }

    /// A tile's image, and its first row and column in the target.
    pub fn position(&self, tile: usize) -> (usize, usize, usize) {
        let (row, across) = (tile / self.tiles_across(), tile % self.tiles_across());
        (row / self.tiles_down(), row % self.tiles_down() * self.side(), across * self.side())
    }
}
