//! A linear layer's weight as one bit per weight and the nonzero values.
//!
//! ```text
//!   a row of w     ·a··bc·· ········ ····d···            8 (or 16) weights a vector
//!   bits           01001100 00000000 00001000
//!   values         a b c d
//!
//!   for 4 rows of w (2 with 4 rows of x)
//!     for two vectors of x                       loaded once for all rows of w
//!       for row of w
//!         mask = the next bits                   the next values move to the lanes whose bits are set
//!         sums[row] += x · expand(values, mask)
//!         values += popcount(mask)
//! ```
//!
//! With few rows of x, a dense layer takes as long as reading its weight. At a density `d`, this layout takes
//! `4·d + 1/8` bytes per weight instead of 4 (`2·d + 1/8` for bf16). The multiplications by zero remain, so the time
//! stops falling where expanding the vectors takes as long as reading them. N:M patterns take two bits per nonzero weight
//! of 2:4, which is what an index in its group would take, and need no code of their own.
//!
//! Tile: each vector takes an expansion, which has a latency of several cycles, a population count and a
//! multiply-add; eight sums and four independent streams of values hide the latencies. More streams would outnumber
//! those that a hardware prefetcher follows.

use super::rows::{OUTPUTS, SparseRows, Sums, Weight};
use crate::buffer::Buffer;
use crate::cpu::device::shared::Shared;
use crate::cpu::gemm::tile::prefetch;
use crate::cpu::simd::{Kernel, MAX_LANES, Simd};
use crate::cpu::{Cpu, Isa};
use crate::dtype::Dtype;
use crate::pattern::Pattern;
use rayon::prelude::*;
use std::marker::PhantomData;
use std::ops::Range;

/// The number of bytes of bits per vector of the widest instruction set; a row of bits is a multiple of it.
const GROUP: usize = MAX_LANES / 8;
/// The number of bytes by which values are prefetched in advance.
const AHEAD: usize = 1024;

/// The bits and the nonzero values of the rows that have any.
pub(super) struct Bits<E> {
    inputs: usize,
    /// The output of each stored row, ascending.
    outputs: Vec<u32>,
    /// The first value of each stored row, and the number of values.
    starts: Vec<usize>,
    /// `[stored row][inputs / 8]`, in groups of [`GROUP`] bytes; bits of inputs that do not exist are clear.
    bits: Buffer,
    /// The values, and as many readable ones behind them as a vector has lanes.
    values: Buffer,
    element: PhantomData<E>,
}

/// The number of bytes of a row of bits.
fn stride(inputs: usize) -> usize {
    inputs.div_ceil(MAX_LANES) * GROUP
}

/// The number of floats that the values of `nonzeros` weights of `size` bytes take.
fn floats(nonzeros: usize, size: usize) -> usize {
    ((nonzeros + MAX_LANES) * size).div_ceil(size_of::<f32>())
}

/// The bytes of the stored rows and lists of a weight with this pattern `[O, 1, I]`, in weights of type `dtype`.
pub(super) fn bytes(pattern: &Pattern, dtype: Dtype) -> usize {
    let (rows, [_, _, inputs]) = (pattern.filters().len(), pattern.shape());
    let floats =
        (rows * stride(inputs)).div_ceil(size_of::<f32>()) + floats(pattern.nonzeros(), dtype.bytes());
    size_of::<f32>() * floats + lists(rows)
}

/// The bytes of the lists of `rows` stored rows.
fn lists(rows: usize) -> usize {
    size_of::<u32>() * rows + size_of::<usize>() * (rows + 1)
}

