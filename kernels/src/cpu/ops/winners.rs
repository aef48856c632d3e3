//! Maximum pooling that remembers which pixel of each window won, for training.
//!
//! ```text
//! forward:   y[i, j, c] = max over the window's pixels t,  winners[i, j, c] = the first t that has it
//! backward:  dx[pixel t of window (i, j), c] += dy[i, j, c]  if winners[i, j, c] == t
//! ```
//!
//! The forward pass compares every pixel anyway, and noting the winner costs one more selection. The backward pass then
//! reads neither `x` nor compares again. A winner is a small whole number, stored as f32 so that it lies in a tensor
//! and is selected in the same vectors as the values. It is the number of the pixel among those of the window that lie
//! in the image, in order.

use super::pool::{for_each_image, taps};
use crate::cpu::Cpu;
use crate::cpu::simd::{Kernel, Simd};
use crate::pool_windows::PoolWindows;
use crate::shapes::{AdaptivePool2d, Pool2d};
use rayon::prelude::*;

/// Computes the maximum of each window, as [`max_pool2d_forward`](super::pool::max_pool2d_forward), and its winner.
/// `x` `[N, H, W, C]` → `y` and `winners` `[N, OH, OW, C]`.
pub fn max_pool2d_with_winners(cpu: &Cpu, g: &Pool2d, x: &[f32], y: &mut [f32], winners: &mut [f32]) {
    forward(cpu, g, x, y, winners);
}

/// Passes each gradient to its window's winner. `dy` and `winners` `[N, OH, OW, C]` → `dx` `[N, H, W, C]`.
pub fn max_pool2d_winners_grad(cpu: &Cpu, g: &Pool2d, winners: &[f32], dy: &[f32], dx: &mut [f32]) {
    backward(cpu, g, winners, dy, dx);
}

/// [`max_pool2d_with_winners`] for adaptive windows.
pub fn adaptive_max_pool2d_with_winners(
    cpu: &Cpu,
    g: &AdaptivePool2d,
    x: &[f32],
    y: &mut [f32],
    winners: &mut [f32],
) {
    forward(cpu, g, x, y, winners);
}

/// [`max_pool2d_winners_grad`] for adaptive windows.
pub fn adaptive_max_pool2d_winners_grad(
    cpu: &Cpu,
    g: &AdaptivePool2d,
    winners: &[f32],
    dy: &[f32],
    dx: &mut [f32],
) {
    backward(cpu, g, winners, dy, dx);
}

fn forward(cpu: &Cpu, g: &impl PoolWindows, x: &[f32], y: &mut [f32], winners: &mut [f32]) {
    assert_eq!((x.len(), y.len(), winners.len()), (g.x_len(), g.y_len(), g.y_len()));
    let [n, oh, ow, c] = g.y_shape();
    let image_len = x.len() / n;
    cpu.run(|| {
        y.par_chunks_mut(ow * c).zip(winners.par_chunks_mut(ow * c)).enumerate().for_each(
            |(row, (y, winners))| {
                let image = &x[row / oh * image_len..][..image_len];
                cpu.dispatch(Row { g, image, i: row % oh, y, winners });
            },
        );
    });
}

fn backward(cpu: &Cpu, g: &impl PoolWindows, winners: &[f32], dy: &[f32], dx: &mut [f32]) {
    assert_eq!(winners.len(), g.y_len());
    let image_len = winners.len() / g.x_shape()[0];
    for_each_image(cpu, g, dy, dx, |n, dy, dx| {
        let winners = &winners[n * image_len..][..image_len];
        cpu.dispatch(ImageGrad { g, winners, dy, dx });
    });
}

/// One row of the maxima of an image.
struct Row<'a, W> {
    g: &'a W,
    image: &'a [f32],
    i: usize,
    y: &'a mut [f32],
    winners: &'a mut [f32],
}

impl<W: PoolWindows> Kernel for Row<'_, W> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let c = self.g.x_shape()[3];
        let pixels = self.y.chunks_exact_mut(c).zip(self.winners.chunks_exact_mut(c));
        for (j, (best, winner)) in pixels.enumerate() {
            best.fill(f32::NEG_INFINITY);
            winner.fill(0.0);
            for (t, tap) in taps(self.g, self.i, j).enumerate() {
                let t = t as f32;
                for ((best, winner), &x) in best.iter_mut().zip(&mut *winner).zip(&self.image[tap]) {
                    let wins = x > *best || x.is_nan();
                    *best = if wins { x } else { *best };
                    *winner = if wins { t } else { *winner };
                }
            }
        }
    }
}

/// The gradient of one image.
struct ImageGrad<'a, W> {
    g: &'a W,
    winners: &'a [f32],
    dy: &'a [f32],
    dx: &'a mut [f32],
}

impl<W: PoolWindows> Kernel for ImageGrad<'_, W> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let [_, _, ow, c] = self.g.y_shape();
        self.dx.fill(0.0);
        for (pixel, (dy, winners)) in self.dy.chunks_exact(c).zip(self.winners.chunks_exact(c)).enumerate() {
            for (t, tap) in taps(self.g, pixel / ow, pixel % ow).enumerate() {
                let t = t as f32;
                for ((dx, &winner), &dy) in self.dx[tap].iter_mut().zip(winners).zip(dy) {
                    *dx += if winner == t { dy } else { 0.0 };
                }
            }
        }
    }
}
