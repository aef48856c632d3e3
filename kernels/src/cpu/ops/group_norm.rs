//! Group normalization (Wu & He 2018) of images `x` `[N, P, C]`.
//!
//! ```text
//!   for each image:                                          parallel
//!     for each block of pixels: Σ d, Σ d² of each channel    parallel   reads the image; d = x − the block's first pixel
//!     for each group: mean, variance                                    reads the sums
//!     for each block of pixels: (x − mean)·scale + shift     parallel   reads the image again, writes y
//! ```
//!
//! Loops run along the channels of a pixel, which are contiguous, however few a group has. As in batch norm, a block
//! subtracts its own first pixel, so that the squares have the magnitude of the spread and not of the mean; blocks and
//! channels of a group are combined in `f64` by the formula of Chan, Golub & LeVeque (1983). The variance of a group that is
//! constant is therefore exactly zero.

use crate::cpu::Cpu;
use crate::cpu::ops::columns::{Repeated, Shift, column_sums, map_channels};
use crate::cpu::ops::lanewise::CHUNK;
use crate::cpu::simd::{Kernel, Simd};
use crate::shapes::GroupNorm;
use rayon::prelude::*;
use std::ops::Range;

/// The most pixels of a block: single precision loses few digits in a sum of so many.
const MOST_PIXELS: usize = 256;

/// Pixels that are added together before they are added to the sums.
const TOGETHER: usize = 4;

/// `y = gamma·(x − mean)/√(var + eps) + beta`, with the statistics of each image and group.
pub fn group_norm_forward(cpu: &Cpu, g: &GroupNorm, x: &[f32], [gamma, beta]: [&[f32]; 2], y: &mut [f32]) {
    assert_eq!((x.len(), y.len(), gamma.len(), beta.len()), (g.len(), g.len(), g.c, g.c));
    let (image, len, block) = (g.pixels * g.c, len_of_image(g), block(g));
    let mut scratch = cpu.scratch(group_norm_buffer(g));
    let scratch = &mut scratch[..];
    cpu.run(|| {
        let images = y.par_chunks_mut(image).zip(x.par_chunks(image)).zip(scratch.par_chunks_mut(len));
        cpu.divide(images).for_each(|((y, x), scratch)| {
            let (sums, params) = scratch.split_at_mut(len - PARAMS * g.c);
            sum_blocks(cpu, g, x, sums);
            set_parameters(g, (x, &*sums), [gamma, beta], params);
            let params = &*params;
            cpu.divide(y.par_chunks_mut(block).zip(x.par_chunks(block)))
                .for_each(|(y, x)| cpu.dispatch(Normalize { x, params, y }));
        });
    });
}

/// The floats that [`group_norm_forward`] borrows from the device.
pub fn group_norm_buffer(g: &GroupNorm) -> usize {
    g.n * len_of_image(g)
}

/// Parameters of a channel of an image: the center, the scale and the shift.
const PARAMS: usize = 3;

/// The floats of an image: two sums of each channel and block, and the parameters.
fn len_of_image(g: &GroupNorm) -> usize {
    (2 * (g.pixels * g.c).div_ceil(block(g)) + PARAMS) * g.c
}

/// The floats of a block: whole pixels.
fn block(g: &GroupNorm) -> usize {
    g.c * (CHUNK / g.c).clamp(1, MOST_PIXELS)
}

/// The channels of a group.
fn channels(g: &GroupNorm, group: usize) -> Range<usize> {
    group * g.depth()..(group + 1) * g.depth()
}

/// Sets `sums` `[blocks, 2, C]` to the sums of `d` and of `d²` of each block of an image.
fn sum_blocks(cpu: &Cpu, g: &GroupNorm, x: &[f32], sums: &mut [f32]) {
    let c = g.c;
    cpu.divide(sums.par_chunks_mut(2 * c).zip(x.par_chunks(block(g))))
        .for_each(|(sums, x)| cpu.dispatch(SumBlock { c, x, sums }));
}

struct SumBlock<'a> {
    c: usize,
    x: &'a [f32],
    sums: &'a mut [f32],
}

