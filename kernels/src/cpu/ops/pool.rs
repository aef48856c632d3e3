//! Maximum and average pooling over fixed or adaptive windows, and their gradients. `x` is `[N, H, W, C]`, `y` is
//! `[N, OH, OW, C]`.
//!
//! ```text
//! for each output pixel (in parallel over rows, or over images if windows write to overlapping pixels)
//!   for each pixel of its window
//!     for c in 0..C                 contiguous, vectorized; the C results stay in the L1 cache
//! ```

use crate::cpu::Cpu;
use crate::cpu::simd::{Kernel, MAX_LANES, Simd};
use crate::pool_windows::PoolWindows;
use crate::shapes::{AdaptivePool2d, Pool2d};
use rayon::prelude::*;
use std::ops::Range;

/// Computes the maximum of each window; padding never counts.
pub fn max_pool2d_forward(cpu: &Cpu, g: &Pool2d, x: &[f32], y: &mut [f32]) {
    max_forward(cpu, g, x, y);
}

/// Passes each gradient to the window's largest pixel. Ties go to the first pixel in the window.
pub fn max_pool2d_input_grad(cpu: &Cpu, g: &Pool2d, x: &[f32], dy: &[f32], dx: &mut [f32]) {
    max_input_grad(cpu, g, x, dy, dx);
}

/// Computes the mean of each window. With `count_include_pad`, the padding counts as zeros.
pub fn avg_pool2d_forward(cpu: &Cpu, g: &Pool2d, x: &[f32], y: &mut [f32]) {
    avg_forward(cpu, g, x, y);
}

/// Spreads each gradient evenly over its window.
pub fn avg_pool2d_input_grad(cpu: &Cpu, g: &Pool2d, dy: &[f32], dx: &mut [f32]) {
    avg_input_grad(cpu, g, dy, dx);
}

/// Computes the mean of each window.
pub fn adaptive_avg_pool2d_forward(cpu: &Cpu, g: &AdaptivePool2d, x: &[f32], y: &mut [f32]) {
    avg_forward(cpu, g, x, y);
}

/// Spreads each gradient evenly over its window.
pub fn adaptive_avg_pool2d_input_grad(cpu: &Cpu, g: &AdaptivePool2d, dy: &[f32], dx: &mut [f32]) {
    avg_input_grad(cpu, g, dy, dx);
}

/// Computes the maximum of each window.
pub fn adaptive_max_pool2d_forward(cpu: &Cpu, g: &AdaptivePool2d, x: &[f32], y: &mut [f32]) {
    max_forward(cpu, g, x, y);
}

/// Passes each gradient to the window's largest pixel. Ties go to the first pixel in the window.
pub fn adaptive_max_pool2d_input_grad(cpu: &Cpu, g: &AdaptivePool2d, x: &[f32], dy: &[f32], dx: &mut [f32]) {
    max_input_grad(cpu, g, x, dy, dx);
}

/// Computes the maximum of each window; a NaN beats every other value.
fn max_forward(cpu: &Cpu, g: &impl PoolWindows, x: &[f32], y: &mut [f32]) {
    for_each_row(cpu, g, x, y, |image, i, y| cpu.dispatch(MaxRow { g, image, i, y }));
}

/// Computes the mean of each window.
fn avg_forward(cpu: &Cpu, g: &impl PoolWindows, x: &[f32], y: &mut [f32]) {
    for_each_row(cpu, g, x, y, |image, i, y| cpu.dispatch(AvgRow { g, image, i, y }));
}

/// Passes each gradient to the window's largest pixel. Ties go to the first pixel in the window.
fn max_input_grad(cpu: &Cpu, g: &impl PoolWindows, x: &[f32], dy: &[f32], dx: &mut [f32]) {
    assert_eq!(x.len(), g.x_len());
    let image_len = x.len() / g.x_shape()[0];
    for_each_image(cpu, g, dy, dx, |n, dy, dx| {
        let image = &x[n * image_len..][..image_len];
        cpu.dispatch(MaxImageGrad { g, image, dy, dx });
    });
}

/// Spreads each gradient evenly over its window.
fn avg_input_grad(cpu: &Cpu, g: &impl PoolWindows, dy: &[f32], dx: &mut [f32]) {
    for_each_image(cpu, g, dy, dx, |_, dy, dx| cpu.dispatch(AvgImageGrad { g, dy, dx }));
}

/// Calls `row(image, i, y)` for every row `i` of every output image, in parallel.
fn for_each_row(
    cpu: &Cpu,
    g: &impl PoolWindows,
    x: &[f32],
    y: &mut [f32],
    row: impl Fn(&[f32], usize, &mut [f32]) + Send + Sync,
) {
    assert_eq!((x.len(), y.len()), (g.x_len(), g.y_len()));
    let [n, oh, ow, c] = g.y_shape();
    let image_len = x.len() / n;
    cpu.run(|| {
        cpu.divide(y.par_chunks_mut(ow * c).enumerate())
            .for_each(|(r, y)| row(&x[r / oh * image_len..][..image_len], r % oh, y));
    });
}

