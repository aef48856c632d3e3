//! The arithmetic of lopper: functions over slices, with no autograd and no graph.
//!
//! - [`shapes`]: the checked geometry of each operation, what it costs in multiply-accumulates and bytes.
//! - [`params`]: what an operation is told besides its geometry: transposes, activations, hyperparameters.
//! - [`mod@reference`]: plain loops, generic over `f32` and `f64`: the executable specification.
//! - [`cpu`]: the same operations with SIMD and threads. A test of `cpu` compares it with `reference`.
//!
//! Every image is channels last, `[N, H, W, C]`; every convolution weight is `[O, KH, KW, C / groups]`;
//! every slice is contiguous `f32`. Kernels assert the lengths of their slices: a caller checks shapes and
//! reports errors, a kernel trusts its geometry.

pub mod buffer;
pub mod cpu;
pub mod cuda;
pub mod guard;
pub mod params;
mod recycler;
pub mod reference;
mod residue;
pub mod shapes;
mod windows;
