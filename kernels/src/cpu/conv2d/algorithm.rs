//! The choice of a convolution's algorithm, from a cost estimate that depends only on the shape.
//!
//! ```text
//!   direct   products = MACs                     weights =  9·C·O floats
//!   F(4×4)   products = 36·C·O·(H/4)·(W/4)       weights = 36·C·O floats    + transforms
//!   F(2×2)   products = 16·C·O·(H/2)·(W/2)       weights = 16·C·O floats    + transforms
//!   lanes    products = nonzeros · pixels        weights = 2 · nonzeros     + conversions
//! ```
//!
//! F(4×4) needs the fewest multiplications, and direct reads the fewest weights. F(2×2) lies in between, and pays for
//! small maps with many channels. [`Weights`] specifies where the weights come from. Each weight has too few products
//! to hide the load of the next one, so the two times add up. The transforms read and write the images and compute
//! little. All costs are in units of multiply-accumulates that take the same time, so the estimate needs no clock. It
//! depends neither on the number of threads (which bring their own bandwidth) nor on a measurement; otherwise results
//! would not be bit-identical from run to run.

use super::winograd::{self, Tiling};
use crate::cpu::Cpu;
use crate::cpu::gemm::tile_kernel::Types;
use crate::cpu::lanes::{self, Estimate, RowLanes};
use crate::pattern::Pattern;
use crate::shapes::Conv2d;
use std::fmt;

/// The algorithm that computes a convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// Performs every multiplication of the definition.
    Direct,
    /// Winograd's F(2×2, 3×3).
    Winograd2,
    /// Winograd's F(4×4, 3×3).
    Winograd4,
    /// Row lanes: only the multiplications by nonzero weights, with a list for each filter.
    RowLanes,
}

impl Algorithm {
    /// The tile size, if this is a Winograd algorithm.
    pub(super) fn tiling(self) -> Option<Tiling> {
        match self {
            Self::Direct | Self::RowLanes => None,
            Self::Winograd2 => Some(Tiling::F2),
            Self::Winograd4 => Some(Tiling::F4),
        }
    }

    /// The reason why this algorithm does not apply to `g` with the zeros of `pattern`, if there is one.
    fn refuses(self, g: &Conv2d, pattern: &Pattern) -> Option<&'static str> {
        match self {
            Self::Direct => None,
            Self::Winograd2 | Self::Winograd4 => winograd::refuses(g),
            Self::RowLanes => lanes::refuses(g, pattern),
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Direct => "direct",
            Self::Winograd2 => "F(2×2)",
            Self::Winograd4 => "F(4×4)",
            Self::RowLanes => "row lanes",
        })
    }
}

/// The place from which a call reads its weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weights {
    /// Memory: between two calls, a cache's worth of other data evicts the weights.
    Memory,
    /// Cache: an earlier call packed them, and the network is small enough to stay cached.
    Cache,
    /// Packed for this call only, as in training.
    Fresh,
}

/// The algorithms that weights may be packed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// This algorithm if it applies, otherwise direct. The error bound of direct is a quarter of Winograd's, and so is
    /// the size of its packed weights.
    By(Algorithm),
    /// The fastest algorithm if calls read the weights from this place.
    Fastest(Weights),
}

impl Weights {
    /// The number of multiply-accumulates that one lane performs while one float arrives.
    fn float(self) -> f64 {
        match self {
            Self::Memory => 1.2,
            Self::Cache | Self::Fresh => 0.8,
        }
    }
}

/// An algorithm and the reason for it.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// The chosen algorithm.
    pub algorithm: Algorithm,
    reason: Reason,
    /// The estimate of row lanes, if they apply and were compared.
    lanes: Option<Lanes>,
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
}

/// The cost of starting and finishing a register tile, in steps of the reduction.
const TILE_ENDS: f64 = 8.0;
/// The cost of transforming one point of one channel of a tile, on either end, in multiply-accumulates.
const TRANSFORM: f64 = 5.0;
/// The same if threads exchange the transformed data.
const SHARED_TRANSFORM: f64 = 25.0;
/// The cost of running three steps instead of one, in multiply-accumulates.
const STEPS: f64 = 2e5;
/// The cost of one channel of a filter whose weights are transformed for one call, in multiply-accumulates.
const FILTER_TRANSFORM: f64 = 3.0;

/// Row lanes are chosen if their estimate is below this fraction of the direct algorithm's. Neither estimate is exact,
/// and a mask must not make a layer slower.
const BELOW_DIRECT: f64 = 0.95;
/// The same for Winograd's algorithm, whose estimate is up to a third too high for few tiles in cache.
const BELOW_WINOGRAD: f64 = 0.75;

/// The estimated time of the direct algorithm, in multiply-accumulates.
fn direct(cpu: &Cpu, g: &Conv2d, weights: Weights) -> f64 {
    let taps = (g.kh * g.kw * g.c) as f64;
    let pixels = (g.n * g.oh() * g.ow()) as f64;
    taps * g.o as f64 * (pixels * with_ends(taps) + weights.float() * lanes(cpu))
}