impl<E: Weight> Bits<E> {
    /// Stores the weights of `w` `[O, I]` that `pattern` `[O, 1, I]` lists.
    pub(super) fn new(cpu: &Cpu, w: &[f32], pattern: &Pattern) -> Self {
        let [outputs, _, inputs] = pattern.shape();
        assert_eq!(w.len(), outputs * inputs, "the weight has the length of its shape");
        let (rows, stride) = (pattern.filters(), stride(inputs));
        let mut bits = Buffer::zeros((rows.len() * stride).div_ceil(size_of::<f32>()));
        let all = &mut bits.bytes_mut()[..rows.len() * stride];
        cpu.run(|| {
            all.par_chunks_exact_mut(stride).zip(rows).for_each(|(bits, &row)| {
                for (at, group) in (0..).step_by(MAX_LANES).zip(bits.chunks_exact_mut(GROUP)) {
                    let live = pattern.live_bits(row as usize, at, MAX_LANES.min(inputs - at));
                    group.copy_from_slice(&live.to_le_bytes()[..GROUP]);
                }
            });
        });
        let mut starts = vec![0];
        starts.extend(all.chunks_exact(stride).scan(0, |end, bits| {
            *end += bits.iter().map(|byte| byte.count_ones() as usize).sum::<usize>();
            Some(*end)
        }));
        let mut values = Buffer::zeros(floats(starts[rows.len()], size_of::<E>()));
        let shared = Shared::new(values.bytes_mut());
        cpu.run(|| {
            rows.par_iter().enumerate().for_each(|(rank, &row)| {
                let (first, count) = (starts[rank], starts[rank + 1] - starts[rank]);
                // SAFETY: rows are stored one after another, so their ranges are disjoint.
                let values = unsafe { shared.range(first * size_of::<E>(), count * size_of::<E>()) };
                let values: &mut [E] = bytemuck::cast_slice_mut(values);
                let bits = &all[rank * stride..][..stride];
                let live = (0..inputs).filter(|i| bits[i / 8] >> (i % 8) & 1 == 1);
                for (value, input) in values.iter_mut().zip(live) {
                    *value = E::round(w[row as usize * inputs + input]);
                }
            });
        });
        Self { inputs, outputs: rows.to_vec(), starts, bits, values, element: PhantomData }
    }
}

impl<E: Weight> SparseRows for Bits<E> {
    fn sum(&self, cpu: &Cpu, outputs: Range<usize>, x: &[&[f32]], sums: &mut Sums) {
        let rank = |output: usize| self.outputs.partition_point(|&stored| (stored as usize) < output);
        let ranks = rank(outputs.start)..rank(outputs.end);
        let mut rest = (x, &mut sums[..]);
        // Four, two or one row of x at a time, each with as many rows of w as registers hold sums for.
        while !rest.0.is_empty() {
            let take = match rest.0.len() {
                1 => 1,
                2 | 3 => 2,
                _ => 4,
            };
            let ((x, x_rest), (sums, sums_rest)) = (rest.0.split_at(take), rest.1.split_at_mut(take));
            match x {
                &[a] => cpu.dispatch(Dots { w: self, ranks: ranks.clone(), x: [a], sums }),
                &[a, b] => cpu.dispatch(Dots { w: self, ranks: ranks.clone(), x: [a, b], sums }),
                &[a, b, c, d] => cpu.dispatch(Dots { w: self, ranks: ranks.clone(), x: [a, b, c, d], sums }),
                _ => unreachable!("one, two or four rows are taken"),
            }
            rest = (x_rest, sums_rest);
        }
    }

    fn kernel(&self, cpu: &Cpu) -> &'static str {
        match (cpu.isa(), E::DTYPE) {
            (Isa::Avx512, Dtype::Bf16) => "bits_avx512_bf16",
            (Isa::Avx2, Dtype::Bf16) => "bits_avx2_bf16",
            (Isa::Portable, Dtype::Bf16) => "bits_portable_bf16",
            (Isa::Avx512, _) => "bits_avx512",
            (Isa::Avx2, _) => "bits_avx2",
            (Isa::Portable, _) => "bits_portable",
        }
    }

    fn products(&self) -> usize {
        self.outputs.len() * self.inputs
    }

    fn bytes(&self) -> usize {
        size_of::<f32>() * (self.bits.len() + self.values.len()) + lists(self.outputs.len())
    }
}

/// Computes the products of the stored rows `ranks` and N rows of x.
struct Dots<'a, E, const N: usize> {
    w: &'a Bits<E>,
    ranks: Range<usize>,
    x: [&'a [f32]; N],
    sums: &'a mut [[f32; OUTPUTS]],
}

