//! The geometry of windows, shared by the forward pass and both gradients: the source pixel that each tap reads, and
//! the target pixel that gets the result.
//!
//! Windows form a grid `[n, a, b]`. Tap `t` of window `(a, b)` reads the source pixel `(a · step + taps[t])`, counted from
//! [`first_row`](Windows::first_row), and the
//! result belongs to the target pixel `(a · target_step + target_origin)`:
//!
//! - Forward: the grid is the output, `step` is the stride, and tap offsets are `k · dilation − padding`.
//! - Input gradient: one grid per residue of the stride, `step` is 1, and the taps are those that reach this residue.

use super::image_rows::ImageRows;
use crate::shapes::Conv2d;

/// A grid of windows over `[n, source[0], source[1], channels]`.
#[derive(Clone, Copy)]
pub(in crate::cpu) struct Windows<'a> {
    pub n: usize,
    pub grid: [usize; 2],
    pub step: [usize; 2],
    pub taps: &'a [[isize; 2]],
    pub source: [usize; 2],
    /// The source row that a tap of offset zero reads for the first window.
    pub first_row: isize,
    pub channels: usize,
    /// The number of floats readable from each row pointer: a source pixel, or the adjacent pixels that a tap spans.
    ///
    /// This is also the length of the row of zeros. Taps in the padding point to that row, and so do the slots that
    /// fill up a tile after the last window. Kernels read those slots like any other row and discard their results.
    pub row_len: usize,
    pub target: [usize; 2],
    pub target_step: [usize; 2],
    pub target_origin: [usize; 2],
    pub target_channels: usize,
}

/// The offset of each tap from the window's origin, `[KH · KW]` pairs.
pub(in crate::cpu) fn tap_offsets(g: &Conv2d) -> Vec<[isize; 2]> {
    let offset = |k: usize, axis: usize| (k * g.dilation[axis]) as isize - g.padding[axis] as isize;
    (0..g.kh * g.kw).map(|t| [offset(t / g.kw, 0), offset(t % g.kw, 1)]).collect()
}

impl<'a> Windows<'a> {
    /// The windows of a forward pass; `taps` come from [`tap_offsets`].
    pub(in crate::cpu) fn forward(g: &Conv2d, taps: &'a [[isize; 2]]) -> Self {
        Self {
            n: g.n,
            grid: [g.oh(), g.ow()],
            step: g.stride,
            taps,
            source: [g.h, g.w],
            first_row: 0,
            channels: g.c,
            row_len: g.c,
            target: [g.oh(), g.ow()],
            target_step: [1; 2],
            target_origin: [0; 2],
            target_channels: g.o,
        }
    }

    /// The same windows of some rows of the images of `g`.
    pub(in crate::cpu) fn of_rows(self, g: &Conv2d, rows: &ImageRows) -> Self {
        let (grid, source) = ([rows.outputs.len(), g.ow()], [rows.inputs.len(), g.w]);
        Self { grid, source, first_row: rows.origin(g), target: grid, ..self }
    }

    /// The number of windows in all images.
    pub(in crate::cpu) fn count(&self) -> usize {
        self.n * self.grid[0] * self.grid[1]
    }

    /// The length of the target in floats.
    pub(in crate::cpu) fn target_len(&self) -> usize {
        self.n * self.target[0] * self.target[1] * self.target_channels
    }

    /// Whether consecutive windows read consecutive pixels, one each.
    pub(in crate::cpu) fn are_contiguous(&self) -> bool {
        self.taps == [[0; 2]] && self.step == [1; 2] && self.grid == self.source
    }

    /// Divides the windows `first .. first + count` into runs that share a grid row and calls
    /// `visit(p, image, a, b, run)` for each; `p` counts from zero.
    fn for_each_run(
        &self,
        first: usize,
        count: usize,
        mut visit: impl FnMut(usize, usize, usize, usize, usize),
    ) {
        let [height, width] = self.grid;
        let mut p = 0;
        while p < count {
            let window = first + p;
            let (row, b) = (window / width, window % width);
            let run = (width - b).min(count - p);
            visit(p, row / height, row % height, b, run);
            p += run;
        }
    }

    /// Fills `rows[t * stride + p]` with a pointer to the source pixel that tap `t` of window `first + p` reads, or to
    /// `zeros` in the padding. The slots `count..stride` also point to `zeros`. [`row_len`](Self::row_len) floats are
    /// readable from each pointer.
    pub(in crate::cpu) fn rows(
        &self,
        source: &[f32],
        zeros: &[f32],
        first: usize,
        count: usize,
        stride: usize,
        rows: &mut Vec<*const f32>,
    ) {
        assert!(zeros.len() >= self.row_len, "{} zeros stand for rows of {}", zeros.len(), self.row_len);
        rows.clear();
        rows.resize(self.taps.len() * stride, zeros.as_ptr());
        let [height, width] = self.source.map(|size| size as isize);
        self.for_each_run(first, count, |p, image, a, b, run| {
            for (t, tap) in self.taps.iter().enumerate() {
                let y = self.first_row + (a * self.step[0]) as isize + tap[0];
                if y < 0 || y >= height {
                    continue;
                }
                // Window `b + i` reads column `x + i · step`. `from..to` are the windows inside the image.
                let (x, step) = ((b * self.step[1]) as isize + tap[1], self.step[1]);
                let inside = |edge: isize| ((edge - x).max(0) as usize).div_ceil(step).min(run);
                let start = ((image as isize * height + y) * width + x) * self.channels as isize;
                let (from, to) = (inside(0), inside(width));
                if from == to {
                    continue;
                }
                let last = start + ((to - 1) * step * self.channels) as isize;
                assert!(last as usize + self.row_len <= source.len(), "a row extends beyond its image");
                // Sums, because SSE2, for which this is compiled, takes three products for one of 64 bits.
                let distance = step * self.channels;
                let (start, mut pixel) = (source.as_ptr().wrapping_offset(start), from * distance);
                for slot in &mut rows[t * stride + p..][from..to] {
                    *slot = start.wrapping_add(pixel);
                    pixel += distance;
                }
            }
        });
    }

    /// Fills `rows` like [`rows`](Self::rows) for [contiguous](Self::are_contiguous) windows whose pixels are `pixels`.
    pub(in crate::cpu) fn rows_of_pixels(
        &self,
        pixels: &[f32],
        zeros: &[f32],
        stride: usize,
        rows: &mut Vec<*const f32>,
    ) {
        assert!(self.are_contiguous() && self.row_len == self.channels, "one pixel per window");
        assert!(zeros.len() >= self.row_len, "{} zeros stand for rows of {}", zeros.len(), self.row_len);
        rows.clear();
        rows.extend(pixels.chunks_exact(self.channels).map(|pixel| pixel.as_ptr()));
        rows.resize(stride, zeros.as_ptr());
    }

    /// Fills `out` with the offsets of the target pixels of the windows `first .. first + count`.
    pub(in crate::cpu) fn targets(&self, first: usize, count: usize, out: &mut Vec<usize>) {
        out.clear();
        let ([height, width], [step_y, step_x], [y0, x0]) =
            (self.target, self.target_step, self.target_origin);
        self.for_each_run(first, count, |_, image, a, b, run| {
            let line = (image * height + a * step_y + y0) * width + x0;
            let distance = step_x * self.target_channels;
            let mut pixel = (line + b * step_x) * self.target_channels;
            out.extend((0..run).map(|_| {
                pixel += distance;
                pixel - distance
            }));
        });
    }
}
