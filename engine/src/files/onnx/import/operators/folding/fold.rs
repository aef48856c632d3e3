//! The operators that are computed if all their inputs are constants.

use super::broadcast::room;
use super::{choices, elementwise, reductions};
use crate::Tensor;
use crate::files::onnx::fields::element;
use crate::files::onnx::import::array::{self, Array, Kind};
use crate::files::onnx::import::importer::Importer;
use crate::files::onnx::import::int::Int;
use crate::files::onnx::import::model::{Attribute, OnnxNode};
use crate::files::onnx::import::tensor::ends;
use crate::files::onnx::import::value::Value;
use half::{bf16, f16};

/// The operators that are computed if all their inputs are constants.
pub(in crate::files::onnx::import) const FOLDED: &[&str] = &[
    "Abs",
    "Add",
    "And",
    "Ceil",
    "ConstantOfShape",
    "Div",
    "Equal",
    "Exp",
    "Expand",
    "Floor",
    "Greater",
    "GreaterOrEqual",
    "Less",
    "LessOrEqual",
    "Log",
    "Max",
    "Min",
    "Mod",
    "Mul",
    "Neg",
    "Not",
    "Or",
    "Pow",
    "Range",
    "Reciprocal",
    "ReduceMax",
    "ReduceMin",
    "ReduceProd",
    "ReduceSum",
    "Sqrt",
    "Sub",
    "Sum",
    "Where",
    "Xor",
];

/// What `node` computes, if all its inputs are constants and it is an operator whose result is known then.
pub(in crate::files::onnx::import) fn fold<'a>(
    importer: &mut Importer<'_, 'a>,
    node: &OnnxNode<'a>,
) -> Result<Option<Value>, String> {
    let known = |name: &&str| match importer.known(name) {
        Some(value) => matches!(value, Value::Constant(_)),
        None => importer.is_constant(name),
    };
    if node.inputs.is_empty() || !node.inputs.iter().all(known) {
        return Ok(None);
    }
    match node.op {
        "ReduceMax" | "ReduceMin" | "ReduceProd" | "ReduceSum" => {
            return reduction(importer, node).map(Value::Constant).map(Some);
        }
        op if !FOLDED.contains(&op) => return Ok(None),
        _ => {}
    }
    let mut arrays = Vec::with_capacity(node.inputs.len());
    for i in 0..node.inputs.len() {
        match importer.value(node, i)? {
            Value::Constant(array) => arrays.push(array),
            _ => return Ok(None),
        }
    }
    computed(importer, node, &arrays).map(Value::Constant).map(Some)
}

/// What `node` computes of `arrays`.
fn computed<'a>(
    importer: &mut Importer<'_, 'a>,
    node: &OnnxNode<'a>,
    arrays: &[Array],
) -> Result<Array, String> {
    node.only(match node.op {
        "Mod" => &["fmod"],
        "ConstantOfShape" => &["value"],
        _ => &[],
    })?;
    let remainder = node.int("fmod")?.is_some_and(|fmod| fmod != 0);
    match (node.op, arrays) {
        ("Max" | "Min" | "Sum", [first, rest @ ..]) => rest.iter().try_fold(first.clone(), |found, next| {
            elementwise::two(importer, (node.op, false), [&found, next])
        }),
        ("Expand", [x, shape]) => choices::expanded(importer, x, &shape.plain("its shape")?),
        ("ConstantOfShape", [shape]) => filled(importer, node, &shape.plain("its shape")?),
        ("Range", [start, limit, delta]) => reductions::range(importer, [start, limit, delta]),
        ("Where", [which, x, y]) => elementwise::choice(importer, [which, x, y]),
        (op, [x]) => elementwise::one(importer, op, x),
        (op, [x, y]) => elementwise::two(importer, (op, remainder), [x, y]),
        _ => Err(format!("has {} inputs", arrays.len())),
    }
}

/// `ConstantOfShape`.
fn filled<'a>(importer: &mut Importer<'_, 'a>, node: &OnnxNode<'a>, shape: &[i64]) -> Result<Array, String> {
    let dims: Option<Vec<usize>> = shape.iter().map(|&dim| usize::try_from(dim).ok()).collect();
    let dims = dims.ok_or_else(|| format!("has the shape {shape:?}"))?;
    let value = match node.attribute("value") {
        Some(Attribute::Tensor(raw)) => importer.array(raw)?,
        _ => Array::Number(Kind::Float, Tensor::zeros(&[1])),
    };
    match &value {
        Array::Number(kind, value) if value.len() == 1 => {
            elementwise::made(importer, &dims, *kind, |_| value.data()[0])
        }
        Array::Int { values, .. } if values.len() == 1 => {
            let values = vec![values[0]; room(importer, &dims, true)?];
            Ok(Array::Int { dims, values })
        }
        _ => Err(format!("has a value of shape {:?}, expected one number", value.dims())),
    }
}

