//! Element types of B: how a kernel reads and packs them.

use super::sizes::MAX_NR;
use super::strided::Strided;
use crate::cpu::simd::Simd;
use crate::dtype::Dtype;
use half::{bf16, slice::HalfFloatSliceExt};
use std::ops::Range;

/// An element type of B.
pub(in crate::cpu) trait Element: Sized {
    const DTYPE: Dtype;

    /// Reads a vector of elements as f32.
    ///
    /// # Safety
    /// `p..p + LANES` is readable.
    unsafe fn load<S: Simd>(s: S, p: *const Self) -> S::F;

    /// Packs these rows and columns of a matrix into rows of `nr` elements; columns that do not exist become zeros.
    fn pack(matrix: &Strided, rows: Range<usize>, columns: Range<usize>, nr: usize, packed: &mut [u8]);
}

impl Element for f32 {
    const DTYPE: Dtype = Dtype::F32;

    #[inline(always)]
    unsafe fn load<S: Simd>(s: S, p: *const f32) -> S::F {
        // SAFETY: guaranteed by the caller.
        unsafe { s.load(p) }
    }

    fn pack(matrix: &Strided, rows: Range<usize>, columns: Range<usize>, nr: usize, packed: &mut [u8]) {
        matrix.copy(rows, columns, nr, bytemuck::cast_slice_mut(packed));
    }
}

/// The upper half of an f32, rounded to nearest.
impl Element for bf16 {
    const DTYPE: Dtype = Dtype::Bf16;

    #[inline(always)]
    unsafe fn load<S: Simd>(s: S, p: *const bf16) -> S::F {
        // SAFETY: guaranteed by the caller.
        unsafe { s.load_bf16(p) }
    }

    fn pack(matrix: &Strided, rows: Range<usize>, columns: Range<usize>, nr: usize, packed: &mut [u8]) {
        const ROWS: usize = 16;
        let mut exact = [0.0; ROWS * MAX_NR];
        let packed: &mut [bf16] = bytemuck::cast_slice_mut(packed);
        for (first, packed) in rows.clone().step_by(ROWS).zip(packed.chunks_mut(ROWS * nr)) {
            let exact = &mut exact[..packed.len()];
            matrix.copy(first..rows.end.min(first + ROWS), columns.clone(), nr, exact);
            packed.convert_from_f32_slice(exact);
        }
    }
}
