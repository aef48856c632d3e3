//! The choice of a linear layer's layout, by an estimate that depends on the shape, the batch and the zeros
//! ([`super::estimate`]).

use super::estimate::{Estimates, Times, lanes_of, panels};
use crate::cpu::Cpu;
use crate::cpu::conv2d::{Algorithm, Packing};
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
    /// The same, each multiplied by a vector of rows of the batch at a time: row lanes of a convolution whose pixels are
    /// the rows. They read f32 only, and panels take their place where they do not apply.
    RowLanes,
}

impl LinearLayout {
    /// How the layer is packed as a 1×1 convolution over the rows of the batch, if this layout is one of those.
    pub(super) fn over_pixels(self) -> Option<Packing> {
        match self {
            Self::Panels => Some(Packing::By(Algorithm::Direct)),
            Self::RowLanes => Some(Packing::By(Algorithm::RowLanes)),
            Self::Bits | Self::Lists => None,
        }
    }
}

impl fmt::Display for LinearLayout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Panels => "panels",
            Self::Bits => "bits",
            Self::Lists => "lists",
            Self::RowLanes => "row lanes",
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
        /// None if row lanes do not apply.
        row_lanes: Option<f64>,
        /// The share of zeros in percent at and below which another layout is chosen, and that layout.
        below: Option<(usize, LinearLayout)>,
        /// The same, at and above.
        above: Option<(usize, LinearLayout)>,
    },
}

/// A sparse layout must be estimated to take at most this fraction of the time of panels, so that the error of the
/// estimate never makes a layer slower.
const MARGIN: f64 = 0.92;

/// The layout with the lowest estimate.
fn best(times: Times) -> LinearLayout {
    let Times { panels, bits, lists, row_lanes } = times;
    let mut fastest = (bits, LinearLayout::Bits);
    for other in [(lists, LinearLayout::Lists), (row_lanes, LinearLayout::RowLanes)] {
        if other.0 < fastest.0 {
            fastest = other;
        }
    }
    if fastest.0 > MARGIN * panels { LinearLayout::Panels } else { fastest.1 }
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
        let estimates = Estimates::new(cpu, g, pattern, dtype);
        let times = estimates.at(1.0 - zeros);
        let layout = best(times);
        let at = |percent: usize| (percent, best(estimates.at(1.0 - percent as f64 / 100.0)));
        let other = |found: &(usize, LinearLayout)| found.1 != layout;
        let percent = (100.0 * zeros) as usize;
        let below = (0..=percent).rev().map(at).find(other);
        let above = (percent + 1..100).map(at).find(other);
        let of_panels = |time: f64| time / times.panels;
        let row_lanes = times.row_lanes.is_finite().then(|| of_panels(times.row_lanes));
        let (bits, lists) = (of_panels(times.bits), of_panels(times.lists));
        Self { layout, reason: Reason::Estimated { bits, lists, row_lanes, below, above } }
    }

    /// The estimated cycles of one core for `g` with weights of type `dtype` in this layout.
    pub fn cycles(&self, cpu: &Cpu, g: &Linear, dtype: Dtype) -> f64 {
        let of_panels = match (&self.reason, self.layout) {
            (Reason::Estimated { bits, .. }, LinearLayout::Bits) => *bits,
            (Reason::Estimated { lists, .. }, LinearLayout::Lists) => *lists,
            (Reason::Estimated { row_lanes: Some(row_lanes), .. }, LinearLayout::RowLanes) => *row_lanes,
            _ => 1.0,
        };
        let vectors = (g.inputs * g.outputs).div_ceil(lanes_of(cpu) as usize);
        of_panels * panels(cpu, g, dtype) * vectors as f64
    }

    /// Whether estimates were compared: the live rows have zeros, and no layout was asked for.
    pub fn is_estimated(&self) -> bool {
        matches!(self.reason, Reason::Estimated { .. })
    }
}

/// The reason: `of panels: bits 0.68, lists 1.70, row lanes 1.13; panels up to 37 % zeros, lists from 86 %`.
impl fmt::Display for LinearChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Reason::Estimated { bits, lists, row_lanes, below, above } = &self.reason else {
            return f.pad(if self.reason == Reason::Asked { "as asked" } else { "no zeros" });
        };
        write!(f, "of panels: bits {bits:.2}, lists {lists:.2}")?;
        if let Some(row_lanes) = row_lanes {
            write!(f, ", {} {row_lanes:.2}", LinearLayout::RowLanes)?;
        }
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
    use crate::cpu::Isa;

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
                assert_eq!(layout(&cpu, 64, dtype, 0.2).0, LinearLayout::Panels, "{}: many rows", cpu.isa());
                assert_eq!(layout(&cpu, 1, dtype, 0.05).0, LinearLayout::Panels, "{}: few zeros", cpu.isa());
                assert_eq!(layout(&cpu, 1, dtype, 0.95).0, LinearLayout::Lists, "{}: many zeros", cpu.isa());
            }
        }
    }

    /// A vector of rows shares the loads of a weight and of its position. Row lanes read f32 only, and a strict device
    /// computes without them.
    #[test]
    fn many_rows_and_many_zeros_take_row_lanes() {
        let g = Linear { n: 16, inputs: 512, outputs: 512 };
        let live = |i: usize| (i * 7919).is_multiple_of(11);
        let values: Vec<f32> = (0..g.inputs * g.outputs).map(|i| f32::from(u8::from(live(i)))).collect();
        let pattern = Pattern::of(&values, [g.outputs, 1, g.inputs]);
        for cpu in Isa::ALL.iter().filter_map(|&isa| Cpu::with_isa(isa)) {
            let choice = |cpu: &Cpu, dtype| LinearChoice::fastest(cpu, &g, &pattern, dtype);
            let chosen = choice(&cpu, Dtype::F32);
            assert_eq!(chosen.layout, LinearLayout::RowLanes, "{}: {chosen}", cpu.isa());
            let dense = LinearChoice::asked(LinearLayout::Panels);
            let cycles = |choice: &LinearChoice| choice.cycles(&cpu, &g, Dtype::F32);
            assert!(cycles(&chosen) < 0.7 * cycles(&dense), "{}: {chosen}", cpu.isa());
            for (cpu, dtype) in [(&cpu, Dtype::Bf16), (&cpu.clone().strict(), Dtype::F32)] {
                let other = choice(cpu, dtype);
                assert_ne!(other.layout, LinearLayout::RowLanes, "{}: {other}", cpu.isa());
                assert!(!other.to_string().contains("row lanes"), "{other}");
            }
        }
    }

    #[test]
    fn a_choice_names_the_density_at_which_it_changes() {
        for cpu in Isa::ALL.iter().filter_map(|&isa| Cpu::with_isa(isa)) {
            for (n, percent) in (1..100).flat_map(|percent| [(1, percent), (16, percent)]) {
                let (chosen, text) = layout(&cpu, n, Dtype::F32, percent as f64 / 100.0);
                let last = layout(&cpu, n, Dtype::F32, (percent as f64 - 1.0) / 100.0).0;
                let next = layout(&cpu, n, Dtype::F32, (percent as f64 + 1.0) / 100.0).0;
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
