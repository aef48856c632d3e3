//! A linear layer's weight as lists of the nonzero weights and their inputs.
//!
//! ```text
//!   for chunk of 4,096 inputs                  16 KiB of x, which stay in the L1 cache beside the lists
//!     for row of w                             its list for this chunk, read as one stream
//!       for 16 of its weights                  sixteen sums, so that no addition waits for the one before it
//!         sums += x[indices] · values          inputs are put into a vector one by one
//! ```
//!
//! An entry takes a 16-bit index and a value, `6·d` bytes per weight at a density `d` (`4·d` for bf16), and time in
//! proportion to the number of entries, about one cycle each: an index and an input that is inserted into a vector. An
//! instruction that gathers takes as many loads, and on some machines many more cycles. Scalar multiply-adds, which read
//! the value too, take 1.4 times as long on AVX2. Below a density of about a third there, this is faster than expanding
//! bits, whose time stops falling.

use super::rows::{OUTPUTS, SparseRows, Sums, Weight};
use crate::buffer::Buffer;
use crate::cpu::device::shared::Shared;
use crate::cpu::gemm::tile::prefetch;
use crate::cpu::simd::{Kernel, Simd};
use crate::cpu::{Cpu, Isa};
use crate::dtype::Dtype;
use crate::pattern::Pattern;
use rayon::prelude::*;
use std::marker::PhantomData;
use std::ops::Range;

/// The number of inputs per chunk. A chunk of 8,192, which would fill an L1 cache of 32 KiB, takes a sixth longer.
pub(super) const CHUNK: usize = 4096;
/// The number of sums of a row.
const SUMS: usize = 16;
/// The number of entries by which indices and values are prefetched in advance.
const AHEAD: usize = 512;

/// The lists of the rows that have weights: for each block of [`OUTPUTS`] outputs and each chunk, those of its rows.
pub(super) struct Lists<E> {
    inputs: usize,
    /// The output of each row that has weights, ascending.
    outputs: Vec<u32>,
    /// The first entry of each list, in the order of the lists, and the number of entries.
    starts: Vec<usize>,
    /// The input of each entry, counted from the first one of its chunk.
    indices: Buffer,
    values: Buffer,
    element: PhantomData<E>,
}

/// The bytes of the lists of a weight with this pattern `[O, 1, I]`, in weights of type `dtype`.
pub(super) fn bytes(pattern: &Pattern, dtype: Dtype) -> usize {
    let (rows, [_, _, inputs]) = (pattern.filters().len(), pattern.shape());
    let floats = |size: usize| (pattern.nonzeros() * size).div_ceil(size_of::<f32>());
    size_of::<f32>() * (floats(size_of::<u16>()) + floats(dtype.bytes())) + places(rows, inputs)
}

/// The bytes of the places of `rows` rows.
fn places(rows: usize, inputs: usize) -> usize {
    size_of::<u32>() * rows + size_of::<usize>() * (rows * inputs.div_ceil(CHUNK) + 1)
}

/// The part of `rows`, which ascend, that lies in the block of outputs that begins at `first`.
fn block(rows: &[u32], first: usize) -> Range<usize> {
    let rank = |output: usize| rows.partition_point(|&row| (row as usize) < output);
    rank(first)..rank(first + OUTPUTS)
}

/// A list of a row for a chunk, `[row, first input, number of inputs]`, in the order of storage.
fn each_list(pattern: &Pattern) -> Vec<[usize; 3]> {
    let ([outputs, _, inputs], rows) = (pattern.shape(), pattern.filters());
    let mut lists = Vec::with_capacity(rows.len() * inputs.div_ceil(CHUNK));
    for first in (0..outputs).step_by(OUTPUTS) {
        for input in (0..inputs).step_by(CHUNK) {
            let of_row = |&row: &u32| [row as usize, input, CHUNK.min(inputs - input)];
            lists.extend(rows[block(rows, first)].iter().map(of_row));
        }
    }
    lists
}

/// The live inputs of a list, counted from its first one.
fn live(pattern: &Pattern, [row, first, len]: [usize; 3]) -> impl Iterator<Item = usize> {
    (0..len).step_by(32).flat_map(move |at| {
        let bits = pattern.live_bits(row, first + at, 32.min(len - at));
        (0..32).filter(move |i| bits >> i & 1 == 1).map(move |i| at + i)
    })
}

