//! Quantized numbers, read as the numbers that they stand for.

use super::clamps::between;
use crate::Tensor;
use crate::files::onnx::fields::element;
use crate::files::onnx::import::array::{Array, Kind};
use crate::files::onnx::import::importer::Importer;
use crate::files::onnx::import::model::OnnxNode;
use crate::files::onnx::import::tensor;
use crate::files::onnx::import::value::{Scales, Value};
use crate::files::onnx::import::view::View;

/// `DequantizeLinear`: of constants, the numbers `(q − zero)·scale`; of what was just quantized with the same scale, that.
pub(super) fn dequantize<'a>(importer: &mut Importer<'_, 'a>, node: &OnnxNode<'a>) -> Result<Value, String> {
    if let Some(Value::Quantized(view, with)) = node.input(0).and_then(|name| importer.known(name)).cloned() {
        if !scales(importer, node, &axes(&view))?.undo(&with) {
            return Err("has other scales or zero points than the values were quantized with".into());
        }
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

/// `QuantizeLinear`: of constants, integers as numbers; of values, those between the bounds of what integers stand for, which
/// [`dequantize`] passes on.
pub(super) fn quantize<'a>(importer: &mut Importer<'_, 'a>, node: &OnnxNode<'a>) -> Result<Value, String> {
    let ends = ends(importer, node)?;
    let Value::Constant(array) = importer.value(node, 0)? else {
        let view = importer.computed(node, 0)?;
        let scales = scales(importer, node, &axes(&view))?;
        let [low, high] = scales.bounds(ends)?;
        importer.notes.push(format!(
            "`{}` ({}) keeps values between {low} and {high}, but does not round them",
            node.label(),
            node.op
        ));
        let clamped = between(importer, node.label(), view, [low, high]);
        return Ok(Value::Quantized(clamped, scales));
    };
    let values = array.floats("its constant")?;
    let scales = scales(importer, node, values.shape())?;
    importer.make(values.len())?;
    let number = |i: usize| {
        let [scale, zero] = scales.at(i, values.shape());
        ((values.data()[i] / scale).round_ties_even() + zero).clamp(ends[0], ends[1])
    };
    Ok(Value::Constant(Array::Number(Kind::Small, Tensor::from_fn(values.shape(), number))))
}

/// The least and the greatest integer that `node` quantizes to: of the type of its zero points, or of the one it says.
fn ends<'a>(importer: &Importer<'_, 'a>, node: &OnnxNode<'a>) -> Result<[f32; 2], String> {
    let said = node.int("output_dtype")?.filter(|&element| element != 0);
    let element = match (node.input(2), importer.element(node, 2), said) {
        (None, _, said) => said.unwrap_or(element::UINT8),
        (Some(_), Some(zero), said) if said.is_none_or(|said| said == zero) => zero,
        (Some(name), Some(zero), _) => {
            return Err(format!("has zero points `{name}` of type {zero}, which is not its output's"));
        }
        (Some(name), None, _) => return Err(format!("has zero points `{name}` of an unknown type")),
    };
    tensor::ends(element)
        .ok_or_else(|| format!("quantizes to type {element}, expected integers of 4, 8 or 16 bits"))
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

    /// The numbers that the least and the greatest integer stand for.
    fn bounds(&self, [low, high]: [f32; 2]) -> Result<[f32; 2], String> {
        let of = |(&scale, &zero): (&f32, &f32)| [(low - zero) * scale, (high - zero) * scale];
        let mut found = self.scale.data().iter().zip(self.zero.data()).map(of);
        let first = found.next().ok_or("has no scale")?;
        if found.any(|other| other != first) {
            return Err("keeps values between other bounds for each channel, which no layer does".into());
        }
        match self.scale.data().iter().all(|&scale| scale > 0.0) && first.iter().all(|end| end.is_finite()) {
            true => Ok(first),
            false => Err(format!("has scales {:?}, expected positive numbers", self.scale.data())),
        }
    }
}
