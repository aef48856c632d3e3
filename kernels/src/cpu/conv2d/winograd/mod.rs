//! Winograd convolution F(m×m, 3×3): computes a 3×3 convolution of stride 1 with 1/4 of the multiplications for m = 4
//! and 4/9 for m = 2.
//!
//! ```text
//!  V[ξ][tile][c] = Bᵀ d B       of each input patch of (m + 2)², vectors along c
//!  for ξ in 0..(m + 2)², panel of up to 48 columns
//!    M[ξ][tile][o] = V[ξ] · U[ξ]      tile kernel; U = G g Gᵀ was packed once
//!  y = Aᵀ M A                   of each output tile of m², with bias, residual and activation
//! ```
//!
//! If U is small, each task takes 32 tiles through all three steps, and V and M stay in its L2 cache together with U.
//! If U is larger than that cache, or if there are few tiles, all threads take up to 256 tiles through each step
//! together, and each thread reads only its share of U, once. The input gradient is the same computation with the
//! filters rotated by 180° and transposed.
//!
//! # Large and infinite values
//!
//! The direct algorithm computes each output from the pixels that it reads. In Winograd's algorithm, the outputs of a
//! tile are differences of the same products. With F(2×2), an output still depends only on the pixels that it reads.
//! With F(4×4), it depends on all pixels of the patch except the outermost ones, and the extra pixels cancel exactly
//! only in exact arithmetic. This has three consequences:
//!
//! - An infinite or NaN pixel makes every output that depends on it infinite or NaN, usually NaN, because ∞ is
//!   subtracted from ∞. With the direct algorithm, outputs that read an infinity are infinite and all others are
//!   unaffected.
//! - A pixel that is much larger than the others leaves its rounding errors in every output that depends on it: the
//!   error bound is relative to the largest sum of magnitudes in the tile, not to the output's own sum.
//! - The transforms enlarge values before they shrink them: Bᵀ d B by a factor of up to 27 for F(4×4) and 4 for F(2×2),
//!   Aᵀ M A by up to 55 and 9. Pixels above `f32::MAX / (1,500 · Σ|w|)`, about 2e35 for a filter whose magnitudes sum
//!   to one, may overflow on the way to a finite output.
//!
//! For such inputs, a strict CPU ([`Cpu::strict`]) uses the direct algorithm everywhere.

mod f2;
mod f4;
mod filters;
mod fresh;
mod images;
mod patches;
mod transform;
mod weight_grad;

pub(super) use filters::{Direction, Filters};
pub(super) use fresh::run_fresh;
pub(super) use weight_grad::{weight_grad, weight_grad_pays};

use images::{TransformInput, TransformOutput};

use super::Epilogue;
use super::scatter::Scatter;
use crate::cpu::Cpu;
use crate::cpu::device::shared::Shared;
use crate::cpu::device::shelf::Workspace;
use crate::cpu::gemm::panels::Panel;
use crate::cpu::gemm::tile::{MAX_MR, Tile};
use crate::params::Activation;
use crate::shapes::Conv2d;
use rayon::prelude::*;
use std::ops::Range;

/// The tile size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tiling {
    /// F(2×2, 3×3): 16 products for 4 pixels.
    F2,
    /// F(4×4, 3×3): 36 products for 16 pixels.
    F4,
}

impl Tiling {
    /// The number of output pixels along a tile's side.
    const fn side(self) -> usize {
        match self {
            Self::F2 => 2,
            Self::F4 => 4,
        }
    }

    /// The number of input pixels along the side of a tile's patch.
    const fn patch(self) -> usize {
        self.side() + 2
    }

    /// The number of products per tile.
    pub(super) const fn points(self) -> usize {
        self.patch() * self.patch()
    }

    /// The number of output tiles in the batch.
    pub(super) fn tiles(self, g: &Conv2d) -> usize {
        g.n * g.oh().div_ceil(self.side()) * g.ow().div_ceil(self.side())
    }
}

/// The sizes of F(4×4, 3×3), which the weight gradient uses.
const POINTS: usize = Tiling::F4.points();
const SIDE: usize = Tiling::F4.side();
const PATCH: usize = Tiling::F4.patch();
/// The padding, in floats, after each point's part of a buffer. Without it, all points of a vector would map to the
/// same cache set, because the numbers of channels and tiles are usually powers of two.
const SKEW: usize = 16;

/// At most this many floats of filters count as small: V and M of a block then fit in the L2 cache beside them.
const SMALL: usize = 1 << 20;
/// The maximum number of tiles per task if filters are small.
const BLOCK: usize = 32;
/// At most this many tiles count as few. A pass over few tiles soon needs the next panel, so it prefetches one panel
/// ahead.
const FEW: usize = 32;
/// The maximum number of tiles that all threads take through the three steps together if filters are large.
const TOGETHER: usize = 256;

