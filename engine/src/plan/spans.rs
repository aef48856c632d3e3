//! The choice of the operations that a plan computes for a part of the batch before it goes on to the next part.
//!
//! Layer by layer, a large batch writes every value to memory and reads it back. A *span* of operations takes a few images
//! through all of them, so that the values inside it stay in the cache of one core:
//!
//! ```text
//!   layer by layer   conv(16) ─► memory ─► conv(16) ─► memory ─► conv(16)
//!   span             16 × [ conv(1) ─► cache ─► conv(1) ─► cache ─► conv(1) ]      parts are divided among the threads
//! ```
//!
//! In return, each part reads the weights again, and its maps fill fewer tiles. The estimates of both come from the
//! kernels; the cheapest division of the list into spans is the shortest path through
//!
//! ```text
//!   operation   0       1       2       3
//!   whole batch ●──────►●       ●──────►●       an edge between two rows writes a value of the whole batch, and is
//!   4 images    ●──────►●──╲───►●──────►●       possible only where no other value is read later
//!   1 image     ●──────►●───╲──►●──────►●
//! ```
//!
//! The bits do not depend on the spans that run: weights are packed for the spans that one thread would choose
//! ([`super::decide`]), and a kernel's sums have the same order for any number of images.

use super::layouts::Layouts;
use super::lower::{IMAGES, Op};
use super::work::{Convolution, Work};
use lopper_kernels::cpu::{Cpu, ImageLayout, ImageTimes, Packing, far_shares};
use std::ops::Range;

/// How many images a plan computes at a time. The results have the same bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Parts {
    /// As many as are estimated to be fastest, for each operation.
    #[default]
    Fastest,
    /// The whole batch.
    Whole,
    /// At most this many, at least 1, wherever an operation can compute a part of the batch.
    Of(usize),
}

/// Operations that are computed for some images at a time. They read one value from outside, and only the value of the
/// last one is read outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Span {
    /// The positions of the operations.
    pub ops: Range<usize>,
    /// The images of a part, a divisor of the batch.
    pub images: usize,
    /// The images of the batch.
    pub batch: usize,
}

impl Span {
    /// The number of parts of the batch.
    pub fn parts(&self) -> usize {
        self.batch / self.images
    }

    /// The number of elements of the output of `op` for one part.
    pub fn len_of_part(&self, op: &Op, layouts: &Layouts) -> usize {
        match layouts.of(op.output) {
            ImageLayout::ChannelsLast => op.len() / self.parts(),
            ImageLayout::RowLanes(lanes) => {
                op.shape.last().map_or(0, |&channels| lanes.of_images(self.images).len(channels))
            }
        }
    }

    /// The most parts that are computed at the same time, each in an arena of its own.
    pub fn arenas(&self, cpu: &Cpu) -> usize {
        self.parts().min(cpu.thread_count())
    }
}

/// The most images of a part.
const MOST: usize = 8;
/// The cost of a call for one part, in multiply-accumulates: finding its windows and its places.
const CALL: f64 = 4e4;
/// Parts must be faster by this factor, because neither estimate is exact.
const MARGIN: f64 = 1.02;
/// The costs of a float that an operation without products reads from beyond the caches, or writes there.
const FAR: [f64; 2] = [6.0; 2];

