//! A plain evaluator of networks in f64.

use lopper_engine::geometry::{dilate_geometry, gate_geometry, shortcut_geometry};
use lopper_engine::layer::{CompactConv2d, Pool, PoolKind};
use lopper_engine::pool::PoolGeometry;
use lopper_engine::{Graph, Layer, NodeId, Param, Tensor};
use lopper_kernels::params::CompactIndex;
use lopper_kernels::reference as r;

/// Returns the output of every node in f64, computed only by the reference kernels.
pub fn evaluate(graph: &Graph, images: &Tensor) -> Vec<Vec<f64>> {
    let shapes = graph.shapes(images.shape().try_into().unwrap()).unwrap();
    let mut values: Vec<Vec<f64>> = Vec::new();
    for (id, node) in graph.nodes().iter().enumerate() {
        let mut y = vec![0.0; shapes[id].iter().product()];
        match node.inputs.first() {
            None => y = wide(images.data()),
            Some(&x) => evaluate_node(&node.layer, &shapes[x], &node.inputs, &values, &shapes, &mut y),
        }
        values.push(y);
    }
    values
}

/// Returns the error of `found` relative to the largest value of any layer: errors of one layer propagate through the
/// layers after it.
pub fn error(found: &[f32], nodes: &[Vec<f64>]) -> f64 {
    let expected = nodes.last().unwrap();
    assert_eq!(found.len(), expected.len());
    let largest = nodes.iter().flatten().fold(1.0, |max: f64, v| max.max(v.abs()));
    found.iter().zip(expected).map(|(&a, &b)| (f64::from(a) - b).abs() / largest).fold(0.0, f64::max)
}

fn evaluate_node(
    layer: &Layer,
    shape: &[usize],
    inputs: &[NodeId],
    values: &[Vec<f64>],
    shapes: &[Vec<usize>],
    y: &mut [f64],
) {
    let x = values[inputs[0]].as_slice();
    match layer {
        Layer::Input { .. } => unreachable!("has no input"),
        Layer::Conv2d(conv) => {
            let g = conv.geometry(shape).unwrap();
            r::conv2d_forward(&g, x, &weight(&conv.weight), bias(&conv.bias).as_deref(), y);
        }
        Layer::CompactConv2d(compact) => evaluate_compact(compact, shape, x, y),
        Layer::Linear(linear) => {
            let g = linear.geometry(shape).unwrap();
            r::linear_forward(&g, x, &weight(&linear.weight), bias(&linear.bias).as_deref(), y);
        }
        Layer::BatchNorm(bn) => {
            let (mean, var) = (wide(bn.running_mean.data()), wide(bn.running_var.data()));
            let g = lopper_kernels::shapes::BatchNorm {
                rows: x.len() / bn.channels(),
                c: bn.channels(),
                eps: bn.eps,
            };
            let (gamma, beta) = (weight(&bn.weight), weight(&bn.bias));
            r::batch_norm_forward_eval(&g, x, [&mean, &var], [&gamma, &beta], y);
        }
        Layer::LayerNorm(norm) => {
            let (gamma, beta) = (weight(&norm.weight), weight(&norm.bias));
            r::layer_norm_forward(&norm.geometry(shape).unwrap(), x, [&gamma, &beta], y);
        }
        Layer::GroupNorm(norm) => {
            let (gamma, beta) = (weight(&norm.weight), weight(&norm.bias));
            r::group_norm_forward(&norm.geometry(shape).unwrap(), x, [&gamma, &beta], y);
        }
        Layer::PRelu(prelu) => r::prelu_forward(prelu.channels(), x, &weight(&prelu.weight), y),
        Layer::Softmax { log } => softmax(*log, *shape.last().unwrap(), x, y),
        Layer::Activation(activation) => r::activation_forward(*activation, x, y),
        Layer::Pool(pool) => evaluate_pool(*pool, shape, x, y),
        Layer::Flatten | Layer::Dropout { .. } => y.copy_from_slice(x),
        Layer::Add => inputs.iter().for_each(|&i| r::add_assign(y, &values[i])),
        Layer::Multiply if shapes[inputs[1]] == shape => r::mul_forward(x, &values[inputs[1]], y),
        Layer::Multiply => {
            let g = gate_geometry(shape, &shapes[inputs[1]]).unwrap();
            r::gate_forward(&g, x, &values[inputs[1]], y);
        }
        Layer::Gather { channels } => r::gather_forward(*shape.last().unwrap(), channels, x, y),
        Layer::Resize(resize) => r::resize_forward(&resize.geometry(shape).unwrap(), x, y),
        Layer::Dilate { stride } => {
            let g = dilate_geometry(shape, *stride).unwrap();
            r::resize_forward(&g, x, y);
        }
        Layer::Concat => {
            let parts: Vec<(&[f64], usize)> =
                inputs.iter().map(|&i| (values[i].as_slice(), *shapes[i].last().unwrap())).collect();
            let rows = shape[..shape.len() - 1].iter().product();
            r::concat_forward(rows, &parts, y);
        }
        Layer::PadShortcut { stride, before, after } => {
            let g = shortcut_geometry(shape, *stride, *before, *after).unwrap();
            r::pad_shortcut_forward(&g, x, y);
        }
    }
}

fn evaluate_compact(compact: &CompactConv2d, shape: &[usize], x: &[f64], y: &mut [f64]) {
    let g = compact.geometry(shape).unwrap();
    let CompactConv2d { conv, inputs, outputs, carrier, fill, .. } = compact;
    let index = CompactIndex { inputs: inputs.clone(), outputs: outputs.clone(), carrier: *carrier };
    let outer_bias = bias(&conv.bias).map(|b| {
        let mut outer = vec![f64::NAN; g.o]; // Dead outputs must not read it.
        outputs.iter().zip(b).for_each(|(&o, b)| outer[o as usize] = b);
        outer
    });
    let (w, fill) = (weight(&conv.weight), wide(fill));
    r::conv2d_compact_forward(&g, x, &index, &w, &fill, outer_bias.as_deref(), y);
}

fn evaluate_pool(pool: Pool, shape: &[usize], x: &[f64], y: &mut [f64]) {
    match (pool.kind, pool.geometry(shape).unwrap()) {
        (PoolKind::Max, PoolGeometry::Fixed(g)) => r::max_pool2d_forward(&g, x, y),
        (PoolKind::Max, PoolGeometry::Adaptive(g)) => r::adaptive_max_pool2d_forward(&g, x, y),
        (PoolKind::Average, PoolGeometry::Fixed(g)) => r::avg_pool2d_forward(&g, x, y),
        (PoolKind::Average, PoolGeometry::Adaptive(g)) => r::adaptive_avg_pool2d_forward(&g, x, y),
    }
}

fn weight(param: &Param) -> Vec<f64> {
    wide(param.value().data())
}

fn bias(param: &Option<Param>) -> Option<Vec<f64>> {
    param.as_ref().map(weight)
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| f64::from(v)).collect()
}

fn softmax(log: bool, k: usize, x: &[f64], y: &mut [f64]) {
    let softmax = if log { r::log_softmax_forward } else { r::softmax_forward };
    softmax(x.len() / k, k, x, y);
}
