//! Constant channels: the channels that hold the same value at every pixel of every image.
//!
//! The analysis is a forward pass in eval mode over the lattice `unknown | constant(value)`. A zero filter outputs its
//! bias, and batch norm, activations and pooling map constants to constants. After convolution, batch norm and ReLU a
//! dead filter therefore outputs max(0, β − γμ/√(σ² + ε)): *constant*, but usually not *zero*.
//!
//! A layer norm outputs β where γ is zero, and so does a group norm, whose groups of constants are constant, too: an instance
//! norm turns any constant into β. A product is zero if one of its factors is.
//!
//! Constants do not survive padding: a window that reaches past the border sees zeros next to the constant. A padded
//! convolution is constant only if every input with a nonzero weight is zero, and a padded average that counts its
//! padding only if its input is zero. Max pooling pads with −∞, which never wins.
//!
//! Only finite numbers count as constants: nothing may turn an infinity or NaN of the network into another number.

use super::filters::Filters;
use super::flow::image_shapes;
use super::zeros::{Nonzeros, Zeros, flat, flat_weight};
use crate::graph::layer::GroupNorm;
use crate::{Graph, Layer, Result};

/// The value of a channel that is known to be constant.
pub type Constant = Option<f32>;

/// The constants among the output channels of every node. Fails as [`super::ChannelFlow::new`] does.
pub fn constants(graph: &Graph) -> Result<Vec<Vec<Constant>>> {
    Ok(constants_of(graph, &image_shapes(graph)?, Zeros::Values))
}

/// [`constants`] of a graph whose nodes have the output `shapes`, relying on `zeros`.
pub(super) fn constants_of(graph: &Graph, shapes: &[Vec<usize>], zeros: Zeros) -> Vec<Vec<Constant>> {
    let mut known: Vec<Vec<Constant>> = Vec::with_capacity(graph.nodes().len());
    for (id, node) in graph.nodes().iter().enumerate() {
        let inputs: Vec<&[Constant]> = node.inputs.iter().map(|&i| known[i].as_slice()).collect();
        let width = *shapes[id].last().expect("a node's output has channels");
        let mut out = through(&node.layer, &inputs, width, zeros);
        out.iter_mut().for_each(|value| *value = value.filter(|value| value.is_finite()));
        known.push(out);
    }
    known
}

/// The `width` output channels of `layer`, given its input channels.
fn through(layer: &Layer, inputs: &[&[Constant]], width: usize, zeros: Zeros) -> Vec<Constant> {
    let map = |f: &dyn Fn(f32) -> Constant| inputs[0].iter().map(|c| c.and_then(f)).collect();
    match layer {
        Layer::Input { .. } => vec![None; width],
        Layer::Conv2d(_) | Layer::Linear(_) => {
            let filters = Filters::of(layer).expect("convolutions and linear layers have filters");
            let nonzeros = Nonzeros::new(layer, &filters, zeros);
            (0..width).map(|o| weighed(&filters, &nonzeros, o, inputs[0])).collect()
        }
        Layer::CompactConv2d(compact) => {
            let mut out: Vec<Constant> = compact.fill.iter().map(|&v| Some(v)).collect();
            compact.outputs.iter().for_each(|&o| out[o as usize] = None);
            out
        }
        Layer::BatchNorm(bn) => {
            let value = |((&x, flat), (scale, shift)): ((&Constant, bool), (f32, f32))| match flat {
                true => Some(shift),
                false => x.map(|x| scale * x + shift),
            };
            inputs[0].iter().zip(flat(bn, zeros)).zip(bn.affine()).map(value).collect()
        }
        Layer::LayerNorm(norm) => {
            let value = |(flat, &beta): (bool, &f32)| flat.then_some(beta);
            flat_weight(&norm.weight, zeros).into_iter().zip(norm.bias.value().data()).map(value).collect()
        }
        Layer::GroupNorm(norm) => normalized(norm, inputs[0], zeros),
        Layer::Activation(activation) => map(&|x| Some(activation.apply(x))),
        Layer::PRelu(prelu) => {
            let value = |(x, &w): (&Constant, &f32)| x.map(|x| if x > 0.0 { x } else { w * x });
            inputs[0].iter().zip(prelu.weight.value().data()).map(value).collect()
        }
        // It depends on all channels.
        Layer::Softmax { .. } => vec![None; width],
        Layer::Pool(pool) => map(&|x| (x == 0.0 || !pool.reads_padding()).then_some(x)),
        // The weights of an output pixel add up to one.
        Layer::Dropout { .. } | Layer::Resize(_) => inputs[0].to_vec(),
        Layer::Dilate { stride } => map(&|x| (x == 0.0 || *stride == [1; 2]).then_some(x)),
        Layer::Flatten => inputs[0].repeat(width / inputs[0].len()),
        Layer::Add => (0..width).map(|c| inputs.iter().map(|input| input[c]).sum()).collect(),
        Layer::Multiply => inputs[0].iter().zip(inputs[1]).map(|(&a, &b)| product(a, b, zeros)).collect(),
        Layer::Concat => inputs.concat(),
        Layer::Gather { channels } => channels.iter().map(|&c| inputs[0][c as usize]).collect(),
        Layer::PadShortcut { before, after, .. } => {
            [&vec![Some(0.0); *before], inputs[0], &vec![Some(0.0); *after]].concat()
        }
    }
}

/// The channels of a group norm of `inputs`. The statistics of a group of constants are those of one pixel.
fn normalized(norm: &GroupNorm, inputs: &[Constant], zeros: Zeros) -> Vec<Constant> {
    let (gamma, beta) = (norm.weight.value().data(), norm.bias.value().data());
    let (flat, depth) = (flat_weight(&norm.weight, zeros), inputs.len() / norm.groups);
    let mut out = Vec::with_capacity(inputs.len());
    for group in inputs.chunks(depth) {
        let values: Option<Vec<f64>> = group.iter().map(|value| value.map(f64::from)).collect();
        let statistics = values.map(|values| {
            let mean = values.iter().sum::<f64>() / depth as f64;
            let var = values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / depth as f64;
            [mean, (var + f64::from(norm.eps)).sqrt().recip()]
        });
        for value in group {
            let channel = out.len();
            let (gamma, beta) = (f64::from(gamma[channel]), f64::from(beta[channel]));
            out.push(match (flat[channel], statistics, value) {
                (true, ..) => Some(beta as f32),
                (false, Some([mean, inv]), &Some(x)) => {
                    Some(((f64::from(x) - mean) * inv * gamma + beta) as f32)
                }
                _ => None,
            });
        }
    }
    out
}

/// The product of two channels. Zero times an infinity is NaN, which a strict plan must report.
fn product(a: Constant, b: Constant, zeros: Zeros) -> Constant {
    match (a, b) {
        (Some(a), Some(b)) => Some(a * b),
        (Some(0.0), None) | (None, Some(0.0)) if zeros != Zeros::Filters => Some(0.0),
        _ => None,
    }
}

/// The output of filter `o`: `b + Σ w·x`, if every input with a nonzero weight is constant (and zero, if there is
/// padding).
fn weighed(filters: &Filters, nonzeros: &Nonzeros, o: usize, inputs: &[Constant]) -> Constant {
    let (first, depth, weights) = (filters.first_input(o), filters.depth(), filters.filter(o));
    let mut sum = filters.bias_of(o);
    for i in nonzeros.positions(o) {
        match inputs[first + i % depth] {
            Some(x) if x == 0.0 || !filters.padded => sum += f64::from(weights[i]) * f64::from(x),
            _ => return None,
        }
    }
    Some(sum as f32)
}