/// Chooses the spans for `works`, the work of `ops`, on a batch of `batch` images.
pub(super) fn choose(
    cpu: &Cpu,
    (ops, works): (&[Op], &[Work]),
    layouts: &Layouts,
    batch: usize,
    parts: Parts,
) -> Vec<Span> {
    let divisors = |most: usize| (1..=most.min(batch)).filter(|&images| batch.is_multiple_of(images));
    let images: Vec<usize> = match parts {
        Parts::Whole => return Vec::new(),
        Parts::Fastest => divisors(MOST).filter(|&images| images < batch).collect(),
        Parts::Of(most) => divisors(most.max(1)).next_back().into_iter().collect(),
    };
    if images.is_empty() {
        return Vec::new();
    }
    let mut floats = vec![0; ops.last().map_or(1, |op| op.output + 1)];
    floats[IMAGES] = ops.first().map_or(0, |op| op.x.iter().product::<usize>() / batch);
    ops.iter().for_each(|op| floats[op.output] = layouts.len(op) / batch);
    let all = ops.iter().zip(works).zip(layouts.packings());
    let costs = all.map(|((op, work), &packing)| Cost::new(cpu, (op, work, packing), layouts, &floats));
    let costs: Vec<Cost> = costs.collect();
    let cuts = cuts(ops, layouts);
    Search { costs: &costs, cuts: &cuts, images: &images, batch, threads: cpu.thread_count(), parts }.run()
}

/// The layout of the value that crosses each boundary between two operations, those at both ends included, if it is
/// the only one.
fn cuts(ops: &[Op], layouts: &Layouts) -> Vec<Option<ImageLayout>> {
    let mut last_read = vec![0; ops.last().map_or(1, |op| op.output + 1)];
    for (i, op) in ops.iter().enumerate() {
        op.inputs.iter().chain(&op.residual).for_each(|&value| last_read[value] = i);
    }
    let written = || [IMAGES].into_iter().chain(ops.iter().map(|op| op.output));
    // The output of the network crosses the last boundary.
    written().last().into_iter().for_each(|output| last_read[output] = ops.len());
    let mut change = vec![0_isize; ops.len() + 2];
    for (boundary, value) in written().enumerate() {
        change[boundary] += 1;
        change[last_read[value].max(boundary) + 1] -= 1;
    }
    let mut crossing = 0;
    let layout = |(change, value)| {
        crossing += change;
        (crossing == 1).then(|| layouts.of(value))
    };
    change.into_iter().zip(written()).map(layout).collect()
}

/// The estimated cost of an operation, in multiply-accumulates.
struct Cost<'a> {
    /// That of a convolution, which depends on the number of images in more than proportion.
    times: Option<ImageTimes<'a>>,
    /// The costs of a float that it reads from beyond the two caches of [`far_shares`], or writes there.
    far: [f64; 2],
    /// The floats that it reads and writes for one image.
    floats: [usize; 2],
    /// Whether it can compute a part of the batch.
    divides: bool,
}

impl<'a> Cost<'a> {
    /// The cost of `op` and its work; `floats` has the length of each value for one image.
    fn new(
        cpu: &'a Cpu,
        (op, work, packing): (&Op, &Work, Packing),
        layouts: &Layouts,
        floats: &[usize],
    ) -> Self {
        let read = op.inputs.iter().chain(&op.residual).map(|&value| floats[value]).sum();
        let floats = [read, floats[op.output]];
        let times = match work {
            Work::Conv2d(conv @ Convolution { pattern, compact: None, .. }) => {
                let around = layouts.around(op);
                let in_lanes = [around.x, around.y].map(|layout| layout != ImageLayout::ChannelsLast);
                Some(ImageTimes::new(cpu, &conv.part(), pattern, packing, in_lanes))
            }
            _ => None,
        };
        let far = times.as_ref().map_or(FAR, ImageTimes::far_float);
        // A linear layer reads its weights for all rows of the batch at once.
        Self { times, far, floats, divides: !matches!(work, Work::Linear(_)) }
    }

    /// The time for the whole batch in parts of `images`, whose values are in the cache if they fit.
    fn time(&self, batch: usize, images: usize) -> f64 {
        let near = self.times.as_ref().map_or(0.0, |times| times.near(images)) + CALL;
        near * (batch / images) as f64 + self.far_time(batch, images)
    }

    /// The part of the time that is due to values beyond the caches, if there are `images` of them at a time.
    fn far_time(&self, batch: usize, images: usize) -> f64 {
        let floats = self.floats.iter().sum::<usize>();
        self.far_float(images) * (batch * floats) as f64
    }

