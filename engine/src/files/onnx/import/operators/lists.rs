//! Constants, and the arithmetic of shapes that leads to constants.

use super::folding;
use crate::Tensor;
use crate::files::onnx::import::array::{self, Array};
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
            importer.remember_element(node, raw.element());
            importer.array(raw)?
        }
        Attribute::Float(value) => Tensor::scalar(*value).into(),
        Attribute::Floats(values) => {
            importer.make(values.len())?;
            Tensor::from_slice(&[values.len()], values).map_err(|e| e.to_string())?.into()
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

/// `Size`.
pub(super) fn size<'a>(importer: &mut Importer<'_, 'a>, node: &OnnxNode<'a>) -> Result<Value, String> {
    node.only(&[])?;
    let size = match importer.value(node, 0)? {
        Value::Constant(array) => Int::of(array.len() as i64),
        _ => {
            let sizes = importer.computed(node, 0)?.shape(importer.batch);
            let size = sizes.into_iter().try_fold(Int::of(1), Int::mul);
            size.ok_or("has more elements than can be counted")?
        }
    };
    Ok(Value::Constant(Array::Int { dims: Vec::new(), values: vec![size] }))
}

/// `Gather` from the constant `array`.
pub(super) fn gather<'a>(
    importer: &mut Importer<'_, 'a>,
    node: &OnnxNode<'a>,
    array: &Array,
) -> Result<Value, String> {
    node.only(&["axis"])?;
    let axis = array::axes(&[node.int("axis")?.unwrap_or(0)], array.dims().len())?[0];
    let index = importer.constant(node, 1)?.ok_or("has no indices")?;
    let len = array.dims()[axis] as i64;
    let at = |&i: &i64| usize::try_from(if i < 0 { i.saturating_add(len) } else { i }).ok();
    let indices = index.plain("its indices")?;
    let found: Option<Vec<usize>> = indices.iter().map(|i| at(i).filter(|&i| (i as i64) < len)).collect();
    let found = found.ok_or_else(|| format!("gathers {indices:?} of {len} places along an axis"))?;
    folding::gathered(importer, array, axis, (index.dims(), &found)).map(Value::Constant)
}
