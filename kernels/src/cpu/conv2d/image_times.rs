//! The estimated time of a convolution by the number of images of a call: for a plan that computes several layers for a few
//! images before it goes on to the next ones, so that the values between the layers stay in the cache.

use super::algorithm::{Packing, Weights};
use super::estimate::{self, FAR, LanesTime};
use super::layout::Layout;
use crate::cpu::Cpu;
use crate::dtype::Dtype;
use crate::pattern::Pattern;
use crate::shapes::Conv2d;

/// The cost of a product of a depthwise convolution, in multiply-accumulates of a product of matrices.
const DEPTHWISE: f64 = 3.0;

/// Images of more floats than these do not stay in the cache of one core, and in the core's share of the last one.
const CACHES: [usize; 2] = [1 << 18, 1_300_000];

/// Estimated times of a convolution whose weights are packed once, for calls with any number of images.
pub struct ImageTimes<'a> {
    cpu: &'a Cpu,
    g: Conv2d,
    layout: Layout,
    /// The number of live filters.
    live: usize,
    weights: Weights,
    in_lanes: [bool; 2],
}

impl<'a> ImageTimes<'a> {
    /// Estimates `g` with the zeros of `pattern`, packed as `packing` allows. `in_lanes` states whether input and output
    /// are in row lanes.
    pub fn new(cpu: &'a Cpu, g: &Conv2d, pattern: &Pattern, packing: Packing, in_lanes: [bool; 2]) -> Self {
        let (_, layout) = Layout::choose(cpu, g, pattern, packing, Dtype::F32);
        let weights = match packing {
            Packing::Fastest(weights) | Packing::InLanes(weights) => weights,
            Packing::By(_) => Weights::Memory,
        };
        Self { cpu, g: *g, layout, live: pattern.filters().len(), weights, in_lanes }
    }

    /// The time of a call for `images` images that are in the cache, in multiply-accumulates.
    pub fn near(&self, images: usize) -> f64 {
        let (cpu, weights) = (self.cpu, self.weights);
        let g = Conv2d { n: images, ..self.g };
        let live = Conv2d { o: self.live, ..g };
        let (time, images) = match &self.layout {
            Layout::Depthwise => return DEPTHWISE * (g.y_len() * g.kh * g.kw) as f64,
            Layout::Panels(_) => (estimate::direct(cpu, &live, weights), &live),
            Layout::Winograd(filters) => {
                let (tiling, dense) = (filters.tiling(), filters.tiling().points() * g.c * self.live);
                let products = filters.products(g.c) as f64 / dense as f64;
                (estimate::winograd(cpu, &live, weights, tiling, products), &live)
            }
            Layout::Line(_) => (estimate::line(cpu, &live, weights), &live),
            Layout::RowLanes(lanes) => (LanesTime::new(cpu, &g, lanes, self.in_lanes, weights).time(), &g),
        };
        let far = match &self.layout {
            Layout::Depthwise | Layout::Panels(_) | Layout::Line(_) => FAR[0],
            Layout::Winograd(_) => FAR[1],
            Layout::RowLanes(_) => FAR[2],
        };
        time - far * estimate::far(images)
    }

    /// The cost of a float of the images that comes from beyond each of two caches, or goes there, in
    /// multiply-accumulates; see [`far_shares`].
    pub fn far_float(&self) -> [f64; 2] {
        match &self.layout {
            Layout::Panels(_) | Layout::Line(_) => [9.0, 5.0],
            Layout::Depthwise => [8.0, 16.0],
            Layout::Winograd(_) => [20.0, 20.0],
            Layout::RowLanes(_) => [6.0, 20.0],
        }
    }
}

/// The shares of the floats of a layer's images, `floats` in all, that come from beyond the cache of one core, or go there,
/// and from beyond the core's share of the last cache.
pub fn far_shares(floats: usize) -> [f64; 2] {
    CACHES.map(|cache| floats.saturating_sub(cache) as f64 / floats.max(1) as f64)
}
