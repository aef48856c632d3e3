//! The estimated times of a convolution whose images may stay in row lanes between it and its neighbors.

use super::algorithm::Packing;
use super::choice::Choice;
use super::estimate::{LanesTime, direct};
use crate::cpu::Cpu;
use crate::cpu::lanes::{RowLanes, Rows, refuses};
use crate::pattern::Pattern;
use crate::shapes::Conv2d;

/// Estimated times, in multiply-accumulates, for choosing the algorithms of a chain of convolutions together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LaneEstimates {
    /// The time of the algorithm that [`Packing::Fastest`] chooses. If that is another than row lanes, less the margin
    /// by which these must be faster.
    pub fastest: f64,
    /// The times in row lanes, by whether input and output are in lanes.
    pub in_lanes: [[f64; 2]; 2],
    /// The time of adding a residual in another layout than the output.
    pub residual: f64,
}

impl LaneEstimates {
    /// Estimates `g` with the zeros of `pattern`. Returns `None` if the convolution has no choice, because row lanes do
    /// not apply or `packing` asks for an algorithm.
    pub fn new(cpu: &Cpu, g: &Conv2d, pattern: &Pattern, packing: Packing) -> Option<Self> {
        let Packing::Fastest(weights) = packing else { return None };
        if cpu.is_strict() || pattern.filters().is_empty() || refuses(g, pattern).is_some() {
            return None;
        }
        let live = Conv2d { o: pattern.filters().len(), ..*g };
        let fastest = Choice::to_beat(cpu, g, pattern, weights) * direct(cpu, &live, weights);
        let packed = RowLanes::new(cpu, g, pattern, Rows::OfImages);
        let in_lanes = [false, true].map(|reads| {
            [false, true].map(|writes| LanesTime::new(cpu, g, &packed, [reads, writes], weights).time())
        });
        // A residual is converted as an output is.
        Some(Self { fastest, in_lanes, residual: in_lanes[0][0] - in_lanes[0][1] })
    }

    /// The times of `calls` calls.
    pub fn of_calls(self, calls: f64) -> Self {
        Self {
            fastest: calls * self.fastest,
            in_lanes: self.in_lanes.map(|times| times.map(|time| calls * time)),
            residual: calls * self.residual,
        }
    }
}
