//! The choice of a convolution's algorithm: the one with the lowest estimated time, and the reason in words.

use super::algorithm::{Algorithm, Packing, Weights};
use super::estimate::{self, LanesTime};
use super::winograd::{self, ListsEstimate, Tiling};
use crate::cpu::lanes::{self, RowLanes, Rows};
use crate::cpu::{Cpu, Isa};
use crate::pattern::Pattern;
use crate::shapes::Conv2d;
use std::fmt;

/// An algorithm and the reason for it.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// The chosen algorithm.
    pub algorithm: Algorithm,
    reason: Reason,
    /// The estimate of row lanes, if they apply and were compared.
    lanes: Option<Lanes>,
    /// The estimate of lists of channels in Winograd's algorithm, if it is chosen and a kernel is zero.
    lists: Option<ListsEstimate>,
    /// Whether row lanes were chosen together with the neighbors of the convolution.
    chained: bool,
    /// A note on the zeros of the live filters, and on what becomes of them.
    zeros: Option<String>,
}

/// The estimate of row lanes.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Lanes {
    /// As a fraction of the direct algorithm's.
    of_direct: f64,
    /// The density of the weights, in `0..=1`, below which row lanes are chosen.
    below: f64,
}

#[derive(Debug, Clone, PartialEq)]
enum Reason {
    /// Requested by the caller.
    Asked,
    /// Winograd's algorithm does not apply; the string gives the reason.
    Only(&'static str),
    /// Estimated to take the least time; the values are Winograd's estimates as fractions of the direct algorithm's.
    Estimated { winograd2: f64, winograd4: f64 },
    /// The same if only the algorithm along rows applies.
    AlongRows { of_direct: f64 },
}

/// Row lanes are chosen if their estimate is below this fraction of the direct algorithm's, with AVX-512 and with less.
/// Neither estimate is exact, and a mask must not make a layer slower. A product in row lanes takes a load: one processor
/// with AVX-512 needs 1.45 times as long for it as for a product of the direct algorithm, others as long.
const BELOW_DIRECT: [f64; 2] = [0.75, 0.95];
/// The same for Winograd's algorithm, which reads and writes much, too.
const BELOW_WINOGRAD: [f64; 2] = [0.95, 0.92];

impl Choice {
    /// Chooses for the filters of `g` that `pattern` keeps.
    pub(super) fn new(cpu: &Cpu, g: &Conv2d, pattern: &Pattern, packing: Packing) -> Self {
        let live = Conv2d { o: pattern.filters().len(), ..*g };
        let lists = winograd::estimated_lists(cpu, pattern);
        let products = lists.map_or(1.0, |lists| lists.products());
        let choice = match packing {
            _ if live.o == 0 => Self::only("no filter is live"),
            _ if cpu.is_strict() => Self::asked(Algorithm::Direct),
            Packing::By(algorithm) => match algorithm.refuses(&live, pattern) {
                Some(why) => Self::only(why),
                None => Self::asked(algorithm),
            },
            Packing::Fastest(weights) => {
                Self::estimated(cpu, &live, weights, products).or_lanes(cpu, g, pattern, weights)
            }
            Packing::InLanes(weights) => match Algorithm::RowLanes.refuses(&live, pattern) {
                Some(why) => Self::only(why),
                None => {
                    let choice = Self::estimated(cpu, &live, weights, products);
                    let algorithm = Algorithm::RowLanes;
                    Self { algorithm, chained: true, ..choice.or_lanes(cpu, g, pattern, weights) }
                }
            },
        };
        let zeros = match choice.algorithm {
            Algorithm::RowLanes => None,
            Algorithm::Winograd2 | Algorithm::Winograd4 if products < 1.0 => {
                note(pattern, "lists of channels skip by whole kernels")
            }
            _ if choice.lanes.is_some() => note(pattern, "row lanes would skip more slowly"),
            _ => note(pattern, "no kernel skips"),
        };
        let lists = lists.filter(|_| choice.algorithm.tiling().is_some());
        Self { zeros, lists, ..choice }
    }

