//! The estimated time of a convolution in row lanes, from its shape and its number of nonzero weights.
//!
//! ```text
//!   Σ cost · count of    products            nonzeros · pixels, in vectors
//!                        entries of lists    nonzeros · tiles
//!                        lists               teams · blocks of channels · tiles
//!                        loads, stores       vectors converted from and to channels-last
//!                        groups              rows of units, whose lanes have their places found
//! ```
//!
//! The unit is a fused multiply-add of one vector in the direct algorithm. The costs were fitted on one thread with
//! AVX-512 to the first list of layers in `benches/choice.rs`, alone and in pairs of filters, and checked on the second.
//! Vectors of eight lanes have costs of their own and a factor ([`EIGHT_LANES`]), fitted likewise with AVX2.

use super::lists::FAR_VECTOR;
use super::places::Slots;
use super::row_lanes::RowLanes;
use super::weight_grad::LaneWeightGrad;
use crate::shapes::Conv2d;

/// The cost of a product, including the wait for its pixels.
const PRODUCT: f64 = 1.04;
/// The cost of an entry of a list: its loads, and the end of the loop over the tile's vectors.
const ENTRY: f64 = 1.3;
/// The cost of a team's lists in a tile: their ends are mispredicted, and sums are shifted, loaded and stored.
const LISTS: f64 = 11.0;
/// The cost of converting a vector of pixels to lanes; and with eight lanes, where a transpose takes as many steps, but a
/// multiply-add half as long.
const LOAD: [f64; 2] = [8.9, 12.5];
/// The cost of converting a vector of sums to pixels, with the epilogue; and with eight lanes.
const STORE: [f64; 2] = [14.0, 19.6];

/// The cost of an entry in the weight gradient: its loads, and its part of the transposes that sum lanes.
const DOT_ENTRY: f64 = 5.5;

/// The cost of a group of slots: finding the places of its lanes, and its task.
const GROUP: f64 = 3000.0;
/// The cost of copying a vector of pixels that is in lanes, where outputs read their neighbors, too.
const COPY: f64 = 3.0;
/// The cost of storing a vector of sums in lanes, with the epilogue.
const STORE_LANES: f64 = 4.0;

/// The factor of everything but conversions for vectors of eight lanes, whose multiply-adds take half as long: two vectors are
/// loaded in a cycle, not two and a broadcast.
const EIGHT_LANES: f64 = 1.18;

/// An estimated time, in fused multiply-adds of one vector.
pub(in crate::cpu) struct Estimate {
    /// The part that is proportional to the number of nonzero weights.
    pub products: f64,
    /// The rest.
    pub fixed: f64,
}

impl RowLanes {
    /// Estimates the time for `g`, without that of reading the packed weights. `lanes` states whether input and output
    /// are in lanes.
    pub fn estimate(&self, g: &Conv2d, lanes: [bool; 2]) -> Estimate {
        let g = &self.geometry(g);
        let (shape, lists) = (&self.shape, &self.lists);
        let groups = Slots::new(g, &self.taps, *shape).groups();
        let tiles = groups * shape.tiles();
        let entries = (tiles * lists.entries()) as f64;
        let team = (shape.tile() * lists.team) as f64;
        let far = if lists.is_near() { 0.0 } else { FAR_VECTOR * shape.tile() as f64 };
        let teams = (tiles * lists.blocks() * lists.teams()) as f64;
        let loads = (groups * self.loads(g)) as f64;
        let stores = (tiles * shape.tile() * g.o) as f64;
        let eight = usize::from(shape.lanes <= 8);
        let other = [1.0, EIGHT_LANES][eight];
        let copy = if self.in_place { 0.0 } else { COPY };
        let load = if lanes[0] { other * copy } else { LOAD[eight] };
        let store = if lanes[1] { other * STORE_LANES } else { STORE[eight] };
        Estimate {
            products: other * entries * (PRODUCT * team + ENTRY + far),
            fixed: other * (GROUP * groups as f64 + LISTS * teams) + load * loads + store * stores,
        }
    }
}

impl LaneWeightGrad<'_> {
    /// Estimates the time, without those of packing the lists and of storing the gradients.
    pub fn estimate(&self) -> Estimate {
        let RowLanes { shape, lists, .. } = &self.lanes;
        let groups = self.slots.groups();
        let entries = (groups * shape.tiles() * lists.entries()) as f64;
        let rows = groups * shape.tiles() * shape.rows * shape.vectors * self.g.o;
        let loads = groups * self.lanes.loads(&self.g) + rows;
        Estimate {
            products: entries * (PRODUCT * shape.tile() as f64 + DOT_ENTRY),
            fixed: GROUP * groups as f64 + LOAD[usize::from(shape.lanes <= 8)] * loads as f64,
        }
    }
}
