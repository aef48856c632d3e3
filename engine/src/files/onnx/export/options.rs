//! How a graph is written as ONNX.

use crate::{Error, Result};

/// The oldest set of operators that is written and read.
pub const MIN_OPSET: u32 = 11;

/// The newest set of operators that is written and read.
pub const MAX_OPSET: u32 = 22;

/// How a graph is written as ONNX.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OnnxOptions {
    /// The version of ONNX's operators, [`MIN_OPSET`] to [`MAX_OPSET`].
    pub opset: u32,
    /// The number of images in a batch.
    pub batch: Batch,
    /// The form of compact convolutions.
    pub compact: CompactForm,
    /// The images that the network reads.
    pub images: Images,
    /// Whether weights go to a file beside the ONNX file even if they fit into it.
    pub external_data: bool,
}

impl Default for OnnxOptions {
    /// Operators that nearly every program has, any number of normalized images, and one file if that can hold the
    /// weights.
    fn default() -> Self {
        Self {
            opset: 17,
            batch: Batch::Any,
            compact: CompactForm::Gather,
            images: Images::Normalized,
            external_data: false,
        }
    }
}

impl OnnxOptions {
    /// Checks the opset and the batch.
    pub fn check(&self) -> Result<()> {
        if !(MIN_OPSET..=MAX_OPSET).contains(&self.opset) {
            let found = self.opset;
            return Err(Error::invalid(format!("opset: expected {MIN_OPSET} to {MAX_OPSET}, found {found}")));
        }
        match self.batch {
            Batch::Fixed(0) => Err(Error::invalid("batch: expected at least one image, found 0")),
            _ => Ok(()),
        }
    }

    /// The version of the file format that came with the opset.
    pub(super) fn ir_version(&self) -> i64 {
        match self.opset {
            ..=11 => 6,
            12..=14 => 7,
            15..=18 => 8,
            19..=20 => 9,
            _ => 10,
        }
    }
}

/// The number of images in a batch of an ONNX network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Batch {
    /// Any.
    Any,
    /// Always this many.
    Fixed(usize),
}

/// The form of compact convolutions, which ONNX does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompactForm {
    /// The live channels are gathered, convolved, and put between constant channels again.
    Gather,
    /// A convolution of the outer width, with zeros.
    Dense,
}

/// The images that an ONNX network reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Images {
    /// `[N, C, H, W]`, normalized numbers.
    Normalized,
    /// `[N, H, W, C]`, bytes, which the network normalizes.
    Bytes,
}