    fn asked(algorithm: Algorithm) -> Self {
        Self { algorithm, reason: Reason::Asked, lanes: None, lists: None, chained: false, zeros: None }
    }

    /// The same choice for filters of which `dead` are computed in vain.
    pub(super) fn with_dead_filters(self, dead: usize) -> Self {
        let note = format!("{dead} dead filters are computed, because leaving them out takes longer");
        Self { zeros: Some(note), ..self }
    }

    /// Chooses the direct algorithm because no other applies.
    pub(super) fn only(why: &'static str) -> Self {
        Self {
            algorithm: Algorithm::Direct,
            reason: Reason::Only(why),
            lanes: None,
            lists: None,
            chained: false,
            zeros: None,
        }
    }

    /// Chooses row lanes instead if they apply to the zeros of `pattern` and are clearly faster than this choice.
    fn or_lanes(self, cpu: &Cpu, g: &Conv2d, pattern: &Pattern, weights: Weights) -> Self {
        if cpu.is_strict() || lanes::refuses(g, pattern).is_some() {
            return self;
        }
        let live = Conv2d { o: pattern.filters().len(), ..*g };
        let direct = estimate::direct(cpu, &live, weights);
        let packed = RowLanes::new(cpu, g, pattern, Rows::Joined);
        let time = |packed: &RowLanes| LanesTime::new(cpu, g, packed, [false; 2], weights);
        let (lanes, most) = (time(&packed), self.most(cpu));
        let of_direct = lanes.time() / direct;
        let mut factor = lanes.nonzeros_within(most * direct);
        if factor > 0.0 {
            // The blocks of lists depend on how long these are.
            factor *= time(&packed.scaled(factor)).nonzeros_within(most * direct);
        }
        let below = (pattern.density() * factor).clamp(0.0, 1.0);
        let algorithm = if of_direct < most { Algorithm::RowLanes } else { self.algorithm };
        Self { algorithm, lanes: Some(Lanes { of_direct, below }), ..self }
    }

    /// The estimated time of the fastest algorithm as a fraction of the direct one's; less the margin by which row lanes
    /// must be faster, if it is another.
    pub(super) fn to_beat(cpu: &Cpu, g: &Conv2d, pattern: &Pattern, weights: Weights) -> f64 {
        let choice = Self::new(cpu, g, pattern, Packing::Fastest(weights));
        match (choice.algorithm, choice.lanes) {
            (Algorithm::RowLanes, Some(lanes)) => lanes.of_direct,
            _ => choice.most(cpu),
        }
    }

    /// The fraction of the direct algorithm's time that row lanes must stay below to replace this choice.
    fn most(&self, cpu: &Cpu) -> f64 {
        let isa = usize::from(cpu.isa() != Isa::Avx512);
        match self.algorithm {
            Algorithm::Direct => BELOW_DIRECT[isa],
            chosen => BELOW_WINOGRAD[isa] * self.of_direct(chosen).unwrap_or(1.0),
        }
    }

    /// The estimated time of `algorithm` as a fraction of the direct one's, if it was compared.
    pub fn of_direct(&self, algorithm: Algorithm) -> Option<f64> {
        match (algorithm, &self.reason) {
            (Algorithm::Direct, _) => Some(1.0),
            (Algorithm::Winograd2, Reason::Estimated { winograd2, .. }) => Some(*winograd2),
            (Algorithm::Winograd4, Reason::Estimated { winograd4, .. }) => Some(*winograd4),
            (Algorithm::WinogradRows, Reason::AlongRows { of_direct }) => Some(*of_direct),
            (Algorithm::RowLanes, _) => self.lanes.map(|lanes| lanes.of_direct),
            _ => None,
        }
    }

    /// Chooses the algorithm with the lowest estimate for `g`.
    pub(super) fn fastest(cpu: &Cpu, g: &Conv2d, weights: Weights) -> Self {
        Self::estimated(cpu, g, weights, 1.0)
    }

