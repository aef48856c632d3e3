//! The layouts of packed weights: which filters are packed, and in which order a kernel reads them.

use super::algorithm::{Algorithm, Packing};
use super::choice::Choice;
use super::padded::forward_taps;
use super::winograd::{Filters, LineFilters};
use crate::buffer::Buffer;
use crate::cpu::Cpu;
use crate::cpu::conv2d::depthwise;
use crate::cpu::device::isa::Backend;
use crate::cpu::device::shared::Shared;
use crate::cpu::gemm::panels::{Panel, packed_len, split_columns, split_with_dots};
use crate::cpu::gemm::strided::Strided;
use crate::cpu::gemm::tile_kernel::Types;
use crate::cpu::lanes::RowLanes;
use crate::dtype::Dtype;
use crate::pattern::Pattern;
use crate::shapes::Conv2d;
use rayon::prelude::*;

/// The layout of a convolution's packed weights. Panels and both forms of Winograd's filters leave out dead filters, whose outputs
/// are then scattered; the other layouts compute every filter.
pub(super) enum Layout {
    /// Panels of filters, each `[KH·KW·C/G, NR]`.
    Panels(Vec<Panel>),
    /// `[KH·KW, C]`.
    Depthwise,
    /// Filters transformed for Winograd's algorithm.
    Winograd(Filters),
    /// Filters transformed for Winograd's algorithm along rows.
    Line(LineFilters),
    /// Lists of nonzero weights.
    RowLanes(RowLanes),
}

impl Layout {
    /// Chooses the algorithm for the filters of `g` that `pattern` keeps, and the layout that it reads, with weights of
    /// type `dtype`. A depthwise convolution is memory-bound, so it computes dead channels with zero weights instead of
    /// skipping them. It and Winograd's algorithm read only f32.
    pub(super) fn choose(
        cpu: &Cpu,
        g: &Conv2d,
        pattern: &Pattern,
        packing: Packing,
        dtype: Dtype,
    ) -> (Choice, Self) {
        assert_eq!(pattern.shape(), g.filters_shape(), "the pattern has the shape of the weight");
        let packing = if dtype == Dtype::F32 { packing } else { Packing::By(Algorithm::Direct) };
        if depthwise::applies(g) && dtype == Dtype::F32 {
            return (Choice::only("one channel per filter"), Self::Depthwise);
        }
        let choice = Choice::new(cpu, g, pattern, packing);
        let layout = match choice.algorithm.tiling() {
            Some(tiling) => {
                let live = Conv2d { o: pattern.filters().len(), ..*g };
                Self::Winograd(Filters::of_pattern(cpu, &live, tiling, pattern))
            }
            None if choice.algorithm == Algorithm::RowLanes => {
                Self::RowLanes(RowLanes::new(cpu, g, pattern, packing.rows()))
            }
            None if choice.algorithm == Algorithm::WinogradRows => {
                Self::Line(LineFilters::new(cpu, &Conv2d { o: pattern.filters().len(), ..*g }))
            }
            None => Self::Panels(panels(cpu.backend, Types::with_weights(dtype), g, pattern)),
        };
        (choice, layout)
    }

    /// Whether the outputs of dead filters are computed like the others.
    pub(super) fn computes_every_filter(&self) -> bool {
        matches!(self, Self::Depthwise | Self::RowLanes(_))
    }

    /// Whether the kernel leaves out zeros between live filters.
    pub(super) fn skips_zeros(&self) -> bool {
        match self {
            Self::RowLanes(_) => true,
            Self::Winograd(filters) => filters.has_lists(),
            Self::Panels(_) | Self::Depthwise | Self::Line(_) => false,
        }
    }

