//! Winograd's algorithm along rows, F(1×4): computes a convolution of large strided kernels and few channels, such as the
//! 7×7 kernels of a ResNet's first layer, with half of the multiplications.
//!
//! A *cell* is the pixels that one step of the stride passes over. Along a row, a kernel of `KW` columns is then a kernel of
//! `R = ⌈KW / stride⌉` cells and of stride 1, for which F(4, R) computes four outputs from `R + 3` products instead of
//! `4 R`. Rows of the kernel are not transformed: they lengthen the reduction.
//!
//! ```text
//!   stride 2, 7×7      pixels   ·· 01 23 45 67 89 ab cd ef …     cells of 2·C floats; R = 4, seven points
//!                      tile 0   └─────── 7 cells ──────┘         outputs 0 … 3
//!                      tile 1               └─────── 7 cells …   outputs 4 … 7
//!
//!   for band of rows of outputs                                  one task
//!     for input row: copy it with its padding
//!       for tile: V[ξ][tile][row] = Bᵀ d                         vectors along the floats of a cell
//!     for panel of filters, chunk of tiles                       8 outputs × 4 each, twice
//!       for ξ in 0..R + 3
//!         M[ξ][tile][o] = V[ξ][tile][KH rows] · U[ξ]             tile kernel; U = G g was packed once
//!       y = Aᵀ M                                                 with bias, residual and activation
//! ```
//!
//! The rows that an output reads lie one after another in V, so that a product has one reduction of `KH` cells. V of a band
//! stays in the L2 cache, and M of a chunk in the L1 cache.
//!
//! Two dimensions would save more multiplications, but reductions of one cell (12 floats) are shorter than the ends of a
//! register tile. If a pixel has as many channels as a vector, those of one cell are long enough, and kernels so large are
//! rare.
//!
//! On infinite and huge values, what [`winograd`](super) says about F(4×4) holds along rows: the outputs of a tile share
//! their errors.

mod ends;
mod filters;
mod map;
mod run;
mod shape;

pub(in crate::cpu::conv2d) use filters::LineFilters;
pub(in crate::cpu::conv2d) use run::Line;
pub(in crate::cpu::conv2d) use shape::{LineShape, refuses};
