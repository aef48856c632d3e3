//! The table of operators.

use super::{
    activations, arithmetic, conv, folding, gathers, group_norm, lists, norm, parts, pools, products,
    quantized, resizes, shapes, softmax,
};
use crate::files::onnx::import::importer::Importer;
use crate::files::onnx::import::model::OnnxNode;
use crate::files::onnx::import::value::Value;

/// Imports `node`, and returns its outputs. The error is the reason why it is not understood.
pub(in crate::files::onnx::import) fn import<'a>(
    importer: &mut Importer<'_, 'a>,
    node: &OnnxNode<'a>,
) -> Result<Vec<Value>, String> {
    match node.op {
        "Split" => gathers::split(importer, node),
        _ => single(importer, node).map(|value| vec![value]),
    }
}

/// Imports a node with one output.
fn single<'a>(importer: &mut Importer<'_, 'a>, node: &OnnxNode<'a>) -> Result<Value, String> {
    if let Some(value) = folding::fold(importer, node)? {
        return Ok(value);
    }
    match node.op {
        "Conv" => conv::conv(importer, node),
        "ConvTranspose" => conv::transposed(importer, node),
        "Gemm" => products::gemm(importer, node),
        "MatMul" => products::mat_mul(importer, node),
        "BatchNormalization" => norm::batch_norm(importer, node),
        "InstanceNormalization" => group_norm::instance_norm(importer, node),
        "GroupNormalization" => group_norm::group_norm(importer, node),
        "LayerNormalization" => norm::layer_norm(importer, node),
        "PRelu" => norm::prelu(importer, node),
        "Relu" | "Clip" | "Sigmoid" | "HardSigmoid" | "HardSwish" => activations::import(importer, node),
        "Tanh" | "Elu" | "LeakyRelu" | "Gelu" => activations::import(importer, node),
        "Erf" | "Pow" | "Sqrt" => activations::only_part(importer, node),
        "Max" | "Min" => activations::bounded(importer, node),
        "Neg" => arithmetic::negative(importer, node),
        "Softmax" | "LogSoftmax" => softmax::import(importer, node),
        "Add" | "Sub" | "Mul" | "Div" | "Sum" => arithmetic::import(importer, node),
        "MaxPool" | "AveragePool" => pools::window(importer, node),
        "GlobalMaxPool" | "GlobalAveragePool" => pools::global(importer, node),
        "ReduceMean" | "ReduceMax" => pools::reduce(importer, node),
        "Resize" => resizes::resize(importer, node),
        "Concat" => parts::concat(importer, node),
        "Pad" => parts::pad(importer, node),
        "Slice" => parts::slice(importer, node),
        "Gather" => gathers::gather(importer, node),
        "QuantizeLinear" => quantized::quantize(importer, node),
        "DequantizeLinear" => quantized::dequantize(importer, node),
        "Constant" => lists::constant(importer, node),
        "Shape" => lists::shape(importer, node),
        "Size" => lists::size(importer, node),
        "Flatten" | "Reshape" | "Squeeze" | "Unsqueeze" | "Transpose" => shapes::import(importer, node),
        "Identity" | "Cast" | "CastLike" | "Dropout" => shapes::pass(importer, node),
        op if folding::FOLDED.contains(&op) => {
            Err("is understood of constants alone, and reads values that are computed".into())
        }
        _ => Err("is an operator that is not understood".into()),
    }
}