    /// The additional time of parts of `images` if the values that are read (`0`) or written (`1`) are the whole batch's.
    fn border(&self, batch: usize, images: usize, end: usize) -> f64 {
        (self.far_float(batch) - self.far_float(images)) * (batch * self.floats[end]) as f64
    }

    /// The additional time of a float because `images` of them at a time do not stay in the caches.
    fn far_float(&self, images: usize) -> f64 {
        let shares = far_shares(images * self.floats.iter().sum::<usize>());
        self.far.iter().zip(shares).map(|(cost, share)| cost * share).sum()
    }
}

/// The shortest path from operation to operation. State 0 is the whole batch, state `s` parts of `images[s − 1]`.
struct Search<'a> {
    costs: &'a [Cost<'a>],
    cuts: &'a [Option<ImageLayout>],
    images: &'a [usize],
    batch: usize,
    threads: usize,
    parts: Parts,
}

impl Search<'_> {
    fn run(&self) -> Vec<Span> {
        let states = self.images.len() + 1;
        // Before the first operation and behind the last one, the batch is whole.
        let mut times = vec![f64::INFINITY; states];
        times[0] = 0.0;
        let mut before: Vec<Vec<usize>> = Vec::with_capacity(self.costs.len());
        for op in 0..self.costs.len() {
            let from: Vec<usize> = (0..states).map(|to| self.nearest(&times, op, to)).collect();
            let time =
                |(to, &from): (usize, &usize)| times[from] + self.crossing(op, from, to) + self.time(op, to);
            times = from.iter().enumerate().map(time).collect();
            before.push(from);
        }
        let mut state = self.nearest(&times, self.costs.len(), 0);
        let mut chosen = vec![0; self.costs.len()];
        for (op, from) in before.iter().enumerate().rev() {
            chosen[op] = state;
            state = from[state];
        }
        self.spans(&chosen)
    }

    /// The state before boundary `at` from which `to` behind it is reached in the least time.
    fn nearest(&self, times: &[f64], at: usize, to: usize) -> usize {
        let time = |from: usize| times[from] + self.crossing(at, from, to);
        (0..times.len()).fold(to, |best, from| if time(from) < time(best) { from } else { best })
    }

    /// The time of an operation in a state.
    fn time(&self, op: usize, state: usize) -> f64 {
        let (cost, part) = (&self.costs[op], state.checked_sub(1).map(|state| self.images[state]));
        match (self.parts, part) {
            (_, Some(_)) if !cost.divides => f64::INFINITY,
            (Parts::Fastest, None) => cost.time(self.batch, self.batch),
            (Parts::Fastest, Some(images)) => {
                // The threads that have one part less wait for the others.
                let parts = self.batch / images;
                let rounds = parts.div_ceil(self.threads) * self.threads;
                MARGIN * cost.time(self.batch, images) * rounds as f64 / parts as f64
            }
            (Parts::Whole | Parts::Of(_), part) => f64::from(u8::from(part.is_none())),
        }
    }

    /// The additional time of a change of state at a boundary.
    fn crossing(&self, at: usize, from: usize, to: usize) -> f64 {
        if from == to {
            return 0.0;
        }
        let Some(layout) = self.cuts[at] else { return f64::INFINITY };
        let end = |state: usize, op: usize, end: usize| match state.checked_sub(1) {
            None => 0.0,
            Some(state) if layout.part(self.images[state]).is_none() => f64::INFINITY,
            Some(_) if self.parts != Parts::Fastest => 0.0,
            // No part comes before the first operation.
            Some(state) => self
                .costs
                .get(op)
                .map_or(f64::INFINITY, |cost| cost.border(self.batch, self.images[state], end)),
        };
        // The batch is whole at both ends of the list.
        end(from, at.wrapping_sub(1), 1) + end(to, at, 0)
    }

    /// The runs of operations in the same state, except those of the whole batch.
    fn spans(&self, chosen: &[usize]) -> Vec<Span> {
        let mut spans = Vec::new();
        let mut first = 0;
        for run in chosen.chunk_by(|a, b| a == b) {
            let ops = first..first + run.len();
            first = ops.end;
            if let Some(state) = run[0].checked_sub(1) {
                spans.push(Span { ops, images: self.images[state], batch: self.batch });
            }
        }
        spans
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::layer::{Conv2d, Linear};
    use crate::plan::lower::lower;
    use crate::plan::places::Places;
    use crate::{Graph, Layer, Param, Tensor};
    use lopper_kernels::cpu::Algorithm;
    use lopper_kernels::params::{Activation, Dtype};

    fn conv([c, o]: [usize; 2], k: usize) -> Layer {
        Layer::Conv2d(Conv2d {
            weight: Param::new(Tensor::full(&[o, k, k, c], 0.1)),
            bias: None,
            stride: [1; 2],
            padding: [k / 2; 2],
            extra_padding: [0; 2],
            dilation: [1; 2],
            groups: 1,
        })
    }

    /// The spans of a plan without lanes.
    fn spans(graph: &Graph, input: [usize; 4], threads: usize, parts: Parts) -> Vec<Span> {
        let (cpu, ops) = (Cpu::detect().threads(threads), lower(graph, input).unwrap());
        let layouts = Layouts::channels_last(&ops, Packing::By(Algorithm::Direct));
        let places = Places::new(&ops, &layouts, input, Dtype::F32, 64);
        let works: Vec<Work> = ops.iter().map(|op| Work::of(op, &places.lens(op)).unwrap()).collect();
        choose(&cpu, (&ops, &works), &layouts, input[0], parts)
    }

    /// Expansion, a residual block, and a linear layer.
    fn network(c: usize, side: usize) -> Graph {
        let mut graph = Graph::new(3);
        let first = graph.push("first", conv([3, c], 3), &[0]).unwrap();
        let a = graph.push("a", conv([c, c], 3), &[first]).unwrap();
        let relu = graph.push("relu", Layer::Activation(Activation::Relu), &[a]).unwrap();
        let b = graph.push("b", conv([c, c], 1), &[relu]).unwrap();
        let sum = graph.push("sum", Layer::Add, &[b, first]).unwrap();
        let flat = graph.push("flat", Layer::Flatten, &[sum]).unwrap();
        let weight = Param::new(Tensor::full(&[2, c * side * side], 0.1));
        graph.push("fc", Layer::Linear(Linear { weight, bias: None }), &[flat]).unwrap();
        graph
    }

    #[test]
    fn a_span_ends_at_a_linear_layer() {
        let graph = network(4, 8);
        for (batch, most, images) in [(6, 1, 1), (6, 2, 2), (6, 5, 3), (7, 3, 1), (4, 9, 4)] {
            let found = spans(&graph, [batch, 8, 8, 3], 2, Parts::Of(most));
            assert_eq!(found, [Span { ops: 0..3, images, batch }], "{batch} images, at most {most}");
        }
        assert!(spans(&graph, [6, 8, 8, 3], 2, Parts::Whole).is_empty());
    }

    #[test]
    fn values_beyond_the_cache_are_computed_in_parts() {
        let graph = network(64, 64);
        let chosen = |batch, threads| spans(&graph, [batch, 64, 64, 3], threads, Parts::Fastest);
        assert_eq!(chosen(16, 2), [Span { ops: 0..3, images: 1, batch: 16 }]);
        assert_eq!(chosen(1, 1), []);
        assert_eq!(chosen(2, 8), [], "most threads would have nothing to do");
        assert_eq!(spans(&network(8, 8), [16, 8, 8, 3], 2, Parts::Fastest), [], "values stay in the cache");
    }
}
