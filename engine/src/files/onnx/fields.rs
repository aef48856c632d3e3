//! The numbers of the fields of ONNX's messages (`onnx.proto`), and of its types of elements.

/// `ModelProto`.
pub(super) mod model {
    pub const IR_VERSION: u64 = 1;
    pub const PRODUCER: u64 = 2;
    pub const PRODUCER_VERSION: u64 = 3;
    pub const GRAPH: u64 = 7;
    pub const OPSET: u64 = 8;
    pub const METADATA: u64 = 14;
    pub const FUNCTIONS: u64 = 25;
}

/// `OperatorSetIdProto`.
pub(super) mod opset {
    pub const DOMAIN: u64 = 1;
    pub const VERSION: u64 = 2;
}

/// `StringStringEntryProto`.
pub(super) mod entry {
    pub const KEY: u64 = 1;
    pub const VALUE: u64 = 2;
}

/// `GraphProto`.
pub(super) mod graph {
    pub const NODE: u64 = 1;
    pub const NAME: u64 = 2;
    pub const INITIALIZER: u64 = 5;
    pub const INPUT: u64 = 11;
    pub const OUTPUT: u64 = 12;
    pub const SPARSE_INITIALIZER: u64 = 15;
}

/// `NodeProto`.
pub(super) mod node {
    pub const INPUT: u64 = 1;
    pub const OUTPUT: u64 = 2;
    pub const NAME: u64 = 3;
    pub const OP: u64 = 4;
    pub const ATTRIBUTE: u64 = 5;
    pub const DOMAIN: u64 = 7;
}

/// `AttributeProto`.
pub(super) mod attribute {
    pub const NAME: u64 = 1;
    pub const FLOAT: u64 = 2;
    pub const INT: u64 = 3;
    pub const TEXT: u64 = 4;
    pub const TENSOR: u64 = 5;
    pub const FLOATS: u64 = 7;
    pub const INTS: u64 = 8;
    pub const TYPE: u64 = 20;

    /// `AttributeProto.AttributeType`.
    pub mod kind {
        pub const FLOAT: i64 = 1;
        pub const INT: i64 = 2;
        pub const TEXT: i64 = 3;
        pub const FLOATS: i64 = 6;
        pub const INTS: i64 = 7;
    }
}

/// `TensorProto`.
pub(super) mod tensor {
    pub const DIMS: u64 = 1;
    pub const TYPE: u64 = 2;
    pub const FLOATS: u64 = 4;
    pub const INT32S: u64 = 5;
    pub const INT64S: u64 = 7;
    pub const NAME: u64 = 8;
    pub const RAW: u64 = 9;
    pub const DOUBLES: u64 = 10;
    pub const EXTERNAL: u64 = 13;
    pub const LOCATION: u64 = 14;

    /// `TensorProto.DataLocation`.
    pub mod location {
        pub const EXTERNAL: i64 = 1;
    }
}

/// `ValueInfoProto`, and the messages inside.
pub(super) mod value {
    pub const NAME: u64 = 1;
    pub const TYPE: u64 = 2;
    pub const TENSOR_TYPE: u64 = 1;
    pub const ELEMENT: u64 = 1;
    pub const SHAPE: u64 = 2;
    pub const DIM: u64 = 1;
    pub const DIM_VALUE: u64 = 1;
    pub const DIM_PARAM: u64 = 2;
}

/// `TensorProto.DataType`.
pub(super) mod element {
    pub const FLOAT: i64 = 1;
    pub const UINT8: i64 = 2;
    pub const INT8: i64 = 3;
    pub const UINT16: i64 = 4;
    pub const INT16: i64 = 5;
    pub const INT32: i64 = 6;
    pub const INT64: i64 = 7;
    pub const BOOL: i64 = 9;
    pub const FLOAT16: i64 = 10;
    pub const DOUBLE: i64 = 11;
    pub const BFLOAT16: i64 = 16;
    pub const UINT4: i64 = 21;
    pub const INT4: i64 = 22;
}
