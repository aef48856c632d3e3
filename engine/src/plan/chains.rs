//! The choice of the convolutions that compute in row lanes, with regard to their neighbors.
//!
//! Alone, a sparse convolution converts channels-last images on the way in and out, and row lanes must be faster in spite
//! of that. Next to another one they convert less, so that a chain may be faster in row lanes although none of its
//! members is:
//!
//! ```text
//!   alone     convert ─ conv ─ convert      convert ─ conv ─ convert
//!   chain     convert ─ conv ─────────── lanes ────── conv ─ convert
//! ```
//!
//! Depthwise convolutions in between take a little longer in lanes, most of all on small maps and with stride 2. Pools do not.
//!
//! The search starts with row lanes wherever they apply, switches runs of convolutions as long as the sum of the
//! estimates falls, and keeps the result if it is below that of choosing each convolution alone. The estimates depend on
//! shapes and zeros only.

use super::layouts::{Layouts, Possible};
use super::lower::Op;
use super::work::{Convolution, Work};
use lopper_kernels::cpu::{Cpu, ImageLayout, LaneEstimates, Packing, conv2d_lanes_extra};

/// The maximum number of layouts of an operation that a search computes. A longer network chooses each convolution alone.
const MOST: usize = 20_000_000;
/// The maximum number of times that all runs are tried.
const ROUNDS: usize = 3;

/// Chooses the layouts for `works`, the work of `ops`, with convolutions packed as `packing` allows.
pub(super) fn choose(cpu: &Cpu, packing: Packing, ops: &[Op], works: &[Work]) -> Layouts {
    let options: Vec<Options> = works.iter().map(|work| Options::new(cpu, packing, work)).collect();
    let search = Search { cpu, ops, packing, options: &options };
    let (alone, chained) = (search.state(vec![false; ops.len()]), search.run());
    chained.filter(|chained| chained.time < alone.time).unwrap_or(alone).layouts
}

/// The ways of computing an operation.
struct Options {
    alone: Possible,
    /// Whether the choice of the operation alone is row lanes of the images.
    lanes: bool,
    estimates: Option<LaneEstimates>,
    /// Row lanes in spite of that choice.
    chained: Option<(Packing, Possible)>,
}

impl Options {
    fn new(cpu: &Cpu, packing: Packing, work: &Work) -> Self {
        let alone = Possible::of(cpu, packing, work);
        let lanes = matches!(alone, Possible::Between([_, ImageLayout::RowLanes(_)]));
        let estimates = match work {
            Work::Conv2d(conv @ Convolution { pattern, compact: None, .. }) => {
                let estimates = LaneEstimates::new(cpu, &conv.part(), pattern, packing);
                estimates.map(|estimates| estimates.of_calls(conv.parts()))
            }
            _ => None,
        };
        let chained = match (packing, &estimates) {
            (Packing::Fastest(weights), Some(_)) if !lanes => Some(Packing::InLanes(weights)),
            _ => None,
        };
        let chained = chained.map(|packing| (packing, Possible::of(cpu, packing, work)));
        Self { alone, lanes, estimates, chained }
    }

    /// The estimated time of the operation if its input, its output and its residual are in these layouts.
    fn time(&self, cpu: &Cpu, layouts: &Layouts, op: &Op, chained: bool) -> f64 {
        if let (Possible::Depthwise(g), ImageLayout::RowLanes(images)) = (&self.alone, layouts.around(op).x) {
            return conv2d_lanes_extra(cpu, g, &images);
        }
        let Some(estimates) = &self.estimates else { return 0.0 };
        if !chained && !self.lanes {
            return estimates.fastest;
        }
        let around = layouts.around(op);
        let [reads, writes] =
            [around.x, around.y].map(|layout| usize::from(layout != ImageLayout::ChannelsLast));
        let converts = op.residual.is_some() && around.residual != around.y;
        estimates.in_lanes[reads][writes] + if converts { estimates.residual } else { 0.0 }
    }
}

/// A choice of the chained convolutions, by operation, and what follows from it.
struct State {
    chained: Vec<bool>,
    layouts: Layouts,
    time: f64,
}

struct Search<'a> {
    cpu: &'a Cpu,
    ops: &'a [Op<'a>],
    packing: Packing,
    options: &'a [Options],
}

impl Search<'_> {
    fn state(&self, chained: Vec<bool>) -> State {
        let ways = || self.options.iter().zip(&chained);
        let chosen = ways().map(|(options, &chained)| match options.chained {
            Some(way) if chained => way,
            _ => (self.packing, options.alone),
        });
        let (packings, possible): (Vec<Packing>, Vec<Possible>) = chosen.unzip();
        let layouts = Layouts::new(self.ops, &possible, packings);
        let times = ways()
            .zip(self.ops)
            .map(|((options, &chained), op)| options.time(self.cpu, &layouts, op, chained));
        State { time: times.sum(), layouts, chained }
    }

    /// The fastest state that is found, unless the search would take too long.
    fn run(&self) -> Option<State> {
        let free: Vec<usize> = (0..self.ops.len()).filter(|&i| self.options[i].chained.is_some()).collect();
        let trials = ROUNDS.saturating_mul(free.len()).saturating_mul(free.len());
        if free.is_empty() || trials.saturating_mul(self.ops.len()) > MOST {
            return None;
        }
        let mut best = self.state((0..self.ops.len()).map(|i| free.contains(&i)).collect());
        for _ in 0..ROUNDS {
            let before = best.time;
            for first in 0..free.len() {
                for last in first..free.len() {
                    for chain in [false, true] {
                        let run = &free[first..=last];
                        if run.iter().all(|&i| best.chained[i] == chain) {
                            continue;
                        }
                        let mut chained = best.chained.clone();
                        run.iter().for_each(|&i| chained[i] = chain);
                        let state = self.state(chained);
                        if state.time < best.time {
                            best = state;
                        }
                    }
                }
            }
            if best.time == before {
                break;
            }
        }
        Some(best)
    }
}