/// Calls `image(n, dy, dx)` for every image, in parallel.
pub(super) fn for_each_image(
    cpu: &Cpu,
    g: &impl PoolWindows,
    dy: &[f32],
    dx: &mut [f32],
    image: impl Fn(usize, &[f32], &mut [f32]) + Send + Sync,
) {
    assert_eq!((dy.len(), dx.len()), (g.y_len(), g.x_len()));
    let n = g.x_shape()[0];
    let (dy_len, dx_len) = (dy.len() / n, dx.len() / n);
    cpu.run(|| {
        dx.par_chunks_mut(dx_len)
            .zip(dy.par_chunks(dy_len))
            .enumerate()
            .for_each(|(n, (dx, dy))| image(n, dy, dx));
    });
}

/// The ranges of the channels of each pixel of window `(i, j)` in an image `[H, W, C]`.
#[inline(always)]
pub(super) fn taps(g: &impl PoolWindows, i: usize, j: usize) -> impl Iterator<Item = Range<usize>> {
    let [_, _, w, c] = g.x_shape();
    let cols = g.cols(j);
    g.rows(i).flat_map(move |row| cols.clone().map(move |col| (row * w + col) * c..(row * w + col + 1) * c))
}

/// One row of [`max_forward`].
struct MaxRow<'a, W> {
    g: &'a W,
    image: &'a [f32],
    i: usize,
    y: &'a mut [f32],
}

impl<W: PoolWindows> Kernel for MaxRow<'_, W> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let [_, _, w, c] = self.g.x_shape();
        let rows = self.g.rows(self.i);
        for (j, y) in self.y.chunks_exact_mut(c).enumerate() {
            let cols = self.g.cols(j);
            let (whole, rest) = y.as_chunks_mut::<MAX_LANES>();
            for (part, y) in whole.iter_mut().enumerate() {
                // In registers, unlike a result as long as the pixel.
                let mut best = [f32::NEG_INFINITY; MAX_LANES];
                for row in rows.clone() {
                    for col in cols.clone() {
                        let x = &self.image[(row * w + col) * c + part * MAX_LANES..][..MAX_LANES];
                        for lane in 0..MAX_LANES {
                            best[lane] = larger(best[lane], x[lane]);
                        }
                    }
                }
                *y = best;
            }
            rest.fill(f32::NEG_INFINITY);
            let first = c - rest.len();
            for tap in taps(self.g, self.i, j) {
                for (best, &x) in rest.iter_mut().zip(&self.image[tap][first..]) {
                    *best = larger(*best, x);
                }
            }
        }
    }
}

/// `x` if it is larger than `best` or NaN, otherwise `best`.
#[inline(always)]
pub(super) fn larger(best: f32, x: f32) -> f32 {
    if x > best || x.is_nan() { x } else { best }
}

/// One row of [`avg_forward`].
struct AvgRow<'a, W> {
    g: &'a W,
    image: &'a [f32],
    i: usize,
    y: &'a mut [f32],
}

impl<W: PoolWindows> Kernel for AvgRow<'_, W> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        for (j, sum) in self.y.chunks_exact_mut(self.g.x_shape()[3]).enumerate() {
            sum.fill(0.0);
            for tap in taps(self.g, self.i, j) {
                for (sum, &x) in sum.iter_mut().zip(&self.image[tap]) {
                    *sum += x;
                }
            }
            let divisor = self.g.divisor(self.i, j) as f32;
            for sum in sum {
                *sum /= divisor;
            }
        }
    }
}

/// One image of [`max_input_grad`].
struct MaxImageGrad<'a, W> {
    g: &'a W,
    image: &'a [f32],
    dy: &'a [f32],
    dx: &'a mut [f32],
}

impl<W: PoolWindows> Kernel for MaxImageGrad<'_, W> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let [_, _, ow, c] = self.g.y_shape();
        let (mut best, mut winner) = (vec![0.0; c], vec![0u32; c]);
        self.dx.fill(0.0);
        for (pixel, dy) in self.dy.chunks_exact(c).enumerate() {
            let (i, j) = (pixel / ow, pixel % ow);
            best.fill(f32::NEG_INFINITY);
            winner.fill(0);
            for (t, tap) in (0..).zip(taps(self.g, i, j)) {
                for ((best, winner), &x) in best.iter_mut().zip(&mut winner).zip(&self.image[tap]) {
                    let wins = x > *best || x.is_nan();
                    *best = if wins { x } else { *best };
                    *winner = if wins { t } else { *winner };
                }
            }
            for (t, tap) in (0..).zip(taps(self.g, i, j)) {
                for ((dx, &winner), &dy) in self.dx[tap].iter_mut().zip(&winner).zip(dy) {
                    *dx += if winner == t { dy } else { 0.0 };
                }
            }
        }
    }
}

/// One image of [`avg_input_grad`].
struct AvgImageGrad<'a, W> {
    g: &'a W,
    dy: &'a [f32],
    dx: &'a mut [f32],
}

impl<W: PoolWindows> Kernel for AvgImageGrad<'_, W> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let [_, _, ow, c] = self.g.y_shape();
        let mut share = vec![0.0; c];
        self.dx.fill(0.0);
        for (pixel, dy) in self.dy.chunks_exact(c).enumerate() {
            let (i, j) = (pixel / ow, pixel % ow);
            let divisor = self.g.divisor(i, j) as f32;
            for (share, &dy) in share.iter_mut().zip(dy) {
                *share = dy / divisor;
            }
            for tap in taps(self.g, i, j) {
                for (dx, &share) in self.dx[tap].iter_mut().zip(&share) {
                    *dx += share;
                }
            }
        }
    }
}
