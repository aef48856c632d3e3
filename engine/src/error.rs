//! Errors. Their messages name the operation, node or file, with what was expected and what was found.

use crate::memory::Bytes;
use lopper_kernels::cuda::CudaError;
use std::path::{Path, PathBuf};

/// The result type of all fallible functions in lopper.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of the engine or of a crate built on it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An operation received incompatible shapes.
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
        /// The error in the node.
        source: Box<Error>,
    },
    /// A file or directory that cannot be read, written or parsed.
    #[error("{}: {message}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The problem with the file.
        message: String,
    },
    /// An invalid option, recipe entry or argument.
    #[error("{0}")]
    Invalid(String),
    /// More memory is needed than is available; see [`memory::require`](crate::memory::require).
    #[error("{what} take {needed}, {available} are available (--max-memory)")]
    Memory {
        /// What needs the memory, as a plural noun.
        what: String,
        /// The memory needed.
        needed: Bytes,
        /// The memory that may still be allocated.
        available: Bytes,
    },
    /// A GPU, its driver or its compiler failed or is missing.
    #[error("{0}")]
    Cuda(#[from] CudaError),
    /// A GPU failed an operation.
    #[error("{what}: {source}")]
    Operation {
        /// The operation and its shapes.
        what: String,
        /// The error in the operation.
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
    /// Training produced a weight or statistic that is not a finite number.
    #[error("{source} after step {step} of epoch {epoch}: lower the learning rate")]
    NotFinite {
        /// Epoch, counted from 1.
        epoch: usize,
        /// Step within the epoch, counted from 1.
        step: usize,
        /// The error that names the weight or statistic.
        source: Box<Error>,
    },
    /// Training stopped on request, between two steps.
    #[error("stopped")]
    Stopped,
}

impl Error {
    /// Creates an [`Error::Shape`] of operation `op`.
    pub fn shape(op: &'static str, message: impl Into<String>) -> Self {
        Self::Shape { op, message: message.into() }
    }

    /// Creates an [`Error::File`] about `path`.
    pub fn file(path: impl AsRef<Path>, message: impl ToString) -> Self {
        Self::File { path: path.as_ref().to_path_buf(), message: message.to_string() }
    }

    /// Creates an [`Error::Invalid`].
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::Invalid(message.into())
    }

    /// Adds the operation `what` to this error, if it is a GPU error.
    pub(crate) fn of_operation(self, what: impl FnOnce() -> String) -> Self {
        match self {
            Self::Cuda(source) => Self::Operation { what: what(), source },
            other => other,
        }
    }

    /// Turns this error into one about `path`, unless it already names a file.
    pub(crate) fn in_file(self, path: &Path) -> Self {
        match self {
            Self::File { .. } => self,
            other => Self::file(path, other),
        }
    }

    /// Wraps this error as one in node `name` of a graph.
    pub fn in_node(self, name: &str) -> Self {
        Self::Node { node: name.to_string(), source: Box::new(self) }
    }
}