    /// The size of the packed weights of `g` in bytes.
    pub(super) fn bytes(&self, g: &Conv2d) -> usize {
        let k = g.w_len() / g.o;
        match self {
            Self::Depthwise => size_of::<f32>() * g.w_len(),
            Self::Winograd(filters) => size_of::<f32>() * filters.len() + filters.list_bytes(),
            Self::Line(filters) => size_of::<f32>() * filters.len(),
            Self::RowLanes(lanes) => size_of::<f32>() * lanes.len(),
            Self::Panels(panels) => panels.iter().map(|panel| panel.kernel.packed_bytes(k)).sum(),
        }
    }

    /// Packs the filters of `w` `[O, KH, KW, C/G]` that `pattern` keeps into `packed`, which has at least
    /// [`bytes`](Self::bytes) bytes.
    pub(super) fn pack(&self, cpu: &Cpu, g: &Conv2d, w: &[f32], pattern: &Pattern, packed: &mut Buffer) {
        assert_eq!(w.len(), g.w_len(), "the weight has the length of its shape");
        let columns = pattern.has_dead_filters().then_some(pattern.filters());
        match self {
            Self::Depthwise => {
                depthwise::pack(g, w, packed);
                let dead = |channel: &usize| pattern.filters().binary_search(&(*channel as u32)).is_err();
                for channel in (0..g.c).filter(dead) {
                    packed[channel..].iter_mut().step_by(g.c).for_each(|weight| *weight = 0.0);
                }
            }
            Self::Winograd(filters) => filters.pack(cpu, g, w, columns, packed),
            Self::Line(filters) => filters.pack(g, w, columns, packed),
            Self::RowLanes(lanes) => {
                let filter = g.w_len() / g.o;
                lanes.pack(cpu, pattern, |o, position| w[o * filter + position], packed);
            }
            Self::Panels(panels) => {
                let k = g.w_len() / g.o;
                let matrix = Strided { data: w, k_step: 1, j_step: k, columns };
                let shared = Shared::new(packed.bytes_mut());
                cpu.run(|| {
                    panels.par_iter().for_each(|panel| {
                        // SAFETY: panels are packed one after another, so their ranges are disjoint.
                        let packed =
                            unsafe { shared.range(panel.first_byte(), panel.kernel.packed_bytes(k)) };
                        panel.kernel.pack(&matrix, 0..k, panel.columns(), packed);
                    });
                });
            }
        }
    }

    /// The number of multiply-accumulates needed to compute `g`: that of its definition, or fewer.
    pub(super) fn products(&self, g: &Conv2d) -> u64 {
        let pixels = g.n * g.oh() * g.ow();
        let products = match self {
            Self::Depthwise => pixels * g.w_len(),
            Self::Winograd(filters) => filters.tiling().tiles(g) * filters.products(g.c),
            Self::Line(filters) => filters.products(g),
            Self::RowLanes(lanes) => pixels * lanes.products(),
            Self::Panels(panels) => {
                pixels * (g.w_len() / g.o) * panels.iter().map(|panel| panel.width).sum::<usize>()
            }
        };
        products as u64
    }
}

/// Panels of the live filters, group by group. Columns count live filters only.
fn panels(backend: Backend, types: Types, g: &Conv2d, pattern: &Pattern) -> Vec<Panel> {
    let k = g.w_len() / g.o;
    // A linear layer, whose image is one pixel high, keeps vector tiles: an output then has the same bits for any type of
    // weights and with any rows masked, and reading the weights is what takes its time.
    if g.groups == 1 && g.h > 1 {
        let segments = forward_taps(g).len();
        return split_with_dots(backend, types, pattern.filters().len(), [segments, k / segments]);
    }
    let tiles = backend.tiles(types);
    let mut panels = Vec::new();
    let (mut first, mut offset) = (0, 0);
    for (group, count) in pattern.filters_by_group(g.groups).into_iter().enumerate() {
        let mut columns = split_columns(tiles, count, k, offset);
        offset += packed_len(&columns, k);
        for panel in &mut columns {
            panel.start += first;
            panel.a_offset = group * (g.c / g.groups);
        }
        panels.extend(columns);
        first += count;
    }
    panels
}
