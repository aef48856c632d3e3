//! Compaction: a convolution computes only its live channels, and the network around it keeps its width.
//!
//! ```text
//!   before   x [C] ─ conv [O, KH, KW, C] ─ y [O]
//!   after    x [C] ─ gather live inputs ─ conv [L, KH, KW, K] ─ scatter live outputs, fill the others ─ y [O]
//! ```
//!
//! An output is dead if it is provably constant ([`crate::channels::constants`]), such as a masked filter, which outputs its
//! bias. It is filled in instead of computed. An input is dead if it is constant, or if no live filter has a nonzero
//! weight for it. Zero inputs are not read; other constants c_i are absorbed exactly:
//!
//! ```text
//!   no padding   b'[o] = b[o] + Σ_t Σ_i c_i·w[o, t, i]
//!   padding      one more gathered channel, 1 inside the image and 0 in the padding, with w'[o, t, carrier] = Σ_i c_i·w[o, t, i]
//! ```
//!
//! Unlike pruning, compaction changes no other layer. It suits channels that cannot be pruned, such as those of a
//! residual sum of which only one side is dead. The result is for inference. Grouped convolutions are skipped.

mod config;
mod live;
mod rewrite;
mod technique;

pub use config::CompactConfig;
pub use rewrite::compact;
