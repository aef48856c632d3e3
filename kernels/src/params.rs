//! What an operation is told besides its geometry: transposes, fused epilogues, live channels, hyperparameters.
//! Plain values, shared by every implementation of an operation.

/// Whether a matrix is read as stored or transposed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Trans {
    /// As stored, row-major.
    No,
    /// Transposed: element `(i, j)` is stored at row `j`, column `i`.
    Yes,
}

/// The function that ends a fused convolution or linear layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Activation {
    /// The identity.
    #[default]
    None,
    /// `max(0, x)`.
    Relu,
    /// `min(max(0, x), 6)`.
    Relu6,
}

/// How packed weights are stored. Arithmetic is f32 always.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Storage {
    /// Four bytes each.
    #[default]
    F32,
    /// Two bytes each: the upper half of an f32, rounded to nearest, eight bits of mantissa.
    Bf16,
}

/// How the elements of a device's buffer are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum Dtype {
    /// Four bytes, IEEE single precision.
    F32 = 0,
    /// Two bytes: the upper half of an f32, eight bits of mantissa.
    Bf16 = 1,
    /// Two bytes: IEEE half precision, eleven bits of mantissa and a largest number of 65,504.
    F16 = 2,
    /// Four bytes: classes and indices.
    U32 = 3,
}

impl Dtype {
    /// Bytes of an element.
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

/// What a GPU's matrix products, convolutions among them, round their factors to. Sums are f32 always.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Precision {
    /// Single precision, on the multiprocessors' ordinary units.
    #[default]
    F32,
    /// Single precision in memory, ten bits of mantissa in the tensor cores.
    Tf32,
    /// [`Dtype::Bf16`] in memory, on tensor cores.
    Bf16,
    /// [`Dtype::F16`] in memory, on tensor cores.
    F16,
}

impl Precision {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Tf32 => "tf32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
        }
    }

    /// How activations are stored.
    pub fn storage(self) -> Dtype {
        match self {
            Self::F32 | Self::Tf32 => Dtype::F32,
            Self::Bf16 => Dtype::Bf16,
            Self::F16 => Dtype::F16,
        }
    }
}

/// Which channels a compacted convolution keeps, of an outer width that does not change.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CompactIndex {
    /// Input channels that are gathered, ascending.
    pub inputs: Vec<u32>,
    /// Filters that are computed, ascending: where the live outputs are scattered to.
    pub outputs: Vec<u32>,
    /// Whether the gathered image has one more last channel that is 1 inside the image and 0 in the padding.
    /// Its weights carry exactly the effect of dead inputs that are constant but not zero.
    pub carrier: bool,
}

/// Stochastic gradient descent with momentum (Polyak 1964; Nesterov 1983, as Sutskever et al. 2013 write it).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sgd {
    /// Learning rate.
    pub lr: f32,
    /// Share of the velocity that survives a step; 0 keeps no velocity.
    pub momentum: f32,
    /// Step along the gradient plus the velocity it is about to have.
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
    /// AdamW: the decay does not pass through the moments.
    pub decoupled: bool,
}
