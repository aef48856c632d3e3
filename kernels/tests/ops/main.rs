//! Tests of every operation except matrix products. The CPU kernels are compared with the reference in `f64`, on every
//! instruction set and for several thread counts. The reference's gradients of all operations are compared with finite
//! differences.

mod batch_norm;
mod channels;
mod elementwise;
mod gate;
mod gradients;
mod group_norm;
mod layer_norm;
mod loss;
mod optim;
mod pool;
mod prelu;
mod resize;
mod support;
