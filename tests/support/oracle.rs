//! Evaluates a graph in f64: every node runs the plain, slow reference kernel.

use lopper_engine::geometry::{dilate_geometry, gate_geometry, shortcut_geometry};
use lopper_engine::layer::{BatchNorm, Conv2d, Linear, PoolKind};
use lopper_engine::pool::PoolGeometry;
use lopper_engine::{Graph, Layer, Mode, Node, Tensor};
use lopper_kernels::{reference, shapes};
use std::collections::BTreeMap;

/// Parameters in f64, by path.
pub type Params = BTreeMap<String, Vec<f64>>;

/// Returns the parameters of `graph`.
pub fn params(graph: &Graph) -> Params {
    graph.params().map(|(path, p)| (path, doubles(p.value()))).collect()
}

/// Returns the output of `graph` for `images`, with `params` in place of its own parameters. Dropout is the identity;
/// compact convolutions are not supported.
pub fn output(graph: &Graph, params: &Params, mode: Mode, images: &Tensor) -> Vec<f64> {
    let input = images.shape().try_into().expect("images have four axes");
    let shapes = graph.shapes(input).expect("the images fit");
    let mut values: Vec<Vec<f64>> = Vec::new();
    for (id, node) in graph.nodes().iter().enumerate() {
        let inputs: Vec<(&[f64], &[usize])> =
            node.inputs.iter().map(|&i| (values[i].as_slice(), shapes[i].as_slice())).collect();
        let mut y = vec![0.0; shapes[id].iter().product()];
        match &node.layer {
            Layer::Input { .. } => y = doubles(images),
            _ => run(node, params, mode, &inputs, &mut y),
        }
        values.push(y);
    }
    values.pop().expect("a graph has nodes")
}

fn doubles(t: &Tensor) -> Vec<f64> {
    t.data().iter().map(|&x| x.into()).collect()
}

fn run(node: &Node, params: &Params, mode: Mode, inputs: &[(&[f64], &[usize])], y: &mut [f64]) {
    let param = |slot: &str| params.get(&format!("{}.{slot}", node.name)).map(Vec::as_slice);
    let weight = || param("weight").expect("the layer has a weight");
    let (x, shape) = inputs[0];
    match &node.layer {
        Layer::Input { .. } | Layer::CompactConv2d(_) => panic!("{} has no reference", node.layer.kind()),
        Layer::Conv2d(conv) => {
            reference::conv2d_forward(&Conv2d::geometry(conv, shape).unwrap(), x, weight(), param("bias"), y)
        }
        Layer::Linear(linear) => reference::linear_forward(
            &Linear::geometry(linear, shape).unwrap(),
            x,
            weight(),
            param("bias"),
            y,
        ),
        Layer::BatchNorm(bn) => batch_norm(bn, mode, x, weight(), param("bias").expect("β"), y),
        Layer::LayerNorm(norm) => {
            let affine = [weight(), param("bias").expect("β")];
            reference::layer_norm_forward(&norm.geometry(shape).unwrap(), x, affine, y)
        }
        Layer::GroupNorm(norm) => {
            let affine = [weight(), param("bias").expect("β")];
            reference::group_norm_forward(&norm.geometry(shape).unwrap(), x, affine, y)
        }
        Layer::PRelu(prelu) => reference::prelu_forward(prelu.channels(), x, weight(), y),
        Layer::Softmax { log } => softmax(*log, *shape.last().unwrap(), x, y),
        Layer::Activation(activation) => reference::activation_forward(*activation, x, y),
        Layer::Pool(pool) => match (pool.kind, pool.geometry(shape).unwrap()) {
            (PoolKind::Max, PoolGeometry::Fixed(g)) => reference::max_pool2d_forward(&g, x, y),
            (PoolKind::Max, PoolGeometry::Adaptive(g)) => reference::adaptive_max_pool2d_forward(&g, x, y),
            (PoolKind::Average, PoolGeometry::Fixed(g)) => reference::avg_pool2d_forward(&g, x, y),
            (PoolKind::Average, PoolGeometry::Adaptive(g)) => {
                reference::adaptive_avg_pool2d_forward(&g, x, y)
            }
        },
        Layer::Flatten | Layer::Dropout { .. } => y.copy_from_slice(x),
        Layer::Add => inputs.iter().for_each(|(x, _)| reference::add_assign(y, x)),
        Layer::Multiply if inputs[1].1 == shape => reference::mul_forward(x, inputs[1].0, y),
        Layer::Multiply => {
            reference::gate_forward(&gate_geometry(shape, inputs[1].1).unwrap(), x, inputs[1].0, y)
        }
        Layer::Gather { channels } => reference::gather_forward(*shape.last().unwrap(), channels, x, y),
        Layer::Resize(resize) => reference::resize_forward(&resize.geometry(shape).unwrap(), x, y),
        Layer::Dilate { stride } => {
            reference::resize_forward(&dilate_geometry(shape, *stride).unwrap(), x, y)
        }
        Layer::Concat => {
            let parts: Vec<(&[f64], usize)> =
                inputs.iter().map(|(x, shape)| (*x, *shape.last().unwrap())).collect();
            reference::concat_forward(x.len() / parts[0].1, &parts, y)
        }
        Layer::PadShortcut { stride, before, after } => {
            let g = shortcut_geometry(shape, *stride, *before, *after).unwrap();
            reference::pad_shortcut_forward(&g, x, y)
        }
    }
}

fn batch_norm(bn: &BatchNorm, mode: Mode, x: &[f64], gamma: &[f64], beta: &[f64], y: &mut [f64]) {
    let c = gamma.len();
    let g = shapes::BatchNorm { rows: x.len() / c, c, eps: bn.eps };
    let (mut mean, mut var) = (doubles(&bn.running_mean), doubles(&bn.running_var));
    match mode {
        Mode::Eval => reference::batch_norm_forward_eval(&g, x, [&mean, &var], [gamma, beta], y),
        Mode::Train => reference::batch_norm_forward_train(&g, x, [gamma, beta], y, [&mut mean, &mut var]),
    }
}

fn softmax(log: bool, k: usize, x: &[f64], y: &mut [f64]) {
    let softmax = if log { reference::log_softmax_forward } else { reference::softmax_forward };
    softmax(x.len() / k, k, x, y);
}
