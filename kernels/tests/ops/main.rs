//! Every operation but the products of matrices: the CPU kernels against the reference in `f64`, on every instruction
//! set and for several thread counts; and the gradients of the reference, of all operations, against finite
//! differences.

mod batch_norm;
mod channels;
mod elementwise;
mod gradients;
mod loss;
mod optim;
mod pool;
mod support;
