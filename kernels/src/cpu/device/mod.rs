//! The CPU as a device: its instruction set, its threads, and memory that kernels borrow.

pub(in crate::cpu) mod cache;
pub(in crate::cpu) mod device;
pub(in crate::cpu) mod isa;
mod peak;
pub(in crate::cpu) mod scratch;
pub(in crate::cpu) mod shared;
pub(in crate::cpu) mod shelf;
