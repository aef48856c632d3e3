//! Which source pixel each tap of a window meets, and where the result goes: the geometry that the forward pass
//! and both gradients share.
//!
//! Windows stand on a grid `[n, a, b]`. Tap `t` of window `(a, b)` meets the source pixel
//! `(a · step + taps[t])` and the result belongs to the target pixel `(a · target_step + target_origin)`:
//!
//! - forward: grid = output, `step` = stride, tap offsets `k · dilation − padding`;
//! - input gradient: one grid for each residue of the stride, `step` = 1, the taps that meet this residue.

use crate::shapes::Conv2d;

/// A grid of windows over `[n, source[0], source[1], channels]`.
#[derive(Clone, Copy)]
pub(in crate::cpu) struct Windows<'a> {
    pub n: usize,
    pub grid: [usize; 2],
    pub step: [usize; 2],
    pub taps: &'a [[isize; 2]],
    pub source: [usize; 2],
    pub channels: usize,
    /// Floats that a kernel reads behind each row pointer: a source pixel, or as many adjacent ones as a tap spans.
    ///
    /// This is the length of the row of zeros as well. Taps in the padding point to it, and so do the slots that fill
    /// up a tile behind the last window: kernels read those like any other row and drop what they compute of them.
    pub row_len: usize,
    pub target: [usize; 2],
    pub target_step: [usize; 2],
    pub target_origin: [usize; 2],
    pub target_channels: usize,
}

/// Offset of each tap from the window's origin, `[KH · KW]` pairs.
pub(in crate::cpu) fn tap_offsets(g: &Conv2d) -> Vec<[isize; 2]> {
    let offset = |k: usize, axis: usize| (k * g.dilation[axis]) as isize - g.padding[axis] as isize;
    (0..g.kh * g.kw).map(|t| [offset(t / g.kw, 0), offset(t % g.kw, 1)]).collect()
}

impl<'a> Windows<'a> {
    /// The windows of a forward pass; `taps` are its [`tap_offsets`].
    pub(in crate::cpu) fn forward(g: &Conv2d, taps: &'a [[isize; 2]]) -> Self {
        Self {
            n: g.n,
            grid: [g.oh(), g.ow()],
            step: g.stride,
            taps,
            source: [g.h, g.w],
            channels: g.c,
            row_len: g.c,
            target: [g.oh(), g.ow()],
            target_step: [1; 2],
            target_origin: [0; 2],
            target_channels: g.o,
        }
    }

    /// Windows in all images.
    pub(in crate::cpu) fn count(&self) -> usize {
        self.n * self.grid[0] * self.grid[1]
    }

    /// Calls `visit(p, image, a, b, run)` for each run of windows `first .. first + count` that share a grid row;
    /// `p` counts from zero.
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

    /// Fills `rows[t * stride + p]` with a pointer to the source pixel that tap `t` of window `first + p` meets,
    /// or to `zeros` in the padding; slots from `count` on, up to `stride`, point to `zeros`. [`row_len`](Self::row_len)
    /// floats can be read behind each.
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
                let y = (a * self.step[0]) as isize + tap[0];
                if y < 0 || y >= height {
                    continue;
                }
                // Window `b + i` meets column `x + i · step`: from the first inside the image to the last.
                let (x, step) = ((b * self.step[1]) as isize + tap[1], self.step[1]);
                let inside = |edge: isize| ((edge - x).max(0) as usize).div_ceil(step).min(run);
                let start = ((image as isize * height + y) * width + x) * self.channels as isize;
                let (from, to) = (inside(0), inside(width));
                if from == to {
                    continue;
                }
                let last = start + ((to - 1) * step * self.channels) as isize;
                assert!(last as usize + self.row_len <= source.len(), "a row reaches beyond its image");
                let start = source.as_ptr().wrapping_offset(start);
                for (i, slot) in rows[t * stride + p..][from..to].iter_mut().enumerate() {
                    *slot = start.wrapping_add((from + i) * step * self.channels);
                }
            }
        });
    }

    /// Fills `out` with the offset of the target pixel of each of the windows `first .. first + count`.
    pub(in crate::cpu) fn targets(&self, first: usize, count: usize, out: &mut Vec<usize>) {
        out.clear();
        let ([height, width], [step_y, step_x], [y0, x0]) =
            (self.target, self.target_step, self.target_origin);
        self.for_each_run(first, count, |_, image, a, b, run| {
            let line = (image * height + a * step_y + y0) * width + x0;
            out.extend((b..b + run).map(|b| (line + b * step_x) * self.target_channels));
        });
    }
}
