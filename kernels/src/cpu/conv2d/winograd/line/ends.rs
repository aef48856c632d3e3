//! The two ends of the algorithm: from rows of pixels to V, and from M to outputs.

use super::super::transform::Map;
use super::shape::{Bands, SIDE};
use crate::cpu::conv2d::Epilogue;
use crate::cpu::device::shared::Shared;
use crate::cpu::simd::activate::Ending;
use crate::cpu::simd::partial::{load_bias, load_lanes};
use crate::cpu::simd::{Kernel, Simd};
use std::ops::Range;

/// Computes `V[ξ][tile][row] = (Bᵀ d)[ξ]` for all tiles of an input row.
pub(super) struct TransformRow<'a, const N: usize, T: Map<N, N>> {
    pub bands: &'a Bands,
    /// The floats of a cell.
    pub cell: usize,
    /// The input row, with zeros in the padding, and room for the rest of a vector.
    pub x: &'a [f32],
    /// The position of the row in the band.
    pub row: usize,
    pub v: &'a mut [f32],
    /// `Bᵀ`.
    pub map: T,
}

impl<const N: usize, T: Map<N, N>> Kernel for TransformRow<'_, N, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (cell, Bands { across, tile: step, .. }) = (self.cell, *self.bands);
        let point = self.bands.point();
        let last_cell = SIDE * (across - 1) + N - 1;
        assert!(self.x.len() >= (last_cell + 1) * cell + S::LANES, "a vector may begin at the last float");
        assert!(self.v.len() >= N * point && (self.row + 1) * cell + S::LANES <= step, "V has the row");
        for tile in 0..across {
            for first in (0..cell).step_by(S::LANES) {
                let mut d = [s.zero(); N];
                for i in 0..N {
                    // SAFETY: the cell is at most `last_cell`, and `first < cell`, so that a vector fits, as asserted.
                    d[i] = unsafe { s.load(self.x.as_ptr().add((SIDE * tile + i) * cell + first)) };
                }
                let d = self.map.apply(s, d);
                for i in 0..N {
                    let at = i * point + tile * step + self.row * cell + first;
                    // The rest of the last vector lies where the next row will be written, or behind the last one.
                    // SAFETY: the vector ends within the tile's `step` floats, as asserted, and V has `N` points of
                    // `across` tiles.
                    unsafe { s.store(self.v.as_mut_ptr().add(at), d[i]) };
                }
            }
        }
    }
}

/// The outputs of a tile.
#[derive(Clone, Copy, Default)]
pub(super) struct Outputs {
    /// The offset of the first one's pixel.
    pub first: usize,
    /// Their number, at most SIDE.
    pub count: usize,
}

/// Computes `y = activation(Aᵀ M + bias + residual)` for some tiles and the filters of a panel.
pub(super) struct TransformOutput<'a, const N: usize, T: Map<N, SIDE>> {
    /// `[N]` points of rows, one for each tile.
    pub m: &'a [f32],
    /// The length of a point, and of a row.
    pub point: usize,
    pub row: usize,
    pub tiles: &'a [Outputs],
    /// The columns of a pixel that are written.
    pub columns: Range<usize>,
    /// The floats of a pixel.
    pub pixel: usize,
    pub epilogue: &'a Epilogue<'a>,
    pub y: Shared<'a>,
    /// `Aᵀ`.
    pub map: T,
}

impl<const N: usize, T: Map<N, SIDE>> Kernel for TransformOutput<'_, N, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let width = self.columns.len();
        assert!(self.m.len() >= N * self.point && self.tiles.len() * self.row <= self.point);
        assert!(width <= self.row && self.columns.end <= self.pixel);
        let Epilogue { bias: biases, residual, activation } = *self.epilogue;
        let ending = Ending::new(activation);
        for column in (0..width).step_by(S::LANES) {
            let (lanes, start) = (S::LANES.min(width - column), self.columns.start + column);
            let bias = load_bias(s, biases, start..start + lanes);
            for (tile, &Outputs { first, count }) in self.tiles.iter().enumerate() {
                let mut m = [s.zero(); N];
                for i in 0..N {
                    let at = i * self.point + tile * self.row + column;
                    // SAFETY: each point has a row for each tile, of at least `column + lanes` floats, as asserted.
                    m[i] = unsafe { load_lanes(s, self.m.as_ptr().add(at), lanes) };
                }
                let values = self.map.apply(s, m);
                for i in 0..SIDE {
                    if i >= count {
                        break;
                    }
                    let at = first + i * self.pixel + start;
                    let mut v = s.add(values[i], bias);
                    if let Some(residual) = residual {
                        v = s.add(v, s.get(&residual[at..at + lanes]));
                    }
                    // SAFETY: each tile of the output belongs to one task.
                    s.put(unsafe { self.y.range(at, lanes) }, ending.in_registers(s, v));
                }
            }
        }
        if ending.is_left() {
            for &Outputs { first, count } in self.tiles {
                for at in (0..count).map(|i| first + i * self.pixel + self.columns.start) {
                    // SAFETY: as above.
                    ending.in_place(s, unsafe { self.y.range(at, width) });
                }
            }
        }
    }
}
