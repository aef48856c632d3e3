//! The estimated times of a convolution's algorithms, which depend only on the shape, the zeros and the place of the
//! weights.
//!
//! ```text
//!   direct   products = MACs                     weights =  9·C·O floats
//!   F(4×4)   products = 36·C·O·(H/4)·(W/4)       weights = 36·C·O floats    + transforms
//!   F(2×2)   products = 16·C·O·(H/2)·(W/2)       weights = 16·C·O floats    + transforms
//!   F(1×4)   products = (3 + R)·KH·S·C·O·H·(W/4)             + transforms      (R taps of S columns)
//!   lanes    products = nonzeros · pixels        weights = 2 · nonzeros     + conversions
//! ```
//!
//! F(4×4) needs the fewest multiplications, and direct reads the fewest weights. F(2×2) lies in between, and pays for
//! small maps with many channels. Weights arrive while others are multiplied, because all kernels prefetch them: the
//! two times overlap, like the legs of a right triangle in its hypotenuse. [`Weights`] specifies where the weights come
//! from. Images that exceed a core's share of the cache cost extra, most in Winograd's transforms.
//!
//! All costs are in units of multiply-accumulates that take the same time, so the estimates need no clock. They depend
//! neither on the number of threads (which bring their own bandwidth) nor on a measurement; otherwise results would not
//! be bit-identical from run to run. The constants are fitted to the first list of layers in `benches/choice.rs` on one
//! thread with AVX-512, and checked on the second.

use super::algorithm::Weights;
use super::winograd::{LineShape, Tiling};
use crate::cpu::Cpu;
use crate::cpu::gemm::tile_kernel::Types;
use crate::cpu::lanes::{Estimate, RowLanes};
use crate::shapes::Conv2d;

/// The cost of starting and finishing a register tile, in steps of the reduction; and with eight lanes, whose tiles have half
/// the products in a step.
const TILE_ENDS: [f64; 2] = [8.0, 12.0];
/// The cost of a product in Winograd's algorithm: it reads V and writes M, which are larger than the images.
const WINOGRAD_PRODUCT: f64 = 1.05;
/// The cost of running three steps instead of one, in multiply-accumulates.
const STEPS: f64 = 2e4;
/// The cost of packing a float of a weight for one call.
const FRESH: f64 = 13.0;
/// The same for a float of a weight that is also transformed.
const FRESH_TRANSFORM: f64 = 16.0;

/// Images of more floats than this do not stay in the cache between two layers.
const CACHED_IMAGES: usize = 1_300_000;
/// The cost of a float of larger images, in the direct algorithm, in Winograd's transforms and in row lanes.
pub(super) const FAR: [f64; 3] = [8.0, 28.0, 22.0];

/// Weights of more floats than this come from memory in any case: 12 MiB are not left in one user's share of a last-level cache
/// when a network has run.
const CACHED_WEIGHTS: usize = 3 << 20;
/// The time in which a float of a list arrives, compared to a float of a panel: lists are one stream.
const LISTED: f64 = 0.8;

impl Weights {
    /// The number of multiply-accumulates that one lane performs while one of `floats` weights arrives.
    fn float(self, floats: usize) -> f64 {
        match self {
            Self::Cache | Self::Fresh if floats <= CACHED_WEIGHTS => 0.5,
            Self::Memory | Self::Cache | Self::Fresh => 0.9,
        }
    }
}

impl Tiling {
    /// The cost of transforming one point of one channel of a tile, on either end, in multiply-accumulates.
    fn transform(self) -> f64 {
        match self {
            Self::F2 => 3.2,
            Self::F4 => 8.2,
        }
    }
}

/// The estimated time of the direct algorithm, in multiply-accumulates.
pub(super) fn direct(cpu: &Cpu, g: &Conv2d, weights: Weights) -> f64 {
    let taps = (g.kh * g.kw * g.c) as f64;
    let pixels = computed(cpu, g.n * g.oh() * g.ow());
    let fresh = if weights == Weights::Fresh { FRESH } else { 0.0 };
    let arrival = weights.float(g.w_len()) * lanes(cpu);
    taps * g.o as f64 * ((pixels * with_ends(cpu, taps)).hypot(arrival) + fresh) + FAR[0] * far(g)
}

/// The estimated time of Winograd's algorithm with this tile size, in multiply-accumulates, where the products take
/// `products` of the time of dense filters.
pub(super) fn winograd(cpu: &Cpu, g: &Conv2d, weights: Weights, tiling: Tiling, products: f64) -> f64 {
    let (c, o, points) = (g.c as f64, g.o as f64, tiling.points() as f64);
    let (tiles, filters) = (tiling.tiles(g), points * c * o);
    let arrival = weights.float(tiling.points() * g.c * g.o) * lanes(cpu);
    let fresh = if weights == Weights::Fresh { FRESH_TRANSFORM } else { 0.0 };
    let multiplied = WINOGRAD_PRODUCT * computed(cpu, tiles) * with_ends(cpu, c);
    products * filters * multiplied.hypot(arrival)
        + filters * fresh
        + points * tiles as f64 * tiling.transform() * (c + o)
        + FAR[1] * far(g)
        + STEPS
}

