//! Quantized numbers, read as the numbers that they stand for.

use crate::Tensor;
use crate::files::onnx::fields::element;
use crate::files::onnx::import::importer::Importer;
use crate::files::onnx::import::model::OnnxNode;
use crate::files::onnx::import::value::{Scales, Value};
use crate::files::onnx::import::view::View;

/// `DequantizeLinear`: of constants, the numbers `(q − zero)·scale`; of what was just quantized with the same scale, that.
pub(super) fn dequantize<'a>(importer: &mut Importer<'_, 'a>, node: &OnnxNode<'a>) -> Result<Value, String> {
    if let Some(Value::Quantized(view, with)) = node.input(0).and_then(|name| importer.known(name)).cloned() {
        if !scales(importer, node, &axes(&view))?.undo(&with) {
            return Err("has other scales or zero points than the values were quantized with".into());
        }
        importer.notes.push(format!(
            "`{}` ({}) is left out, with the `QuantizeLinear` before it: values are not rounded",
            node.label(),
            node.op
        ));
        return Ok(Value::Computed(view));
    }
    let quantized = importer.numbers(node, 0)?.ok_or("has no input")?;
    let scales = scales(importer, node, quantized.shape())?;
    importer.make(quantized.len())?;
    let number = |i: usize| {
        let [scale, zero] = scales.at(i, quantized.shape());
        (quantized.data()[i] - zero) * scale
    };
    Ok(Value::Constant(Tensor::from_fn(quantized.shape(), number).into()))
}

/// `QuantizeLinear`: of constants, integers as numbers; of values, a mark that [`dequantize`] removes.
pub(super) fn quantize<'a>(importer: &mut Importer<'_, 'a>, node: &OnnxNode<'a>) -> Result<Value, String> {
    let Value::Constant(array) = importer.value(node, 0)? else {
        let view = importer.computed(node, 0)?;
        let scales = scales(importer, node, &axes(&view))?;
        return Ok(Value::Quantized(view, scales));
    };
    let [low, high] = match importer.element(node, 2) {
        None if node.input(2).is_none() => [0.0, 255.0],
        Some(element::UINT8) => [0.0, 255.0],
        Some(element::INT8) => [-128.0, 127.0],
        _ => return Err("quantizes to a type other than eight bits, which is not understood".into()),
    };
    let values = array.floats("its constant")?;
    let scales = scales(importer, node, values.shape())?;
    importer.make(values.len())?;
    let number = |i: usize| {
        let [scale, zero] = scales.at(i, values.shape());
        ((values.data()[i] / scale).round_ties_even() + zero).clamp(low, high)
    };
    Ok(Value::Constant(Tensor::from_fn(values.shape(), number).into()))
}

/// The shape of values, in which the number of images is 0: no scales are along it.
fn axes(view: &View) -> Vec<usize> {
    std::iter::once(0).chain(view.dims()).collect()
}

/// The scales of values of `shape`, and the zero points, which are 0 if they are not given.
fn scales<'a>(
    importer: &mut Importer<'_, 'a>,
    node: &OnnxNode<'a>,
    shape: &[usize],
) -> Result<Scales, String> {
    node.only(&["axis", "block_size", "output_dtype", "precision", "saturate"])?;
    if node.int("block_size")?.is_some_and(|size| size != 0) {
        return Err("has a scale for each block, which is not understood".into());
    }
    let scale = importer.numbers(node, 1)?.ok_or("has no scale")?;
    let zero = importer.numbers(node, 2)?.unwrap_or_else(|| Tensor::zeros(&[1]));
    let count = scale.len();
    if scale.shape().len() > 1 || count == 0 || ![1, count].contains(&zero.len()) {
        return Err(format!("has scales {:?} and zero points {:?}", scale.shape(), zero.shape()));
    }
    let zero = if zero.len() == count { zero } else { Tensor::full(&[count], zero.data()[0]) };
    if count == 1 {
        return Ok(Scales { scale, zero, axis: 0 });
    }
    let (axis, rank) = (node.int("axis")?.unwrap_or(1), shape.len() as i64);
    let axis = usize::try_from(if axis < 0 { axis.saturating_add(rank) } else { axis }).unwrap_or(usize::MAX);
    match shape.get(axis) == Some(&count) {
        true => Ok(Scales { scale, zero, axis }),
        false => Err(format!("has {count} scales along axis {axis} of the shape {shape:?}")),
    }
}

impl Scales {
    /// The scale and the zero point of element `i` of a constant of `shape`.
    fn at(&self, i: usize, shape: &[usize]) -> [f32; 2] {
        let place = match self.scale.len() {
            1 => 0,
            count => i / shape[self.axis + 1..].iter().product::<usize>() % count,
        };
        [self.scale.data()[place], self.zero.data()[place]]
    }
}
