//! The memory that a convolution needs in addition to its input, weight and output, computed from its shape. A
//! convolution that does not fit can thus be rejected before it is allocated. The result is never less than what is
//! allocated, as tests of plans assert.

use super::algorithm::Packing;
use super::gather;
use super::implicit_gemm::WAITING;
use super::layout::Layout;
use super::packed::choose;
use super::padded;
use super::scatter::bits_len;
use super::widen;
use crate::cpu::Cpu;
use crate::cpu::gemm::tile::MAX_NR;
use crate::dtype::Dtype;
use crate::params::CompactIndex;
use crate::pattern::Pattern;
use crate::shapes::Conv2d;

/// The maximum number of windows or pixels whose pointers a task of a direct kernel lists at a time.
const BLOCK: u64 = 128;

/// The memory of a convolution in addition to its input, weight and output, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Footprint {
    /// The packed weights and the list of taps, held as long as the packed convolution lives.
    pub packed: u64,
    /// The largest buffer that a call borrows from the device.
    pub borrowed: u64,
    /// The tables and workspaces of all threads during a call.
    pub workspaces: u64,
}

impl Footprint {
    /// Computes the footprint of `g` with the live filters of `pattern` packed as `packing` allows.
    pub fn new(cpu: &Cpu, g: &Conv2d, pattern: &Pattern, packing: Packing) -> Self {
        Self::stored(cpu, g, pattern, packing, Dtype::F32)
    }

    /// Computes the footprint of calls for `images` images, with weights that are packed for `g`.
    pub fn of_images(cpu: &Cpu, g: &Conv2d, images: usize, pattern: &Pattern, packing: Packing) -> Self {
        Self::of(cpu, g, images, pattern, packing, Dtype::F32)
    }

    /// Computes the footprint of `g` with weights of type `dtype`.
    pub(in crate::cpu) fn stored(
        cpu: &Cpu,
        g: &Conv2d,
        pattern: &Pattern,
        packing: Packing,
        dtype: Dtype,
    ) -> Self {
        Self::of(cpu, g, g.n, pattern, packing, dtype)
    }

    fn of(cpu: &Cpu, g: &Conv2d, images: usize, pattern: &Pattern, packing: Packing, dtype: Dtype) -> Self {
        let ((_, layout), dense) = choose(cpu, g, pattern, packing, dtype);
        // A copy of the weight gets the zeros of dead filters before it is packed.
        let copy = || g.w_shape().iter().fold(4, |bytes: u64, &size| bytes.saturating_mul(size as u64));
        let copied = if dense.is_some() { copy() } else { 0 };
        let pattern = dense.as_ref().unwrap_or(pattern);
        let floats = |count: usize| 4 * count as u64;
        let taps = g.kh as u64 * g.kw as u64;
        // Lists of pointers grow by doubling.
        let tables = cpu.thread_count() as u64
            * (BLOCK * 2 * 8 * (taps + 1) + floats(WAITING.max(BLOCK as usize * MAX_NR)));
        let bits = bits_len(pattern.shape()[0]) as u64;
        let index = if pattern.has_dead_filters() { floats(pattern.filters().len()) + bits } else { 0 };
        // The places of taps in lanes, whose lists grow by doubling, too.
        let places = if matches!(layout, Layout::RowLanes(_)) { 128 * taps } else { 0 };
        let packed = 16 * taps + places + floats(g.c * g.kw) + layout.bytes(g) as u64 + index;
        let g = &Conv2d { n: images, ..*g };
        let (borrowed, workspaces) = match &layout {
            Layout::Winograd(filters) => {
                let [pass, block] = filters.pass_lens(g.c, filters.tiling().tiles(g)).map(floats);
                (pass, cpu.thread_count() as u64 * block + tables)
            }
            Layout::Line(filters) => (0, cpu.thread_count() as u64 * floats(filters.workspace(g)) + tables),
            Layout::RowLanes(lanes) => {
                let [input, sums] = lanes.workspace(g).map(floats);
                (0, cpu.thread_count() as u64 * (input + sums) + tables)
            }
            Layout::Panels(_) if padded::applies(g) => (padded::bytes(g), tables),
            Layout::Panels(_) | Layout::Depthwise => (0, tables),
        };
        Self { packed: copied.saturating_add(packed), borrowed, workspaces }
    }

    /// Computes the footprint of a compact convolution of the outer geometry `g`, which gathers the live channels of
    /// `index`.
    pub fn compact(cpu: &Cpu, g: &Conv2d, index: &CompactIndex, packing: Packing) -> Self {
        Self::compact_of_images(cpu, g, g.n, index, packing)
    }

    /// Computes the footprint of calls of a compact convolution for `images` images, with weights that are packed for
    /// `g`.
    pub fn compact_of_images(
        cpu: &Cpu,
        g: &Conv2d,
        images: usize,
        index: &CompactIndex,
        packing: Packing,
    ) -> Self {
        let wide = widen::widened(cpu, g, index, packing);
        let (inner, pattern) = gather::inner(g, &wide);
        let needs = Self::of_images(cpu, &inner, images, &pattern, packing);
        let inner = Conv2d { n: images, ..inner };
        let bits = (bits_len(g.c) + bits_len(g.o)) as u64;
        let lists = bits + 8 * (index.outputs.len() + 3 * g.o) as u64;
        // The weights with zeros for dead channels, before they are packed, and the bias of every output.
        let product =
            |sizes: &[usize]| sizes.iter().fold(4, |bytes: u64, &size| bytes.saturating_mul(size as u64));
        let copy = product(&inner.w_shape());
        let direct =
            || matches!(Layout::choose(cpu, &inner, &pattern, packing, Dtype::F32).1, Layout::Panels(_));
        // Tasks gather the pixels of their block, or a pass of its own gathers all of them.
        let (gathered, blocks) = match gather::in_tasks(g) && direct() {
            true => (0, product(&[cpu.thread_count(), BLOCK as usize, inner.c])),
            false => (product(&inner.x_shape()), 0),
        };
        Self {
            packed: needs.packed.saturating_add(lists).saturating_add(copy),
            borrowed: needs.borrowed.max(gathered).max(product(&[g.o])),
            workspaces: needs.workspaces.saturating_add(blocks),
        }
    }
}
