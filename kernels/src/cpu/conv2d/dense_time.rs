//! The estimated time of a dense convolution, for comparing shapes that nobody has packed yet.
//!
//! ```text
//!   filters   1 ……… 16 │ 17 ……… 32 │ 33
//!             a panel  │  a panel  │  a panel that is nearly empty: 33 filters take as long as 48
//! ```
//!
//! The choice of an algorithm compares ways of computing one shape, so it may ignore whatever all of them pay alike.
//! Comparing widths may not: filters are computed in panels of a vector, and the last one costs as much as the others.

use super::algorithm::{Algorithm, Weights};
use super::choice::Choice;
use super::estimate::{direct, lanes};
use crate::cpu::Cpu;
use crate::shapes::Conv2d;

/// The algorithm that a plan chooses for a dense convolution, and its estimated time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DenseTime {
    /// The algorithm.
    pub algorithm: Algorithm,
    /// The time in multiply-accumulates of the direct algorithm.
    pub macs: f64,
}

impl DenseTime {
    /// Estimates `g`, which has one group of channels and reads its weights from `weights`. The estimate depends on the
    /// shape and the instruction set only.
    pub fn of(cpu: &Cpu, g: &Conv2d, weights: Weights) -> Self {
        let choice = Choice::fastest(cpu, g, weights);
        let whole = Conv2d { o: g.o.next_multiple_of(lanes(cpu) as usize), ..*g };
        let of_direct = choice.of_direct(choice.algorithm).unwrap_or(1.0);
        Self { algorithm: choice.algorithm, macs: of_direct * direct(cpu, &whole, weights) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::Isa;

    /// A filter more than a panel holds costs a panel, on every instruction set.
    #[test]
    fn a_nearly_empty_panel_costs_a_panel() {
        for cpu in Isa::ALL.iter().filter_map(|&isa| Cpu::with_isa(isa)) {
            let time = |o: usize| {
                let g = Conv2d::square([1, 16, 16, 64], o, 1, 1, 0);
                DenseTime::of(&cpu, &g, Weights::Cache).macs
            };
            let panel = lanes(&cpu) as usize;
            assert_eq!(time(4 * panel + 1), time(5 * panel), "{}", cpu.isa());
            assert!(time(4 * panel) < time(4 * panel + 1), "{}", cpu.isa());
        }
    }
}
