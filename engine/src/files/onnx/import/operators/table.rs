//! The table of operators.

use super::{activations, arithmetic, conv, lists, norm, parts, pools, products, shapes};
use crate::files::onnx::import::importer::Importer;
use crate::files::onnx::import::model::OnnxNode;
use crate::files::onnx::import::value::Value;

/// Imports `node`. The error is the reason why it is not understood.
pub(in crate::files::onnx::import) fn import<'a>(
    importer: &mut Importer<'_, 'a>,
    node: &OnnxNode<'a>,
) -> Result<Value, String> {
    match node.op {
        "Conv" => conv::conv(importer, node),
        "Gemm" => products::gemm(importer, node),
        "MatMul" => products::mat_mul(importer, node),
        "BatchNormalization" => norm::batch_norm(importer, node),
        "Relu" | "Clip" | "Sigmoid" => activations::import(importer, node),
        "Softmax" | "LogSoftmax" => activations::softmax(importer, node),
        "Add" | "Sub" | "Mul" | "Div" | "Sum" => arithmetic::import(importer, node),
        "MaxPool" | "AveragePool" => pools::window(importer, node),
        "GlobalMaxPool" | "GlobalAveragePool" => pools::global(importer, node),
        "ReduceMean" | "ReduceMax" => pools::reduce(importer, node),
        "Concat" => parts::concat(importer, node),
        "Pad" => parts::pad(importer, node),
        "Slice" => parts::slice(importer, node),
        "Gather" => lists::gather(importer, node),
        "Constant" => lists::constant(importer, node),
        "ConstantOfShape" => lists::constant_of_shape(importer, node),
        "Shape" => lists::shape(importer, node),
        "Flatten" | "Reshape" | "Squeeze" | "Unsqueeze" | "Transpose" => shapes::import(importer, node),
        "Identity" | "Cast" | "Dropout" => shapes::pass(importer, node),
        _ => Err("is an operator that is not understood".into()),
    }
}
