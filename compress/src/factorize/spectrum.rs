//! The singular values of a layer that was split.

/// Singular values of a layer `[outputs, inputs]`, and the rank that was kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Spectrum {
    /// Name of the layer before it was split.
    pub layer: String,
    /// Its outputs.
    pub outputs: usize,
    /// Its inputs.
    pub inputs: usize,
    /// The rank of the factors.
    pub rank: usize,
    /// All singular values, the largest first.
    pub values: Vec<f64>,
}