impl<E: Weight> Lists<E> {
    /// Stores the weights of `w` `[O, I]` that `pattern` `[O, 1, I]` lists.
    pub(super) fn new(cpu: &Cpu, w: &[f32], pattern: &Pattern) -> Self {
        let [outputs, _, inputs] = pattern.shape();
        assert_eq!(w.len(), outputs * inputs, "the weight has the length of its shape");
        let lists = each_list(pattern);
        let mut starts = vec![0; lists.len() + 1];
        cpu.run(|| {
            starts[1..]
                .par_iter_mut()
                .zip(&lists)
                .for_each(|(len, &list)| *len = live(pattern, list).count());
        });
        for i in 1..starts.len() {
            starts[i] += starts[i - 1];
        }
        let entries = starts[lists.len()];
        let buffer = |size: usize| Buffer::zeros((entries * size).div_ceil(size_of::<f32>()));
        let (mut indices, mut values) = (buffer(size_of::<u16>()), buffer(size_of::<E>()));
        let (to_indices, to_values) = (Shared::new(indices.bytes_mut()), Shared::new(values.bytes_mut()));
        cpu.run(|| {
            lists.par_iter().enumerate().for_each(|(i, &list)| {
                let (first, len) = (starts[i], starts[i + 1] - starts[i]);
                let part = |size: usize| (first * size, len * size);
                let ((at, bytes), (value_at, value_bytes)) = (part(size_of::<u16>()), part(size_of::<E>()));
                // SAFETY: lists are stored one after another, so their ranges are disjoint.
                let (indices, values) =
                    unsafe { (to_indices.range(at, bytes), to_values.range(value_at, value_bytes)) };
                let indices: &mut [u16] = bytemuck::cast_slice_mut(indices);
                let values: &mut [E] = bytemuck::cast_slice_mut(values);
                let row = &w[list[0] * inputs + list[1]..][..list[2]];
                for ((index, value), input) in indices.iter_mut().zip(values).zip(live(pattern, list)) {
                    (*index, *value) = (input as u16, E::round(row[input]));
                }
            });
        });
        Self { inputs, outputs: pattern.filters().to_vec(), starts, indices, values, element: PhantomData }
    }
}

impl<E: Weight> SparseRows for Lists<E> {
    fn sum(&self, cpu: &Cpu, outputs: Range<usize>, x: &[&[f32]], sums: &mut Sums) {
        cpu.dispatch(Listed { w: self, ranks: block(&self.outputs, outputs.start), x, sums });
    }

    fn kernel(&self, cpu: &Cpu) -> &'static str {
        match (cpu.isa(), E::DTYPE) {
            (Isa::Avx512, Dtype::Bf16) => "lists_avx512_bf16",
            (Isa::Avx2, Dtype::Bf16) => "lists_avx2_bf16",
            (Isa::Portable, Dtype::Bf16) => "lists_portable_bf16",
            (Isa::Avx512, _) => "lists_avx512",
            (Isa::Avx2, _) => "lists_avx2",
            (Isa::Portable, _) => "lists_portable",
        }
    }

    fn products(&self) -> usize {
        self.starts[self.starts.len() - 1]
    }

    fn bytes(&self) -> usize {
        size_of::<f32>() * (self.indices.len() + self.values.len()) + places(self.outputs.len(), self.inputs)
    }
}

/// Computes the products of the rows `ranks`, which are those of a block, and some rows of x.
struct Listed<'a, E> {
    w: &'a Lists<E>,
    ranks: Range<usize>,
    x: &'a [&'a [f32]],
    sums: &'a mut Sums,
}

impl<E: Weight> Kernel for Listed<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (w, rows) = (self.w, &self.w.outputs[self.ranks.clone()]);
        let indices: &[u16] = bytemuck::cast_slice(w.indices.bytes());
        let values = bytemuck::cast_slice::<u8, E>(w.values.bytes());
        // The lists of the blocks before this one come first.
        let chunks = w.inputs.div_ceil(CHUNK);
        let mut list = self.ranks.start * chunks;
        for first in (0..w.inputs).step_by(CHUNK) {
            for &row in rows {
                let entries = w.starts[list]..w.starts[list + 1];
                let (indices, values) = (&indices[entries.clone()], &values[entries]);
                for (x, sums) in self.x.iter().zip(self.sums.iter_mut()) {
                    let x = &x[first..(first + CHUNK).min(w.inputs)];
                    // SAFETY: packing counted the indices from the chunk's first input, and x has all inputs.
                    sums[row as usize % OUTPUTS] += unsafe { dot(s, indices, values, x) };
                }
                list += 1;
            }
        }
    }
}

/// `Σ_i values[i] · x[indices[i]]`.
///
/// # Safety
/// Each index is less than the length of `x`.
#[inline(always)]
unsafe fn dot<S: Simd, E: Weight>(s: S, indices: &[u16], values: &[E], x: &[f32]) -> f32 {
    // One vector of AVX-512, or two.
    let mut acc = [s.zero(); 2];
    let (groups, rest) = indices.as_chunks::<SUMS>();
    let (value_groups, value_rest) = values.as_chunks::<SUMS>();
    for (indices, values) in groups.iter().zip(value_groups) {
        prefetch(indices.as_ptr().wrapping_add(AHEAD));
        prefetch(values.as_ptr().wrapping_add(AHEAD));
        for v in 0..SUMS / S::LANES {
            // SAFETY: the caller guarantees the indices; a group has `SUMS` values.
            let [x, w] = unsafe {
                [
                    s.gather(x.as_ptr(), &indices[v * S::LANES..]),
                    E::load(s, values.as_ptr().add(v * S::LANES)),
                ]
            };
            acc[v] = s.fma(w, x, acc[v]);
        }
    }
    let mut sums = [0.0; SUMS];
    for (v, sums) in sums.chunks_exact_mut(S::LANES).enumerate() {
        s.put(sums, acc[v]);
    }
    for (i, (&index, &value)) in rest.iter().zip(value_rest).enumerate() {
        sums[i] = s.fma_one(value.widen(), x[usize::from(index)], sums[i]);
    }
    let mut half = SUMS / 2;
    while half > 0 {
        for i in 0..half {
            sums[i] += sums[i + half];
        }
        half /= 2;
    }
    sums[0]
}
