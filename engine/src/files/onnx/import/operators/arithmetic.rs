//! Sums, and arithmetic with constants.

use super::norm;
use super::terms::{Terms, formulated, terms};
use crate::Tensor;
use crate::files::onnx::import::array::Array;
use crate::files::onnx::import::formula::Formula;
use crate::files::onnx::import::importer::Importer;
use crate::files::onnx::import::model::OnnxNode;
use crate::files::onnx::import::value::Value;
use crate::files::onnx::import::view::View;
use crate::graph::NodeId;
use crate::graph::layer::{Activation, Layer};

/// `Add`, `Sub`, `Mul`, `Div` and `Sum`.
pub(super) fn import<'a>(importer: &mut Importer<'_, 'a>, node: &OnnxNode<'a>) -> Result<Value, String> {
    node.only(&[])?;
    if node.inputs.len() != 2 {
        return match node.op {
            "Sum" => sum(importer, node),
            _ => Err(format!("has {} inputs, expected 2", node.inputs.len())),
        };
    }
    match (importer.value(node, 0)?, importer.value(node, 1)?) {
        (Value::Constant(a), _) => with_constant(importer, node, 1, &a),
        (_, Value::Constant(b)) => with_constant(importer, node, 0, &b),
        _ => match together(importer, node)? {
            Some(value) => Ok(value),
            None => match kind(node) {
                "Add" => sum(importer, node),
                "Sub" => difference(importer, node),
                "Mul" => product(importer, node),
                _ => Err("divides two values that are computed, which no layer does".into()),
            },
        },
    }
}

/// The operator of `node`. A sum of two is an addition.
fn kind<'a>(node: &OnnxNode<'a>) -> &'a str {
    if node.op == "Sum" { "Add" } else { node.op }
}

/// Arithmetic of input `i`, which is computed, with a constant, the other input.
fn with_constant<'a>(
    importer: &mut Importer<'_, 'a>,
    node: &OnnxNode<'a>,
    i: usize,
    constant: &Array,
) -> Result<Value, String> {
    let values = constant.floats("its constant")?;
    let first = i == 0;
    if let Some((view, formula)) = importer.formula(node, i)?
        && values.len() == 1
        && values.shape().len() <= view.axes.len() + 1
        && !takes(importer, (node, first), &view, formula)
    {
        let by = f64::from(values.data()[0]);
        let formula = match kind(node) {
            "Add" => formula.shifted(by),
            "Sub" if first => formula.shifted(-by),
            "Sub" => formula.scaled(-1.0).and_then(|formula| formula.shifted(by)),
            "Mul" => formula.scaled(by),
            _ if first => formula.scaled(1.0 / by),
            _ => return Err("divides a constant by what is computed, which no layer does".into()),
        };
        if let Some(formula) = formula {
            return Ok(formulated(importer, node, &view, formula));
        }
    }
    let view = importer.computed(node, i)?;
    let terms = terms(importer, &view, values)?;
    let minus = || Terms { values: vec![-1.0; terms.values.len()] };
    let [scale, shift] = match kind(node) {
        "Add" => [None, Some(terms)],
        "Sub" if first => [None, Some(terms.map(|v| -v))],
        "Sub" => [Some(minus()), Some(terms)],
        "Mul" => [Some(terms), None],
        _ if first => [Some(terms.map(|v| 1.0 / v)), None],
        _ => return Err("divides a constant by what is computed, which no layer does".into()),
    };
    affine(importer, node, &view, scale, shift)
}

/// Whether the constant of `node` becomes a parameter of the layer before `view`: a bias, or one of a layer norm.
fn takes(
    importer: &Importer<'_, '_>,
    (node, first): (&OnnxNode, bool),
    view: &View,
    formula: Formula,
) -> bool {
    let (adds, scales) = (kind(node) == "Add" || (node.op == "Sub" && first), node.op == "Mul");
    let bias = || importer.is_unshared(view.node) && lacks_bias(&importer.nodes[view.node].layer);
    formula == Formula::X && ((adds && bias()) || norm::takes(importer, view, scales, adds))
}

