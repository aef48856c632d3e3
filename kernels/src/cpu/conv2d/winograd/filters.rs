//! Transformed filters `U = G g Gᵀ`, packed for the 36 products.

use super::{POINTS, SKEW, transform};
use crate::cpu::Cpu;
use crate::cpu::panels::{Panel, packed_len, split_columns};
use crate::cpu::scratch::Shared;
use crate::cpu::simd::{Kernel, MAX_LANES, Simd};
use crate::shapes::Conv2d;
use rayon::prelude::*;

/// Which convolution the filters are for.
#[derive(Clone, Copy, PartialEq)]
pub(in crate::cpu::conv2d) enum Direction {
    /// `C` is reduced, columns are filters.
    Forward,
    /// `O` is reduced, columns are input channels, taps are rotated by half a turn.
    InputGrad,
}

/// The layout of transformed filters: for each of the 36 points the panels of a `[reduced, columns]` matrix.
pub(in crate::cpu::conv2d) struct Filters {
    pub(super) direction: Direction,
    pub(super) panels: Vec<Panel>,
    /// Floats of one point.
    pub(super) point_len: usize,
}

impl Filters {
    pub(in crate::cpu::conv2d) fn new(cpu: &Cpu, g: &Conv2d, direction: Direction) -> Self {
        let (reduced, columns) = match direction {
            Direction::Forward => (g.c, g.o),
            Direction::InputGrad => (g.o, g.c),
        };
        let panels = split_columns(cpu.backend, columns, reduced, 0);
        let point_len = packed_len(&panels, reduced) + SKEW;
        Self { direction, panels, point_len }
    }

    /// Columns of the product.
    pub(super) fn columns(&self) -> usize {
        self.panels.last().map_or(0, |panel| panel.start + panel.width)
    }

    /// Products of a tile.
    pub(in crate::cpu::conv2d) fn products(&self, reduced: usize) -> usize {
        POINTS * reduced * self.columns()
    }

    /// Floats of all transformed filters.
    pub(in crate::cpu::conv2d) fn len(&self) -> usize {
        POINTS * self.point_len
    }

    /// Transforms `w` `[O, 3, 3, C]` into `packed`, of [`len`](Self::len) floats.
    pub(in crate::cpu::conv2d) fn pack(&self, cpu: &Cpu, g: &Conv2d, w: &[f32], packed: &mut [f32]) {
        let (direction, point_len, packed) = (self.direction, self.point_len, Shared::new(packed));
        cpu.run(|| {
            self.panels.par_iter().for_each(|panel| {
                cpu.dispatch(TransformFilters { g, w, direction, panel, point_len, packed });
            });
        });
    }

    /// The algorithm with the tile kernel of its products.
    pub(in crate::cpu::conv2d) fn kernel(&self) -> &'static str {
        match self.panels[0].kernel.name {
            "gemm_8x48_avx512" => "winograd_8x48_avx512",
            "gemm_8x32_avx512" => "winograd_8x32_avx512",
            "gemm_8x16_avx512" => "winograd_8x16_avx512",
            "gemm_6x16_avx2" => "winograd_6x16_avx2",
            "gemm_6x8_avx2" => "winograd_6x8_avx2",
            _ => "winograd_4x8_portable",
        }
    }
}

/// Transforms the filters of one panel.
struct TransformFilters<'a> {
    g: &'a Conv2d,
    w: &'a [f32],
    direction: Direction,
    panel: &'a Panel,
    point_len: usize,
    packed: Shared<'a>,
}

impl Kernel for TransformFilters<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (nr, width) = (self.panel.kernel.nr, self.panel.width);
        let reduced = match self.direction {
            Direction::Forward => self.g.c,
            Direction::InputGrad => self.g.o,
        };
        for k in 0..reduced {
            for column in (0..nr).step_by(S::LANES) {
                let lanes = S::LANES.min(width.saturating_sub(column));
                let taps = self.taps(s, k, self.panel.start + column, lanes);
                for (point, &values) in transform::filter(s, &taps).as_flattened().iter().enumerate() {
                    let at = point * self.point_len + self.panel.offset + k * nr + column;
                    // SAFETY: each panel's part of each point is written by its own task.
                    s.put(unsafe { self.packed.range(at, S::LANES) }, values);
                }
            }
        }
    }
}

impl TransformFilters<'_> {
    /// The nine taps between reduced channel `k` and `lanes` columns; the other lanes are zero.
    #[inline(always)]
    fn taps<S: Simd>(&self, s: S, k: usize, column: usize, lanes: usize) -> [[S::F; 3]; 3] {
        let c = self.g.c;
        let mut taps = [[s.zero(); 3]; 3];
        for (t, tap) in taps.as_flattened_mut().iter_mut().enumerate() {
            *tap = match self.direction {
                Direction::Forward => {
                    let mut values = [0.0; MAX_LANES];
                    for i in 0..lanes {
                        values[i] = self.w[((column + i) * 9 + t) * c + k];
                    }
                    s.get(&values)
                }
                Direction::InputGrad => s.get(&self.w[(k * 9 + 8 - t) * c..][..c][column.min(c)..][..lanes]),
            };
        }
        taps
    }
}
