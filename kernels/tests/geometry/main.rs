//! Fuzzes the kernels with random geometries, on every instruction set of the machine. The last (or first) element of
//! each buffer touches a page that faults, and results are compared with the reference in `f64`.
//!
//! ```text
//! LOPPER_GEOMETRIES=100000 cargo test --release -p lopper-kernels --test geometry    # number of cases of all operations
//! LOPPER_GUARD=before cargo test …                                                   # guards the other end
//! LOPPER_GEOMETRY=4711 cargo test … NAME                                             # reruns one case
//! ```
//!
//! A case is identified by a number, which gives the same geometry and data on every machine. If a case fails, with a
//! wrong result or with a fault, its number and its geometry are printed.

mod bands;
mod batch_norm;
mod cases;
mod channels;
mod convolution;
mod crash;
mod draw;
mod elementwise;
mod inlining;
mod known;
mod lane_images;
mod losses;
mod optimizers;
mod pooling;
mod products;
mod row_lanes;
mod sparse_convolution;
#[path = "../support/mod.rs"]
mod support;
