//! The gradient with respect to the weight by Winograd's algorithm: the transpose of the forward pass.
//!
//! The forward pass computes `Aᵀ [(G w Gᵀ) ⊙ (Bᵀ d B)] A` for each tile, which is linear in w. Its transpose maps a
//! tile e of dy back through A, multiplies it by the same transformed patch d of x, and applies Gᵀ once for all tiles:
//!
//! ```text
//!   dw = Gᵀ [Σ_tile (A e Aᵀ) ⊙ (Bᵀ d B)] G
//!
//!   for chunk of tiles, block of up to 64 filters × 96 channels  one task
//!     V[ξ][tile][c] = Bᵀ d B       in panels of up to 48 channels, the tile kernel's B
//!     Y[ξ][tile][o] = A e Aᵀ       in strips of one vector, whose columns are its A
//!     for ξ in 0..36, panel, 8 filters
//!       U[ξ][o][c] += Yᵀ[ξ] · V[ξ]         tile kernel: the reduction runs over tiles
//!     dw = Gᵀ U G
//! ```
//!
//! U of a block stays in the L2 cache and never reaches memory, where U of 512 × 512 channels would take 37 MB. The
//! number of blocks decides where V and Y live:
//!
//! - *Few blocks*, usually with many tiles: each task owns a chunk of the tiles and transforms and multiplies 48 of
//!   them at a time, with V and Y in the cache beside U. The chunks' gradients are then added.
//! - *Many blocks* would each transform the same tiles again. Instead, 64 tiles at a time are transformed once for all
//!   blocks, and each block is a task. V and Y then come from the L3 cache.
//!
//! Blocks, chunks and steps depend only on the shape, so the results are bit-identical for any number of threads.

use super::f4::{FilterGrad, Input, OutputGrad};
use super::patches::{Source, Span, TransformPatches, even_share};
use super::tiling::{PATCH, POINTS, SIDE, SKEW, Tiling, refuses};
use super::transform::{Map, both_sides};
use crate::cpu::Cpu;
use crate::cpu::conv2d::sum_chunks;
use crate::cpu::device::shared::Shared;
use crate::cpu::device::shelf::Workspace;
use crate::cpu::gemm::panels::{Panel, packed_len, split_columns};
use crate::cpu::gemm::tile::{MAX_MR, Rows, Tile};
use crate::cpu::gemm::tile_kernel::Types;
use crate::cpu::simd::{Kernel, Simd};
use crate::shapes::Conv2d;
use bytemuck::cast_slice;
use rayon::prelude::*;
use std::ops::Range;

/// The maximum number of filters and channels per block, whose U takes 864 KiB.
const BLOCK_FILTERS: usize = 64;
const BLOCK_CHANNELS: usize = 96;
/// From this many blocks on, the tiles are transformed once for all blocks.
const MANY_BLOCKS: usize = 8;
/// The maximum number of tiles multiplied at a time if each block transforms its own tiles, and if all blocks share
/// them.
const OWN_STEP: usize = 48;
const COMMON_STEP: usize = 64;
/// The target number of tasks with few blocks, and the minimum number of tiles per task.
const TASKS: usize = 16;
const MIN_CHUNK: usize = 128;

/// Whether Winograd is expected to be faster than the direct product. The maps must fill at least half of their tiles,
/// or the border costs as many multiplications as Winograd saves. It takes 8 channels on either side to outweigh the
/// transforms of x and dy, and 8 tiles to outweigh those of the gradient.
pub(in crate::cpu::conv2d) fn weight_grad_pays(g: &Conv2d) -> bool {
    let tiles = Tiling::F4.tiles(g);
    let filled = 2 * g.n * g.oh() * g.ow() >= tiles * SIDE * SIDE;
    refuses(g).is_none() && filled && g.c.min(g.o) >= 8 && tiles >= 8
}

