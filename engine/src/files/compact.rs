//! Compact convolutions as other formats know them: convolutions of the outer width, with zeros.

use crate::graph::layer::{CompactConv2d, Conv2d};
use crate::{Param, Tensor};
use lopper_kernels::shapes;

/// The convolution over all channels that computes the same as `compact`, but for its carrier: dead weights are zeros,
/// and the constants of dead outputs are biases.
pub(crate) fn dense(compact: &CompactConv2d) -> Conv2d {
    let (narrow, [kh, kw]) = (compact.conv.weight.value(), compact.conv.kernel());
    let (width, depth) = (compact.in_width, narrow.dim(3));
    let mut weight = Tensor::zeros(&[compact.fill.len(), kh, kw, width]);
    let mut bias = Tensor::from_fn(&[compact.fill.len()], |o| compact.fill[o]);
    let (wide, biases) = (weight.data_mut(), bias.data_mut());
    for (i, &o) in compact.outputs.iter().enumerate() {
        for tap in 0..kh * kw {
            let (to, from) = ((o as usize * kh * kw + tap) * width, (i * kh * kw + tap) * depth);
            for (j, &c) in compact.inputs.iter().enumerate() {
                wide[to + c as usize] = narrow.data()[from + j];
            }
        }
        biases[o as usize] = compact.conv.bias.as_ref().map_or(0.0, |bias| bias.value().data()[i]);
    }
    Conv2d { weight: Param::new(weight), bias: Some(Param::new(bias)), ..compact.conv.clone() }
}

/// What the carrier adds to each computed channel of an image, `[outputs, OH, OW]`, if there is a carrier. `g` is the
/// geometry of the equivalent dense convolution.
pub(crate) fn carried(compact: &CompactConv2d, g: &shapes::Conv2d) -> Option<Tensor> {
    if !compact.carrier {
        return None;
    }
    let weight = compact.conv.weight.value();
    let (depth, [kh, kw]) = (weight.dim(3), compact.conv.kernel());
    let (oh, ow) = (g.oh(), g.ow());
    let inside = |axis: usize, at: usize, tap: usize, size: usize| {
        let at = at * g.stride[axis] + tap * g.dilation[axis];
        (g.padding[axis]..g.padding[axis] + size).contains(&at)
    };
    let value = |i: usize| {
        let (o, y, x) = (i / (oh * ow), i / ow % oh, i % ow);
        let taps = (0..kh * kw).filter(|&tap| inside(0, y, tap / kw, g.h) && inside(1, x, tap % kw, g.w));
        // The carrier is the last channel.
        taps.map(|tap| f64::from(weight.data()[(o * kh * kw + tap) * depth + depth - 1])).sum::<f64>() as f32
    };
    Some(Tensor::from_fn(&[compact.outputs.len(), oh, ow], value))
}

/// [`carried`] over all output channels, `[O, OH, OW]`; nothing is added to those that are not computed.
pub(crate) fn carried_of_all(compact: &CompactConv2d, g: &shapes::Conv2d) -> Option<Tensor> {
    let carried = carried(compact, g)?;
    let pixels = carried.dim(1) * carried.dim(2);
    let mut all = Tensor::zeros(&[compact.fill.len(), carried.dim(1), carried.dim(2)]);
    for (values, &o) in carried.data().chunks(pixels).zip(&compact.outputs) {
        all.data_mut()[o as usize * pixels..][..pixels].copy_from_slice(values);
    }
    Some(all)
}
