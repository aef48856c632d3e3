//! Kernels fuzzed by geometry: random shapes, buffers whose last (or first) element touches a page that faults, every
//! instruction set of the machine, results against the reference in `f64`.
//!
//! ```text
//! LOPPER_GEOMETRIES=100000 cargo test --release -p lopper-kernels --test geometry    # so many, of all operations together
//! LOPPER_GUARD=before cargo test …                                                   # guards the other end
//! LOPPER_GEOMETRY=4711 cargo test … NAME                                             # one of them again
//! ```
//!
//! A case is a number: the same geometry and data on every machine. One that fails, be it by a wrong result or by a
//! fault, prints its number and its geometry.

mod batch_norm;
mod cases;
mod channels;
mod convolution;
mod crash;
mod draw;
mod elementwise;
mod known;
mod losses;
mod optimizers;
mod pooling;
mod products;
mod sparse_convolution;
#[path = "../support/mod.rs"]
mod support;
