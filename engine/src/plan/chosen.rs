//! What a device reports about a call.

/// The kernel that a device chose for an operation.
pub(super) struct Chosen {
    pub kernel: &'static str,
    /// The reason for the choice, if there was one.
    pub why: Option<String>,
    /// Multiply-accumulates that the kernel performs, if they may differ from those of the operation.
    pub products: Option<u64>,
    /// The estimated time, in a unit that depends on the kind of the kernel; `None` if it is proportional to the floats
    /// that are moved.
    pub estimate: Option<f64>,
    /// Bytes of the packed weights and the bias.
    pub weight_bytes: usize,
}
