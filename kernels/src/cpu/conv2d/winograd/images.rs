//! The two ends of Winograd's algorithm: from the image to V, and from M to the image.

use super::pass::Pass;
use super::patches::pixels;
use super::tiling::{Tiling, padded};
use super::transform::{Map, both_sides};
use crate::cpu::Cpu;
use crate::cpu::conv2d::Epilogue;
use crate::cpu::conv2d::scatter::Scatter;
use crate::cpu::device::shared::Shared;
use crate::cpu::gemm::tile::load_lanes;
use crate::cpu::simd::activate::activate;
use crate::cpu::simd::{Kernel, Simd};
use std::ops::Range;

/// The number of pixels in the largest tile.
const MAX_TILE: usize = Tiling::F4.side() * Tiling::F4.side();

/// Computes `V[ξ][tile][c] = (Bᵀ d B)[ξ]` for each patch; pixels outside the image are zero.
pub(super) struct TransformInput<'a, const PATCH: usize, T: Map<PATCH, PATCH>> {
    pub pass: &'a Pass<'a>,
    pub tiles: Range<usize>,
    /// `Bᵀ`.
    pub map: T,
}

impl<const PATCH: usize, T: Map<PATCH, PATCH>> Kernel for TransformInput<'_, PATCH, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (pass, p) = (self.pass, self.pass.product);
        for tile in self.tiles {
            let (image, row, column) = p.position(pass.first + tile);
            let corner = [row, column];
            let pixels: [[_; PATCH]; PATCH] =
                pixels(p.source, p.source_size, p.channels, p.zeros, image, corner, p.padding);
            let v = pass.v.as_mut_ptr().wrapping_add(tile * padded(p.channels));
            for c in (0..p.channels).step_by(S::LANES) {
                let lanes = S::LANES.min(p.channels - c);
                let mut d = [[s.zero(); PATCH]; PATCH];
                for (d, pixel) in d.as_flattened_mut().iter_mut().zip(pixels.as_flattened()) {
                    // SAFETY: a pixel, whether from the source or from `zeros`, has `channels ≥ c + lanes` floats.
                    *d = unsafe { load_lanes(s, pixel.add(c), lanes) };
                }
                for (point, &value) in both_sides(s, self.map, &d).as_flattened().iter().enumerate() {
                    // SAFETY: V has rows of at least `c + LANES` floats for each point and tile, and only this task
                    // writes this tile.
                    unsafe { s.store(v.add(point * pass.v_point + c), value) };
                }
            }
        }
    }
}

/// Computes `y = activation(Aᵀ M A + bias + residual)` for each tile, clipped to the target.
pub(super) struct TransformOutput<'a, const PATCH: usize, const SIDE: usize, T: Map<PATCH, SIDE>> {
    pub cpu: &'a Cpu,
    pub pass: &'a Pass<'a>,
    pub tiles: Range<usize>,
    pub y: Shared<'a>,
    /// `Aᵀ`.
    pub map: T,
}

impl<const PATCH: usize, const SIDE: usize, T: Map<PATCH, SIDE>> Kernel
    for TransformOutput<'_, PATCH, SIDE, T>
{
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (pass, p) = (self.pass, self.pass.product);
        let [height, width] = p.target_size;
        let row_len = p.scatter.map_or(p.columns, Scatter::width);
        // Holds the pixels of a tile before they are scattered.
        let mut computed = p.scatter.map(|_| self.cpu.scratch(SIDE * SIDE * p.columns));
        for tile in self.tiles {
            let (image, row, column) = p.position(pass.first + tile);
            let (down, across) = (SIDE.min(height - row), SIDE.min(width - column));
            let mut pixels = [0; MAX_TILE];
            for i in 0..down * across {
                pixels[i] = ((image * height + row + i / across) * width + column + i % across) * row_len;
            }
            let pixels = &pixels[..down * across];
            let sums = pass.m.as_mut_ptr().cast_const().wrapping_add(tile * padded(p.columns));
            for o in (0..p.columns).step_by(S::LANES) {
                let lanes = S::LANES.min(p.columns - o);
                let mut m = [[s.zero(); PATCH]; PATCH];
                for (point, value) in m.as_flattened_mut().iter_mut().enumerate() {
                    // SAFETY: M has `columns ≥ o + lanes` floats for each point and tile.
                    *value = unsafe { load_lanes(s, sums.add(point * pass.m_point + o), lanes) };
                }
                let values = both_sides(s, self.map, &m);
                for (i, &pixel) in pixels.iter().enumerate() {
                    let value = values[i / across][i % across];
                    if let Some(computed) = &mut computed {
                        s.put(&mut computed[i * p.columns + o..][..lanes], value);
                        continue;
                    }
                    // SAFETY: each tile of the target belongs to one task.
                    let y = unsafe { self.y.range(pixel + o, lanes) };
                    s.put(y, finish(s, &p.epilogue, value, o, pixel + o, lanes));
                }
            }
            if let (Some(scatter), Some(computed)) = (p.scatter, &computed) {
                let rows = computed.chunks_exact(p.columns);
                scatter.expand(self.cpu, 0..p.columns, pixels, rows, &p.epilogue, self.y);
            }
        }
    }
}

/// `activation(value + bias[column..] + residual[at..])`.
#[inline(always)]
pub(super) fn finish<S: Simd>(s: S, epilogue: &Epilogue, value: S::F, column: usize, at: usize, lanes: usize) -> S::F {
    let mut value = value;
    if let Some(bias) = epilogue.bias {
        value = s.add(value, s.get(&bias[column..column + lanes]));
    }
    if let Some(residual) = epilogue.residual {
        value = s.add(value, s.get(&residual[at..at + lanes]));
    }
    activate(s, epilogue.activation, value)
}
