//! The choice of a linear layer's layout, from a cost estimate that depends on the shape, the batch and the zeros.
//!
//! ```text
//!   panels   reading all weights, overlapped with multiplying them by whole tiles of rows
//!   bits     reading bits and nonzero weights, and expanding every vector of weights
//!   lists    multiplying the nonzero weights, one by one
//! ```
//!
//! With few rows of the batch, a layer is bound by reading its weight once, so leaving out zeros pays at once; with
//! many, by arithmetic, where panels are best. Costs are in cycles per vector of weights, as measured on one core: of a
//! Zen 4 with AVX-512, of a Zen 3 with AVX2. The estimate depends neither on the number of threads nor on a measurement;
//! otherwise results would not be bit-identical from run to run.

use super::bits::rows_at_once;
use super::lists::CHUNK;
use crate::cpu::gemm::tile_kernel::Types;
use crate::cpu::{Cpu, Isa};
use crate::dtype::Dtype;
use crate::pattern::Pattern;
use crate::shapes::Linear;
use std::fmt;

/// The layout of a linear layer's packed weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinearLayout {
    /// Panels of outputs, in which zeros are stored and multiplied; only dead rows are left out.
    Panels,
    /// One bit per weight, and the nonzero weights.
    Bits,
    /// The nonzero weights, each with its input.
    Lists,
}

impl fmt::Display for LinearLayout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Panels => "panels",
            Self::Bits => "bits",
            Self::Lists => "lists",
        })
    }
}

/// The layout of a linear layer's weight and the reason for it.
#[derive(Debug, Clone, PartialEq)]
pub struct LinearChoice {
    /// The chosen layout.
    pub layout: LinearLayout,
    reason: Reason,
}

#[derive(Debug, Clone, PartialEq)]
enum Reason {
    /// Requested by the caller.
    Asked,
    /// The live rows have no zeros.
    Dense,
    /// Estimated to take the least time.
    Estimated {
        /// The estimates, as fractions of that of panels.
        bits: f64,
        lists: f64,
        /// The share of zeros in percent at and below which another layout is chosen, and that layout.
        below: Option<(usize, LinearLayout)>,
        /// The same, at and above.
        above: Option<(usize, LinearLayout)>,
    },
}

/// The cycles that a core takes to read a byte of a weight whose panels take at most so many bytes: one that may still
/// be in a core's own cache, in a shared one, or in memory.
const BYTE: [(usize, f64); 3] = [(4 << 20, 0.04), (16 << 20, 0.067), (usize::MAX, 0.125)];
/// The cycles of starting and finishing a list, per row of w and chunk of inputs.
const LIST_ENDS: f64 = 20.0;
/// The part of the shorter of two overlapping times, reading and computing, that the longer one does not hide.
const EXPOSED: f64 = 1.0 / 3.0;
/// A sparse layout must be estimated to take at most this fraction of the time of panels, so that the error of the
/// estimate never makes a layer slower.
const MARGIN: f64 = 0.92;

/// The cycles of an instruction set's vector loops.
struct Cycles {
    /// Expanding a vector of weights and multiplying it by one row of x.
    expand: f64,
    /// Multiplying the expanded vector by another row of x.
    row: f64,
    /// The time of reading values that expanding does not hide, compared to the time of reading alone, with one row of x
    /// and with several, whose multiply-adds leave less room for loads ahead of them.
    read: [f64; 2],
    /// An entry of a list, with at most two rows of x, and with more, whose chunks do not fit in the L1 cache together.
    entry: [f64; 2],
    /// Multiplying a vector of a panel by one row of x.
    multiply: f64,
}

