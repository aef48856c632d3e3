//! Sparsity as a value: which weights of a layer are zero.
//!
//! A layer's weight is a matrix with one row per filter: `[O, taps, C/G]` for a convolution with `taps = KH · KW`, and
//! `[OUT, 1, IN]` for a linear layer. In the pictures, rows are filters, columns are the input channels of one tap, and
//! `·` is a zero.
//!
//! ```text
//!   dense         filters        input channels   filters and input channels
//!   ████████      ████████       ██·█·███         ██·█·███
//!   ████████      ········       ██·█·███         ········
//!   ████████      ████████       ██·█·███         ██·█·███
//!   ████████      ········       ██·█·███         ········
//!
//!   blocks of 2   2:4            weights
//!   █·██··█·      █·█··██·       █··█·██·
//!   █·██··█·      ·██·█··█       ·██·····
//!   ·█··██·█      ██····██       ██·····█
//!   ·█··██·█      ·█·█·█·█       ····██··
//! ```
//!
//! A [`Pattern`] is derived in two steps. First, filters and input channels without any nonzero weight are removed.
//! Then [`Structure`] describes the zeros that remain. Rows of a mask that are removed therefore never hide the
//! structure of the others.
//!
//! | pattern | skipped by |
//! | --- | --- |
//! | filters | the CPU's and the GPU's convolutions, the CPU's linear layers |
//! | input channels | the GPU's convolutions, in blocks of 16, if filters are dead too |
//! | whole kernels | the CPU's convolutions by Winograd's algorithm, for filters that share them |
//! | blocks, N:M, weights | the CPU's convolutions in row lanes, if that is faster |
//! | all | the CPU's linear layers with few rows in a batch |
//!
//! Other zeros are multiplied as if they were weights.

mod bits;
mod derived;
mod pattern;
mod turned;

pub use pattern::{Pattern, Structure};
