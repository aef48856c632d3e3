//! Functions of each value.

use super::clamps::{between, clamp};
use super::terms::formulated;
use crate::files::onnx::import::formula::Formula;
use crate::files::onnx::import::importer::Importer;
use crate::files::onnx::import::model::OnnxNode;
use crate::files::onnx::import::value::Value;
use crate::graph::layer::{Activation, Layer};

/// A function of each value.
pub(super) fn import<'a>(importer: &mut Importer<'_, 'a>, node: &OnnxNode<'a>) -> Result<Value, String> {
    if matches!(node.op, "Sigmoid" | "Tanh")
        && let Some(value) = part(importer, node)?
    {
        return Ok(value);
    }
    let number = |name: &str, default: f32| node.float(name).map(|number| number.unwrap_or(default));
    let activation = match node.op {
        "Elu" => {
            node.only(&["alpha"])?;
            Activation::Elu { alpha: number("alpha", 1.0)? }
        }
        "LeakyRelu" => {
            node.only(&["alpha"])?;
            Activation::LeakyRelu { slope: number("alpha", 0.01)? }
        }
        "HardSigmoid" => {
            node.only(&["alpha", "beta"])?;
            let (alpha, beta) = (number("alpha", 0.2)?, number("beta", 0.5)?);
            if (alpha - 1.0 / 6.0).abs() > 1e-6 || beta != 0.5 {
                return clamped(importer, node, [alpha, beta]);
            }
            Activation::HardSigmoid
        }
        "Gelu" => {
            node.only(&["approximate"])?;
            match node.text("approximate")?.unwrap_or("none") {
                "none" => Activation::Gelu,
                "tanh" => Activation::GeluTanh,
                other => return Err(format!("approximates GELU by `{other}`, which is not understood")),
            }
        }
        op => {
            node.only(&[])?;
            match op {
                "Relu" => Activation::Relu,
                "Clip" => clip(importer, node)?,
                "HardSwish" => Activation::HardSwish,
                "Tanh" => Activation::Tanh,
                _ => Activation::Sigmoid,
            }
        }
    };
    let view = importer.computed(node, 0)?;
    activation.check().map_err(|e| e.to_string())?;
    let id = importer.push(node, Layer::Activation(activation), &[view.node]);
    Ok(Value::Computed(view.at(id)))
}

/// `min(max(0, alpha·x + beta), 1)`: a depthwise convolution and a clamp.
fn clamped<'a>(
    importer: &mut Importer<'_, 'a>,
    node: &OnnxNode<'a>,
    [alpha, beta]: [f32; 2],
) -> Result<Value, String> {
    let view = importer.computed(node, 0)?;
    let channels = view.size[2];
    importer.may_make(2 * channels)?;
    let [scale, shift] = [alpha, beta].map(|term| Some(vec![term; channels]));
    let line = importer.affine(&view, scale, shift, &format!("{}.line", node.label()))?;
    let clamp = Layer::Activation(Activation::Clamp { low: 0.0, high: 1.0 });
    let id = importer.push(node, clamp, &[line.node]);
    Ok(Value::Computed(view.at(id)))
}

/// Functions that are a part of a layer only: `Erf`, `Pow` and `Sqrt`; and `Tanh` and `Sigmoid` where they are one.
pub(super) fn part<'a>(
    importer: &mut Importer<'_, 'a>,
    node: &OnnxNode<'a>,
) -> Result<Option<Value>, String> {
    let Some((view, formula)) = importer.formula(node, 0)? else { return Ok(None) };
    let found = match node.op {
        "Tanh" => formula.tanh(),
        "Sigmoid" => formula.sigmoid(),
        "Erf" => formula.erf(),
        "Sqrt" => formula.root(),
        _ => {
            let exponent = importer.constant(node, 1)?.ok_or("has no exponent")?;
            let exponent = match exponent.number("its exponent") {
                Ok(exponent) => f64::from(exponent),
                Err(_) => match exponent.plain("its exponent")?[..] {
                    [exponent] => exponent as f64,
                    _ => return Err("has several exponents".into()),
                },
            };
            Formula::power(formula, exponent)
        }
    };
    Ok(found.map(|found| formulated(importer, node, &view, found)))
}

/// [`part`], of an operator that is no layer on its own.
pub(super) fn only_part<'a>(importer: &mut Importer<'_, 'a>, node: &OnnxNode<'a>) -> Result<Value, String> {
    node.only(&[])?;
    part(importer, node)?.ok_or_else(|| "is understood only as a part of GELU or of a layer norm".into())
}

/// `Max` and `Min` of values and of numbers: a clamp.
pub(super) fn bounded<'a>(importer: &mut Importer<'_, 'a>, node: &OnnxNode<'a>) -> Result<Value, String> {
    node.only(&[])?;
    let (mut values, mut bounds) = (Vec::new(), [f32::MIN, f32::MAX]);
    let mut rank = 0;
    for i in 0..node.inputs.len() {
        let Value::Constant(bound) = importer.value(node, i)? else {
            values.push(importer.computed(node, i)?);
            continue;
        };
        rank = rank.max(bound.dims().len());
        let bound = bound.number("a bound")?;
        match node.op {
            _ if !bound.is_finite() => return Err(format!("has the bound {bound}")),
            "Max" => bounds[0] = bounds[0].max(bound),
            _ => bounds[1] = bounds[1].min(bound),
        }
    }
    let [view] = &values[..] else {
        return Err(format!("compares {} values that are computed, which no layer does", values.len()));
    };
    if rank > view.axes.len() + 1 {
        return Err(format!("has a bound of {rank} axes"));
    }
    Ok(Value::Computed(between(importer, node.label(), view.clone(), bounds)))
}

/// Bounds that are not given are those of the type of numbers.
fn clip<'a>(importer: &mut Importer<'_, 'a>, node: &OnnxNode<'a>) -> Result<Activation, String> {
    let bound = |array: Option<crate::files::onnx::import::array::Array>, default: f32| match array {
        None => Ok(default),
        Some(array) => array.number("a bound").map(|bound| bound.clamp(f32::MIN, f32::MAX)),
    };
    let low = bound(importer.constant(node, 1)?, f32::MIN)?;
    let high = bound(importer.constant(node, 2)?, f32::MAX)?;
    // ONNX gives the upper bound where they are in the wrong order.
    Ok(clamp([low.min(high), high]))
}
