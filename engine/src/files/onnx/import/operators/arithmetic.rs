//! Sums, and arithmetic with constants.

use crate::Tensor;
use crate::files::onnx::import::array::Array;
use crate::files::onnx::import::importer::Importer;
use crate::files::onnx::import::int::Int;
use crate::files::onnx::import::model::OnnxNode;
use crate::files::onnx::import::value::Value;
use crate::files::onnx::import::view::View;
use crate::graph::NodeId;
use crate::graph::layer::{Activation, Conv2d, Layer};

/// `Add`, `Sub`, `Mul`, `Div` and `Sum`.
pub(super) fn import<'a>(importer: &mut Importer<'_, 'a>, node: &OnnxNode<'a>) -> Result<Value, String> {
    node.only(&[])?;
    if node.inputs.len() != 2 || node.op == "Sum" {
        return match node.op {
            "Sum" => sum(importer, node),
            _ => Err(format!("has {} inputs, expected 2", node.inputs.len())),
        };
    }
    match (importer.value(node, 0)?, importer.value(node, 1)?) {
        (Value::Constant(a), Value::Constant(b)) => integers(node, &a, &b).map(Value::Constant),
        (Value::Computed(_), Value::Constant(b)) => {
            let view = importer.computed(node, 0)?;
            let terms = terms(importer, &view, b.floats("its constant")?)?;
            let [scale, shift] = match node.op {
                "Add" => [None, Some(terms)],
                "Sub" => [None, Some(terms.map(|v| -v))],
                "Mul" => [Some(terms), None],
                _ => [Some(terms.map(|v| 1.0 / v)), None],
            };
            affine(importer, node, &view, scale, shift)
        }
        (Value::Constant(a), Value::Computed(_)) => {
            let view = importer.computed(node, 1)?;
            let terms = terms(importer, &view, a.floats("its constant")?)?;
            let minus = Terms { values: vec![-1.0; terms.values.len()] };
            match node.op {
                "Add" => affine(importer, node, &view, None, Some(terms)),
                "Mul" => affine(importer, node, &view, Some(terms), None),
                "Sub" => affine(importer, node, &view, Some(minus), Some(terms)),
                _ => Err("divides a constant by what is computed, which no layer does".into()),
            }
        }
        _ if node.op == "Add" => sum(importer, node),
        _ if node.op == "Mul" => gated(importer, node),
        _ => Err("subtracts or divides two values that are computed, which no layer does".into()),
    }
}

/// Arithmetic of shapes.
fn integers(node: &OnnxNode, a: &Array, b: &Array) -> Result<Array, String> {
    let (left, right) = (a.ints("its first constant")?, b.ints("its second constant")?);
    let (longer, len) = if right.len() > left.len() { (b, right.len()) } else { (a, left.len()) };
    if [left.len(), right.len()].iter().any(|&found| found != 1 && found != len) {
        return Err(format!("works on shapes of {} and {} integers", left.len(), right.len()));
    }
    let at = |values: &[Int], i: usize| values[if values.len() == 1 { 0 } else { i }];
    let value = |i: usize| {
        let (x, y) = (at(left, i), at(right, i));
        match node.op {
            "Add" => x.add(y),
            "Sub" => x.sub(y),
            "Mul" => x.mul(y),
            _ => x.div(y),
        }
    };
    let values: Option<Vec<Int>> = (0..len).map(value).collect();
    let values = values.ok_or("has no exact result for every number of images")?;
    Ok(Array::Int { dims: longer.dims().to_vec(), values })
}

/// The sum of values of the same shape.
fn sum<'a>(importer: &mut Importer<'_, 'a>, node: &OnnxNode<'a>) -> Result<Value, String> {
    let mut views = Vec::new();
    for i in 0..node.inputs.len() {
        views.push(importer.computed(node, i)?);
    }
    let first = views.first().ok_or("adds nothing")?.clone();
    if views.iter().any(|view| view.size != first.size || view.axes != first.axes) {
        let shapes: Vec<_> = views.iter().map(View::dims).collect();
        return Err(format!("adds {shapes:?} in different orders or shapes, which no layer does"));
    }
    if views.len() == 1 {
        return Ok(Value::Computed(first));
    }
    let flat = views.iter().any(|view| view.flat);
    let inputs: Vec<NodeId> =
        views.iter().map(|view| if flat { importer.vector(view) } else { view.node }).collect();
    let id = importer.push(node, Layer::Add, &inputs);
    Ok(Value::Computed(View { flat, ..first.at(id) }))
}

