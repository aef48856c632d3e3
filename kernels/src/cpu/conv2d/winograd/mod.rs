//! Winograd convolution F(m×m, 3×3): computes a 3×3 convolution of stride 1 with 1/4 of the multiplications for m = 4
//! and 4/9 for m = 2. Large strided kernels have an algorithm of one dimension ([`line`]).
//!
//! ```text
//!  V[ξ][tile][c] = Bᵀ d B       of each input patch of (m + 2)², vectors along c
//!  for ξ in 0..(m + 2)², panel of up to 48 columns
//!    M[ξ][tile][o] = V[ξ] · U[ξ]      tile kernel; U = G g Gᵀ was packed once
//!  y = Aᵀ M A                   of each output tile of m², with bias, residual and activation
//! ```
//!
//! If U is small, each task takes 32 tiles through all three steps, and V and M stay in its L2 cache together with U.
//! If U is larger than that cache, or if there are few tiles, all threads take up to 256 tiles through each step
//! together, and each thread reads only its share of U, once. The input gradient is the same computation with the
//! filters rotated by 180° and transposed.
//!
//! # Odd numbers of channels
//!
//! The products of 33 channels cost 33/32 of those of 32: dot tiles compute the last columns, and the reduction has no
//! vectors. The transforms work on whole vectors of channels: with AVX-512, those of 33 channels cost 3/2 of those of
//! 32. If both sides of a convolution are pruned, products shrink quadratically, but transforms only linearly. At 32
//! channels, transforms take almost half of the time, and pruning saves less time than multiply-accumulates.
//!
//! # Large and infinite values
//!
//! The direct algorithm computes each output from the pixels that it reads. In Winograd's algorithm, the outputs of a
//! tile are differences of the same products. With F(2×2), an output still depends only on the pixels that it reads.
//! With F(4×4), it depends on all pixels of the patch except the outermost ones, and the extra pixels cancel exactly
//! only in exact arithmetic. This has three consequences:
//!
//! - An infinite or NaN pixel makes every output that depends on it infinite or NaN, usually NaN, because ∞ is
//!   subtracted from ∞. With the direct algorithm, outputs that read an infinity are infinite and all others are
//!   unaffected.
//! - A pixel that is much larger than the others leaves its rounding errors in every output that depends on it: the
//!   error bound is relative to the largest sum of magnitudes in the tile, not to the output's own sum.
//! - The transforms enlarge values before they shrink them: Bᵀ d B by a factor of up to 27 for F(4×4) and 4 for F(2×2),
//!   Aᵀ M A by up to 55 and 9. Pixels above `f32::MAX / (1,500 · Σ|w|)`, about 2e35 for a filter whose magnitudes sum
//!   to one, may overflow on the way to a finite output.
//!
//! For such inputs, a strict CPU ([`Cpu::strict`]) uses the direct algorithm everywhere.

mod f2;
mod f4;
mod filters;
mod fresh;
mod images;
mod line;
mod listed;
mod lists;
mod pass;
mod patches;
mod product;
mod run;
mod tiling;
mod transform;
mod weight_grad;

pub(super) use filters::{Direction, Filters};
pub(super) use fresh::run_fresh;
pub(super) use line::{Line, LineFilters, LineShape, refuses as line_refuses};
pub(super) use lists::{ListsEstimate, estimated_lists};
pub(super) use product::Winograd;
pub(super) use tiling::{Tiling, refuses};
pub(super) use weight_grad::{weight_grad, weight_grad_pays};
