//! Matrix products: the register tile, the packing of its operands, and GEMM.

pub(in crate::cpu) mod dot_tile;
pub(in crate::cpu) mod element;
mod finish;
pub(in crate::cpu) mod matmul;
mod operands;
pub(in crate::cpu) mod panels;
mod sizes;
pub(in crate::cpu) mod strided;
mod table;
pub(in crate::cpu) mod tile;
pub(in crate::cpu) mod tile_kernel;