/// Computes the gradient with respect to the weight: `x` `[N, H, W, C]`, `dy` `[N, OH, OW, O]` → `dw` `[O, 3, 3, C]`.
pub(in crate::cpu::conv2d) fn weight_grad(cpu: &Cpu, g: &Conv2d, x: &[f32], dy: &[f32], dw: &mut [f32]) {
    let map = [g.oh(), g.ow()];
    let tiles = Tiling::F4.tiles(g);
    let many = g.o.div_ceil(BLOCK_FILTERS) * g.c.div_ceil(BLOCK_CHANNELS) >= MANY_BLOCKS;
    // Even, so that panels of eight lanes also begin at cache lines.
    let step = even_share(tiles, if many { COMMON_STEP } else { OWN_STEP }).next_multiple_of(2);
    let zeros = cpu.zeros(g.c.max(g.o));
    let product = WeightGrad {
        cpu,
        g,
        x: Source { data: x, zeros: &zeros, size: [g.h, g.w], channels: g.c, padding: g.padding, map },
        dy: Source { data: dy, zeros: &zeros, size: map, channels: g.o, padding: [0; 2], map },
        filters: Span::divide(g.o, BLOCK_FILTERS, step, |n| strips(cpu, n, step)),
        channels: Span::divide(g.c, BLOCK_CHANNELS, step, |n| {
            split_columns(cpu.backend.tiles(Types::F32), n, step, 0)
        }),
        step,
    };
    if many { product.in_steps(tiles, dw) } else { product.in_chunks(tiles, dw) }
}

struct WeightGrad<'a> {
    cpu: &'a Cpu,
    g: &'a Conv2d,
    x: Source<'a>,
    dy: Source<'a>,
    /// The rows of the blocks; `channels` are their columns.
    filters: Vec<Span>,
    channels: Vec<Span>,
    /// The maximum number of tiles packed at a time.
    step: usize,
}

impl WeightGrad<'_> {
    /// Runs one task for each chunk of the tiles and each block.
    fn in_chunks(&self, tiles: usize, dw: &mut [f32]) {
        let (blocks, len) = (self.filters.len() * self.channels.len(), dw.len());
        let chunks = TASKS.div_ceil(blocks).min(tiles / MIN_CHUNK).max(1);
        let chunk = tiles.div_ceil(chunks);
        let chunks = tiles.div_ceil(chunk);
        let mut scratch = self.cpu.scratch(if chunks > 1 { chunks * len } else { 0 });
        let partial = Shared::new(if chunks > 1 { &mut scratch } else { &mut *dw });
        self.cpu.run(|| {
            (0..chunks * blocks).into_par_iter().with_max_len(1).for_each(|task| {
                let (at, block) = (task / blocks, self.block(task % blocks));
                let tiles = at * chunk..((at + 1) * chunk).min(tiles);
                self.cpu.with_workspace(|workspace| {
                    let u = self.chunk(&block, tiles, workspace);
                    block.finish(self, u, false, partial, at * len);
                });
            });
        });
        if chunks > 1 {
            sum_chunks(self.cpu, &scratch, dw);
        }
    }

    /// Computes U of a block, summed over `tiles`.
    fn chunk<'w>(&self, block: &Block, tiles: Range<usize>, workspace: &'w mut Workspace) -> &'w [f32] {
        let Workspace { rows, out, floats } = workspace;
        let (v_len, y_len) = (block.channels.packed_len(), block.filters.packed_len());
        let floats = Workspace::floats(floats, v_len + y_len + POINTS * block.point_len());
        let (v, rest) = floats.split_at_mut(v_len);
        let (y, u) = rest.split_at_mut(y_len);
        for first in tiles.clone().step_by(self.step) {
            let step = first..(first + self.step).min(tiles.end);
            self.transform::<PATCH, _>(&self.x, Input, block.channels, &step, v);
            self.transform::<SIDE, _>(&self.dy, OutputGrad, block.filters, &step, y);
            block.multiply(step.len(), [&*v, &*y], first > tiles.start, u, rows, out);
        }
        u
    }

    /// For each step of tiles, runs one task per span to transform it, then one task per block.
    fn in_steps(&self, tiles: usize, dw: &mut [f32]) {
        let len = |spans: &[Span]| spans.iter().map(Span::packed_len).sum::<usize>();
        let (v_len, y_len) = (len(&self.channels), len(&self.filters));
        let mut scratch = self.cpu.scratch(v_len + y_len);
        let (v, y) = scratch.split_at_mut(v_len);
        let dw = Shared::new(dw);
        for first in (0..tiles).step_by(self.step) {
            let step = first..(first + self.step).min(tiles);
            self.cpu.run(|| {
                rayon::join(
                    || self.transform_all::<PATCH, _>(&self.x, Input, &self.channels, &step, v),
                    || self.transform_all::<SIDE, _>(&self.dy, OutputGrad, &self.filters, &step, y),
                );
                (0..self.filters.len() * self.channels.len()).into_par_iter().with_max_len(1).for_each(
                    |index| {
                        let block = self.block(index);
                        self.cpu.with_workspace(|Workspace { rows, out, floats }| {
                            let u = Workspace::floats(floats, POINTS * block.point_len());
                            let (v, y) = (&v[block.channels.offset..], &y[block.filters.offset..]);
                            block.multiply(step.len(), [v, y], false, u, rows, out);
                            block.finish(self, u, first > 0, dw, 0);
                        });
                    },
                );
            });
        }
    }

    /// Transforms all spans, one task per span.
    fn transform_all<const N: usize, T: Map<N, PATCH>>(
        &self,
        source: &Source,
        transform: T,
        spans: &[Span],
        tiles: &Range<usize>,
        packed: &mut [f32],
    ) {
        let packed = Shared::new(packed);
        spans.par_iter().with_max_len(1).for_each(|span| {
            // SAFETY: the spans' ranges are disjoint.
            let packed = unsafe { packed.range(span.offset, span.packed_len()) };
            self.transform(source, transform, span, tiles, packed);
        });
    }

    fn transform<const N: usize, T: Map<N, PATCH>>(
        &self,
        source: &Source,
        transform: T,
        span: &Span,
        tiles: &Range<usize>,
        packed: &mut [f32],
    ) {
        self.cpu.dispatch(TransformPatches::<N, T> { source, transform, span, tiles: tiles.clone(), packed });
    }

    fn block(&self, index: usize) -> Block<'_> {
        let (row, column) = (index / self.channels.len(), index % self.channels.len());
        Block { filters: &self.filters[row], channels: &self.channels[column] }
    }
}

