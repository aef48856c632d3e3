//! Mutators that know the structure of a format, for files whose bytes depend on each other: after most changes of single
//! bytes, a length in a protobuf or a checksum in an archive is wrong, and little more than its check is tested. These read
//! a file as a tree or as lists, change a few of their elements, and write it back with lengths and checksums that fit.
//!
//! They are deterministic in their seed, and return `None` where bytes are to be mutated instead.

mod archive;
#[path = "../../../engine/src/files/onnx/fields.rs"]
#[allow(dead_code, reason = "the importer reads more of them")]
mod fields;
mod nodes;
pub mod onnx;
mod pickle;
pub mod pth;
mod schema;
mod tensors;
mod tree;
mod words;
