//! The tile kernels of each instruction set.

use super::tile_kernel::{TileKernel, Types};
use crate::cpu::device::isa::Backend;
use crate::cpu::simd::portable;
#[cfg(target_arch = "x86_64")]
use crate::cpu::simd::{avx2, avx512};

impl Backend {
    /// The kernels of this instruction set for the last columns of a product of these types, ordered by their number of
    /// columns, starting at one; none if the types have no such kernel.
    pub(in crate::cpu) fn dots(self, types: Types) -> &'static [TileKernel] {
        if types != Types::F32 {
            return &[];
        }
        match self {
            Self::Portable(_) => &portable::DOTS,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(_) => &avx2::DOTS,
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(_) => &avx512::DOTS,
        }
    }

    /// The tile kernels of this instruction set for products of these types, ordered by the number of vectors in a row,
    /// starting at one.
    pub(in crate::cpu) fn tiles(self, types: Types) -> &'static [TileKernel] {
        let table: &[TileKernel] = match self {
            Self::Portable(_) => &portable::TILES,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(_) => &avx2::TILES,
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(_) => &avx512::TILES,
        };
        let tiles = table.chunk_by(|a, b| a.types == b.types).find(|tiles| tiles[0].types == types);
        tiles.unwrap_or_else(|| panic!("no tile kernel multiplies {} by {} to {}", types.a, types.b, types.c))
    }
}
