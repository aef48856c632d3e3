//! Transformed filters `U = G g Gᵀ`, packed for the products of all points.

use super::lists::ChannelLists;
use super::tiling::{BLOCK, SKEW, TOGETHER, Tiling, padded};
use super::transform::both_sides;
use super::{f2, f4};
use crate::cpu::device::shared::Shared;
use crate::cpu::gemm::panels::{Panel, packed_len, split_with_dots};
use crate::cpu::gemm::tile::MAX_NR;
use crate::cpu::gemm::tile_kernel::{Order, Types};
use crate::cpu::simd::{Kernel, MAX_LANES, Simd};
use crate::cpu::{Cpu, Isa};
use crate::pattern::Pattern;
use crate::shapes::Conv2d;
use rayon::prelude::*;
use std::ops::Range;

/// The convolution that the filters are transformed for.
#[derive(Clone, Copy, PartialEq)]
pub(in crate::cpu::conv2d) enum Direction {
    /// The reduction runs over `C`, and columns are filters.
    Forward,
    /// The reduction runs over `O`, columns are input channels, and the taps are rotated by 180°.
    InputGrad,
}

/// The layout of transformed filters: for each point, the panels of a `[reduced, columns]` matrix.
pub(in crate::cpu::conv2d) struct Filters {
    pub(super) tiling: Tiling,
    pub(super) direction: Direction,
    pub(super) panels: Vec<Panel>,
    /// The channels that each panel reads, unless each reads all.
    pub(super) lists: Option<ChannelLists>,
    /// The length of one point, in floats.
    pub(super) point_len: usize,
}

impl Filters {
    pub(in crate::cpu::conv2d) fn new(cpu: &Cpu, g: &Conv2d, tiling: Tiling, direction: Direction) -> Self {
        let (reduced, columns) = match direction {
            Direction::Forward => (g.c, g.o),
            Direction::InputGrad => (g.o, g.c),
        };
        let panels = split_with_dots(cpu.backend, Types::F32, columns, [1, reduced]);
        let point_len = packed_len(&panels, reduced).next_multiple_of(16) + SKEW;
        Self { tiling, direction, panels, lists: None, point_len }
    }

    /// The live filters of `pattern`, which `g` consists of, in a forward pass. Kernels of zeros are left out if that
    /// is estimated to be faster.
    pub(in crate::cpu::conv2d) fn of_pattern(
        cpu: &Cpu,
        g: &Conv2d,
        tiling: Tiling,
        pattern: &Pattern,
    ) -> Self {
        let dense = Self::new(cpu, g, tiling, Direction::Forward);
        let Some((panels, lists)) = ChannelLists::fastest(cpu, pattern) else { return dense };
        let len: usize =
            panels.iter().enumerate().map(|(i, panel)| lists.of(i).len() * panel.kernel.nr).sum();
        Self { panels, lists: Some(lists), point_len: len + SKEW, ..dense }
    }

    /// The number of rows of a register tile.
    pub(super) fn mr(&self) -> usize {
        let of_panels = || self.panels.first().map_or(1, |panel| panel.kernel.mr);
        self.lists.as_ref().map_or_else(of_panels, |lists| lists.mr)
    }

    /// Whether kernels of zeros are left out.
    pub(in crate::cpu::conv2d) fn has_lists(&self) -> bool {
        self.lists.is_some()
    }

    /// The size of the lists of channels in bytes.
    pub(in crate::cpu::conv2d) fn list_bytes(&self) -> usize {
        self.lists.as_ref().map_or(0, ChannelLists::bytes)
    }

    /// The number of columns of the product.
    pub(super) fn columns(&self) -> usize {
        self.panels.last().map_or(0, |panel| panel.start + panel.width)
    }

    pub(in crate::cpu::conv2d) fn tiling(&self) -> Tiling {
        self.tiling
    }

    /// The number of products per tile.
    pub(in crate::cpu::conv2d) fn products(&self, reduced: usize) -> usize {
        let per_point = match &self.lists {
            None => reduced * self.columns(),
            Some(lists) => {
                self.panels.iter().enumerate().map(|(i, panel)| lists.of(i).len() * panel.width).sum()
            }
        };
        self.tiling.points() * per_point
    }

