//! Plans on the CPU: kernels with packed weights, called one after another, or for a part of the batch at a time.

mod bands;
mod call;
mod inside;
mod kernel;
mod parts;
mod runner;

pub(super) use call::ALIGNMENT;
pub(super) use inside::Inside;
pub(super) use kernel::Packer;
pub(super) use runner::{Placed, Runner};
