//! The images between convolutions that may stay in row lanes, from the operations alone.
//!
//! ```text
//!   conv ─► image 0 ─ batch norm, relu ─► image 0 ─ conv ─► image 1 ─ pool ─►         image 1 never stays in lanes:
//!                                                                                     an average reads pixels
//! ```
//!
//! Batch norms, activations, sums, depthwise convolutions and 2×2 maximum pools pass lanes on, so that their inputs and
//! outputs count as one image. It stays in lanes if every convolution that reads or writes it computes in row lanes.
//! `layouts.rs` decides with the shapes of lanes, which this leaves out.

use super::lower::{IMAGES, Op};
use crate::Layer;
use crate::autograd::ops::Pooling;
use crate::graph::pool::Pool;
use lopper_kernels::shapes::Pool2d;

/// What an operation does with lanes.
#[derive(Clone, Copy, PartialEq)]
enum Role {
    /// Computes in lanes if that pays.
    Computes,
    /// Writes what it reads.
    PassesOn,
    /// Reads and writes pixels.
    Pixels,
}

/// For each of `ops`, the images that it reads and writes, numbered; none for images that never stay in row lanes, and for
/// operations that are not convolutions.
pub(super) fn lane_images(ops: &[Op]) -> Vec<[Option<usize>; 2]> {
    let values = ops.iter().map(|op| op.output).max().unwrap_or(IMAGES) + 1;
    let mut ties = Ties::new(values);
    for op in ops.iter().filter(|op| role(op) == Role::PassesOn) {
        op.inputs.iter().chain(&op.residual).for_each(|&value| ties.join(value, op.output));
    }
    let mut pixels = vec![false; values];
    pixels[ties.root(IMAGES)] = true;
    if let Some(last) = ops.last() {
        pixels[ties.root(last.output)] = true;
    }
    for op in ops.iter().filter(|op| role(op) == Role::Pixels) {
        op.inputs.iter().chain([&op.output]).for_each(|&value| pixels[ties.root(value)] = true);
    }
    let image = |value: usize| Some(ties.root(value)).filter(|&root| !pixels[root]);
    let of = |op: &Op| match role(op) {
        Role::Computes => [image(op.inputs[0]), image(op.output)],
        Role::PassesOn | Role::Pixels => [None; 2],
    };
    ops.iter().map(of).collect()
}

fn role(op: &Op) -> Role {
    match &op.node.layer {
        Layer::Conv2d(conv) if conv.is_depthwise() => Role::PassesOn,
        Layer::Conv2d(conv) if conv.groups == 1 => Role::Computes,
        Layer::BatchNorm(_) | Layer::Activation(_) | Layer::Add => Role::PassesOn,
        Layer::Pool(pool) if halves(pool, &op.x) => Role::PassesOn,
        _ => Role::Pixels,
    }
}

/// Whether `pool` is the maximum of windows of 2×2 pixels side by side in images of shape `x`.
fn halves(pool: &Pool, x: &[usize]) -> bool {
    let pooling = Pooling::new(pool, x);
    pooling.is_ok_and(|pooling| pooling.max_of_fixed().is_some_and(Pool2d::halves))
}

/// Values that share their layout: a union of sets.
struct Ties(Vec<usize>);

impl Ties {
    fn new(values: usize) -> Self {
        Self((0..values).collect())
    }

    fn root(&self, mut value: usize) -> usize {
        while self.0[value] != value {
            value = self.0[value];
        }
        value
    }

    /// Ties two values. The earlier one stands for both, so that roots stay near.
    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.root(a), self.root(b));
        let (first, second) = (a.min(b), a.max(b));
        self.0[second] = first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::layer::{BatchNorm, Conv2d};
    use crate::layer::FixedWindow;
    use crate::plan::lower::lower;
    use crate::{Graph, Param, Tensor};
    use lopper_kernels::params::Activation;

    fn conv(groups: usize) -> Layer {
        let weight = Param::new(Tensor::zeros(&[4, 3, 3, 4 / groups]));
        let (stride, padding) = ([1; 2], [1; 2]);
        let (extra_padding, dilation) = ([0; 2], [1; 2]);
        Layer::Conv2d(Conv2d { weight, bias: None, stride, padding, extra_padding, dilation, groups })
    }

    #[test]
    fn images_between_convolutions_are_tied_by_what_passes_lanes_on() {
        let mut g = Graph::new(4);
        let a = g.push("a", conv(1), &[0]).unwrap();
        let norm = g.push("norm", Layer::BatchNorm(BatchNorm::new(4)), &[a]).unwrap();
        let b = g.push("b", conv(1), &[norm]).unwrap();
        let sum = g.push("sum", Layer::Add, &[norm, b]).unwrap();
        let relu = g.push("relu", Layer::Activation(Activation::Relu), &[sum]).unwrap();
        let depthwise = g.push("depthwise", conv(4), &[relu]).unwrap();
        let c = g.push("c", conv(1), &[depthwise]).unwrap();
        let pool = g.push("pool", Layer::Pool(Pool::max(FixedWindow::square(2, 2, 0))), &[c]).unwrap();
        let d = g.push("d", conv(1), &[pool]).unwrap();
        let average = Layer::Pool(Pool::average(FixedWindow::square(2, 2, 0)));
        let average = g.push("average", average, &[d]).unwrap();
        let e = g.push("e", conv(1), &[average]).unwrap();
        g.push("f", conv(1), &[e]).unwrap();
        let ops = lower(&g, [1, 8, 8, 4]).unwrap();
        let images = lane_images(&ops);
        let of = |name: &str| images[ops.iter().position(|op| op.node.name == name).unwrap()];
        let ([none, first], [read, written]) = (of("a"), of("b"));
        assert_eq!(none, None, "the network's images are pixels");
        assert!(first.is_some() && read == first, "{images:?}");
        assert!(written.is_some() && written != read, "a residual is added in either layout: {images:?}");
        assert_eq!(of("c")[0], written, "through the depthwise convolution: {images:?}");
        assert!(of("c")[1].is_some() && of("d") == [of("c")[1], None], "through the pool, up to the average");
        assert_eq!(of("e")[0], None);
        assert!(of("e")[1].is_some() && of("f") == [of("e")[1], None], "the output is pixels: {images:?}");
        assert_eq!([of("norm"), of("depthwise"), of("pool")], [[None; 2]; 3]);
    }

    #[test]
    fn a_network_without_operations_has_no_images() {
        assert!(lane_images(&[]).is_empty());
    }
}