/// The cost of transforming one point of one filter of a tile along rows, which is in the L1 cache.
const LINE_OUTPUT: f64 = 5.0;
/// The cost of transforming a vector of one row of the input to all points of a tile.
const LINE_INPUT: f64 = 25.0;

/// The estimated time of Winograd's algorithm along rows, in multiply-accumulates.
pub(super) fn line(cpu: &Cpu, g: &Conv2d, weights: Weights) -> f64 {
    let shape = LineShape::new(g);
    let (tiles, reduced) = (shape.tiles(g), shape.reduced() as f64);
    let points = (shape.points() * g.o) as f64;
    let arrival = weights.float(shape.points() * shape.reduced() * g.o) * lanes(cpu);
    let multiplied = computed(cpu, tiles) * with_ends(cpu, reduced);
    // Each row of outputs reads `stride` new rows of inputs, and bands some of their neighbors' rows.
    let rows = tiles as f64 * (g.stride[0] as f64 + g.kh as f64 / 8.0);
    let vectors = (shape.cell as f64 / lanes(cpu)).ceil() * lanes(cpu);
    points * reduced * multiplied.hypot(arrival)
        + LINE_OUTPUT * points * tiles as f64
        + LINE_INPUT * rows * vectors
        + FAR[0] * far(g)
}

/// The estimated time of row lanes as a function of the number of nonzero weights.
pub(super) struct LanesTime {
    /// The times that are proportional to it: products and the arrival of weights, which overlap.
    products: f64,
    arrival: f64,
    /// The time that overlaps, too, and the time that does not.
    fixed: f64,
    far: f64,
}

impl LanesTime {
    /// The time of `packed` for `g`; `in_lanes` states whether input and output are in lanes.
    pub(super) fn new(
        cpu: &Cpu,
        g: &Conv2d,
        packed: &RowLanes,
        in_lanes: [bool; 2],
        weights: Weights,
    ) -> Self {
        let Estimate { products, fixed } = packed.estimate(g, in_lanes);
        let [products, fixed] = [products, fixed].map(|vectors| vectors * lanes(cpu));
        let arrival = LISTED * packed.len() as f64 * weights.float(packed.len()) * lanes(cpu);
        Self { products, arrival, fixed, far: FAR[2] * far(g) }
    }

    /// The time in multiply-accumulates.
    pub(super) fn time(&self) -> f64 {
        (self.products + self.fixed).hypot(self.arrival) + self.far
    }

    /// The number of nonzero weights that takes the time `most`, as a multiple of the present number; 0 if none does.
    pub(super) fn nonzeros_within(&self, most: f64) -> f64 {
        // (P·x + F)² + (A·x)² = (most − far)²
        let overlapping = most - self.far;
        if overlapping <= self.fixed {
            return 0.0;
        }
        let square = self.products.powi(2) + self.arrival.powi(2);
        let (half, constant) = (self.products * self.fixed, self.fixed.powi(2) - overlapping.powi(2));
        ((half.powi(2) - square * constant).sqrt() - half) / square
    }
}

/// The number of floats of the images that do not stay in the cache.
pub(super) fn far(g: &Conv2d) -> f64 {
    (g.x_len() + g.y_len()).saturating_sub(CACHED_IMAGES) as f64
}

/// The number of rows that register tiles compute for `rows` rows.
fn computed(cpu: &Cpu, rows: usize) -> f64 {
    let mr = cpu.backend.tiles(Types::F32)[0].mr;
    let last = match rows % mr {
        0 => 0,
        // A single row waits for its sums.
        1 => 2,
        rest if rest <= mr / 2 => mr / 2,
        _ => mr,
    };
    (rows / mr * mr + last) as f64
}

/// The number of floats in a vector: the narrowest register tile is one vector wide.
pub(super) fn lanes(cpu: &Cpu) -> f64 {
    cpu.backend.tiles(Types::F32)[0].nr as f64
}

/// The cost factor per step of a reduction, including the ends of a register tile.
fn with_ends(cpu: &Cpu, reduction: f64) -> f64 {
    let ends = TILE_ENDS[usize::from(lanes(cpu) <= 8.0)];
    (reduction + ends) / reduction
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_nonzeros_within_a_time_takes_that_time() {
        let lanes = LanesTime { products: 3e6, arrival: 2e6, fixed: 1e6, far: 5e5 };
        assert!((lanes.nonzeros_within(lanes.time()) - 1.0).abs() < 1e-9);
        let x = lanes.nonzeros_within(3e6);
        let LanesTime { products, arrival, fixed, far } = lanes;
        let scaled = LanesTime { products: x * products, arrival: x * arrival, fixed, far };
        assert!((scaled.time() - 3e6).abs() < 1.0);
        assert_eq!(lanes.nonzeros_within(1.4e6), 0.0, "the fixed times are longer");
    }
}