    /// Chooses the algorithm with the lowest estimate for `g` if the products of Winograd's algorithm take `products`
    /// of the time of dense filters.
    fn estimated(cpu: &Cpu, g: &Conv2d, weights: Weights, products: f64) -> Self {
        if cpu.is_strict() {
            return Self::asked(Algorithm::Direct);
        }
        if let Some(why) = winograd::refuses(g) {
            return Self::along_rows(cpu, g, weights).unwrap_or_else(|| Self::only(why));
        }
        let direct = estimate::direct(cpu, g, weights);
        let [winograd2, winograd4] = [Tiling::F2, Tiling::F4]
            .map(|tiling| estimate::winograd(cpu, g, weights, tiling, products) / direct);
        // F(2×2) is never chosen in training, because weights are not the bottleneck there.
        let algorithm = if winograd4 < 1.0 && (winograd4 <= winograd2 || weights == Weights::Fresh) {
            Algorithm::Winograd4
        } else if winograd2 < 1.0 && weights != Weights::Fresh {
            Algorithm::Winograd2
        } else {
            Algorithm::Direct
        };
        let reason = Reason::Estimated { winograd2, winograd4 };
        Self { algorithm, reason, lanes: None, lists: None, chained: false, zeros: None }
    }

    /// Chooses between the direct algorithm and Winograd's along rows, if that applies. Training computes directly.
    fn along_rows(cpu: &Cpu, g: &Conv2d, weights: Weights) -> Option<Self> {
        if weights == Weights::Fresh || winograd::line_refuses(g).is_some() {
            return None;
        }
        let of_direct = estimate::line(cpu, g, weights) / estimate::direct(cpu, g, weights);
        let algorithm = if of_direct < 1.0 { Algorithm::WinogradRows } else { Algorithm::Direct };
        let reason = Reason::AlongRows { of_direct };
        Some(Self { algorithm, reason, lanes: None, lists: None, chained: false, zeros: None })
    }

    /// The estimated time of the fastest dense algorithm for one call with weights that it packs, in
    /// multiply-accumulates.
    pub(super) fn dense_call(cpu: &Cpu, g: &Conv2d) -> f64 {
        let choice = Self::fastest(cpu, g, Weights::Fresh);
        choice.of_direct(choice.algorithm).unwrap_or(1.0) * estimate::direct(cpu, g, Weights::Fresh)
    }