/// The reason why Winograd's algorithm cannot compute `g`, if there is one.
pub(super) fn refuses(g: &Conv2d) -> Option<&'static str> {
    let needs = [
        ([g.kh, g.kw] == [3; 2], "the kernel is not 3×3"),
        (g.stride == [1; 2], "the stride is not 1"),
        (g.dilation == [1; 2], "the kernel is dilated"),
        (g.groups == 1, "channels are grouped"),
        (g.padding.iter().all(|&p| p <= 2), "the padding is larger than 2"),
    ];
    needs.into_iter().find(|(holds, _)| !holds).map(|(_, why)| why)
}

/// Whether all threads take the same tiles through each step. They do if filters are large. With few tiles, they do so
/// for smaller filters as well, because each thread would otherwise read all filters for very few products.
pub(super) fn together(filters_len: usize, few_tiles: bool) -> bool {
    filters_len > if few_tiles { SMALL / 8 } else { SMALL }
}

/// A stride-1 convolution of `source` `[n, h, w, channels]` to `[n, oh, ow, columns]` with transformed filters.
#[derive(Clone, Copy)]
pub(super) struct Winograd<'a> {
    n: usize,
    source_size: [usize; 2],
    target_size: [usize; 2],
    channels: usize,
    columns: usize,
    padding: [usize; 2],
    source: &'a [f32],
    filters: &'a Filters,
    packed: &'a [f32],
    /// A source pixel of zeros, for patches that reach into the padding.
    zeros: &'a [f32],
    scatter: Option<&'a Scatter>,
    epilogue: Epilogue<'a>,
}

impl<'a> Winograd<'a> {
    /// Creates the forward pass of `g`, or its input gradient, for which `source` is dy. With a scatter, `filters`
    /// holds only the live filters.
    pub(super) fn new(
        g: &Conv2d,
        source: &'a [f32],
        filters: &'a Filters,
        packed: &'a [f32],
        zeros: &'a [f32],
        scatter: Option<&'a Scatter>,
        epilogue: Epilogue<'a>,
    ) -> Self {
        let (n, image, map) = (g.n, [g.h, g.w], [g.oh(), g.ow()]);
        let (source_size, target_size, channels, padding) = match filters.direction {
            Direction::Forward => (image, map, g.c, g.padding),
            Direction::InputGrad => (map, image, g.o, g.padding.map(|p| 2 - p)),
        };
        Self {
            n,
            source_size,
            target_size,
            channels,
            columns: filters.columns(),
            padding,
            source,
            filters,
            packed,
            zeros,
            scatter,
            epilogue,
        }
    }

    /// Computes the whole target.
    pub(super) fn run(&self, cpu: &Cpu, y: Shared) {
        let tiles = self.tiles();
        let mr = self.filters.panels[0].kernel.mr;
        if together(self.filters.len(), tiles < 2 * mr * cpu.thread_count()) {
            let mut scratch = cpu.scratch(Pass::len(self, tiles.min(TOGETHER)));
            return cpu.run(|| {
                for first in (0..tiles).step_by(TOGETHER) {
                    Pass::new(self, first, TOGETHER.min(tiles - first), &mut scratch).run_together(cpu, y);
                }
            });
        }
        let block = tiles.div_ceil(cpu.thread_count()).next_multiple_of(mr).min(BLOCK / mr * mr);
        cpu.run(|| {
            (0..tiles.div_ceil(block)).into_par_iter().with_max_len(1).for_each(|task| {
                let (first, count) = (task * block, block.min(tiles - task * block));
                cpu.with_workspace(|workspace| {
                    let floats = Workspace::floats(&mut workspace.floats, Pass::len(self, count));
                    let pass = Pass::new(self, first, count, floats);
                    pass.transform_input(cpu, 0..count);
                    pass.multiply(0..self.filters.tiling.points() * self.filters.panels.len());
                    pass.transform_output(cpu, 0..count, y);
                });
            });
        });
    }

    /// The number of tiles in the target.
    fn tiles(&self) -> usize {
        self.n * self.tiles_down() * self.tiles_across()
    }

    fn side(&self) -> usize {
        self.filters.tiling.side()
    }

    fn tiles_down(&self) -> usize {
        self.target_size[0].div_ceil(self.side())
    }

    fn tiles_across(&self) -> usize {
        self.target_size[1].div_ceil(self.side())
    }

    /// A tile's image, and its first row and column in the target.
    fn position(&self, tile: usize) -> (usize, usize, usize) {
        let (row, across) = (tile / self.tiles_across(), tile % self.tiles_across());
        (row / self.tiles_down(), row % self.tiles_down() * self.side(), across * self.side())
    }
}

/// The tiles `first .. first + count` on their way through V and M.
///
/// V is `[points, tiles, channels]` and M is `[points, tiles, columns]`. Each point is followed by `SKEW` floats of
/// padding, and `tiles` is `count` rounded up to whole register tiles.
struct Pass<'a> {
    product: &'a Winograd<'a>,
    first: usize,
    count: usize,
    v: Shared<'a>,
    /// The length of one point of V, in floats.
    v_point: usize,
    m: Shared<'a>,
    m_point: usize,
}