/// `x · sigmoid(x)`; no other product of two computed values is understood.
fn gated<'a>(importer: &mut Importer<'_, 'a>, node: &OnnxNode<'a>) -> Result<Value, String> {
    let (a, b) = (importer.computed(node, 0)?, importer.computed(node, 1)?);
    for (x, gate) in [(&a, &b), (&b, &a)] {
        let maker = &importer.nodes[gate.node];
        let sigmoid = matches!(maker.layer, Layer::Activation(Activation::Sigmoid));
        if sigmoid && maker.inputs == [x.node] && x.axes == gate.axes {
            let id = importer.push(node, Layer::Activation(Activation::Silu), &[x.node]);
            return Ok(Value::Computed(x.at(id)));
        }
    }
    Err("multiplies two values that are computed; only x · sigmoid(x) is understood".into())
}

/// A constant number for each channel.
struct Terms {
    values: Vec<f32>,
}

impl Terms {
    fn map(mut self, f: impl Fn(f32) -> f32) -> Self {
        self.values.iter_mut().for_each(|value| *value = f(*value));
        self
    }
}

/// The constant `values` as a number for each channel of `view`.
fn terms(importer: &Importer<'_, '_>, view: &View, values: &Tensor) -> Result<Terms, String> {
    importer.may_make(view.size[2])?;
    let (shape, rank) = (values.shape(), view.axes.len() + 1);
    let channels = view.size[2];
    if values.len() == 1 && shape.len() <= rank {
        return Ok(Terms { values: vec![values.data()[0]; channels] });
    }
    // Shapes are aligned at their last axes.
    let long = shape.iter().position(|&dim| dim > 1).and_then(|i| (i + rank).checked_sub(shape.len()));
    let only = shape.iter().filter(|&&dim| dim > 1).count() == 1;
    match long {
        Some(axis) if only && view.is_channel_axis(axis) && values.len() == channels => {
            Ok(Terms { values: values.data().to_vec() })
        }
        _ => {
            Err(format!("has a constant of shape {shape:?}; expected one number for each channel or for all"))
        }
    }
}

/// `scale · x + shift` for each channel: into the layer before if it has no bias yet and nothing else reads it,
/// otherwise a depthwise convolution of single pixels.
fn affine<'a>(
    importer: &mut Importer<'_, 'a>,
    node: &OnnxNode<'a>,
    view: &View,
    scale: Option<Terms>,
    shift: Option<Terms>,
) -> Result<Value, String> {
    let channels = view.size[2];
    if let (None, Some(terms)) = (&scale, &shift)
        && importer.is_unshared(view.node)
        && lacks_bias(&importer.nodes[view.node].layer)
    {
        let bias = Tensor::from_slice(&[channels], &terms.values).map_err(|e| e.to_string())?;
        let bias = Some(importer.param(bias)?);
        match &mut importer.nodes[view.node].layer {
            Layer::Conv2d(conv) => conv.bias = bias,
            Layer::Linear(linear) => linear.bias = bias,
            _ => {}
        }
        return Ok(Value::Computed(view.clone()));
    }
    if view.flat {
        return Err("scales or shifts the features of a vector, which no layer does".into());
    }
    let scale = scale.map_or_else(|| vec![1.0; channels], |terms| terms.values);
    let weight = Tensor::from_vec(&[channels, 1, 1, 1], scale).map_err(|e| e.to_string())?;
    let bias = shift.map(|terms| Tensor::from_vec(&[channels], terms.values)).transpose();
    let bias = bias.map_err(|e| e.to_string())?.map(|bias| importer.param(bias)).transpose()?;
    let conv = Conv2d {
        weight: importer.param(weight)?,
        bias,
        stride: [1; 2],
        padding: [0; 2],
        extra_padding: [0; 2],
        dilation: [1; 2],
        groups: channels,
    };
    let id = importer.push(node, Layer::Conv2d(conv), &[view.node]);
    Ok(Value::Computed(view.at(id)))
}

/// Whether `layer` is a convolution or linear layer without a bias.
fn lacks_bias(layer: &Layer) -> bool {
    match layer {
        Layer::Conv2d(conv) => conv.bias.is_none(),
        Layer::Linear(linear) => linear.bias.is_none(),
        _ => false,
    }
}
