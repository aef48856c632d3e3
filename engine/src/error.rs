//! What can go wrong, in words that name the operation, node or file and what was expected and found.

use crate::memory::Bytes;
use lopper_kernels::cuda::CudaError;
use std::path::{Path, PathBuf};

/// The result of everything in lopper that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of the engine or of what is built on it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An operation was given shapes that it cannot combine.
    #[error("{op}: {message}")]
    Shape {
        /// The operation.
        op: &'static str,
        /// What was expected and found.
        message: String,
    },
    /// An error inside a node of a graph.
    #[error("layer `{node}`: {source}")]
    Node {
        /// The node's name.
        node: String,
        /// What went wrong in it.
        source: Box<Error>,
    },
    /// A file or directory that cannot be read, written or understood.
    #[error("{}: {message}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// An option, recipe entry or argument that makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// More memory would be needed than there is: see [`memory::require`](crate::memory::require).
    #[error("{what} take {needed}, {available} are available (--max-memory)")]
    Memory {
        /// What would need it, in the plural.
        what: String,
        /// How much it would take.
        needed: Bytes,
        /// How much may still be allocated.
        available: Bytes,
    },
    /// A GPU, its driver or its compiler failed, or is not there.
    #[error("{0}")]
    Cuda(#[from] CudaError),
    /// A GPU failed an operation.
    #[error("{what}: {source}")]
    Operation {
        /// The operation and its shapes.
        what: String,
        /// What went wrong in it.
        source: CudaError,
    },
    /// Training produced a loss that is not a finite number.
    #[error("the loss became {loss} in epoch {epoch}, step {step}: lower the learning rate")]
    Diverged {
        /// Epoch, counted from 1.
        epoch: usize,
        /// Step within the epoch, counted from 1.
        step: usize,
        /// The loss.
        loss: f32,
    },
    /// Training made a weight or statistic that is not a finite number.
    #[error("{source} after step {step} of epoch {epoch}: lower the learning rate")]
    NotFinite {
        /// Epoch, counted from 1.
        epoch: usize,
        /// Step within the epoch, counted from 1.
        step: usize,
        /// Which.
        source: Box<Error>,
    },
    /// Training was asked to stop, and did so between two steps.
    #[error("stopped")]
    Stopped,
}

impl Error {
    /// An [`Error::Shape`] of operation `op`.
    pub fn shape(op: &'static str, message: impl Into<String>) -> Self {
        Self::Shape { op, message: message.into() }
    }

    /// An [`Error::File`] about `path`.
    pub fn file(path: impl AsRef<Path>, message: impl ToString) -> Self {
        Self::File { path: path.as_ref().to_path_buf(), message: message.to_string() }
    }

    /// An [`Error::Invalid`].
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::Invalid(message.into())
    }

    /// This error, with `what` was being computed where a GPU failed at it.
    pub(crate) fn of_operation(self, what: impl FnOnce() -> String) -> Self {
        match self {
            Self::Cuda(source) => Self::Operation { what: what(), source },
            other => other,
        }
    }

    /// This error as one about `path`, unless it names a file already.
    pub(crate) fn in_file(self, path: &Path) -> Self {
        match self {
            Self::File { .. } => self,
            other => Self::file(path, other),
        }
    }

    /// This error, seen from node `name` of a graph.
    pub fn in_node(self, name: &str) -> Self {
        Self::Node { node: name.to_string(), source: Box::new(self) }
    }
}
