//! The arithmetic of lopper: functions over slices, without autograd and without a graph.
//!
//! - [`shapes`]: the checked geometry of each operation, and its cost in multiply-accumulates and bytes.
//! - [`params`]: the parameters of an operation besides its geometry: transposes, activations, hyperparameters.
//! - [`dtype`]: element types.
//! - [`pattern`]: which weights of a layer are zero.
//! - [`mod@reference`]: plain loops, generic over `f32` and `f64`, which are the executable specification.
//! - [`cpu`]: the same operations with SIMD and threads. The tests of `cpu` compare it with `reference`.
//!
//! Every image is channels-last, `[N, H, W, C]`, every convolution weight is `[O, KH, KW, C / groups]`, and every slice
//! is contiguous `f32`. Callers check shapes and report errors. Kernels trust their geometry and only assert the
//! lengths of their slices.

mod activation;
pub mod buffer;
pub mod cpu;
pub mod cuda;
pub mod dtype;
mod exp;
mod float;
mod formulas;
pub mod guard;
pub mod normal;
pub mod params;
pub mod pattern;
mod pool_windows;
mod recycler;
pub mod reference;
mod residue;
pub mod shapes;
