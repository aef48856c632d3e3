//! What a device reports about a call.

use super::amount::Amount;

/// The kernel that a device chose for an operation.
pub(super) struct Chosen {
    pub kernel: &'static str,
    /// The reason for the choice, if there was one.
    pub why: Option<String>,
    /// Multiply-accumulates that the kernel performs, if they may differ from those of the operation.
    pub products: Option<u64>,
    /// The estimated work; `None` if it is proportional to the floats that are moved.
    pub estimate: Option<Amount>,
    /// Bytes of the packed weights and the bias.
    pub weight_bytes: usize,
}