impl<'a> Pass<'a> {
    /// The lengths of a point of V and of M, in floats.
    fn point_lens(product: &Winograd, count: usize) -> (usize, usize) {
        product.filters.point_lens(product.channels, count)
    }

    /// The number of floats that a pass over `count` tiles needs.
    fn len(product: &Winograd, count: usize) -> usize {
        let (v, m) = Self::point_lens(product, count);
        product.filters.tiling.points() * (v + m)
    }

    fn new(product: &'a Winograd, first: usize, count: usize, floats: &'a mut [f32]) -> Self {
        let (v_point, m_point) = Self::point_lens(product, count);
        let (v, m) = floats.split_at_mut(product.filters.tiling.points() * v_point);
        Self { product, first, count, v: Shared::new(v), v_point, m: Shared::new(m), m_point }
    }

    /// Runs all three steps, each divided among the threads.
    fn run_together(&self, cpu: &Cpu, y: Shared) {
        let tasks = 4 * cpu.thread_count();
        let each = |len: usize, run: &(dyn Fn(Range<usize>) + Sync)| {
            let step = len.div_ceil(tasks);
            (0..len.div_ceil(step)).into_par_iter().with_max_len(1).for_each(|task| {
                run(task * step..((task + 1) * step).min(len));
            });
        };
        each(self.count, &|tiles| self.transform_input(cpu, tiles));
        each(self.product.filters.tiling.points() * self.product.filters.panels.len(), &|products| {
            self.multiply(products)
        });
        each(self.count, &|tiles| self.transform_output(cpu, tiles, y));
    }

    fn transform_input(&self, cpu: &Cpu, tiles: Range<usize>) {
        match self.product.filters.tiling {
            Tiling::F2 => cpu.dispatch(TransformInput { pass: self, tiles, map: f2::Input }),
            Tiling::F4 => cpu.dispatch(TransformInput { pass: self, tiles, map: f4::Input }),
        }
    }

    fn transform_output(&self, cpu: &Cpu, tiles: Range<usize>, y: Shared) {
        match self.product.filters.tiling {
            Tiling::F2 => cpu.dispatch(TransformOutput { cpu, pass: self, tiles, y, map: f2::Output }),
            Tiling::F4 => cpu.dispatch(TransformOutput { cpu, pass: self, tiles, y, map: f4::Output }),
        }
    }

    /// Computes `M[ξ] = V[ξ] · U[ξ]` for the pairs of point and panel with the numbers `products`.
    fn multiply(&self, products: Range<usize>) {
        let p = self.product;
        for product in products {
            let (point, panel) = (product / p.filters.panels.len(), product % p.filters.panels.len());
            let panel = &p.filters.panels[panel];
            let u = &p.packed[point * p.filters.point_len + panel.offset..];
            self.multiply_panel(point, panel, 0..p.channels, u);
        }
    }

    /// Computes the columns of one panel of `M[ξ]`. Overwrites them if `reduced` starts at the first channel and adds
    /// to them otherwise. `u` has a row of NR floats for each reduced channel.
    fn multiply_panel(&self, point: usize, panel: &Panel, reduced: Range<usize>, u: &[f32]) {
        let (p, kernel) = (self.product, panel.kernel);
        let v = self.v.as_mut_ptr().wrapping_add(point * self.v_point);
        let u_start: *const u8 = u.as_ptr().cast();
        let bytes = size_of::<f32>() * reduced.len() * kernel.nr;
        for tile in (0..self.count).step_by(kernel.mr) {
            // Rows beyond `count` exist up to a multiple of MR; their results are not stored.
            let rows: [*const f32; MAX_MR] =
                std::array::from_fn(|i| v.wrapping_add((tile + i) * p.channels).cast_const());
            let out: [usize; MAX_MR] = std::array::from_fn(|i| (tile + i) * p.columns);
            let tile = Tile {
                segments: 1,
                len: reduced.len(),
                rows: rows.as_ptr(),
                row_stride: MAX_MR,
                a_offset: reduced.start,
                a_step: 1,
                b: u_start,
                // The next panel, or the first panel of the next point, follows in memory.
                next: if self.count <= FEW {
                    u_start.wrapping_add(bytes + bytes * tile / self.count)
                } else {
                    u_start
                },
                c: self.m.as_mut_ptr().wrapping_add(point * self.m_point + panel.start),
                out: out.as_ptr(),
                m: kernel.mr.min(self.count - tile),
                n: panel.width,
                accumulate: reduced.start > 0,
                bias: std::ptr::null(),
                residual: std::ptr::null(),
                activation: Activation::None,
            };
            // SAFETY: the kernel comes from a backend that this machine supports. V has rows of `channels` floats, up
            // to a multiple of MR rows; `u` has a row of NR floats for each reduced channel; M has rows of `columns`
            // floats, and only this task writes this panel's columns of this point.
            unsafe { (kernel.run)(&tile) }
        }
    }
}
