//! Quantized numbers, read as the numbers that they stand for.

use crate::Tensor;
use crate::files::onnx::fields::element;
use crate::files::onnx::import::importer::Importer;
use crate::files::onnx::import::model::OnnxNode;
use crate::files::onnx::import::value::Value;

/// `DequantizeLinear`: of constants, the numbers `(q − zero)·scale`; of what was just quantized with the same scale, that.
pub(super) fn dequantize<'a>(importer: &mut Importer<'_, 'a>, node: &OnnxNode<'a>) -> Result<Value, String> {
    if let Some(Value::Quantized(view, with)) = node.input(0).and_then(|name| importer.known(name)).cloned() {
        let (scale, zero) = parameters(importer, node)?;
        if [scale.data(), zero.data()] != [&[with[0]][..], &[with[1]]] {
            return Err("has another scale or zero point than the values were quantized with".into());
        }
        importer.notes.push(format!(
            "`{}` ({}) is left out, with the `QuantizeLinear` before it: values are not rounded",
            node.label(),
            node.op
        ));
        return Ok(Value::Computed(view));
    }
    let quantized = importer.numbers(node, 0)?.ok_or("has no input")?;
    let (scale, zero) = parameters(importer, node)?;
    let channel = channels(node, &quantized, &scale)?;
    importer.make(quantized.len())?;
    let number = |i: usize| {
        let c = channel(i);
        (quantized.data()[i] - zero.data()[c % zero.len()]) * scale.data()[c]
    };
    Ok(Value::Constant(Tensor::from_fn(quantized.shape(), number).into()))
}

/// `QuantizeLinear`: of constants, integers as numbers; of values, a mark that [`dequantize`] removes.
pub(super) fn quantize<'a>(importer: &mut Importer<'_, 'a>, node: &OnnxNode<'a>) -> Result<Value, String> {
    let (scale, zero) = parameters(importer, node)?;
    let [low, high] = match importer.element(node, 2) {
        None if node.input(2).is_none() => [0.0, 255.0],
        Some(element::UINT8) => [0.0, 255.0],
        Some(element::INT8) => [-128.0, 127.0],
        _ => return Err("quantizes to a type other than eight bits, which is not understood".into()),
    };
    if let Value::Constant(array) = importer.value(node, 0)? {
        let values = array.floats("its constant")?;
        let channel = channels(node, values, &scale)?;
        importer.make(values.len())?;
        let number = |i: usize| {
            let c = channel(i);
            ((values.data()[i] / scale.data()[c]).round_ties_even() + zero.data()[c % zero.len()])
                .clamp(low, high)
        };
        return Ok(Value::Constant(Tensor::from_fn(values.shape(), number).into()));
    }
    let view = importer.computed(node, 0)?;
    match (scale.data(), zero.data()) {
        (&[scale], &[zero]) => Ok(Value::Quantized(view, [scale, zero])),
        _ => Err("quantizes values by several scales, which is not understood".into()),
    }
}

/// The scales, and the zero points, which are 0 if they are not given.
fn parameters<'a>(importer: &mut Importer<'_, 'a>, node: &OnnxNode<'a>) -> Result<(Tensor, Tensor), String> {
    node.only(&["axis", "block_size", "output_dtype", "precision", "saturate"])?;
    if node.int("block_size")?.is_some_and(|size| size != 0) {
        return Err("has a scale for each block, which is not understood".into());
    }
    let scale = importer.numbers(node, 1)?.ok_or("has no scale")?;
    let zero = importer.numbers(node, 2)?.unwrap_or_else(|| Tensor::zeros(&[1]));
    let fits = scale.shape().len() < 2 && !scale.is_empty() && [1, scale.len()].contains(&zero.len());
    match fits {
        true => Ok((scale, zero)),
        false => Err(format!("has scales {:?} and zero points {:?}", scale.shape(), zero.shape())),
    }
}

/// The position in `scale` of the factor of each element of `values`.
fn channels(
    node: &OnnxNode,
    values: &Tensor,
    scale: &Tensor,
) -> Result<impl Fn(usize) -> usize + use<>, String> {
    let (shape, rank) = (values.shape(), values.shape().len() as i64);
    let axis = node.int("axis")?.unwrap_or(1);
    let axis = usize::try_from(if axis < 0 { axis.saturating_add(rank) } else { axis }).unwrap_or(usize::MAX);
    let (count, inner) = match scale.len() {
        1 => (1, 1),
        found if shape.get(axis) == Some(&found) => (found, shape[axis + 1..].iter().product()),
        found => return Err(format!("has {found} scales for a constant of shape {shape:?}")),
    };
    Ok(move |i: usize| i / inner % count)
}
