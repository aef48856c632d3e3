//! Transformed filters `U = G g`, packed for the products of all points.

use super::map;
use super::shape::{Bands, LineShape, SIDE};
use crate::cpu::gemm::panels::{Panel, packed_len, split_with_dots};
use crate::cpu::gemm::tile::{MAX_MR, MAX_NR};
use crate::cpu::gemm::tile_kernel::{Order, Types};
use crate::cpu::simd::MAX_LANES;
use crate::cpu::{Cpu, Isa};
use crate::shapes::Conv2d;

/// The most tiles whose products stay in the L1 cache until they are transformed.
pub(super) const CHUNK: usize = 6 * MAX_MR;
/// The number of floats of these products.
const M: usize = 11 << 9;

/// The layout of transformed filters: for each point, the panels of a `[KH cells, filters]` matrix.
pub(in crate::cpu::conv2d) struct LineFilters {
    pub(super) shape: LineShape,
    pub(super) panels: Vec<Panel>,
    /// The length of one point, in floats: whole cache lines.
    pub(super) point: usize,
    name: &'static str,
}

impl LineFilters {
    /// The layout of the filters of `g`.
    pub fn new(cpu: &Cpu, g: &Conv2d) -> Self {
        let shape = LineShape::new(g);
        let panels = split_with_dots(cpu.backend, Types::F32, g.o, [1, shape.reduced()]);
        let point = packed_len(&panels, shape.reduced()).next_multiple_of(16);
        let name = match cpu.isa() {
            Isa::Avx512 => "winograd1x4_avx512",
            Isa::Avx2 => "winograd1x4_avx2",
            Isa::Portable => "winograd1x4_portable",
        };
        Self { shape, panels, point, name }
    }

    /// The name of the kernel.
    pub fn kernel(&self) -> &'static str {
        self.name
    }

    /// The length of all transformed filters, in floats.
    pub fn len(&self) -> usize {
        self.shape.points() * self.point
    }

    /// The number of multiply-accumulates of `g`.
    pub fn products(&self, g: &Conv2d) -> usize {
        let columns = self.panels.iter().map(|panel| panel.width).sum::<usize>();
        self.shape.tiles(g) * self.shape.points() * self.shape.reduced() * columns
    }

    /// The number of tiles of a chunk: whole register tiles.
    pub(super) fn chunk(&self, panel: &Panel) -> usize {
        let [mr, nr] = [panel.kernel.mr, panel.kernel.nr];
        (M / (self.shape.points() * nr)).min(CHUNK) / mr * mr
    }

    /// The lengths of a task's row of input, V, M, and outputs before they are scattered, in floats.
    pub(super) fn lens(&self, g: &Conv2d) -> [usize; 4] {
        let bands = Bands::new(&self.shape, g);
        let (row, points) = (bands.row + MAX_LANES, self.shape.points());
        let lens = [row, points * bands.point(), points * CHUNK * MAX_NR, CHUNK * SIDE * MAX_NR];
        // Whole cache lines.
        lens.map(|len| len.next_multiple_of(16))
    }

    /// The number of floats that a task of `g` needs.
    pub fn workspace(&self, g: &Conv2d) -> usize {
        self.lens(g).iter().sum()
    }

    /// Transforms `w` `[O, KH, KW, C]` into `packed`, which has [`len`](Self::len) floats. The columns are the filters
    /// `live`, or all filters.
    pub fn pack(&self, g: &Conv2d, w: &[f32], live: Option<&[u32]>, packed: &mut [f32]) {
        let LineShape { taps, cell, .. } = self.shape;
        let [reduced, filter] = [self.shape.reduced(), g.w_len() / g.o];
        packed[..self.len()].fill(0.0);
        for panel in &self.panels {
            for column in 0..panel.width {
                let o = live.map_or(panel.start + column, |live| live[panel.start + column] as usize);
                let w = &w[o * filter..][..filter];
                for k in 0..reduced {
                    let (row, at) = (k / cell, k % cell);
                    // Taps beyond the kernel's row are zero.
                    let tap = |tap: usize| {
                        let float = tap * cell + at;
                        if float < g.kw * g.c { f64::from(w[row * g.kw * g.c + float]) } else { 0.0 }
                    };
                    let row_of_taps: [f64; 4] = std::array::from_fn(tap);
                    let place = match panel.kernel.order {
                        Order::Rows => k * panel.kernel.nr + column,
                        Order::Columns => column * reduced + k,
                    };
                    for (point, u) in map::filter(taps, &row_of_taps[..taps]).enumerate() {
                        packed[point * self.point + panel.offset + place] = u as f32;
                    }
                }
            }
        }
    }
}
