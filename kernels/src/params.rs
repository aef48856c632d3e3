//! The parameters of an operation besides its geometry: transposes, fused epilogues, live channels, hyperparameters.
//! Plain values, shared by every implementation of an operation.

pub use crate::activation::{Activation, EXAMPLES as ACTIVATIONS, Saved};

/// Whether a matrix is read as stored or transposed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Trans {
    /// As stored, row-major.
    No,
    /// Transposed: element `(i, j)` is stored at row `j`, column `i`.
    Yes,
}

/// The storage type of packed weights. Arithmetic is always f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Storage {
    /// Four bytes each.
    #[default]
    F32,
    /// Two bytes each: the upper half of an f32, rounded to nearest, with eight significant bits.
    Bf16,
}

/// The element type of a device buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum Dtype {
    /// Four bytes, IEEE single precision.
    F32 = 0,
    /// Two bytes: the upper half of an f32, with eight significant bits.
    Bf16 = 1,
    /// Two bytes: IEEE half precision, with eleven significant bits and a largest number of 65,504.
    F16 = 2,
    /// Four bytes: classes and indices.
    U32 = 3,
}

impl Dtype {
    /// Bytes per element.
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 | Self::U32 => 4,
            Self::Bf16 | Self::F16 => 2,
        }
    }

    /// Elements in sixteen bytes, the most that a thread moves at once.
    pub(crate) fn lanes(self) -> usize {
        16 / self.bytes()
    }
}

/// The precision to which a GPU's matrix products and convolutions round their factors. Sums are always f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Precision {
    /// Single precision, on the multiprocessors' ordinary units.
    #[default]
    F32,
    /// Single precision in memory, eleven significant bits in the tensor cores.
    Tf32,
    /// [`Dtype::Bf16`] in memory, on tensor cores.
    Bf16,
    /// [`Dtype::F16`] in memory, on tensor cores.
    F16,
}

impl Precision {
    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Tf32 => "tf32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
        }
    }

    /// The storage type of activations.
    pub fn storage(self) -> Dtype {
        match self {
            Self::F32 | Self::Tf32 => Dtype::F32,
            Self::Bf16 => Dtype::Bf16,
            Self::F16 => Dtype::F16,
        }
    }
}

/// The channels that a compact convolution keeps within an unchanged outer width.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CompactIndex {
    /// Input channels to gather, ascending.
    pub inputs: Vec<u32>,
    /// Filters to compute, ascending; also the positions to which the live outputs are scattered.
    pub outputs: Vec<u32>,
    /// Whether the gathered image has an additional last channel that is 1 inside the image and 0 in the padding. Its
    /// weights hold the exact effect of dead inputs with a constant nonzero value.
    pub carrier: bool,
}

/// Stochastic gradient descent with momentum (Polyak 1964; Nesterov 1983, as Sutskever et al. 2013 write it).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sgd {
    /// Learning rate.
    pub lr: f32,
    /// The fraction of the velocity that survives a step; 0 keeps no velocity.
    pub momentum: f32,
    /// Steps along the gradient plus momentum times the updated velocity.
    pub nesterov: bool,
    /// L2 penalty: `weight_decay · p` is added to the gradient.
    pub weight_decay: f32,
}

/// Adam (Kingma & Ba 2015), or AdamW (Loshchilov & Hutter 2019).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Adam {
    /// Learning rate.
    pub lr: f32,
    /// Decay of the first moment.
    pub beta1: f32,
    /// Decay of the second moment.
    pub beta2: f32,
    /// Added to the root of the second moment.
    pub eps: f32,
    /// L2 penalty on the gradient or, if decoupled, shrinkage of the parameter by `lr · weight_decay`.
    pub weight_decay: f32,
    /// AdamW: the decay bypasses the moments.
    pub decoupled: bool,
}