/// Strips one vector wide: panels whose columns the tile kernel reads as A.
fn strips(cpu: &Cpu, n: usize, step: usize) -> Vec<Panel> {
    let kernel = &cpu.backend.tiles(Types::F32)[0];
    let strip =
        |start| Panel { start, width: kernel.nr.min(n - start), kernel, offset: start * step, a_offset: 0 };
    (0..n).step_by(kernel.nr).map(strip).collect()
}

/// The part of the gradient that a task computes.
struct Block<'a> {
    filters: &'a Span,
    channels: &'a Span,
}

impl Block<'_> {
    /// The length of a row of U, in floats.
    fn width(&self) -> usize {
        packed_len(&self.channels.panels, 1)
    }

    /// The length of a point of U, in floats.
    fn point_len(&self) -> usize {
        (self.filters.len * self.width() + SKEW).next_multiple_of(16)
    }

    /// Computes `U[ξ] = Yᵀ[ξ] · V[ξ]` over `count` tiles for all points, or `+=` with `accumulate`. `rows` and `out`
    /// are the tile kernel's tables.
    fn multiply(
        &self,
        count: usize,
        [v, y]: [&[f32]; 2],
        accumulate: bool,
        u: &mut [f32],
        rows: &mut Vec<*const f32>,
        out: &mut Vec<usize>,
    ) {
        let (filters, channels) = (self.filters, self.channels);
        let lanes = filters.panels[0].kernel.nr;
        // Register tiles may extend beyond the last filter; they repeat it and do not store the repeats.
        let row = |filter: usize| (filter / lanes, filter % lanes);
        let strips = (0..filters.len + MAX_MR).map(|i| row(i.min(filters.len - 1)));
        rows.clear();
        rows.extend(strips.map(|(strip, lane)| y[filters.panels[strip].offset + lane..].as_ptr()));
        out.clear();
        out.extend((0..filters.len + MAX_MR).map(|filter| filter * self.width()));
        for point in 0..POINTS {
            let v = &v[point * channels.point_len..][..channels.point_len];
            let u = &mut u[point * self.point_len()..][..self.point_len()];
            for panel in &channels.panels {
                let kernel = panel.kernel;
                for filter in (0..filters.len).step_by(kernel.mr) {
                    let rows = Rows {
                        rows: rows[filter..].as_ptr(),
                        segments: 1,
                        len: count,
                        row_stride: MAX_MR,
                        a_offset: point * filters.point_len,
                        a_step: lanes,
                    };
                    let c = u.as_mut_ptr().wrapping_add(panel.start);
                    let size = [kernel.mr.min(filters.len - filter), panel.width];
                    let b = cast_slice(&v[panel.offset..]);
                    let tile = Tile::new(rows, b, c, &out[filter..], size, accumulate);
                    // SAFETY: the kernel comes from a backend that this machine supports. In each point, a strip has
                    // `count` steps of `lanes` filters and a panel of V has `count` rows of NR floats. U has
                    // `filters.len` rows of `width ≥ start + n` floats, and the tables have MAX_MR entries from each
                    // filter on.
                    unsafe { (kernel.run)(&tile) }
                }
            }
        }
    }

    /// Stores the block's part of the gradient that begins at `start` in `dw`, or adds it with `accumulate`.
    fn finish(&self, product: &WeightGrad, u: &[f32], accumulate: bool, dw: Shared, start: usize) {
        let g = product.g;
        product.cpu.dispatch(TransformSums { g, block: self, u, accumulate, dw, start });
    }
}