impl Kernel for SumBlock<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { c, x, sums } = self;
        sums.fill(0.0);
        let (first, (sums, squares)) = (&x[..c], sums.split_at_mut(c));
        let mut rounds = x.chunks_exact(TOGETHER * c);
        for pixels in &mut rounds {
            add_pixels::<TOGETHER>(pixels, first, [&mut *sums, &mut *squares]);
        }
        for pixel in rounds.remainder().chunks_exact(c) {
            add_pixels::<1>(pixel, first, [&mut *sums, &mut *squares]);
        }
    }
}

/// Adds `d` and `d²` of `P` pixels.
#[inline(always)]
fn add_pixels<const P: usize>(pixels: &[f32], first: &[f32], [sums, squares]: [&mut [f32]; 2]) {
    // Slices of equal length let the compiler drop the bounds checks in the loop.
    let c = first.len();
    let mut rows = [first; P];
    rows.iter_mut().zip(pixels.chunks_exact(c)).for_each(|(row, pixel)| *row = &pixel[..c]);
    let (sums, squares) = (&mut sums[..c], &mut squares[..c]);
    for i in 0..c {
        let (mut sum, mut square) = (0.0, 0.0);
        for row in &rows {
            let d = row[i] - first[i];
            sum += d;
            square += d * d;
        }
        sums[i] += sum;
        squares[i] += square;
    }
}

/// What the sums of a channel in a block stand for.
struct Part {
    count: f64,
    first: f64,
    sum: f64,
    squares: f64,
}

/// The mean of `group` in the image `x`, and 1/√(var + eps), from the `sums` of its blocks.
fn statistics(g: &GroupNorm, (x, sums): (&[f32], &[f32]), group: usize) -> [f64; 2] {
    let c = g.c;
    let parts = || {
        sums.chunks_exact(2 * c).zip(x.chunks(block(g))).flat_map(move |(sums, x)| {
            let count = (x.len() / c) as f64;
            channels(g, group).map(move |ch| Part {
                count,
                first: x[ch].into(),
                sum: sums[ch].into(),
                squares: sums[c + ch].into(),
            })
        })
    };
    let covered = g.covered() as f64;
    let mean = parts().map(|part| part.count * part.first + part.sum).sum::<f64>() / covered;
    // Σ(x − mean)² of a part is its spread about its own mean plus count times the squared distance of the two means.
    let squares = parts().map(|Part { count, first, sum, squares }| {
        let offset = sum / count;
        let away = first + offset - mean;
        (squares - sum * offset).max(0.0) + count * away * away
    });
    [mean, (squares.sum::<f64>() / covered + f64::from(g.eps)).sqrt().recip()]
}

/// Sets `params` `[3, C]` such that the norm of the image is `(x − center)·scale + shift`.
fn set_parameters(g: &GroupNorm, image: (&[f32], &[f32]), [gamma, beta]: [&[f32]; 2], params: &mut [f32]) {
    let (center, rest) = params.split_at_mut(g.c);
    let (scale, shift) = rest.split_at_mut(g.c);
    for group in 0..g.groups {
        let [mean, inv] = statistics(g, image, group);
        for ch in channels(g, group) {
            let factor = f64::from(gamma[ch]) * inv;
            (center[ch], scale[ch]) = (mean as f32, factor as f32);
            // With what rounding took from the mean.
            shift[ch] = (f64::from(beta[ch]) + (f64::from(center[ch]) - mean) * factor) as f32;
        }
    }
}

/// Pixels of an image, and the parameters of its channels.
struct Normalize<'a> {
    x: &'a [f32],
    params: &'a [f32],
    y: &'a mut [f32],
}

impl Kernel for Normalize<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { x, params, y } = self;
        let c = params.len() / PARAMS;
        let (center, rest) = params.split_at(c);
        let (scale, shift) = (&rest[..c], &rest[c..][..c]);
        for (x, y) in x.chunks_exact(c).zip(y.chunks_exact_mut(c)) {
            let (x, y) = (&x[..c], &mut y[..c]);
            for i in 0..c {
                y[i] = (x[i] - center[i]) * scale[i] + shift[i];
            }
        }
    }
}

