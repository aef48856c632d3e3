//! Which algorithm a convolution is computed by, and why: an estimate of each, from the shape alone.
//!
//! ```text
//!   direct   products = MACs                     weights =  9·C·O floats
//!   F(4×4)   products = 36·C·O·(H/4)·(W/4)       weights = 36·C·O floats    + transforms
//!   F(2×2)   products = 16·C·O·(H/2)·(W/2)       weights = 16·C·O floats    + transforms
//! ```
//!
//! F(4×4) multiplies least, direct reads the fewest weights; where maps are small and channels many F(2×2) lies between.
//! Weights come from where [`Weights`] says; then each of them has too few products to hide the next behind, so both
//! times count. The transforms read and write the images and compute little. Everything is counted in
//! multiply-accumulates that could have been done in the same time, so the estimate needs no clock. It depends on
//! neither the number of threads (which bring their own bandwidth) nor a measurement, or results would not be the same
//! bits on every run.

use super::winograd::{self, Tiling};
use crate::cpu::Cpu;
use crate::shapes::Conv2d;
use std::fmt;

/// How a convolution is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// Multiplies as often as the definition does.
    Direct,
    /// Winograd's F(2×2, 3×3).
    Winograd2,
    /// Winograd's F(4×4, 3×3).
    Winograd4,
}

impl Algorithm {
    /// The tiles, if it is Winograd's.
    pub(super) fn tiling(self) -> Option<Tiling> {
        match self {
            Self::Direct => None,
            Self::Winograd2 => Some(Tiling::F2),
            Self::Winograd4 => Some(Tiling::F4),
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Direct => "direct",
            Self::Winograd2 => "F(2×2)",
            Self::Winograd4 => "F(4×4)",
        })
    }
}

/// Where a call finds its weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weights {
    /// In memory: between two calls, as many bytes pass by as a cache holds.
    Memory,
    /// In a cache, packed by an earlier call: the network is small.
    Cache,
    /// They are packed for this call alone, as in training.
    Fresh,
}

/// Which algorithm weights are packed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// This one where it applies, the direct one elsewhere. The direct one's error bound is a quarter of Winograd's, as
    /// are its packed weights.
    By(Algorithm),
    /// The one that takes less time when calls find the weights there.
    Fastest(Weights),
}

impl Weights {
    /// Multiply-accumulates of one lane in the time in which a float arrives.
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
    /// The algorithm.
    pub algorithm: Algorithm,
    reason: Reason,
}

#[derive(Debug, Clone, PartialEq)]
enum Reason {
    /// The caller's wish.
    Asked,
    /// Winograd's algorithm does not apply: this is not as it needs.
    Only(&'static str),
    /// What takes the least time: these are estimates of Winograd's in shares of the direct algorithm's.
    Estimated { winograd2: f64, winograd4: f64 },
}

/// Steps of the reduction that beginning and ending a register tile costs.
const TILE_ENDS: f64 = 8.0;
/// Multiply-accumulates in the time of transforming one point of one channel of a tile, on either end.
const TRANSFORM: f64 = 5.0;
/// The same where threads exchange what they have transformed.
const SHARED_TRANSFORM: f64 = 25.0;
/// The same of having three steps instead of one.
const STEPS: f64 = 2e5;
/// The same of a filter's channel, when its weights are transformed for one call.
const FILTER_TRANSFORM: f64 = 3.0;

/// The time of the direct algorithm, in multiply-accumulates.
fn direct(cpu: &Cpu, g: &Conv2d, weights: Weights) -> f64 {
    let taps = (g.kh * g.kw * g.c) as f64;
    let pixels = (g.n * g.oh() * g.ow()) as f64;
    taps * g.o as f64 * (pixels * with_ends(taps) + weights.float() * lanes(cpu))
}

/// The time of Winograd's algorithm with these tiles, in multiply-accumulates.
fn winograd(cpu: &Cpu, g: &Conv2d, weights: Weights, tiling: Tiling) -> f64 {
    let (c, o, points) = (g.c as f64, g.o as f64, tiling.points() as f64);
    let (tiles, mr) = (tiling.tiles(g), cpu.backend.gemm_tiles()[0].mr);
    let computed = tiles.next_multiple_of(mr);
    let shared = winograd::together(tiling.points() * g.c * g.o, computed < 4 * mr);
    let transform = if shared { SHARED_TRANSFORM } else { TRANSFORM };
    let filters = if weights == Weights::Fresh { FILTER_TRANSFORM * c * o } else { 0.0 };
    let transforms = points * (tiles as f64 * transform * (c + o) + filters);
    let images = (g.x_len() + g.y_len()) as f64 * Weights::Memory.float() * lanes(cpu);
    points * c * o * (computed as f64 * with_ends(c) + weights.float() * lanes(cpu))
        + transforms
        + images
        + STEPS
}

/// Floats of a vector: the narrowest register tile has one in a row.
fn lanes(cpu: &Cpu) -> f64 {
    cpu.backend.gemm_tiles()[0].nr as f64
}

/// What the ends of a register tile make of each step of a reduction.
fn with_ends(reduction: f64) -> f64 {
    (reduction + TILE_ENDS) / reduction
}

impl Choice {
    /// For `g` with as many filters as are live.
    pub(super) fn new(cpu: &Cpu, g: &Conv2d, packing: Packing) -> Self {
        if g.o == 0 {
            return Self::only("no filter is live");
        }
        match packing {
            _ if cpu.is_strict() => Self { algorithm: Algorithm::Direct, reason: Reason::Asked },
            Packing::By(algorithm) => match winograd::refuses(g) {
                Some(why) if algorithm != Algorithm::Direct => Self::only(why),
                _ => Self { algorithm, reason: Reason::Asked },
            },
            Packing::Fastest(weights) => Self::fastest(cpu, g, weights),
        }
    }

    /// The direct algorithm, for no other applies.
    pub(super) fn only(why: &'static str) -> Self {
        Self { algorithm: Algorithm::Direct, reason: Reason::Only(why) }
    }

    /// The fastest algorithm for `g`.
    pub(super) fn fastest(cpu: &Cpu, g: &Conv2d, weights: Weights) -> Self {
        if cpu.is_strict() {
            return Self { algorithm: Algorithm::Direct, reason: Reason::Asked };
        }
        if let Some(why) = winograd::refuses(g) {
            return Self::only(why);
        }
        let direct = direct(cpu, g, weights);
        let winograd2 = winograd(cpu, g, weights, Tiling::F2) / direct;
        let winograd4 = winograd(cpu, g, weights, Tiling::F4) / direct;
        // In training, where weights are not the bottleneck, F(2×2) has no place.
        let algorithm = if winograd4 < 1.0 && (winograd4 <= winograd2 || weights == Weights::Fresh) {
            Algorithm::Winograd4
        } else if winograd2 < 1.0 && weights != Weights::Fresh {
            Algorithm::Winograd2
        } else {
            Algorithm::Direct
        };
        Self { algorithm, reason: Reason::Estimated { winograd2, winograd4 } }
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reason {
            Reason::Asked => f.write_str("as asked"),
            Reason::Only(why) => f.write_str(why),
            Reason::Estimated { winograd2, winograd4 } => {
                let (four, two) = (Algorithm::Winograd4, Algorithm::Winograd2);
                write!(f, "of direct: {four} {winograd4:.2}, {two} {winograd2:.2}")
            }
        }
    }
}