impl Cycles {
    /// The cycles for weights of type `dtype`.
    fn of(isa: Isa, dtype: Dtype) -> Self {
        let read = [1.0, 1.45];
        match isa {
            Isa::Avx512 => Self { expand: 2.5, row: 1.1, read, entry: [1.7; 2], multiply: 1.0 },
            Isa::Avx2 => {
                let expand = if dtype == Dtype::Bf16 { 1.8 } else { 2.4 };
                Self { expand, row: 0.4, read: [EXPOSED; 2], entry: [1.0, 1.3], multiply: 0.5 }
            }
            Isa::Portable => Self { expand: 14.0, row: 1.7, read, entry: [1.7; 2], multiply: 1.75 },
        }
    }
}

/// The estimated times of the three layouts in cycles per vector of weights of the live rows, `density` of which are
/// not zero.
fn estimates(cpu: &Cpu, g: &Linear, dtype: Dtype, density: f64) -> [f64; 3] {
    let tile = &cpu.backend.tiles(Types::with_weights(dtype))[0];
    let (cycles, lanes, size) = (Cycles::of(cpu.isa(), dtype), tile.nr as f64, dtype.bytes() as f64);
    let bytes = g.inputs * g.outputs * dtype.bytes();
    let byte = BYTE.iter().find(|(most, _)| bytes <= *most).map_or(0.0, |(_, byte)| *byte);
    let rows = if g.n == 1 { 1 } else { g.n.next_multiple_of(tile.mr) } as f64;
    let convert = if dtype == Dtype::F32 { 0.0 } else { 1.0 };
    let panels = overlapped(byte * lanes * size, cycles.multiply * rows + convert);
    let (passes, n) = (g.n.div_ceil(rows_at_once(cpu.isa())) as f64, g.n as f64);
    let expand = passes * cycles.expand + (n - passes) * cycles.row;
    let bits = expand + cycles.read[usize::from(g.n > 1)] * byte * lanes * (density * size + 0.125);
    let ends = n * LIST_ENDS * lanes / CHUNK.min(g.inputs) as f64;
    let entries = f64::max(cycles.entry[usize::from(g.n > 2)] * n, byte * (size + 2.0));
    let lists = density * lanes * entries + ends;
    [panels, bits, lists]
}

/// The time of reading and computing, which overlap in part.
fn overlapped(read: f64, compute: f64) -> f64 {
    read.max(compute) + EXPOSED * read.min(compute)
}

/// The layout with the lowest estimate.
fn best([panels, bits, lists]: [f64; 3]) -> LinearLayout {
    if bits.min(lists) > MARGIN * panels {
        LinearLayout::Panels
    } else if bits <= lists {
        LinearLayout::Bits
    } else {
        LinearLayout::Lists
    }
}

impl LinearChoice {
    /// The layout that the caller asks for.
    pub(super) fn asked(layout: LinearLayout) -> Self {
        Self { layout, reason: Reason::Asked }
    }

    /// Chooses the layout with the lowest estimate for the batch of `g` and the zeros of `pattern`, in weights of type
    /// `dtype`.
    pub fn fastest(cpu: &Cpu, g: &Linear, pattern: &Pattern, dtype: Dtype) -> Self {
        let zeros = pattern.zeros_of_live_filters();
        if zeros == 0.0 {
            return Self { layout: LinearLayout::Panels, reason: Reason::Dense };
        }
        let estimates = |zeros: f64| estimates(cpu, g, dtype, 1.0 - zeros);
        let [panels, bits, lists] = estimates(zeros);
        let layout = best([panels, bits, lists]);
        let at = |percent: usize| (percent, best(estimates(percent as f64 / 100.0)));
        let other = |found: &(usize, LinearLayout)| found.1 != layout;
        let percent = (100.0 * zeros) as usize;
        let below = (0..=percent).rev().map(at).find(other);
        let above = (percent + 1..100).map(at).find(other);
        Self {
            layout,
            reason: Reason::Estimated { bits: bits / panels, lists: lists / panels, below, above },
        }
    }

