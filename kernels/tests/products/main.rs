//! Matrix products and linear layers, patterns of zeros, and the range of Winograd's algorithm.

mod linear_layouts;
mod matmul;
mod pattern;
mod winograd_range;

#[path = "../support/mod.rs"]
mod support;
