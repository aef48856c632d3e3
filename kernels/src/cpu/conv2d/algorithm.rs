//! Which algorithm a convolution is computed by, and why: an estimate of each, from the shape alone.
//!
//! ```text
//!   direct     max(products, weights)              products = MACs                   weights =  9·C·O floats
//!   Winograd   max(products, weights) + transforms products = 36·tiles·C·O           weights = 36·C·O floats
//! ```
//!
//! Weights come from where [`Weights`] says while the products run; the transforms read and write the images and
//! compute little. Everything is counted in multiply-accumulates that could have been done in the same time, so the
//! estimate needs no clock. It depends on neither the number of threads (which bring their own bandwidth) nor a
//! measurement, or results would not be the same bits on every run. Over 80 shapes, 16 to 512 channels, 4 to 16384
//! tiles, it was within a fifth of the measured ratio where that is below one half, and on the right side of 1 but
//! where the two algorithms are close.

use super::winograd;
use crate::cpu::Cpu;
use crate::shapes::Conv2d;
use std::fmt;

/// How a convolution is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// Multiplies as often as the definition does.
    Direct,
    /// Winograd's F(4×4, 3×3).
    Winograd,
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

/// Which algorithms weights may be packed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// The direct one, whose error bound is a quarter of Winograd's, and its packed weights too.
    Direct,
    /// The one that takes less time when calls find the weights there.
    Fastest(Weights),
}

impl Weights {
    /// Multiply-accumulates of one lane in the time in which a float arrives.
    fn float(self) -> f64 {
        match self {
            Self::Memory => 1.6,
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
    /// What takes less time.
    Estimated { direct: Estimate, winograd: Estimate },
}

/// What an algorithm spends its time on, in multiply-accumulates.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Estimate {
    products: f64,
    weights: f64,
    transforms: f64,
}

/// Steps of the reduction that beginning and ending a register tile costs.
const TILE_ENDS: f64 = 8.0;
/// Multiply-accumulates in the time of transforming a patch of one input channel, and a tile of one filter.
const INPUT_TRANSFORM: f64 = 200.0;
const OUTPUT_TRANSFORM: f64 = 150.0;
/// The same of a filter's channel, when its weights are transformed for one call.
const FILTER_TRANSFORM: f64 = 200.0;

impl Estimate {
    fn total(&self) -> f64 {
        self.products.max(self.weights) + self.transforms
    }
}

impl Choice {
    pub(super) fn new(cpu: &Cpu, g: &Conv2d, packing: Packing) -> Self {
        match packing {
            Packing::Direct => Self { algorithm: Algorithm::Direct, reason: Reason::Asked },
            Packing::Fastest(weights) => Self::fastest(cpu, g, weights),
        }
    }

    /// The direct algorithm, for no other applies.
    pub(super) fn only(why: &'static str) -> Self {
        Self { algorithm: Algorithm::Direct, reason: Reason::Only(why) }
    }

    /// The faster algorithm for `g`.
    pub(super) fn fastest(cpu: &Cpu, g: &Conv2d, weights: Weights) -> Self {
        // The narrowest register tile has one vector in a row.
        let (lanes, mr) = (cpu.backend.gemm_tiles()[0].nr, cpu.backend.gemm_tiles()[0].mr);
        if let Some(why) = winograd::refuses(g) {
            return Self::only(why);
        }
        let lanes = lanes as f64;
        let (c, o, pixels) = (g.c as f64, g.o as f64, (g.n * g.oh() * g.ow()) as f64);
        let pairs = c * o;
        let ends = |reduction: f64| (reduction + TILE_ENDS) / reduction;
        let direct = Estimate {
            products: 9.0 * pairs * pixels * ends(9.0 * c),
            weights: 9.0 * pairs * weights.float() * lanes,
            transforms: 0.0,
        };
        let tiles = winograd::tiles(g);
        let filters = if weights == Weights::Fresh { FILTER_TRANSFORM * pairs } else { 0.0 };
        let winograd = Estimate {
            products: 36.0 * pairs * tiles.next_multiple_of(mr) as f64 * ends(c),
            weights: 36.0 * pairs * weights.float() * lanes,
            transforms: tiles as f64 * (INPUT_TRANSFORM * c + OUTPUT_TRANSFORM * o)
                + filters
                + (g.x_len() + g.y_len()) as f64 * Weights::Memory.float() * lanes,
        };
        let faster = if winograd.total() < direct.total() { Algorithm::Winograd } else { Algorithm::Direct };
        Self { algorithm: faster, reason: Reason::Estimated { direct, winograd } }
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reason {
            Reason::Asked => f.write_str("as asked"),
            Reason::Only(why) => f.write_str(why),
            Reason::Estimated { direct, winograd } => {
                let bound = if winograd.weights > winograd.products { ", reading its weights" } else { "" };
                write!(f, "winograd {:.2} of direct{bound}", winograd.total() / direct.total())
            }
        }
    }
}