/// The gradients of [`group_norm_forward`]:
///
/// `dbeta = Σ dy`, `dgamma = Σ dy·x̂` over images and pixels; with `g = dy·gamma` and M numbers in a group, `dx = (g − Σ g/M −
/// x̂·Σ g·x̂/M)/√(var + eps)` over the group.
pub fn group_norm_backward(
    cpu: &Cpu,
    g: &GroupNorm,
    x: &[f32],
    gamma: &[f32],
    dy: &[f32],
    dx: &mut [f32],
    [dgamma, dbeta]: [&mut [f32]; 2],
) {
    assert_eq!([x.len(), dy.len(), dx.len()], [g.len(); 3]);
    assert_eq!([gamma.len(), dgamma.len(), dbeta.len()], [g.c; 3]);
    let (image, len) = (g.pixels * g.c, len_of_image(g) - PARAMS * g.c);
    let mut scratch = cpu.scratch(g.n * len);
    let scratch = &mut scratch[..];
    let mut sums = vec![[0.0; 2]; g.n * g.c];
    cpu.run(|| {
        let images = dx.par_chunks_mut(image).zip(x.par_chunks(image)).zip(dy.par_chunks(image));
        images.zip(scratch.par_chunks_mut(len)).zip(sums.par_chunks_mut(g.c)).for_each(
            |((((dx, x), dy), scratch), sums)| {
                sum_blocks(cpu, g, x, scratch);
                backward_of_image(cpu, g, [x, &*scratch, gamma, dy], dx, sums);
            },
        );
    });
    let mut totals = vec![[0.0; 2]; g.c];
    for sums in sums.chunks_exact(g.c) {
        for (total, sums) in totals.iter_mut().zip(sums) {
            *total = [total[0] + sums[0], total[1] + sums[1]];
        }
    }
    for (ch, [slope, shift]) in totals.into_iter().enumerate() {
        (dgamma[ch], dbeta[ch]) = (slope as f32, shift as f32);
    }
}

/// The gradient `dx` of the image `x`, whose blocks have the sums `blocks`, and the `sums` `Σ dy·x̂` and `Σ dy` of its
/// channels.
fn backward_of_image(
    cpu: &Cpu,
    g: &GroupNorm,
    [x, blocks, gamma, dy]: [&[f32]; 4],
    dx: &mut [f32],
    sums: &mut [[f64; 2]],
) {
    let moments: Vec<[f64; 2]> = (0..g.groups).map(|group| statistics(g, (x, blocks), group)).collect();
    let center: Vec<f32> = (0..g.c).map(|ch| moments[ch / g.depth()][0] as f32).collect();
    let totals =
        column_sums(cpu, g.c, Shift::Channels(&center), [x, dy], |center, [x, dy]| [dy, dy * (x - center)])
            .totals();
    let [mut factor, mut slopes, mut shifts] = [(); 3].map(|()| vec![0.0; g.c]);
    for (group, &[mean, inv]) in moments.iter().enumerate() {
        let covered = g.covered() as f64;
        let (mut shift, mut slope) = (0.0, 0.0);
        // x − mean = x − center + lost.
        let lost = f64::from(center[group * g.depth()]) - mean;
        for ch in channels(g, group) {
            let [dy, dy_x] = totals[ch];
            sums[ch] = [(dy_x + lost * dy) * inv, dy];
            shift += f64::from(gamma[ch]) * dy / covered;
            slope += f64::from(gamma[ch]) * sums[ch][0] / covered;
        }
        for ch in channels(g, group) {
            factor[ch] = (f64::from(gamma[ch]) * inv) as f32;
            slopes[ch] = (slope * inv * inv) as f32;
            shifts[ch] = ((shift + slope * lost * inv) * inv) as f32;
        }
    }
    let params = &Repeated::new(g.c, [&center[..], &factor, &slopes, &shifts]);
    map_channels(cpu, params, [dx], [x, dy], |[center, factor, slope, shift], _, [x, dy]| {
        [factor * dy - slope * (x - center) - shift]
    });
}
