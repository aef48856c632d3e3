//! The estimated times of a convolution whose weight has zeros, for comparing masks whose weights nobody has packed.
//!
//! ```text
//!   mask ─► pattern ─┬─► pixels ─ the fastest algorithm ─ pixels
//!                    └─► lanes  ─ row lanes ─ lanes              an end that stays in lanes is not converted
//! ```

use super::algorithm::{Algorithm, Packing, Weights};
use super::choice::Choice;
use super::estimate::{LanesTime, direct, lanes};
use crate::cpu::Cpu;
use crate::cpu::lanes::{RowLanes, Rows, refuses};
use crate::pattern::Pattern;
use crate::shapes::Conv2d;

/// What a plan makes of the zeros of a convolution, in multiply-accumulates of the direct algorithm.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MaskedTime {
    /// The algorithm that a plan chooses for the convolution alone.
    pub algorithm: Algorithm,
    /// Its time.
    pub macs: f64,
    /// The times in row lanes, by whether input and output are in lanes; none where row lanes do not apply.
    pub in_lanes: Option<[[f64; 2]; 2]>,
}

impl MaskedTime {
    /// Estimates `g`, which has one group of channels, with the zeros of `pattern`. Without zeros, this is
    /// [`DenseTime`](super::DenseTime). The estimate depends on the shape, the zeros and the instruction set only.
    ///
    /// # Panics
    /// If the pattern is not that of the weight of `g`.
    pub fn of(cpu: &Cpu, g: &Conv2d, pattern: &Pattern, weights: Weights) -> Self {
        assert_eq!(pattern.shape(), g.filters_shape(), "the pattern is that of the weight");
        let choice = Choice::new(cpu, g, pattern, Packing::Fastest(weights));
        let algorithm = choice.algorithm;
        let live = pattern.filters().len();
        if live == 0 {
            return Self { algorithm, macs: 0.0, in_lanes: None };
        }
        // Lists have an entry for each weight; the other algorithms compute whole panels of filters.
        let computed = match algorithm {
            Algorithm::RowLanes => live,
            Algorithm::Direct | Algorithm::Winograd2 | Algorithm::Winograd4 | Algorithm::WinogradRows => {
                live.next_multiple_of(lanes(cpu) as usize)
            }
        };
        let of_direct = choice.of_direct(algorithm).unwrap_or(1.0);
        let macs = of_direct * direct(cpu, &Conv2d { o: computed, ..*g }, weights);
        let applies = !cpu.is_strict() && refuses(g, pattern).is_none();
        let in_lanes = applies.then(|| {
            let packed = RowLanes::new(cpu, g, pattern, Rows::OfImages);
            let time = |ends| LanesTime::new(cpu, g, &packed, ends, weights).time();
            [false, true].map(|reads| [false, true].map(|writes| time([reads, writes])))
        });
        Self { algorithm, macs, in_lanes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::Isa;
    use crate::cpu::conv2d::DenseTime;

    /// The pattern of a weight of `g` of which one in `every` is not zero, and each filter and channel is live.
    fn pattern(g: &Conv2d, every: usize) -> Pattern {
        let live = |i: usize| (i * 7).is_multiple_of(every) || i % g.c == i / (g.kh * g.kw * g.c) % g.c;
        let mask: Vec<f32> = (0..g.w_len()).map(|i| f32::from(u8::from(live(i)))).collect();
        Pattern::of(&mask, g.filters_shape())
    }

    #[test]
    fn without_zeros_it_is_the_time_of_the_dense_convolution() {
        for cpu in Isa::ALL.iter().filter_map(|&isa| Cpu::with_isa(isa)) {
            for (size, c, o, k, stride) in [(16, 64, 64, 3, 1), (7, 96, 33, 1, 1), (9, 3, 24, 7, 2)] {
                let g = Conv2d::square([1, size, size, c], o, k, stride, k / 2);
                let masked = MaskedTime::of(&cpu, &g, &Pattern::dense(g.filters_shape()), Weights::Cache);
                let dense = DenseTime::of(&cpu, &g, Weights::Cache);
                assert_eq!((masked.algorithm, masked.in_lanes), (dense.algorithm, None), "{}", cpu.isa());
                assert!(
                    (masked.macs / dense.macs - 1.0).abs() < 1e-12,
                    "{}: {masked:?} {dense:?}",
                    cpu.isa()
                );
            }
        }
    }

    #[test]
    fn fewer_weights_and_fewer_conversions_take_less_time() {
        for cpu in Isa::ALL.iter().filter_map(|&isa| Cpu::with_isa(isa)) {
            let g = Conv2d::square([1, 16, 16, 96], 96, 1, 1, 0);
            let times =
                [2, 5, 10, 20].map(|every| MaskedTime::of(&cpu, &g, &pattern(&g, every), Weights::Cache));
            for [fuller, sparser] in times.iter().zip(&times[1..]).map(|(a, b)| [a, b]) {
                assert!(sparser.macs <= fuller.macs, "{}: {times:?}", cpu.isa());
                let [a, b] = [fuller, sparser].map(|time| time.in_lanes.expect("single weights are zero"));
                assert!(b[1][1] < a[1][1], "{}: {times:?}", cpu.isa());
                assert!(b[1][1] < b[0][1] && b[0][1] < b[0][0], "{}: {times:?}", cpu.isa());
                assert!(b[1][1] < b[1][0] && b[1][0] < b[0][0], "{}: {times:?}", cpu.isa());
            }
            assert_eq!(times[3].algorithm, Algorithm::RowLanes, "{}: {times:?}", cpu.isa());
        }
    }

    #[test]
    fn a_layer_of_zeros_takes_no_time() {
        let cpu = Cpu::detect();
        let g = Conv2d::square([1, 8, 8, 16], 16, 3, 1, 1);
        let zeros = Pattern::of(&vec![0.0; g.w_len()], g.filters_shape());
        assert_eq!(MaskedTime::of(&cpu, &g, &zeros, Weights::Cache).macs, 0.0);
    }
}