    /// A note on the zeros, if they are at least one percent of the multiplied weights.
    pub fn zeros_note(&self) -> Option<&str> {
        self.zeros.as_deref()
    }
}

/// A note on the zeros of the live filters, if they are at least one percent of the weights; `skips` states which kernel
/// skips them, if any.
fn note(pattern: &Pattern, skips: &str) -> Option<String> {
    // Rounded down: 100 % would mean that no weight is left.
    let percent = (100.0 * pattern.zeros_of_live_filters()).floor();
    let note = || format!("{percent} % of the weights are zero, which {skips} (pattern: {pattern})");
    (percent >= 1.0).then(note)
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reason {
            Reason::Asked => f.write_str("as asked")?,
            Reason::Only(why) => f.write_str(why)?,
            Reason::Estimated { winograd2, winograd4 } => {
                let (four, two) = (Algorithm::Winograd4, Algorithm::Winograd2);
                write!(f, "of direct: {four} {winograd4:.2}, {two} {winograd2:.2}")?;
            }
            Reason::AlongRows { of_direct } => {
                write!(f, "of direct: {} {of_direct:.2}", Algorithm::WinogradRows)?;
            }
        }
        if let Some(Lanes { of_direct, below }) = self.lanes {
            let (row_lanes, percent) = (Algorithm::RowLanes, 100.0 * below);
            write!(f, "; {row_lanes} {of_direct:.2} of direct, chosen below {percent:.0} % nonzero weights")?;
        }
        if let Some(lists) = self.lists {
            write!(f, "; {lists}")?;
        }
        if self.chained {
            f.write_str("; chosen with its neighbors")?;
        }
        self.zeros_note().map_or(Ok(()), |note| write!(f, "; {note}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(cpu: &Cpu, [n, size, c, o]: [usize; 4], weights: Weights) -> Choice {
        let g = Conv2d::square([n, size, size, c], o, 3, 1, 1);
        Choice::new(cpu, &g, &Pattern::dense(g.filters_shape()), Packing::Fastest(weights))
    }

    /// Layers for which one algorithm was measured to be the fastest by at least a tenth, on one thread and on two.
    #[test]
    fn the_dense_choice_is_the_fastest_measured() {
        let Some(cpu) = Cpu::with_isa(Isa::Avx512) else { return };
        use Algorithm::{Direct, Winograd2, Winograd4};
        use Weights::{Cache, Memory};
        for (layer, weights, fastest) in [
            ([16, 32, 64, 64], Cache, Winograd4),
            ([1, 16, 64, 64], Cache, Winograd4),
            ([1, 16, 64, 64], Memory, Winograd4),
            ([1, 16, 128, 128], Cache, Winograd4),
            ([1, 12, 192, 192], Memory, Winograd4),
            ([1, 14, 256, 256], Cache, Winograd4),
            ([1, 14, 512, 512], Memory, Winograd4),
            ([1, 8, 256, 256], Memory, Winograd2),
            ([1, 7, 512, 512], Memory, Winograd2),
            ([1, 8, 256, 256], Cache, Winograd2),
            ([1, 10, 320, 320], Cache, Winograd2),
            ([16, 2, 512, 512], Cache, Winograd2),
            ([1, 4, 128, 128], Memory, Direct),
            ([1, 4, 512, 512], Memory, Direct),
            ([1, 32, 3, 64], Cache, Direct),
        ] {
            let choice = choice(&cpu, layer, weights);
            assert_eq!(choice.algorithm, fastest, "{layer:?} from {weights:?}: {choice}");
        }
    }

    /// More images never make Winograd's algorithm worse compared to the direct one, up to the size of the caches.
    #[test]
    fn larger_batches_favor_winograd() {
        for cpu in Isa::ALL.iter().filter_map(|&isa| Cpu::with_isa(isa)) {
            for weights in [Weights::Cache, Weights::Memory] {
                let of_direct = [1, 2, 4, 8].map(|n| {
                    choice(&cpu, [n, 8, 128, 128], weights).of_direct(Algorithm::Winograd4).unwrap()
                });
                assert!(of_direct.is_sorted_by(|a, b| *a >= *b * 0.97), "{}: {of_direct:?}", cpu.isa());
                assert!(of_direct[3] < 1.0, "{}: {of_direct:?}", cpu.isa());
            }
        }
    }

    /// The text names the density at which lists of channels begin, and the choice changes there.
    #[test]
    fn lists_begin_at_the_stated_density() {
        let g = Conv2d::square([4, 16, 16, 64], 64, 3, 1, 1);
        for cpu in Isa::ALL.iter().filter_map(|&isa| Cpu::with_isa(isa)) {
            let choice = |kept: usize| {
                // The last channels are zero for all filters but the first 32, so that no input channel is dead.
                let live = |i: usize| i % g.c < kept || i / (9 * g.c) < 32;
                let w: Vec<f32> = (0..g.w_len()).map(|i| f32::from(u8::from(live(i)))).collect();
                let pattern = Pattern::of(&w, g.filters_shape());
                let choice = Choice::new(&cpu, &g, &pattern, Packing::By(Algorithm::Winograd4));
                let text = choice.to_string();
                let (_, rest) =
                    text.split_once("of dense, chosen below ").unwrap_or_else(|| panic!("{text}"));
                let below: f64 = rest.split_once(" %").unwrap().0.parse().unwrap();
                (100.0 * pattern.density(), below, text.contains("lists of channels skip"))
            };
            let choices = [60, 40, 20, 1].map(choice);
            for (density, below, lists) in choices {
                assert!(
                    (density - below).abs() < 2.0 || (density < below) == lists,
                    "{}: {choices:?}",
                    cpu.isa()
                );
            }
            assert!(choices[3].2, "{}: {choices:?}", cpu.isa());
        }
    }
}
