//! Image patches, transformed and packed in the order in which the tile kernel reads them. They are one operand of the
//! weight gradient's products, whose reduction runs over tiles.

use super::tiling::{PATCH, POINTS, SIDE, SKEW};
use super::transform::{Map, both_sides};
use crate::cpu::gemm::panels::{Panel, packed_len};
use crate::cpu::simd::partial::load_lanes;
use crate::cpu::simd::{Kernel, Simd};
use std::ops::Range;

/// Images `[N, H, W, channels]` that patches are taken from, one for each 4×4 tile of `map`.
pub(super) struct Source<'a> {
    pub data: &'a [f32],
    /// A pixel of zeros, which stands for pixels outside the image.
    pub zeros: &'a [f32],
    pub size: [usize; 2],
    pub channels: usize,
    pub padding: [usize; 2],
    /// The height and width of the convolution's output.
    pub map: [usize; 2],
}

impl Source<'_> {
    /// The N×N pixels of a tile's patch.
    fn patch<const N: usize>(&self, tile: usize) -> [[*const f32; N]; N] {
        let [down, across] = self.map.map(|size| size.div_ceil(SIDE));
        let (row, column) = (tile / across, tile % across);
        let corner = [row % down * SIDE, column * SIDE];
        pixels(self.data, self.size, self.channels, self.zeros, row / down, corner, self.padding)
    }
}

/// Returns pointers to N×N pixels of an image of `data` `[N, H, W, channels]`, the first of which is at
/// `corner − padding`. Pixels outside the image point to `zeros`. `channels` floats are readable from each pointer.
#[inline(always)]
pub(super) fn pixels<const N: usize>(
    data: &[f32],
    [height, width]: [usize; 2],
    channels: usize,
    zeros: &[f32],
    image: usize,
    corner: [usize; 2],
    padding: [usize; 2],
) -> [[*const f32; N]; N] {
    assert!(zeros.len() >= channels, "{} zeros stand for pixels of {channels}", zeros.len());
    let mut pixels = [[zeros.as_ptr(); N]; N];
    for (dy, pixels) in pixels.iter_mut().enumerate() {
        for (dx, pixel) in pixels.iter_mut().enumerate() {
            let y = (corner[0] + dy).wrapping_sub(padding[0]);
            let x = (corner[1] + dx).wrapping_sub(padding[1]);
            if y < height && x < width {
                *pixel = data[((image * height + y) * width + x) * channels..][..channels].as_ptr();
            }
        }
    }
    pixels
}

/// A range of channels, and the layout of its packed transformed patches: `[ξ][panel][tile][NR]`.
pub(super) struct Span {
    pub first: usize,
    pub len: usize,
    pub panels: Vec<Panel>,
    /// The length of a point, in floats.
    pub point_len: usize,
    /// The offset of this span's points among those of all spans.
    pub offset: usize,
}

impl Span {
    /// Divides `0..n` into spans of at most `most` channels, whose patches are packed `step` tiles at a time.
    pub(super) fn divide(
        n: usize,
        most: usize,
        step: usize,
        panels: impl Fn(usize) -> Vec<Panel>,
    ) -> Vec<Self> {
        let len = even_share(n, most).next_multiple_of(16);
        let mut offset = 0;
        let span = |first: usize| {
            let len = len.min(n - first);
            let panels = panels(len);
            let point_len = (packed_len(&panels, step) + SKEW).next_multiple_of(16);
            let span = Self { first, len, panels, point_len, offset };
            offset += span.packed_len();
            span
        };
        (0..n).step_by(len).map(span).collect()
    }

    /// The length of all points, in floats.
    pub(super) fn packed_len(&self) -> usize {
        POINTS * self.point_len
    }
}

/// Divides `n` into the fewest parts of at most `most`, as evenly as possible, and returns the size of a part.
pub(super) fn even_share(n: usize, most: usize) -> usize {
    n.div_ceil(n.div_ceil(most))
}

/// Transforms a span's channels of the N×N patches of `tiles`: `packed[ξ][panel][tile][0..NR] = T(d)[ξ]`.
pub(super) struct TransformPatches<'a, const N: usize, T> {
    pub source: &'a Source<'a>,
    pub span: &'a Span,
    pub tiles: Range<usize>,
    pub transform: T,
    pub packed: &'a mut [f32],
}

impl<const N: usize, T: Map<N, PATCH>> Kernel for TransformPatches<'_, N, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let point_len = self.span.point_len;
        for (i, tile) in self.tiles.enumerate() {
            let pixels = self.source.patch::<N>(tile);
            for panel in &self.span.panels {
                for column in (0..panel.width).step_by(S::LANES) {
                    let lanes = S::LANES.min(panel.width - column);
                    let channel = self.span.first + panel.start + column;
                    let mut d = [[s.zero(); N]; N];
                    for (d, pixel) in d.as_flattened_mut().iter_mut().zip(pixels.as_flattened()) {
                        // SAFETY: a pixel, whether from the image or from `zeros`, has all channels, including the
                        // `lanes` read here.
                        *d = unsafe { load_lanes(s, pixel.add(channel), lanes) };
                    }
                    let to = panel.offset + i * panel.kernel.nr + column;
                    let to = &mut self.packed[to..][..(POINTS - 1) * point_len + S::LANES];
                    for (point, &value) in both_sides(s, self.transform, &d).as_flattened().iter().enumerate()
                    {
                        // SAFETY: `to` extends to the end of this vector in the last point.
                        unsafe { s.store(to.as_mut_ptr().add(point * point_len), value) };
                    }
                }
            }
        }
    }
}
