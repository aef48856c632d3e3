//! The products of Winograd's algorithm with lists of channels.
//!
//! ```text
//!   for tile of 8 rows of V[ξ]
//!     for channel in the panel's list             one row of U after another, as packed
//!       load a row of U: 1 to 3 vectors
//!       for row in 0..8                           broadcast V[ξ][row][channel]
//!         1 to 3 multiply-adds
//!     store 8 rows of M[ξ]
//! ```
//!
//! This is the register tile of [`tile`](crate::cpu::gemm::tile) with a list in place of a step: the address of each
//! broadcast comes from the list, which is read once for all rows.

use super::pass::Pass;
use super::tiling::{FEW, padded};
use crate::cpu::gemm::panels::Panel;
use crate::cpu::gemm::tile::{prefetch, prefetch_far};
use crate::cpu::simd::partial::store_lanes;
use crate::cpu::simd::{Kernel, Simd};

/// The number of steps by which U is prefetched in advance.
const AHEAD: usize = 24;
/// The number of floats in a cache line.
const LINE: usize = 16;

/// Computes the columns of one panel of `M[ξ] = V[ξ] · U[ξ]`.
pub(super) struct MultiplyListed<'a> {
    pub pass: &'a Pass<'a>,
    pub point: usize,
    pub panel: &'a Panel,
    /// The channel of each row of `u`.
    pub channels: &'a [u32],
    /// A row of NR floats for each channel of the list.
    pub u: &'a [f32],
    /// The number of rows of a register tile.
    pub mr: usize,
}

impl Kernel for MultiplyListed<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (nr, channels) = (self.panel.kernel.nr, self.pass.product.channels);
        assert!(self.u.len() >= self.u_len(), "U has a row for each channel of the list");
        assert!(
            self.channels.last().is_none_or(|&c| (c as usize) < channels),
            "the list ascends to a channel of V"
        );
        match (nr / S::LANES, self.mr) {
            (1, 8) => self.tiles::<S, 8, 4, 1>(s),
            (2, 8) => self.tiles::<S, 8, 4, 2>(s),
            (3, 8) => self.tiles::<S, 8, 4, 3>(s),
            (2, 6) => self.tiles::<S, 6, 3, 2>(s),
            (1, 4) => self.tiles::<S, 4, 2, 1>(s),
            (vectors, rows) => unreachable!("no tile of {rows} rows and {vectors} vectors"),
        }
    }
}

impl MultiplyListed<'_> {
    /// Computes all rows; if at most HALF are left, they have a loop of their own.
    #[inline(always)]
    fn tiles<S: Simd, const MR: usize, const HALF: usize, const NV: usize>(&self, s: S) {
        let count = self.pass.count;
        for first in (0..count).step_by(MR) {
            if count - first <= HALF {
                self.rows::<S, HALF, NV>(s, first);
            } else {
                self.rows::<S, MR, NV>(s, first);
            }
        }
    }

    /// Computes up to MR rows from `first` on.
    #[inline(always)]
    fn rows<S: Simd, const MR: usize, const NV: usize>(&self, s: S, first: usize) {
        let (pass, p) = (self.pass, self.pass.product);
        let v = pass.v.as_mut_ptr().wrapping_add(self.point * pass.v_point).cast_const();
        let m = pass.m.as_mut_ptr().wrapping_add(self.point * pass.m_point + self.panel.start);
        let mut rows = [v; MR];
        for i in 0..MR {
            // Rows beyond `count` exist up to a whole register tile; their results are not stored.
            rows[i] = v.wrapping_add((first + i) * padded(p.channels));
        }
        // The next panel, or the first one of the next point, follows in memory.
        let next = if pass.count <= FEW { self.u_len() + self.u_len() * first / pass.count } else { 0 };
        let next = self.u.as_ptr().wrapping_add(next);
        // SAFETY: V has rows of `channels` floats or more, more than any index of the list, and U has a row for each index, as
        // `run` asserts.
        let acc = unsafe { self.tile::<S, MR, NV>(s, rows, next) };
        for i in 0..MR.min(pass.count - first) {
            for j in 0..NV {
                let column = j * S::LANES;
                if column < self.panel.width {
                    let lanes = S::LANES.min(self.panel.width - column);
                    let to = m.wrapping_add((first + i) * padded(p.columns) + column);
                    // SAFETY: M has rows of `columns ≥ start + width` floats, and only this task writes this panel's
                    // columns of this point.
                    unsafe { store_lanes(s, to, acc[i][j], lanes) };
                }
            }
        }
    }

    /// The number of floats of the panel's U.
    #[inline(always)]
    fn u_len(&self) -> usize {
        self.channels.len() * self.panel.kernel.nr
    }

    /// The sums of a register tile. Each step of at least a cache line prefetches one of what follows `next`.
    ///
    /// # Safety
    /// Each row has a float for each channel of the list, and U has NR floats for each.
    #[inline(always)]
    unsafe fn tile<S: Simd, const MR: usize, const NV: usize>(
        &self,
        s: S,
        rows: [*const f32; MR],
        next: *const f32,
    ) -> [[S::F; NV]; MR] {
        let mut acc = [[s.zero(); NV]; MR];
        let (mut u, mut next) = (self.u.as_ptr(), next);
        for &channel in self.channels {
            let mut uv = [s.zero(); NV];
            for j in 0..NV {
                // SAFETY: guaranteed by the caller.
                uv[j] = unsafe { s.load(u.add(j * S::LANES)) };
                prefetch(u.wrapping_add((AHEAD * NV + j) * S::LANES));
            }
            if NV * S::LANES >= LINE {
                prefetch_far(next);
                next = next.wrapping_add(LINE);
            }
            for i in 0..MR {
                // SAFETY: guaranteed by the caller.
                let value = s.splat(unsafe { *rows[i].add(channel as usize) });
                for j in 0..NV {
                    acc[i][j] = s.fma(value, uv[j], acc[i][j]);
                }
            }
            u = u.wrapping_add(NV * S::LANES);
        }
        acc
    }
}
