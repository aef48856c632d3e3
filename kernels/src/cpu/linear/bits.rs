//! A linear layer's weight as one bit per weight and the nonzero values.
//!
//! ```text
//!   four rows of w   ·a··bc·· ········ ····d···     8 (or 16) weights a vector
//!                    ··e····· f······· ········
//!   bits, vector by vector     01001100 00100000 … 00000000 10000000 …      of the four rows in turn
//!   values                     a b c    e        …          f
//!
//!   for 4 rows of w
//!     for vector of 1, 2 or 4 rows of x            loaded once for all rows of w
//!       for row of w
//!         mask = the next bits                     the next values move to the lanes whose bits are set
//!         sums[row] += x · expand(values, mask)
//!         values += popcount(mask)
//! ```
//!
//! With few rows of x, a dense layer takes as long as reading its weight. At a density `d`, this layout takes
//! `4·d + 1/8` bytes per weight instead of 4 (`2·d + 1/8` for bf16). The multiplications by zero remain, so the time
//! stops falling where expanding the vectors takes as long as reading them. N:M patterns need no code of their own: a
//! bit per weight of 2:4 is two bits per nonzero weight, what an index in its group would take.
//!
//! Expanding: AVX-512 has an instruction for it. AVX2 shuffles bytes in each half of a vector, by a table of masks, so
//! the values of the upper four lanes are read from where they begin, behind those of the lower four; eight numbers of
//! bf16 fit in a half and are read once.
//!
//! Tile: expanding a vector takes about three cycles, so four sums hide the latency of a multiply-add, and four rows of
//! w share a vector of x. They are interleaved, so that bits and values are one stream each: with a stream per row,
//! every fourth row would begin where no prefetcher has been.

use super::rows::{BATCH, OUTPUTS, SparseRows, Sums, Weight};
use crate::buffer::Buffer;
use crate::cpu::device::shared::Shared;
use crate::cpu::gemm::tile::prefetch;
use crate::cpu::gemm::tile_kernel::Types;
use crate::cpu::simd::{Kernel, MAX_LANES, Simd};
use crate::cpu::{Cpu, Isa};
use crate::dtype::Dtype;
use crate::pattern::Pattern;
use rayon::prelude::*;
use std::marker::PhantomData;
use std::ops::Range;

/// The number of rows that are interleaved.
const ROWS: usize = 4;
/// The number of bytes by which values are prefetched in advance.
const AHEAD: usize = 1024;

/// The number of rows of x that share an expanded vector. Sixteen sums fit in the registers of AVX-512 alone.
pub(super) fn rows_at_once(isa: Isa) -> usize {
    if isa == Isa::Avx512 { BATCH } else { 2 }
}

/// The outputs of interleaved rows, ascending; fewer only at the end of a block of [`OUTPUTS`].
type Group = Vec<u32>;

/// The bits and the nonzero values of the rows that have any.
pub(super) struct Bits<E> {
    inputs: usize,
    groups: Vec<Group>,
    /// The first value of each group, and the number of values.
    starts: Vec<usize>,
    /// `[group][vector of inputs][ROWS]` vectors of bits; those of inputs and rows that do not exist are clear.
    bits: Buffer,
    /// The values, and as many readable ones behind them as a vector has lanes.
    values: Buffer,
    element: PhantomData<E>,
}

/// The groups of the live rows of `pattern`.
fn groups(pattern: &Pattern) -> Vec<Group> {
    let blocks = pattern.filters().chunk_by(|a, b| *a as usize / OUTPUTS == *b as usize / OUTPUTS);
    blocks.flat_map(|rows| rows.chunks(ROWS)).map(<[u32]>::to_vec).collect()
}

/// The number of bytes of a group's bits, in vectors of `lanes`.
fn group_bytes(inputs: usize, lanes: usize) -> usize {
    inputs.div_ceil(lanes) * ROWS * lanes / 8
}

/// The number of floats that the values of `nonzeros` weights of `size` bytes take.
fn floats(nonzeros: usize, size: usize) -> usize {
    ((nonzeros + MAX_LANES) * size).div_ceil(size_of::<f32>())
}

/// The number of floats in a vector.
fn lanes(cpu: &Cpu) -> usize {
    cpu.backend.tiles(Types::F32)[0].nr
}

/// The bytes of the stored rows and lists of a weight with this pattern `[O, 1, I]`, in weights of type `dtype`.
pub(super) fn bytes(cpu: &Cpu, pattern: &Pattern, dtype: Dtype) -> usize {
    let groups = groups(pattern);
    let bits = (groups.len() * group_bytes(pattern.shape()[2], lanes(cpu))).div_ceil(size_of::<f32>());
    size_of::<f32>() * (bits + floats(pattern.nonzeros(), dtype.bytes())) + lists(&groups)
}

/// The bytes of the lists of groups.
fn lists(groups: &[Group]) -> usize {
    groups.len() * (size_of::<Group>() + ROWS * size_of::<u32>()) + size_of::<usize>() * (groups.len() + 1)
}

