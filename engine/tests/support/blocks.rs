//! Stacks of sparse convolutions.

use super::Random;
use lopper_engine::layer::{Activation, Conv2d, FixedWindow, Pool, PoolKind, Window};
use lopper_engine::{Graph, Layer, Param, Tensor};

/// A convolution of `k`×`k` pixels, of which one in ten weights is kept, or all if it is depthwise.
pub fn sparse_conv(random: &mut Random, [c, o]: [usize; 2], k: usize, stride: usize, groups: usize) -> Layer {
    let mut weight = Param::new(random.tensor(&[o, k, k, c / groups]));
    if groups == 1 {
        let mask = Tensor::from_fn(weight.value().shape(), |_| f32::from(random.chance(10)));
        weight.set_mask(Some(mask)).unwrap();
    }
    let bias = Some(Param::new(random.tensor(&[o])));
    Layer::Conv2d(Conv2d {
        weight,
        bias,
        stride: [stride; 2],
        padding: [k / 2; 2],
        extra_padding: [0; 2],
        dilation: [1; 2],
        groups,
    })
}

/// Inverted residual blocks, the second with stride 2 and the others with a shortcut.
pub fn inverted_residuals(random: &mut Random, c: usize) -> Graph {
    let wide = 3 * c;
    let mut graph = Graph::new(c);
    let mut x = 0;
    for block in 0..3 {
        let (shortcut, stride) = (x, if block == 1 { 2 } else { 1 });
        for (name, layer, clamp) in [
            ("expand", sparse_conv(random, [c, wide], 1, 1, 1), true),
            ("depthwise", sparse_conv(random, [wide; 2], 3, stride, wide), true),
            ("project", sparse_conv(random, [wide, c], 1, 1, 1), false),
        ] {
            x = graph.push(format!("{name}{block}"), layer, &[x]).unwrap();
            if clamp {
                let relu6 = Layer::Activation(Activation::Relu6);
                x = graph.push(format!("{name}{block}.relu6"), relu6, &[x]).unwrap();
            }
        }
        if stride == 1 {
            x = graph.push(format!("add{block}"), Layer::Add, &[x, shortcut]).unwrap();
        }
    }
    let pool = Pool { kind: PoolKind::Average, window: Window::Global };
    graph.push("pool", Layer::Pool(pool), &[x]).unwrap();
    graph
}

/// 3×3 convolutions, with a 2×2 maximum pool behind the first and the second pair, as in a VGG.
pub fn pooled_convolutions(random: &mut Random, c: usize) -> Graph {
    let mut graph = Graph::new(c);
    let mut x = 0;
    for stage in 0..3 {
        for conv in 0..2 {
            let name = format!("conv{stage}.{conv}");
            x = graph.push(&name, sparse_conv(random, [c; 2], 3, 1, 1), &[x]).unwrap();
            x = graph.push(format!("{name}.relu"), Layer::Activation(Activation::Relu), &[x]).unwrap();
        }
        if stage < 2 {
            let pool = Pool::max(FixedWindow::square(2, 2, 0));
            x = graph.push(format!("pool{stage}"), Layer::Pool(pool), &[x]).unwrap();
        }
    }
    let pool = Pool { kind: PoolKind::Average, window: Window::Global };
    graph.push("mean", Layer::Pool(pool), &[x]).unwrap();
    graph
}
