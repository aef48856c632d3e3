//! The words of ONNX files: operators, attributes and their texts, and where external data may be.

use super::fields::attribute::kind;
use crate::targets::DATA;

/// The operators that are read, and some that are not.
pub const OPERATORS: [&str; 88] = [
    "Abs",
    "Add",
    "And",
    "ArgMax",
    "AveragePool",
    "BatchNormalization",
    "Cast",
    "CastLike",
    "Ceil",
    "Clip",
    "Concat",
    "Constant",
    "ConstantOfShape",
    "Conv",
    "ConvTranspose",
    "DequantizeLinear",
    "Div",
    "Dropout",
    "Elu",
    "Equal",
    "Erf",
    "Exp",
    "Expand",
    "Flatten",
    "Floor",
    "Gather",
    "Gelu",
    "Gemm",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "Greater",
    "GreaterOrEqual",
    "GroupNormalization",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "InstanceNormalization",
    "LSTM",
    "LayerNormalization",
    "LeakyRelu",
    "Less",
    "LessOrEqual",
    "Log",
    "LogSoftmax",
    "Loop",
    "MatMul",
    "Max",
    "MaxPool",
    "Min",
    "Mod",
    "Mul",
    "Neg",
    "Not",
    "Or",
    "PRelu",
    "Pad",
    "Pow",
    "QuantizeLinear",
    "Range",
    "Reciprocal",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceProd",
    "ReduceSum",
    "Relu",
    "Reshape",
    "Resize",
    "Shape",
    "Sigmoid",
    "Size",
    "Slice",
    "Softmax",
    "Split",
    "Sqrt",
    "Squeeze",
    "Sub",
    "Sum",
    "Tanh",
    "Tile",
    "TopK",
    "Transpose",
    "Unsqueeze",
    "Upsample",
    "Where",
    "Xor",
    "relu",
    "",
];

/// Attributes, with the type that they have.
pub const ATTRIBUTES: [(&str, i64); 46] = [
    ("allowzero", kind::INT),
    ("alpha", kind::FLOAT),
    ("antialias", kind::INT),
    ("approximate", kind::TEXT),
    ("auto_pad", kind::TEXT),
    ("axes", kind::INTS),
    ("axis", kind::INT),
    ("beta", kind::FLOAT),
    ("block_size", kind::INT),
    ("ceil_mode", kind::INT),
    ("coordinate_transformation_mode", kind::TEXT),
    ("count_include_pad", kind::INT),
    ("dilations", kind::INTS),
    ("end", kind::INT),
    ("epsilon", kind::FLOAT),
    ("exclude_outside", kind::INT),
    ("extrapolation_value", kind::FLOAT),
    ("fmod", kind::INT),
    ("group", kind::INT),
    ("keep_aspect_ratio_policy", kind::TEXT),
    ("keepdims", kind::INT),
    ("kernel_shape", kind::INTS),
    ("max", kind::FLOAT),
    ("min", kind::FLOAT),
    ("mode", kind::TEXT),
    ("momentum", kind::FLOAT),
    ("nearest_mode", kind::TEXT),
    ("noop_with_empty_axes", kind::INT),
    ("num_groups", kind::INT),
    ("num_outputs", kind::INT),
    ("output_dtype", kind::INT),
    ("output_padding", kind::INTS),
    ("output_shape", kind::INTS),
    ("pads", kind::INTS),
    ("perm", kind::INTS),
    ("split", kind::INTS),
    ("start", kind::INT),
    ("strides", kind::INTS),
    ("to", kind::INT),
    ("transA", kind::INT),
    ("transB", kind::INT),
    ("value_float", kind::FLOAT),
    ("value_floats", kind::FLOATS),
    ("value_int", kind::INT),
    ("value_ints", kind::INTS),
    ("unknown", kind::INT),
];

/// Texts of attributes.
pub const TEXTS: [&str; 26] = [
    "",
    "NOTSET",
    "SAME_LOWER",
    "SAME_UPPER",
    "VALID",
    "align_corners",
    "asymmetric",
    "ceil",
    "constant",
    "cubic",
    "edge",
    "floor",
    "half_pixel",
    "half_pixel_symmetric",
    "linear",
    "nearest",
    "none",
    "not_larger",
    "not_smaller",
    "pytorch_half_pixel",
    "reflect",
    "round_prefer_ceil",
    "round_prefer_floor",
    "stretch",
    "tanh",
    "tf_crop_and_resize",
];

/// Domains of operators.
pub const DOMAINS: [&str; 4] = ["", "ai.onnx", "ai.onnx.ml", "com.microsoft"];

/// Files of external data: [`DATA`], the ONNX file itself, and others that cannot be read.
pub const LOCATIONS: [&str; 10] =
    [DATA, DATA, DATA, "./data.bin", "../data.bin", "n.onnx", "absent", "", ".", "/data.bin"];

/// Offsets and lengths around the ends of [`DATA`], which has 1024 bytes, of small constants and of all numbers.
pub const EXTENTS: [&str; 14] = [
    "",
    "0",
    "1",
    "4",
    "8",
    "16",
    "36",
    "512",
    "1020",
    "1024",
    "1025",
    "18446744073709551615",
    "18446744073709551616",
    "-1",
];

#[cfg(test)]
mod tests {
    use super::*;

    /// An operator without its word would be fuzzed only where a seed has it.
    #[test]
    fn every_operator_that_is_read_is_a_word() {
        let tables = [
            include_str!("../../../engine/src/files/onnx/import/operators/table.rs"),
            include_str!("../../../engine/src/files/onnx/import/operators/folding/fold.rs"),
        ];
        let quoted = tables.iter().flat_map(|table| table.split('"').skip(1).step_by(2));
        let operators = quoted.filter(|word| word.starts_with(|c: char| c.is_ascii_uppercase()));
        let absent: Vec<&str> = operators.filter(|word| !OPERATORS.contains(word)).collect();
        assert_eq!(absent, [] as [&str; 0]);
    }
}