impl<E: Weight> Bits<E> {
    /// Stores the weights of `w` `[O, I]` that `pattern` `[O, 1, I]` lists.
    pub(super) fn new(cpu: &Cpu, w: &[f32], pattern: &Pattern) -> Self {
        let ([outputs, _, inputs], lanes, groups) = (pattern.shape(), lanes(cpu), groups(pattern));
        assert_eq!(w.len(), outputs * inputs, "the weight has the length of its shape");
        let (each, vectors) = (group_bytes(inputs, lanes), inputs.div_ceil(lanes));
        let mut bits = Buffer::zeros((groups.len() * each).div_ceil(size_of::<f32>()));
        let all = &mut bits.bytes_mut()[..groups.len() * each];
        cpu.run(|| {
            all.par_chunks_exact_mut(each).zip(&groups).for_each(|(bits, group)| {
                for (i, bits) in bits.chunks_exact_mut(lanes / 8).enumerate() {
                    let first = i / ROWS * lanes;
                    let live = |&row: &u32| pattern.live_bits(row as usize, first, lanes.min(inputs - first));
                    let mask = group.get(i % ROWS).map_or(0, live);
                    bits.copy_from_slice(&mask.to_le_bytes()[..lanes / 8]);
                }
            });
        });
        let mut starts = vec![0];
        starts.extend(all.chunks_exact(each).scan(0, |end, bits| {
            *end += bits.iter().map(|byte| byte.count_ones() as usize).sum::<usize>();
            Some(*end)
        }));
        let mut values = Buffer::zeros(floats(starts[groups.len()], size_of::<E>()));
        let shared = Shared::new(values.bytes_mut());
        cpu.run(|| {
            groups.par_iter().enumerate().for_each(|(i, group)| {
                let (first, count) = (starts[i], starts[i + 1] - starts[i]);
                // SAFETY: groups are stored one after another, so their ranges are disjoint.
                let values = unsafe { shared.range(first * size_of::<E>(), count * size_of::<E>()) };
                let mut values = bytemuck::cast_slice_mut::<u8, E>(values).iter_mut();
                for (vector, row) in
                    (0..vectors).flat_map(|vector| group.iter().map(move |row| (vector, row)))
                {
                    let (first, row) = (vector * lanes, *row as usize);
                    let live = pattern.live_bits(row, first, lanes.min(inputs - first));
                    for lane in (0..lanes).filter(|lane| live >> lane & 1 == 1) {
                        let value = values.next().expect("the values are counted by their bits");
                        *value = E::round(w[row * inputs + first + lane]);
                    }
                }
            });
        });
        Self { inputs, groups, starts, bits, values, element: PhantomData }
    }
}

impl<E: Weight> SparseRows for Bits<E> {
    fn sum(&self, cpu: &Cpu, outputs: Range<usize>, x: &[&[f32]], sums: &mut Sums) {
        let first = |output: usize| self.groups.partition_point(|group| (group[0] as usize) < output);
        let groups = first(outputs.start)..first(outputs.end);
        let most = rows_at_once(cpu.isa());
        let mut rest = (x, &mut sums[..]);
        while !rest.0.is_empty() {
            let take = 1 << rest.0.len().min(most).ilog2();
            let ((x, x_rest), (sums, sums_rest)) = (rest.0.split_at(take), rest.1.split_at_mut(take));
            let groups = groups.clone();
            match *x {
                [a] => cpu.dispatch(Dots { w: self, groups, x: [a], sums }),
                [a, b] => cpu.dispatch(Dots { w: self, groups, x: [a, b], sums }),
                [a, b, c, d] => cpu.dispatch(Dots { w: self, groups, x: [a, b, c, d], sums }),
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
        self.groups.iter().map(Vec::len).sum::<usize>() * self.inputs
    }

    fn bytes(&self) -> usize {
        size_of::<f32>() * (self.bits.len() + self.values.len()) + lists(&self.groups)
    }
}

/// Computes the products of the rows of `groups` and N rows of x.
struct Dots<'a, E, const N: usize> {
    w: &'a Bits<E>,
    groups: Range<usize>,
    x: [&'a [f32]; N],
    sums: &'a mut [[f32; OUTPUTS]],
}

impl<E: Weight, const N: usize> Kernel for Dots<'_, E, N> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let w = self.w;
        let (each, bits) = (group_bytes(w.inputs, S::LANES), w.bits.bytes());
        let values = w.values.bytes().as_ptr().cast::<E>();
        for group in self.groups {
            let bits = &bits[group * each..][..each];
            let first = w.starts[group];
            // SAFETY: a group has one value for each of its bits, followed by as many readable ones as a vector has
            // lanes.
            let acc = unsafe { dots(s, bits, values.add(first), &self.x.map(|x| &x[..w.inputs])) };
            for (r, &output) in w.groups[group].iter().enumerate() {
                for n in 0..N {
                    self.sums[n][output as usize % OUTPUTS] = s.sum(acc[r][n]);
                }
            }
        }
    }
}

/// The sums of a group. Their order does not depend on N.
///
/// # Safety
/// There is a value for each bit that is set, and as many readable ones behind them as a vector has lanes.
#[inline(always)]
unsafe fn dots<S: Simd, E: Weight, const N: usize>(
    s: S,
    bits: &[u8],
    values: *const E,
    x: &[&[f32]; N],
) -> [[S::F; N]; ROWS] {
    let mut acc = [[s.zero(); N]; ROWS];
    let mut values = values;
    let whole = x[0].len() / S::LANES;
    for (vector, bits) in bits.chunks_exact(ROWS * S::LANES / 8).enumerate() {
        let mut xs = [s.zero(); N];
        for n in 0..N {
            xs[n] = if vector < whole {
                // SAFETY: a row of x has `whole` vectors.
                unsafe { s.load(x[n].as_ptr().add(vector * S::LANES)) }
            } else {
                s.get(&x[n][vector * S::LANES..])
            };
        }
        for r in 0..ROWS {
            let mask = s.mask(bits, r);
            if r % 2 == 0 {
                prefetch(values.cast::<u8>().wrapping_add(AHEAD));
            }
            // SAFETY: the pointer has moved by the number of bits before this vector, so it lies at most at the end of
            // the values, where a vector is readable.
            let value = unsafe { E::expand(s, values, mask) };
            values = values.wrapping_add(mask.count_ones() as usize);
            for n in 0..N {
                acc[r][n] = s.fma(value, xs[n], acc[r][n]);
            }
        }
    }
    acc
}