    /// The length of all transformed filters, in floats.
    pub(in crate::cpu::conv2d) fn len(&self) -> usize {
        self.tiling.points() * self.point_len
    }

    /// The lengths of a point of V (with `channels` channels) and of M, in floats, for a pass over `count` tiles.
    pub(super) fn point_lens(&self, channels: usize, count: usize) -> (usize, usize) {
        let tiles = count.next_multiple_of(self.mr());
        let point = |width: usize| tiles * padded(width) + SKEW;
        (point(channels), point(self.columns()))
    }

    /// The maximum length of V and M together, in floats, for `tiles` tiles of `channels` channels: first for all
    /// threads working on the same tiles, then for one thread working on its own.
    pub(in crate::cpu::conv2d) fn pass_lens(&self, channels: usize, tiles: usize) -> [usize; 2] {
        [TOGETHER, BLOCK].map(|most| {
            let (v, m) = self.point_lens(channels, tiles.min(most));
            self.tiling.points() * (v + m)
        })
    }

    /// Transforms `w` `[O, 3, 3, C]` into `packed`, which has [`len`](Self::len) floats. In a forward pass, the columns
    /// are the filters `live`, or all filters.
    pub(in crate::cpu::conv2d) fn pack(
        &self,
        cpu: &Cpu,
        g: &Conv2d,
        w: &[f32],
        live: Option<&[u32]>,
        packed: &mut [f32],
    ) {
        let Self { tiling, direction, point_len, .. } = *self;
        let packed = Shared::new(packed);
        let reduced = match direction {
            Direction::Forward => 0..g.c,
            Direction::InputGrad => 0..g.o,
        };
        cpu.run(|| {
            self.panels.par_iter().enumerate().for_each(|(i, panel)| {
                let channels = self.lists.as_ref().map(|lists| lists.of(i));
                let reduced = channels.map_or(reduced.clone(), |channels| 0..channels.len());
                cpu.dispatch(TransformFilters {
                    g,
                    w,
                    live,
                    channels,
                    tiling,
                    direction,
                    panel,
                    reduced,
                    point_len,
                    packed,
                });
            });
        });
    }

    /// The kernel's name: the algorithm and the tile kernel of its products.
    pub(in crate::cpu::conv2d) fn kernel(&self) -> &'static str {
        let kernel = match &self.lists {
            None => self.panels[0].kernel.name,
            Some(lists) => match (self.tiling, lists.isa()) {
                (Tiling::F4, Isa::Avx512) => return "winograd4_lists_avx512",
                (Tiling::F4, Isa::Avx2) => return "winograd4_lists_avx2",
                (Tiling::F4, Isa::Portable) => return "winograd4_lists_portable",
                (Tiling::F2, Isa::Avx512) => return "winograd2_lists_avx512",
                (Tiling::F2, Isa::Avx2) => return "winograd2_lists_avx2",
                (Tiling::F2, Isa::Portable) => return "winograd2_lists_portable",
            },
        };
        match (self.tiling, kernel) {
            (Tiling::F4, "gemm_8x48_avx512") => "winograd4_8x48_avx512",
            (Tiling::F4, "gemm_8x32_avx512") => "winograd4_8x32_avx512",
            (Tiling::F4, "gemm_8x16_avx512") => "winograd4_8x16_avx512",
            (Tiling::F4, "gemm_6x16_avx2") => "winograd4_6x16_avx2",
            (Tiling::F4, "gemm_6x8_avx2") => "winograd4_6x8_avx2",
            (Tiling::F4, _) => "winograd4_4x8_portable",
            (Tiling::F2, "gemm_8x48_avx512") => "winograd2_8x48_avx512",
            (Tiling::F2, "gemm_8x32_avx512") => "winograd2_8x32_avx512",
            (Tiling::F2, "gemm_8x16_avx512") => "winograd2_8x16_avx512",
            (Tiling::F2, "gemm_6x16_avx2") => "winograd2_6x16_avx2",
            (Tiling::F2, "gemm_6x8_avx2") => "winograd2_6x8_avx2",
            (Tiling::F2, _) => "winograd2_4x8_portable",
        }
    }
}

