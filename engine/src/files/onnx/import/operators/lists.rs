//! Constants, and the arithmetic of shapes that leads to constants.

use crate::Tensor;
use crate::files::onnx::import::array::Array;
use crate::files::onnx::import::importer::Importer;
use crate::files::onnx::import::int::Int;
use crate::files::onnx::import::model::{Attribute, OnnxNode};
use crate::files::onnx::import::tensor::MOST_INTS;
use crate::files::onnx::import::value::Value;

/// `Constant`.
pub(super) fn constant<'a>(importer: &mut Importer<'_, 'a>, node: &OnnxNode<'a>) -> Result<Value, String> {
    const NAMES: [&str; 5] = ["value", "value_float", "value_floats", "value_int", "value_ints"];
    node.only(&NAMES)?;
    let value = NAMES.iter().find_map(|name| node.attribute(name)).ok_or("has no value")?;
    let array = match value {
        Attribute::Tensor(raw) => {
            importer.remember_element(node, raw);
            importer.array(raw)?
        }
        Attribute::Float(value) => Array::Float(Tensor::scalar(*value)),
        Attribute::Floats(values) => {
            importer.make(values.len())?;
            Array::Float(Tensor::from_slice(&[values.len()], values).map_err(|e| e.to_string())?)
        }
        Attribute::Int(value) => Array::Int { dims: Vec::new(), values: vec![Int::of(*value)] },
        Attribute::Ints(values) if values.len() > MOST_INTS => {
            return Err(format!("has {} integers, expected at most {MOST_INTS}", values.len()));
        }
        Attribute::Ints(values) => Array::list(values.iter().map(|&value| Int::of(value)).collect()),
        Attribute::Text(_) | Attribute::Other => return Err("has a value that is not understood".into()),
    };
    Ok(Value::Constant(array))
}

/// `ConstantOfShape`.
pub(super) fn constant_of_shape<'a>(
    importer: &mut Importer<'_, 'a>,
    node: &OnnxNode<'a>,
) -> Result<Value, String> {
    node.only(&["value"])?;
    let shape = importer.constant(node, 0)?.ok_or("has no shape")?.plain("its shape")?;
    let dims: Option<Vec<usize>> = shape.iter().map(|&dim| usize::try_from(dim).ok()).collect();
    let dims = dims.ok_or_else(|| format!("has the shape {shape:?}"))?;
    let len = dims.iter().try_fold(1usize, |len, &dim| len.checked_mul(dim)).filter(|&len| len <= MOST_INTS);
    let len = len.ok_or_else(|| format!("has the shape {dims:?}, more than {MOST_INTS} elements"))?;
    let value = match node.attribute("value") {
        Some(Attribute::Tensor(raw)) => importer.array(raw)?,
        _ => Array::Float(Tensor::zeros(&[1])),
    };
    Ok(Value::Constant(match &value {
        Array::Float(_) => Array::Float(Tensor::full(&dims, value.number("its value")?)),
        Array::Int { values, .. } => {
            Array::Int { dims, values: vec![*values.first().ok_or("has no value")?; len] }
        }
    }))
}

/// `Shape`.
pub(super) fn shape<'a>(importer: &mut Importer<'_, 'a>, node: &OnnxNode<'a>) -> Result<Value, String> {
    node.only(&["start", "end"])?;
    let shape = match importer.value(node, 0)? {
        Value::Constant(array) => array.dims().iter().map(|&dim| Int::of(dim as i64)).collect(),
        _ => importer.computed(node, 0)?.shape(importer.batch),
    };
    let rank = shape.len() as i64;
    let at =
        |index: i64| (if index < 0 { index.saturating_add(rank) } else { index }).clamp(0, rank) as usize;
    let (start, end) = (at(node.int("start")?.unwrap_or(0)), at(node.int("end")?.unwrap_or(rank)));
    Ok(Value::Constant(Array::list(shape.get(start..end).unwrap_or_default().to_vec())))
}

/// `Gather` from `array`, a list of integers.
pub(super) fn gather<'a>(
    importer: &mut Importer<'_, 'a>,
    node: &OnnxNode<'a>,
    array: &Array,
) -> Result<Value, String> {
    node.only(&["axis"])?;
    let (values, dims) = (array.ints("its list")?, array.dims());
    if dims.len() != 1 || !matches!(node.int("axis")?.unwrap_or(0), 0 | -1) {
        return Err(format!("gathers from a constant of shape {dims:?}, expected a list"));
    }
    let index = importer.constant(node, 1)?.ok_or("has no indices")?;
    let len = values.len() as i64;
    let at = |&i: &i64| usize::try_from(if i < 0 { i.saturating_add(len) } else { i }).ok();
    let indices = index.plain("its indices")?;
    let found: Option<Vec<Int>> = indices.iter().map(|i| values.get(at(i)?).copied()).collect();
    let values = found.ok_or_else(|| format!("gathers {indices:?} of {len} integers"))?;
    Ok(Value::Constant(Array::Int { dims: index.dims().to_vec(), values }))
}