    /// The estimated cycles of one core for `g` with weights of type `dtype` in this layout.
    pub fn cycles(&self, cpu: &Cpu, g: &Linear, dtype: Dtype) -> f64 {
        let lanes = cpu.backend.tiles(Types::with_weights(dtype))[0].nr;
        let [panels, ..] = estimates(cpu, g, dtype, 1.0);
        let of_panels = match (&self.reason, self.layout) {
            (Reason::Estimated { bits, .. }, LinearLayout::Bits) => *bits,
            (Reason::Estimated { lists, .. }, LinearLayout::Lists) => *lists,
            _ => 1.0,
        };
        of_panels * panels * (g.inputs * g.outputs).div_ceil(lanes) as f64
    }

    /// Whether estimates were compared: the live rows have zeros, and no layout was asked for.
    pub fn is_estimated(&self) -> bool {
        matches!(self.reason, Reason::Estimated { .. })
    }
}

/// The reason: `of panels: bits 0.68, lists 1.70; panels up to 37 % zeros, lists from 86 %`.
impl fmt::Display for LinearChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Reason::Estimated { bits, lists, below, above } = &self.reason else {
            return f.pad(if self.reason == Reason::Asked { "as asked" } else { "no zeros" });
        };
        write!(f, "of panels: bits {bits:.2}, lists {lists:.2}")?;
        if let Some((percent, layout)) = below {
            write!(f, "; {layout} up to {percent} % zeros")?;
        }
        if let Some((percent, layout)) = above {
            write!(f, "; {layout} from {percent} % zeros")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The layout of a linear layer with this share of zeros, and the reason.
    fn layout(cpu: &Cpu, n: usize, dtype: Dtype, zeros: f64) -> (LinearLayout, String) {
        let g = Linear { n, inputs: 1000, outputs: 2 };
        // One row begins with its zeros and the other one ends with them.
        let dead = (1000.0 * zeros).round() as usize;
        let flags = (0..1000).map(|i| i >= dead).chain((0..1000).map(|i| i < 1000 - dead));
        let values: Vec<f32> = flags.map(f32::from).collect();
        let choice = LinearChoice::fastest(cpu, &g, &Pattern::of(&values, [2, 1, 1000]), dtype);
        (choice.layout, choice.to_string())
    }

    #[test]
    fn few_rows_and_many_zeros_pay() {
        for cpu in Isa::ALL.iter().filter_map(|&isa| Cpu::with_isa(isa)) {
            for dtype in [Dtype::F32, Dtype::Bf16] {
                assert_eq!(layout(&cpu, 1, dtype, 0.0), (LinearLayout::Panels, "no zeros".into()));
                assert_eq!(layout(&cpu, 64, dtype, 0.5).0, LinearLayout::Panels, "{}: many rows", cpu.isa());
                assert_eq!(layout(&cpu, 1, dtype, 0.05).0, LinearLayout::Panels, "{}: few zeros", cpu.isa());
                assert_eq!(layout(&cpu, 1, dtype, 0.95).0, LinearLayout::Lists, "{}: many zeros", cpu.isa());
            }
        }
    }

    #[test]
    fn a_choice_names_the_density_at_which_it_changes() {
        for cpu in Isa::ALL.iter().filter_map(|&isa| Cpu::with_isa(isa)) {
            for percent in 1..100 {
                let (chosen, text) = layout(&cpu, 1, Dtype::F32, percent as f64 / 100.0);
                let last = layout(&cpu, 1, Dtype::F32, (percent as f64 - 1.0) / 100.0).0;
                let next = layout(&cpu, 1, Dtype::F32, (percent as f64 + 1.0) / 100.0).0;
                if percent > 1 && last != chosen {
                    assert!(text.contains(&format!("{last} up to {} % zeros", percent - 1)), "{text}");
                }
                if percent < 99 && next != chosen {
                    assert!(text.contains(&format!("{next} from {} % zeros", percent + 1)), "{text}");
                }
            }
        }
    }
}