/// `ReduceProd` and its like. The axes were an attribute before opset 13 or 18.
fn reduction<'a>(importer: &mut Importer<'_, 'a>, node: &OnnxNode<'a>) -> Result<Array, String> {
    node.only(&["axes", "keepdims", "noop_with_empty_axes"])?;
    let x = importer.constant(node, 0)?.ok_or("has no input")?;
    let axes = match importer.constant(node, 1)? {
        Some(axes) => axes.plain("its axes")?,
        None => node.ints("axes")?.unwrap_or_default().to_vec(),
    };
    if axes.is_empty() && node.int("noop_with_empty_axes")?.is_some_and(|noop| noop != 0) {
        return Ok(x);
    }
    let rank = x.dims().len();
    let axes = match axes.is_empty() {
        true => (0..rank).collect(),
        false => array::axes(&axes, rank)?,
    };
    let keeps = node.int("keepdims")?.is_none_or(|keeps| keeps != 0);
    reductions::reduced(importer, (node.op, keeps), &x, &axes)
}

/// The constant `x` as numbers of the type `to`.
pub(in crate::files::onnx::import) fn cast(
    importer: &mut Importer<'_, '_>,
    x: Array,
    to: i64,
) -> Result<Array, String> {
    match (to, &x) {
        (element::FLOAT | element::DOUBLE | element::FLOAT16 | element::BFLOAT16, _) => {
            let x = x.numbers()?;
            let x = x.floats("its constant")?;
            let round: fn(f32) -> f32 = match to {
                element::FLOAT16 => |x| f16::from_f32(x).to_f32(),
                element::BFLOAT16 => |x| bf16::from_f32(x).to_f32(),
                _ => return Ok(Array::Number(Kind::Float, x.clone())),
            };
            elementwise::made(importer, x.shape(), Kind::Float, |i| round(x.data()[i]))
        }
        (element::INT32 | element::INT64, Array::Number(_, numbers)) => {
            let range = if to == element::INT32 {
                -2f64.powi(31)..2f64.powi(31)
            } else {
                -2f64.powi(63)..2f64.powi(63)
            };
            let whole = |&x: &f32| {
                let whole = f64::from(x).trunc();
                range.contains(&whole).then_some(Int::of(whole as i64))
            };
            room(importer, numbers.shape(), true)?;
            let values = numbers.data().iter().map(whole).collect::<Option<_>>();
            let dims = numbers.shape().to_vec();
            Ok(Array::Int { dims, values: values.ok_or("converts numbers that no integer is near")? })
        }
        (element::INT64, Array::Int { .. }) => Ok(x),
        (element::INT32, Array::Int { values, .. }) => {
            let fits = |x: &Int| x.plain().is_none_or(|x| i32::try_from(x).is_ok());
            if values.iter().all(fits) { Ok(x) } else { Err("converts integers of more than 32 bits".into()) }
        }
        (element::BOOL, Array::Int { .. }) => {
            let zero = Array::Int { dims: Vec::new(), values: vec![Int::of(0)] };
            let is_zero = elementwise::two(importer, ("Equal", false), [&x, &zero])?;
            elementwise::one(importer, "Not", &is_zero)
        }
        (element::BOOL, Array::Number(_, numbers)) => {
            elementwise::made(importer, numbers.shape(), Kind::Bool, |i| {
                f32::from(u8::from(numbers.data()[i] != 0.0))
            })
        }
        _ => narrowed(importer, &x, to),
    }
}

/// `x` as integers of few bits, if they hold it.
fn narrowed(importer: &mut Importer<'_, '_>, x: &Array, to: i64) -> Result<Array, String> {
    let [low, high] =
        ends(to).ok_or_else(|| format!("converts {} to type {to}, which is not understood", x.what()))?;
    let numbers = x.numbers()?;
    let numbers = numbers.floats("its constant")?;
    let made = elementwise::made(importer, numbers.shape(), Kind::Small, |i| numbers.data()[i].trunc())?;
    match made.floats("its constant")?.data().iter().find(|x| !(low..=high).contains(*x)) {
        Some(number) => Err(format!("converts {number} to an integer from {low} to {high}")),
        None => Ok(made),
    }
}
