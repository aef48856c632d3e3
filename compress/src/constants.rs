//! Constant channels: the channels that hold the same value at every pixel of every image.
//!
//! The analysis is a forward pass in eval mode over the lattice `unknown | constant(value)`. A zero filter outputs its
//! bias, and batch norm, activations and pooling map constants to constants. After convolution, batch norm and ReLU a
//! dead filter therefore outputs max(0, β − γμ/√(σ² + ε)): *constant*, but usually not *zero*.
//!
//! Constants do not survive padding: a window that reaches past the border sees zeros next to the constant. A padded
//! convolution is constant only if every input with a nonzero weight is zero, and a padded average that counts its
//! padding only if its input is zero. Max pooling pads with −∞, which never wins.

use crate::channels::image_shapes;
use crate::weights::Filters;
use lopper_engine::{Graph, Layer, Result};

/// The value of a channel that is known to be constant.
pub type Constant = Option<f32>;

/// The constants among the output channels of every node. Fails as [`crate::channels::ChannelFlow::new`] does.
pub fn constants(graph: &Graph) -> Result<Vec<Vec<Constant>>> {
    let shapes = image_shapes(graph)?;
    let mut known: Vec<Vec<Constant>> = Vec::with_capacity(graph.nodes().len());
    for (id, node) in graph.nodes().iter().enumerate() {
        let inputs: Vec<&[Constant]> = node.inputs.iter().map(|&i| known[i].as_slice()).collect();
        let width = *shapes[id].last().expect("a node's output has channels");
        let out = through(&node.layer, &inputs, width);
        known.push(out);
    }
    Ok(known)
}

/// The `width` output channels of `layer`, given its input channels.
fn through(layer: &Layer, inputs: &[&[Constant]], width: usize) -> Vec<Constant> {
    let map = |f: &dyn Fn(f32) -> Constant| inputs[0].iter().map(|c| c.and_then(f)).collect();
    match layer {
        Layer::Input { .. } => vec![None; width],
        Layer::Conv2d(_) | Layer::Linear(_) => {
            let filters = Filters::of(layer).expect("convolutions and linear layers have filters");
            (0..width).map(|o| weighed(&filters, o, inputs[0])).collect()
        }
        Layer::CompactConv2d(compact) => {
            let mut out: Vec<Constant> = compact.fill.iter().map(|&v| Some(v)).collect();
            compact.outputs.iter().for_each(|&o| out[o as usize] = None);
            out
        }
        Layer::BatchNorm(bn) => {
            // γ = 0 turns any input into a constant.
            let value = |(&x, (scale, shift)): (&Constant, (f32, f32))| match scale == 0.0 {
                true => Some(shift),
                false => x.map(|x| scale * x + shift),
            };
            inputs[0].iter().zip(bn.affine()).map(value).collect()
        }
        Layer::Activation(activation) => map(&|x| Some(activation.apply(x))),
        Layer::Pool(pool) => map(&|x| (x == 0.0 || !pool.reads_padding()).then_some(x)),
        Layer::Dropout { .. } => inputs[0].to_vec(),
        Layer::Flatten => inputs[0].repeat(width / inputs[0].len()),
        Layer::Add => (0..width).map(|c| inputs.iter().map(|input| input[c]).sum()).collect(),
        Layer::Concat => inputs.concat(),
        Layer::PadShortcut { before, after, .. } => {
            [&vec![Some(0.0); *before], inputs[0], &vec![Some(0.0); *after]].concat()
        }
    }
}

/// The output of filter `o`: `b + Σ w·x`, if every input with a nonzero weight is constant (and zero, if there is
/// padding).
fn weighed(filters: &Filters, o: usize, inputs: &[Constant]) -> Constant {
    let (first, depth) = (filters.first_input(o), filters.depth());
    let mut sum = filters.bias_of(o);
    for (i, &w) in filters.filter(o).iter().enumerate().filter(|(_, w)| **w != 0.0) {
        match inputs[first + i % depth] {
            Some(x) if x == 0.0 || !filters.padded => sum += f64::from(w) * f64::from(x),
            _ => return None,
        }
    }
    Some(sum as f32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{bn, conv, linear};
    use lopper_engine::Tensor;
    use lopper_engine::layer::{Activation, FixedWindow, Pool};

    /// conv (filter 0 zero, bias 0.5 and 7) → γ = 2, β = 1.
    fn dead_filter() -> Graph {
        let mut g = Graph::new(1);
        g.info.input = [4, 4, 1];
        let a = g.push("a", conv(2, 3, 1, 1), &[0]).unwrap();
        g.push("bn", bn(2), &[a]).unwrap();
        g.param_mut("a.weight").unwrap().update(|w| w[..9].fill(0.0));
        let Layer::Conv2d(conv) = g.layer_mut(a) else { unreachable!() };
        conv.bias = Some(lopper_engine::Param::new(Tensor::from_vec(&[2], vec![0.5, 7.0]).unwrap()));
        g.param_mut("bn.weight").unwrap().update(|w| w.fill(2.0));
        g.param_mut("bn.bias").unwrap().update(|w| w.fill(1.0));
        g.buffers_mut().for_each(|(path, t)| {
            t.data_mut().fill(if path == "bn.running_mean" { 0.25 } else { 1.0 - 1e-5 });
        });
        g
    }

    #[test]
    fn a_dead_filter_is_a_constant_after_batch_norm_and_relu() {
        let mut g = dead_filter();
        g.push("relu", Layer::Activation(Activation::Relu), &[2]).unwrap();
        let known = constants(&g).unwrap();
        assert_eq!(known[1], [Some(0.5), None]);
        assert!((known[3][0].unwrap() - 1.5).abs() < 1e-6);
        assert_eq!(known[3][1], None);
    }

    #[test]
    fn padding_ends_nonzero_constants() {
        for (shift, padded) in [(1.0, None), (-2.0, Some(0.0))] {
            let mut g = dead_filter();
            g.param_mut("bn.bias").unwrap().update(|w| w.fill(shift));
            let relu = g.push("relu", Layer::Activation(Activation::Relu), &[2]).unwrap();
            let next = g.push("next", conv(1, 3, 2, 1), &[relu]).unwrap();
            // The live channel has weight 0, so only the dead one matters.
            g.param_mut("next.weight")
                .unwrap()
                .update(|w| w.iter_mut().skip(1).step_by(2).for_each(|w| *w = 0.0));
            let average = Layer::Pool(Pool::average(FixedWindow::square(3, 1, 1)));
            let pool = g.push("pool", average, &[relu]).unwrap();
            let known = constants(&g).unwrap();
            assert_eq!((known[next][0], known[pool][0]), (padded, padded));
            let Layer::Conv2d(conv) = g.layer_mut(next) else { unreachable!() };
            conv.padding = [0, 0];
            assert!(
                constants(&g).unwrap()[next][0].is_some(),
                "without padding every window sees the constant"
            );
        }
    }

    #[test]
    fn sums_and_features_of_constants_are_constant() {
        let mut g = dead_filter();
        let sum = g.push("sum", Layer::Add, &[1, 2]).unwrap();
        let flat = g.push("flat", Layer::Flatten, &[sum]).unwrap();
        let fc = g.push("fc", linear(1, 32), &[flat]).unwrap();
        let known = constants(&g).unwrap();
        let (conv, norm) = (known[1][0].unwrap(), known[2][0].unwrap());
        assert_eq!(known[sum], [Some(conv + norm), None]);
        assert_eq!(known[flat].iter().filter(|c| **c == Some(conv + norm)).count(), 16);
        assert_eq!(known[fc], [None]);
    }
}