/// Transforms a range of reduced channels of one panel.
pub(super) struct TransformFilters<'a> {
    pub g: &'a Conv2d,
    pub w: &'a [f32],
    /// The filter of each column of a forward pass; `None` if the columns are all filters.
    pub live: Option<&'a [u32]>,
    /// The channels of a forward pass that `reduced` counts; `None` if they are all channels.
    pub channels: Option<&'a [u32]>,
    pub tiling: Tiling,
    pub direction: Direction,
    pub panel: &'a Panel,
    pub reduced: Range<usize>,
    pub point_len: usize,
    pub packed: Shared<'a>,
}

/// The taps of a panel's columns for a few reduced channels, `[tap][k][column]`.
type Block = [[[f32; MAX_NR]; MAX_LANES]; 9];

impl Kernel for TransformFilters<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let nr = self.panel.kernel.nr;
        let Range { start, end } = self.reduced;
        let mut block: Block = [[[0.0; MAX_NR]; MAX_LANES]; 9];
        for first in (start..end).step_by(MAX_LANES) {
            let count = MAX_LANES.min(end - first);
            match self.direction {
                Direction::Forward => self.transpose(first, count, &mut block),
                Direction::InputGrad => self.rotate(first, count, &mut block),
            }
            for k in 0..count {
                for column in (0..nr).step_by(S::LANES) {
                    let mut taps = [[s.zero(); 3]; 3];
                    for (tap, block) in taps.as_flattened_mut().iter_mut().zip(&block) {
                        *tap = s.get(&block[k][column..]);
                    }
                    let row = first - start + k;
                    match self.tiling {
                        Tiling::F4 => {
                            self.put(s, row, column, both_sides(s, f4::Filter, &taps).as_flattened())
                        }
                        Tiling::F2 => {
                            self.put(s, row, column, both_sides(s, f2::Filter, &taps).as_flattened())
                        }
                    }
                }
            }
        }
    }
}

impl TransformFilters<'_> {
    /// Stores the vector of each point at `row` and, from `column` on, the columns of the panel.
    #[inline(always)]
    fn put<S: Simd>(&self, s: S, row: usize, column: usize, points: &[S::F]) {
        let Panel { offset, kernel, width, .. } = *self.panel;
        for (point, &values) in points.iter().enumerate() {
            let panel = point * self.point_len + offset;
            // SAFETY: each panel's part of each point is written by one task only.
            let part = |at: usize, len: usize| unsafe { self.packed.range(panel + at, len) };
            match kernel.order {
                // A panel for lists may be half a vector wide, and another thread packs the next one.
                Order::Rows => {
                    s.put(part(row * kernel.nr + column, S::LANES.min(kernel.nr - column)), values)
                }
                Order::Columns => {
                    for (j, value) in s.to_array(values).into_iter().take(width).enumerate() {
                        part(j * self.reduced.len() + row, 1)[0] = value;
                    }
                }
            }
        }
    }

    /// Fills `block` for [`Direction::Forward`]: columns are filters, whose channels are contiguous, so this is a
    /// transposition. It stays in the L1 cache.
    #[inline(always)]
    fn transpose(&self, first: usize, count: usize, block: &mut Block) {
        let Panel { start, width, .. } = *self.panel;
        for column in 0..width {
            let filter = self.live.map_or(start + column, |live| live[start + column] as usize);
            for (tap, block) in block.iter_mut().enumerate() {
                let from = &self.w[(filter * 9 + tap) * self.g.c..][..self.g.c];
                match self.channels {
                    None => {
                        for (row, &value) in block.iter_mut().zip(&from[first..first + count]) {
                            row[column] = value;
                        }
                    }
                    Some(channels) => {
                        for (row, &channel) in block.iter_mut().zip(&channels[first..first + count]) {
                            row[column] = from[channel as usize];
                        }
                    }
                }
            }
        }
    }

    /// Fills `block` for [`Direction::InputGrad`]: columns are channels, and the taps are in reverse order.
    #[inline(always)]
    fn rotate(&self, first: usize, count: usize, block: &mut Block) {
        let Panel { start, width, .. } = *self.panel;
        for (tap, block) in block.iter_mut().rev().enumerate() {
            for (k, row) in block[..count].iter_mut().enumerate() {
                let from = ((first + k) * 9 + tap) * self.g.c + start;
                row[..width].copy_from_slice(&self.w[from..from + width]);
            }
        }
    }
}
