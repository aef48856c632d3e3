//! What a device reports about a call.

/// The kernel that a device chose for an operation.
pub(super) struct Chosen {
    pub kernel: &'static str,
    /// The reason for the choice, if there was one.
    pub why: Option<String>,
    /// Multiply-accumulates that the kernel performs, if they may differ from those of the operation.
    pub products: Option<u64>,
    /// Bytes of the packed weights and the bias.
    pub weight_bytes: usize,
}
