//! The estimated times of a linear layer in each layout of its weight.
//!
//! ```text
//!   panels      reading all weights, overlapped with multiplying them by whole tiles of rows
//!   bits        reading bits and nonzero weights, and expanding every vector of weights
//!   lists       multiplying the nonzero weights, one by one, by one row at a time
//!   row lanes   multiplying the nonzero weights, one by one, by a vector of rows
//! ```
//!
//! With few rows of the batch, a layer is bound by reading its weight once, so leaving out zeros pays at once; with
//! many, by arithmetic, of which row lanes leave out that of the zeros. Costs are in cycles, as measured on one core of a
//! Zen 4; those of row lanes are the convolution's. The estimates depend neither on the number of threads nor on a
//! measurement; otherwise results would not be bit-identical from run to run.

use super::lists::CHUNK;
use super::rows::BATCH;
use crate::cpu::gemm::tile_kernel::Types;
use crate::cpu::lanes::{self, RowLanes, Rows};
use crate::cpu::{Cpu, Isa};
use crate::dtype::Dtype;
use crate::pattern::Pattern;
use crate::shapes::Linear;

/// The cycles that a core takes to read a byte of a weight whose panels take at most so many bytes: one that may still
/// be in a core's own cache, in a shared one, or in memory.
const BYTE: [(usize, f64); 3] = [(4 << 20, 0.04), (16 << 20, 0.067), (usize::MAX, 0.125)];
/// The cycles of an entry of a list.
const ENTRY: f64 = 1.7;
/// The cycles of starting and finishing a list, per row of w and chunk of inputs.
const LIST_ENDS: f64 = 20.0;
/// The part of the shorter of two overlapping times, reading and computing, that the longer one does not hide.
const EXPOSED: f64 = 1.0 / 3.0;
/// The time of reading values that expanding does not hide, compared to the time of reading alone, with one row of x
/// and with several, whose multiply-adds leave less room for loads ahead of them.
const READ: [f64; 2] = [1.0, 1.45];

/// The cycles of an instruction set's vector loops.
struct Cycles {
    /// Expanding a vector of weights and multiplying it by one row of x.
    expand: f64,
    /// Multiplying the expanded vector by another row of x.
    row: f64,
    /// Multiplying a vector of a panel by one row of x.
    multiply: f64,
}

impl Cycles {
    fn of(isa: Isa) -> Self {
        match isa {
            Isa::Avx512 => Self { expand: 2.5, row: 1.1, multiply: 1.0 },
            Isa::Avx2 => Self { expand: 2.3, row: 1.0, multiply: 0.5 },
            Isa::Portable => Self { expand: 14.0, row: 1.7, multiply: 1.75 },
        }
    }
}

/// Estimated times, in cycles per vector of weights of the live rows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    pub panels: f64,
    pub bits: f64,
    pub lists: f64,
    /// Infinite if row lanes do not apply.
    pub row_lanes: f64,
}

/// What the times of a layer depend on besides the density of its weight.
pub(super) struct Estimates<'a> {
    cpu: &'a Cpu,
    g: &'a Linear,
    dtype: Dtype,
    row_lanes: Option<OfNonzeros>,
}

/// Row lanes with the nonzero weights of a pattern.
struct OfNonzeros {
    packed: RowLanes,
    /// The density of the live rows.
    density: f64,
    /// The number of vectors of weights of the live rows.
    vectors: f64,
}

impl<'a> Estimates<'a> {
    /// The times of `g` with weights of type `dtype`, whose zeros lie as those of `pattern` do.
    pub fn new(cpu: &'a Cpu, g: &'a Linear, pattern: &Pattern, dtype: Dtype) -> Self {
        let pixels = g.over_pixels();
        let applies = dtype == Dtype::F32 && !cpu.is_strict() && lanes::refuses(&pixels, pattern).is_none();
        let row_lanes = applies.then(|| OfNonzeros {
            packed: RowLanes::new(cpu, &pixels, pattern, Rows::Joined),
            density: 1.0 - pattern.zeros_of_live_filters(),
            vectors: (pattern.filters().len() * g.inputs) as f64 / lanes_of(cpu),
        });
        Self { cpu, g, dtype, row_lanes }
    }

    /// The times if the live rows have this density.
    pub fn at(&self, density: f64) -> Times {
        let Self { cpu, g, dtype, .. } = *self;
        let (cycles, lanes, size) = (Cycles::of(cpu.isa()), lanes_of(cpu), dtype.bytes() as f64);
        let byte = byte(g, dtype);
        let (passes, n) = (g.n.div_ceil(BATCH) as f64, g.n as f64);
        let expand = passes * cycles.expand + (n - passes) * cycles.row;
        let bits = expand + READ[usize::from(g.n > 1)] * byte * lanes * (density * size + 0.125);
        let ends = n * LIST_ENDS * lanes / CHUNK.min(g.inputs) as f64;
        let entries = f64::max(ENTRY * n, byte * (size + 2.0));
        let lists = density * lanes * entries + ends;
        let of_lanes = |lanes: &OfNonzeros| lanes.time(cpu, g, density);
        let row_lanes = self.row_lanes.as_ref().map_or(f64::INFINITY, of_lanes);
        Times { panels: panels(cpu, g, dtype), bits, lists, row_lanes }
    }
}

impl OfNonzeros {
    /// The cycles per vector of weights if the live rows have this density.
    fn time(&self, cpu: &Cpu, g: &Linear, density: f64) -> f64 {
        if self.density <= 0.0 {
            return f64::INFINITY;
        }
        let packed = self.packed.scaled(density / self.density);
        let estimate = packed.estimate(&g.over_pixels(), [false; 2]);
        let compute = Cycles::of(cpu.isa()).multiply * (estimate.products + estimate.fixed);
        let read = byte(g, Dtype::F32) * (size_of::<f32>() * packed.len()) as f64;
        overlapped(read, compute) / self.vectors
    }
}

/// The time of panels, in cycles per vector of weights of the live rows.
pub(super) fn panels(cpu: &Cpu, g: &Linear, dtype: Dtype) -> f64 {
    let tile = &cpu.backend.tiles(Types::with_weights(dtype))[0];
    let rows = if g.n == 1 { 1 } else { g.n.next_multiple_of(tile.mr) } as f64;
    let convert = if dtype == Dtype::F32 { 0.0 } else { 1.0 };
    let read = byte(g, dtype) * (tile.nr * dtype.bytes()) as f64;
    overlapped(read, Cycles::of(cpu.isa()).multiply * rows + convert)
}

/// The number of floats in a vector.
pub(super) fn lanes_of(cpu: &Cpu) -> f64 {
    cpu.backend.tiles(Types::F32)[0].nr as f64
}

/// The cycles that a core takes to read a byte of the weight, wherever panels of it are.
fn byte(g: &Linear, dtype: Dtype) -> f64 {
    let bytes = g.inputs * g.outputs * dtype.bytes();
    BYTE.iter().find(|(most, _)| bytes <= *most).map_or(0.0, |(_, byte)| *byte)
}

/// The time of reading and computing, which overlap in part.
fn overlapped(read: f64, compute: f64) -> f64 {
    read.max(compute) + EXPOSED * read.min(compute)
}
