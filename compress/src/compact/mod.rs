//! Compaction: a convolution computes its live channels alone, and the network around it stays as wide as it was.
//!
//! ```text
//!   before   x [C] ─ conv [O, KH, KW, C] ─ y [O]
//!   after    x [C] ─ gather live inputs ─ conv [L, KH, KW, K] ─ scatter live outputs, fill the others ─ y [O]
//! ```
//!
//! An output is dead where it is provably constant ([`crate::constants`]): a masked filter, which emits its bias. It is
//! not computed but filled in. An input is dead where it is constant, or where no live filter weighs it. One that is
//! zero is not read; the others, c_i, are exact:
//!
//! ```text
//!   no padding   b'[o] = b[o] + Σ_t Σ_i c_i·w[o, t, i]
//!   padding      one more gathered channel, 1 inside the image and 0 in the padding, with w'[o, t, carrier] = Σ_i c_i·w[o, t, i]
//! ```
//!
//! Unlike pruning, it needs no other layer to follow: it suits what cannot be pruned, such as a residual sum of which
//! only one side is dead. The result is for inference. It does not apply to grouped convolutions.

mod config;
mod live;
mod rewrite;

pub use config::CompactConfig;
pub use rewrite::compact;