impl<E: Weight, const N: usize> Kernel for Dots<'_, E, N> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let mut rank = self.ranks.start;
        // Sixteen sums at most: rows of w × rows of x × two vectors.
        while rank < self.ranks.end {
            let left = self.ranks.end - rank;
            if N <= 2 && left >= 4 {
                self.dots::<S, 4>(s, rank);
                rank += 4;
            } else if left >= 2 {
                self.dots::<S, 2>(s, rank);
                rank += 2;
            } else {
                self.dots::<S, 1>(s, rank);
                rank += 1;
            }
        }
    }
}

impl<E: Weight, const N: usize> Dots<'_, E, N> {
    /// Computes the products of R stored rows. The order of a sum does not depend on R or N.
    #[inline(always)]
    fn dots<S: Simd, const R: usize>(&mut self, s: S, rank: usize) {
        let w = self.w;
        let stride = stride(w.inputs);
        let mut rows = [Row { bits: &[][..], values: std::ptr::null::<E>() }; R];
        for r in 0..R {
            let bits = &w.bits.bytes()[(rank + r) * stride..][..stride];
            // SAFETY: each row begins inside the values.
            rows[r] = Row {
                bits,
                values: unsafe { w.values.bytes().as_ptr().cast::<E>().add(w.starts[rank + r]) },
            };
        }
        let mut acc = [[[s.zero(); N]; R]; 2];
        let whole = w.inputs / S::LANES;
        for vector in (0..whole - whole % 2).step_by(2) {
            for parity in 0..2 {
                // SAFETY: each row of x has `whole` vectors.
                let x = unsafe { self.vectors(s, vector + parity) };
                // SAFETY: vectors are taken in order.
                unsafe { step(s, &mut rows, vector + parity, x, &mut acc[parity]) };
            }
            for row in &rows {
                prefetch(row.values.cast::<u8>().wrapping_add(AHEAD));
            }
        }
        if whole % 2 == 1 {
            // SAFETY: as above.
            unsafe { step(s, &mut rows, whole - 1, self.vectors(s, whole - 1), &mut acc[0]) };
        }
        if whole * S::LANES < w.inputs {
            let mut x = [s.zero(); N];
            for n in 0..N {
                x[n] = s.get(&self.x[n][whole * S::LANES..]);
            }
            // SAFETY: as above.
            unsafe { step(s, &mut rows, whole, x, &mut acc[1]) };
        }
        for r in 0..R {
            let column = w.outputs[rank + r] as usize % OUTPUTS;
            for n in 0..N {
                self.sums[n][column] = s.sum(s.add(acc[0][r][n], acc[1][r][n]));
            }
        }
    }

    /// A vector of each row of x.
    ///
    /// # Safety
    /// The rows have this vector.
    #[inline(always)]
    unsafe fn vectors<S: Simd>(&self, s: S, vector: usize) -> [S::F; N] {
        let mut x = [s.zero(); N];
        for n in 0..N {
            debug_assert!((vector + 1) * S::LANES <= self.x[n].len());
            // SAFETY: guaranteed by the caller.
            x[n] = unsafe { s.load(self.x[n].as_ptr().add(vector * S::LANES)) };
        }
        x
    }
}

/// A stored row on its way through the inputs.
#[derive(Clone, Copy)]
struct Row<'a, E> {
    bits: &'a [u8],
    /// The first value that has not been multiplied.
    values: *const E,
}

/// Multiplies a vector of each row of w by a vector of each row of x.
///
/// # Safety
/// The values of a row begin at that of the first bit that is set from `vector` on, and are followed by as many
/// readable ones as a vector has lanes.
#[inline(always)]
unsafe fn step<S: Simd, E: Weight, const R: usize, const N: usize>(
    s: S,
    rows: &mut [Row<E>; R],
    vector: usize,
    x: [S::F; N],
    acc: &mut [[S::F; N]; R],
) {
    for r in 0..R {
        let mask = s.mask(rows[r].bits, vector);
        // SAFETY: guaranteed by the caller.
        let value = s.expand(unsafe { E::load(s, rows[r].values) }, mask);
        rows[r].values = rows[r].values.wrapping_add(mask.count_ones() as usize);
        for n in 0..N {
            acc[r][n] = s.fma(value, x[n], acc[r][n]);
        }
    }
}