/// The estimated time of Winograd's algorithm with this tile size, in multiply-accumulates, where the products take
/// `products` of the time of dense filters.
fn winograd(cpu: &Cpu, g: &Conv2d, weights: Weights, tiling: Tiling, products: f64) -> f64 {
    let (c, o, points) = (g.c as f64, g.o as f64, tiling.points() as f64);
    let (tiles, mr) = (tiling.tiles(g), cpu.backend.tiles(Types::F32)[0].mr);
    let computed = tiles.next_multiple_of(mr);
    let shared = winograd::together(tiling.points() * g.c * g.o, computed < 4 * mr);
    let transform = if shared { SHARED_TRANSFORM } else { TRANSFORM };
    let filters = if weights == Weights::Fresh { FILTER_TRANSFORM * c * o } else { 0.0 };
    let transforms = points * (tiles as f64 * transform * (c + o) + filters);
    let images = (g.x_len() + g.y_len()) as f64 * Weights::Memory.float() * lanes(cpu);
    products * points * c * o * (computed as f64 * with_ends(c) + weights.float() * lanes(cpu))
        + transforms
        + images
        + STEPS
}

/// The number of floats in a vector: the narrowest register tile is one vector wide.
fn lanes(cpu: &Cpu) -> f64 {
    cpu.backend.tiles(Types::F32)[0].nr as f64
}

/// The cost factor per step of a reduction, including the ends of a register tile.
fn with_ends(reduction: f64) -> f64 {
    (reduction + TILE_ENDS) / reduction
}

impl Choice {
    /// Chooses for the filters of `g` that `pattern` keeps.
    pub(super) fn new(cpu: &Cpu, g: &Conv2d, pattern: &Pattern, packing: Packing) -> Self {
        let live = Conv2d { o: pattern.filters().len(), ..*g };
        let products = winograd::products_with_lists(cpu, pattern);
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
        };
        let zeros = match choice.algorithm {
            Algorithm::RowLanes => None,
            Algorithm::Winograd2 | Algorithm::Winograd4 if products < 1.0 => {
                note(pattern, "lists of channels skip by whole kernels")
            }
            _ if choice.lanes.is_some() => note(pattern, "row lanes would skip more slowly"),
            _ => note(pattern, "no kernel skips"),
        };
        Self { zeros, ..choice }
    }

    fn asked(algorithm: Algorithm) -> Self {
        Self { algorithm, reason: Reason::Asked, lanes: None, zeros: None }
    }

    /// The same choice for filters of which `dead` are computed in vain.
    pub(super) fn with_dead_filters(self, dead: usize) -> Self {
        let note = format!("{dead} dead filters are computed, because leaving them out takes longer");
        Self { zeros: Some(note), ..self }
    }

    /// Chooses the direct algorithm because no other applies.
    pub(super) fn only(why: &'static str) -> Self {
        Self { algorithm: Algorithm::Direct, reason: Reason::Only(why), lanes: None, zeros: None }
    }

    /// Chooses row lanes instead if they apply to the zeros of `pattern` and are clearly faster than this choice.
    fn or_lanes(self, cpu: &Cpu, g: &Conv2d, pattern: &Pattern, weights: Weights) -> Self {
        if cpu.is_strict() || lanes::refuses(g, pattern).is_some() {
            return self;
        }
        let live = Conv2d { o: pattern.filters().len(), ..*g };
        let (direct, packed) = (direct(cpu, &live, weights), RowLanes::new(cpu, g, pattern));
        let Estimate { products, fixed } = packed.estimate(g);
        let products = products + packed.len() as f64 * weights.float();
        let [products, fixed] = [products, fixed].map(|vectors| vectors * lanes(cpu) / direct);
        let most = match self.algorithm {
            Algorithm::Direct => BELOW_DIRECT,
            _ => BELOW_WINOGRAD * self.of_direct(),
        };
        let below = (pattern.density() * (most - fixed) / products).clamp(0.0, 1.0);
        let algorithm = if products + fixed < most { Algorithm::RowLanes } else { self.algorithm };
        Self { algorithm, lanes: Some(Lanes { of_direct: products + fixed, below }), ..self }
    }

    /// The estimated time of the fastest dense algorithm for one call with weights that it packs, in
    /// multiply-accumulates.
    pub(super) fn dense_call(cpu: &Cpu, g: &Conv2d) -> f64 {
        Self::fastest(cpu, g, Weights::Fresh).of_direct() * direct(cpu, g, Weights::Fresh)
    }

    /// The estimate of the chosen algorithm as a fraction of the direct one's.
    fn of_direct(&self) -> f64 {
        match (&self.reason, self.algorithm) {
            (Reason::Estimated { winograd2, .. }, Algorithm::Winograd2) => *winograd2,
            (Reason::Estimated { winograd4, .. }, Algorithm::Winograd4) => *winograd4,
            _ => 1.0,
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
            return Self::only(why);
        }
        let direct = direct(cpu, g, weights);
        let winograd2 = winograd(cpu, g, weights, Tiling::F2, products) / direct;
        let winograd4 = winograd(cpu, g, weights, Tiling::F4, products) / direct;
        // F(2×2) is never chosen in training, because weights are not the bottleneck there.
        let algorithm = if winograd4 < 1.0 && (winograd4 <= winograd2 || weights == Weights::Fresh) {
            Algorithm::Winograd4
        } else if winograd2 < 1.0 && weights != Weights::Fresh {
            Algorithm::Winograd2
        } else {
            Algorithm::Direct
        };
        let reason = Reason::Estimated { winograd2, winograd4 };
        Self { algorithm, reason, lanes: None, zeros: None }
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
        }
        if let Some(Lanes { of_direct, below }) = self.lanes {
            let (row_lanes, percent) = (Algorithm::RowLanes, 100.0 * below);
            write!(f, "; {row_lanes} {of_direct:.2} of direct, chosen below {percent:.0} % nonzero weights")?;
        }
        self.zeros_note().map_or(Ok(()), |note| write!(f, "; {note}"))
    }
}
