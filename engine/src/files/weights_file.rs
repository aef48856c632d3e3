//! Files of weights in any format that is read.

use crate::files::decode::NUMBERS;
use crate::files::pytorch::PyTorchFile;
use crate::files::tensor_file::TensorFile;
use crate::{Result, Tensor, input};
use std::path::Path;

/// A file of named tensors. Its first bytes tell the format, whatever its name.
pub(crate) enum WeightsFile {
    Safetensors(TensorFile),
    PyTorch(PyTorchFile),
}

impl WeightsFile {
    /// Reads `path`.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = input::read(path, u64::MAX)?;
        match PyTorchFile::is_one(&bytes) {
            true => PyTorchFile::parse(path, bytes).map(Self::PyTorch),
            false => TensorFile::parse(path, bytes).map(Self::Safetensors),
        }
    }

    /// The sorted names of the tensors that have not been taken yet.
    pub fn left(&self) -> Vec<String> {
        match self {
            Self::Safetensors(file) => file.left().map(String::from).collect(),
            Self::PyTorch(file) => file.left().map(String::from).collect(),
        }
    }

    /// The names and shapes of the tensors that have not been taken yet, in the order in which the file has them.
    pub fn in_order(&self) -> Vec<(String, Vec<usize>)> {
        match self {
            Self::Safetensors(file) => file.in_order(),
            Self::PyTorch(file) => file.in_order(),
        }
    }

    /// The shape of tensor `name`, if there is one.
    pub fn shape(&self, name: &str) -> Option<Vec<usize>> {
        match self {
            Self::Safetensors(file) => file.shape(name),
            Self::PyTorch(file) => file.shape(name),
        }
    }

    /// Takes tensor `name`, if there is one, as `f32`. Returns an error if `f32` does not represent it.
    pub fn take(&mut self, name: &str) -> Result<Option<Tensor>> {
        match self {
            Self::Safetensors(file) => file.take(name, NUMBERS),
            Self::PyTorch(file) => file.take(name),
        }
    }

    /// Entries that are no tensors.
    pub fn ignored(&self) -> &[String] {
        match self {
            Self::Safetensors(_) => &[],
            Self::PyTorch(file) => &file.ignored,
        }
    }

    /// Remarks on how the file was read.
    pub fn notes(&self) -> &[String] {
        match self {
            Self::Safetensors(_) => &[],
            Self::PyTorch(file) => &file.notes,
        }
    }
}