/// Computes `dw[o][tap][c] = (Gᵀ U G)[tap]` for a block, or `+=` with `accumulate`.
struct TransformSums<'a> {
    g: &'a Conv2d,
    block: &'a Block<'a>,
    u: &'a [f32],
    accumulate: bool,
    dw: Shared<'a>,
    start: usize,
}

impl Kernel for TransformSums<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let &Block { filters, channels } = self.block;
        let (width, point_len) = (self.block.width(), self.block.point_len());
        for o in 0..filters.len {
            for c in (0..channels.len).step_by(S::LANES) {
                let lanes = S::LANES.min(channels.len - c);
                let sums = &self.u[o * width + c..][..(POINTS - 1) * point_len + S::LANES];
                let mut u = [[s.zero(); PATCH]; PATCH];
                for (point, value) in u.as_flattened_mut().iter_mut().enumerate() {
                    // SAFETY: `sums` extends to the end of this vector in the last point.
                    *value = unsafe { s.load(sums.as_ptr().add(point * point_len)) };
                }
                let at = self.start + (filters.first + o) * 9 * self.g.c + channels.first + c;
                for (tap, &value) in both_sides(s, FilterGrad, &u).as_flattened().iter().enumerate() {
                    // SAFETY: each block of each gradient belongs to one task.
                    let dw = unsafe { self.dw.range(at + tap * self.g.c, lanes) };
                    s.put(dw, if self.accumulate { s.add(s.get(dw), value) } else { value });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pays_if_maps_fill_their_tiles() {
        // ResNet-18 at 128 px, batch 16: all convolutions except the 7×7 and the strided ones.
        for (size, channels) in [(32, 64), (16, 128), (8, 256), (4, 512)] {
            assert!(weight_grad_pays(&Conv2d::square([16, size, size, channels], channels, 3, 1, 1)));
        }
        assert!(!weight_grad_pays(&Conv2d::square([16, 2, 2, 512], 512, 3, 1, 1)), "a quarter of each tile");
        assert!(!weight_grad_pays(&Conv2d::square([1, 4, 4, 512], 512, 3, 1, 1)), "a single tile");
        assert!(!weight_grad_pays(&Conv2d::square([16, 32, 32, 64], 64, 3, 2, 1)), "strided");
    }
}