/// Arithmetic of two formulas of the same value.
fn together<'a>(importer: &mut Importer<'_, 'a>, node: &OnnxNode<'a>) -> Result<Option<Value>, String> {
    let (Some((view, a)), Some((other, b))) = (importer.formula(node, 0)?, importer.formula(node, 1)?) else {
        return Ok(None);
    };
    if view != other {
        return Ok(None);
    }
    let formula = match (kind(node), a, b) {
        // A sum is a layer.
        ("Add", Formula::X, Formula::X) => None,
        ("Add", a, b) => a.plus(b),
        ("Sub", a, b) => a.minus(b),
        ("Mul", a, b) => a.times(b),
        (_, Formula::Centered(center), Formula::Deviation(spread)) => {
            return norm::standardized(importer, node, &view, (center, &spread)).map(Some);
        }
        _ => None,
    };
    Ok(formula.map(|formula| formulated(importer, node, &view, formula)))
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

/// `Neg`: a formula of a value.
pub(super) fn negative<'a>(importer: &mut Importer<'_, 'a>, node: &OnnxNode<'a>) -> Result<Value, String> {
    node.only(&[])?;
    let (view, formula) = importer.formula(node, 0)?.ok_or("negates what is no image")?;
    let negative = formula.scaled(-1.0).ok_or("negates a formula that does not become a whole")?;
    Ok(formulated(importer, node, &view, negative))
}

/// The difference of values of the same shape: a sum with the negative.
fn difference<'a>(importer: &mut Importer<'_, 'a>, node: &OnnxNode<'a>) -> Result<Value, String> {
    let (a, b) = (importer.computed(node, 0)?, importer.computed(node, 1)?);
    if (a.size, &a.axes, a.flat) != (b.size, &b.axes, b.flat) {
        return Err(format!("subtracts {:?} from {:?}, which no layer does", b.dims(), a.dims()));
    }
    let minus = Terms { values: vec![-1.0; b.size[2]] };
    let negative = importer.affine(&b, Some(minus.values), None, &format!("{}.negative", node.label()))?;
    let id = importer.push(node, Layer::Add, &[a.node, negative.node]);
    Ok(Value::Computed(a.at(id)))
}

/// The product of values of the same shape, or of an image with a number for each channel; `x · sigmoid(x)` and `x ·
/// hard sigmoid(x)` are activations.
fn product<'a>(importer: &mut Importer<'_, 'a>, node: &OnnxNode<'a>) -> Result<Value, String> {
    let (a, b) = (importer.computed(node, 0)?, importer.computed(node, 1)?);
    for (x, gate) in [(&a, &b), (&b, &a)] {
        let maker = &importer.nodes[gate.node];
        let activation = match maker.layer {
            Layer::Activation(Activation::Sigmoid) => Activation::Silu,
            Layer::Activation(Activation::HardSigmoid) => Activation::HardSwish,
            _ => continue,
        };
        if maker.inputs == [x.node] && x.axes == gate.axes {
            let id = importer.push(node, Layer::Activation(activation), &[x.node]);
            return Ok(Value::Computed(x.at(id)));
        }
    }
    if a.size == b.size && a.axes == b.axes {
        let flat = a.flat || b.flat;
        let inputs = [&a, &b].map(|view| if flat { importer.vector(view) } else { view.node });
        let id = importer.push(node, Layer::Multiply, &inputs);
        return Ok(Value::Computed(View { flat, ..a.at(id) }));
    }
    for (x, gate) in [(&a, &b), (&b, &a)] {
        if is_gate(x, gate) {
            let id = importer.push(node, Layer::Multiply, &[x.node, gate.node]);
            return Ok(Value::Computed(x.at(id)));
        }
    }
    Err(format!("multiplies {:?} by {:?}, which no layer does", a.dims(), b.dims()))
}

/// Whether `gate` has one number for each channel of the image `x`.
fn is_gate(x: &View, gate: &View) -> bool {
    let of_channels = gate.size == [1, 1, x.size[2]] && !x.flat && x.axes.len() == gate.axes.len();
    // An axis of the gate is that of the channels, or has one element.
    of_channels && x.axes.iter().zip(&gate.axes).all(|(x, gate)| gate == x || gate.is_empty())
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
    if norm::takes(importer, view, scale.is_some(), shift.is_some()) {
        let [scale, shift] = [scale, shift].map(|terms| terms.map(|terms| terms.values));
        return norm::completed(importer, node, view, [scale, shift]);
    }
    let [scale, shift] = [scale, shift].map(|terms| terms.map(|terms| terms.values));
    importer.affine(view, scale, shift, node.label()).map(Value::Computed)
}

/// Whether `layer` is a convolution or linear layer without a bias.
fn lacks_bias(layer: &Layer) -> bool {
    match layer {
        Layer::Conv2d(conv) => conv.bias.is_none(),
        Layer::Linear(linear) => linear.bias.is_none(),
        _ => false,
    }
}
