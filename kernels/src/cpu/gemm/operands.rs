//! The operands of a register tile.

use crate::params::Activation;

/// The rows of A that a tile multiplies.
#[derive(Clone, Copy)]
pub(in crate::cpu) struct Rows {
    /// `rows[s * row_stride + i]` is the start of A's row `i` in segment `s`, up to whole blocks of MR rows.
    pub rows: *const *const f32,
    pub row_stride: usize,
    /// The number of segments of the reduction, each with `len` steps.
    pub segments: usize,
    /// The number of steps per segment.
    pub len: usize,
    /// The offset added to each row pointer, in elements.
    pub a_offset: usize,
    /// The distance between consecutive elements of a row.
    pub a_step: usize,
}

/// The arguments of a column of tiles, which share B: `m` rows, MR at a time. Columns beyond `n`, up to whole vectors,
/// exist only in B, as zeros.
#[derive(Clone, Copy)]
pub(in crate::cpu) struct Tile {
    pub a: Rows,
    /// `segments · len` packed rows, fastest if 64-byte aligned. The kernel determines their layout and type.
    pub b: *const u8,
    /// The distance between columns of B in elements, for kernels that read it column by column.
    pub b_column: usize,
    /// Memory that later tiles will read, and how many bytes of it correspond to one row. Each step prefetches one
    /// cache line.
    pub next: *const u8,
    pub next_row: usize,
    /// Whether C and the residual may be far away, so that fetching them while the sums are computed pays.
    pub far: bool,
    /// Row `i` of C begins at `c + out[i]`.
    pub c: *mut f32,
    pub out: *const usize,
    /// The number of rows that exist in C, at least 1; `n` is that of columns, `1..=NR`.
    pub m: usize,
    pub n: usize,
    /// Whether to add to C instead of overwriting it.
    pub accumulate: bool,
    /// `n` floats to add to each row, or null.
    pub bias: *const f32,
    /// A matrix with C's layout to add, or null.
    pub residual: *const f32,
    pub activation: Activation,
}

impl Tile {
    /// A tile of `[m, n]` sums, without an epilogue, that prefetches its own B.
    pub(in crate::cpu) fn new(
        a: Rows,
        b: &[u8],
        c: *mut f32,
        out: &[usize],
        [m, n]: [usize; 2],
        accumulate: bool,
    ) -> Self {
        let (b, out, none) = (b.as_ptr(), out.as_ptr(), std::ptr::null());
        let (bias, residual, activation) = (none, none, Activation::None);
        Self {
            a,
            b,
            b_column: 0,
            next: b,
            next_row: 0,
            far: accumulate,
            c,
            out,
            m,
            n,
            accumulate,
            bias,
            residual,
            activation,
        }
    }

    /// The tiles of at most `mr` rows, from top to bottom.
    #[inline(always)]
    pub(in crate::cpu) fn blocks(&self, mr: usize) -> impl Iterator<Item = Self> {
        let all = *self;
        (0..all.m).step_by(mr).map(move |row| Self {
            a: Rows { rows: all.a.rows.wrapping_add(row), ..all.a },
            next: all.next.wrapping_add(row * all.next_row),
            out: all.out.wrapping_add(row),
            m: mr.min(all.m - row),
            ..all
        })
    }
}
