//! Lists of the channels that panels of filters read, for filters with kernels of zeros.
//!
//! The transform of a kernel of zeros is zero at every point, so one list of channels serves all points. A panel leaves
//! out the channels that none of its filters read:
//!
//! ```text
//!   filters 0..16   ██·█··█·   channels 0 1 3 6          ·: the kernels of all filters of the panel are zero
//!   filters 16..32  ·█··██··   channels 1 4 5
//! ```
//!
//! A narrow panel has fewer filters whose lists must agree, a wide one reads each pixel for more products. The width is
//! the one with the lowest estimated time, unless dense panels take less.

use crate::cpu::device::isa::Backend;
use crate::cpu::gemm::panels::Panel;
use crate::cpu::gemm::tile_kernel::{TileKernel, Types};
use crate::cpu::{Cpu, Isa};
use crate::pattern::Pattern;
use std::fmt;

/// The channels that each panel reads, and the instruction set of the kernel that multiplies them.
pub(super) struct ChannelLists {
    pub backend: Backend,
    /// The number of rows of a register tile.
    pub mr: usize,
    /// The lists, one after another.
    channels: Vec<u32>,
    /// The start of each panel's list, and the end of the last one.
    starts: Vec<usize>,
}

/// The cost of starting and finishing a register tile, in steps of the reduction.
const TILE_ENDS: f64 = 8.0;
/// A panel of lists must be estimated to take at most this fraction of the time of dense panels.
const MARGIN: f64 = 0.95;
/// The time of a product in a tile of a single vector, compared to that of the widest tile: nine loads for eight
/// multiply-adds.
const NARROW: f64 = 1.1;
/// The same for a tile of half a vector. Some cores compute two halves in the time of a whole one, some do not.
const HALF: f64 = 1.7;

/// The estimated time of the products of a pattern's live filters with the fastest lists.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::cpu::conv2d) struct ListsEstimate {
    /// As a fraction of the time of dense panels.
    of_dense: f64,
    /// The density of the weights, in `0..=1`, below which lists are chosen.
    below: f64,
}

impl ListsEstimate {
    fn chosen(&self) -> bool {
        self.of_dense < MARGIN
    }

    /// The time of the products of the layout that is chosen, as a fraction of that of dense panels.
    pub fn products(&self) -> f64 {
        if self.chosen() { self.of_dense } else { 1.0 }
    }
}

impl fmt::Display for ListsEstimate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (of_dense, percent) = (self.of_dense, 100.0 * self.below);
        write!(
            f,
            "products with lists of channels {of_dense:.2} of dense, chosen below {percent:.0} % nonzero weights"
        )
    }
}

/// The estimate for the live filters of `pattern`, if a panel can leave out a channel.
pub(in crate::cpu::conv2d) fn estimated_lists(cpu: &Cpu, pattern: &Pattern) -> Option<ListsEstimate> {
    ChannelLists::estimated(cpu, pattern).map(|(estimate, _, _)| estimate)
}

impl ChannelLists {
    /// The panels of the live filters of `pattern` with the fastest lists; `None` if dense panels are faster.
    pub(super) fn fastest(cpu: &Cpu, pattern: &Pattern) -> Option<(Vec<Panel>, Self)> {
        let (estimate, panels, lists) = Self::estimated(cpu, pattern)?;
        estimate.chosen().then_some((panels, lists))
    }

    /// The fastest lists and their estimate; `None` if no panel can leave out a channel.
    fn estimated(cpu: &Cpu, pattern: &Pattern) -> Option<(ListsEstimate, Vec<Panel>, Self)> {
        if pattern.zeros_of_live_filters() == 0.0 {
            return None;
        }
        let lanes = cpu.backend.tiles(Types::F32)[0].nr;
        let columns = pattern.filters().len().next_multiple_of(lanes);
        let reduced = pattern.shape()[2];
        let dense = (reduced as f64 + TILE_ENDS) * columns as f64;
        let factor = |kernel: &TileKernel| if kernel.nr == lanes { NARROW } else { 1.0 };
        let native = cpu.backend.tiles(Types::F32).iter().map(|kernel| (cpu.backend, kernel, factor(kernel)));
        let half = Backend::new(Isa::Avx2).filter(|_| cpu.isa() == Isa::Avx512);
        let half = half.map(|backend| (backend, &backend.tiles(Types::F32)[0], HALF));
        let candidates = native.chain(half).filter_map(|(backend, kernel, factor)| {
            let (panels, lists) = Self::of_width(backend, kernel, pattern);
            let listed = lists.channels.len() as f64;
            if lists.channels.len() == panels.len() * reduced {
                return None;
            }
            let step = kernel.nr as f64 * factor;
            let cost = |listed: f64| (listed + panels.len() as f64 * TILE_ENDS) * step;
            // The number of listed channels at which lists take as long as is allowed.
            let most = MARGIN * dense / step - panels.len() as f64 * TILE_ENDS;
            let below = (pattern.density() * most / listed.max(1.0)).clamp(0.0, 1.0);
            Some((ListsEstimate { of_dense: cost(listed) / dense, below }, panels, lists))
        });
        candidates.min_by(|a, b| a.0.of_dense.total_cmp(&b.0.of_dense))
    }

    /// Panels as wide as `kernel`.
    fn of_width(backend: Backend, kernel: &'static TileKernel, pattern: &Pattern) -> (Vec<Panel>, Self) {
        let single = kernel.nr == backend.tiles(Types::F32)[0].nr;
        // A tile of a single vector needs eight rows to hide the latency of the multiply-add.
        let mr = if single && backend.isa() != Isa::Portable { 8 } else { kernel.mr };
        let mut lists = Self { backend, mr, channels: Vec::new(), starts: vec![0] };
        let (mut panels, mut offset) = (Vec::new(), 0);
        for (i, filters) in pattern.filters().chunks(kernel.nr).enumerate() {
            let channels = pattern.channels_of(filters);
            panels.push(Panel { start: i * kernel.nr, width: filters.len(), kernel, offset, a_offset: 0 });
            offset += channels.len() * kernel.nr;
            lists.channels.extend(channels);
            lists.starts.push(lists.channels.len());
        }
        (panels, lists)
    }

    /// The channels that a panel reads, ascending.
    pub(super) fn of(&self, panel: usize) -> &[u32] {
        &self.channels[self.starts[panel]..self.starts[panel + 1]]
    }

    /// The size of the lists in bytes.
    pub(super) fn bytes(&self) -> usize {
        size_of::<u32>() * self.channels.len() + size_of::<usize>() * self.starts.len()
    }

    /// The instruction set of the kernel.
    pub(super) fn isa(&self) -> Isa {
        self.backend.isa()
    }
}
