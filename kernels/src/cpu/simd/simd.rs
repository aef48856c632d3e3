//! The vector trait over which each CPU algorithm is written once.
//!
//! A backend is a zero-sized *token*. Tokens are created only by a check of the running machine, so owning one proves
//! that its instructions are available, and the arithmetic below is safe to call. An algorithm is a [`Kernel`]: a value
//! that holds its arguments and runs over any backend. [`Simd::vectorize`] (and
//! [`Cpu::dispatch`](crate::cpu::Cpu::dispatch), which picks the backend) calls it inside a `#[target_feature]`
//! function. Everything is inlined into that function, so that the compiler can use the wide registers.
//!
//! Rules for a `Kernel`: mark `run` and every generic helper `#[inline(always)]`, and dispatch *inside* the closure
//! that a thread runs, not around it, because a closure handed to another thread does not inherit the features. Nor does
//! `array::map`, which calls each vector operation of its closure as a function (`tests/geometry/inlining.rs`).

use half::bf16;

/// An algorithm and its arguments, generic over the vector backend.
pub trait Kernel {
    /// The type of the result.
    type Output;

    /// Runs the algorithm. Implementations are `#[inline(always)]`.
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

/// The operations of one instruction set on vectors of `LANES` floats.
pub trait Simd: Copy + Send + Sync + 'static {
    /// A vector register (or, in the portable backend, two).
    type F: Copy;

    /// A set of lanes.
    type Set: Copy;

    /// The number of floats in a vector.
    const LANES: usize;

    /// Runs `kernel` compiled for this instruction set.
    fn vectorize<K: Kernel>(self, kernel: K) -> K::Output;

    /// Sets every lane to `x`.
    fn splat(self, x: f32) -> Self::F;

    /// Reads `LANES` floats. Any alignment is allowed; 64 bytes is fastest.
    ///
    /// # Safety
    /// `p..p + LANES` is readable.
    unsafe fn load(self, p: *const f32) -> Self::F;

    /// Reads `LANES` bf16 numbers and widens them exactly.
    ///
    /// # Safety
    /// `p..p + LANES` is readable.
    unsafe fn load_bf16(self, p: *const bf16) -> Self::F;

    /// Writes `LANES` floats.
    ///
    /// # Safety
    /// `p..p + LANES` is writable.
    unsafe fn store(self, p: *mut f32, v: Self::F);

    /// Reads the first `n ≤ LANES` lanes; the others are zero.
    ///
    /// # Safety
    /// `p..p + n` is readable and `n ≤ LANES`.
    unsafe fn load_partial(self, p: *const f32, n: usize) -> Self::F;

    /// Writes the first `n ≤ LANES` lanes.
    ///
    /// # Safety
    /// `p..p + n` is writable and `n ≤ LANES`.
    unsafe fn store_partial(self, p: *mut f32, v: Self::F, n: usize);

    /// `a + b`.
    fn add(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a − b`.
    fn sub(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a · b`.
    fn mul(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a · b + c`, rounded once if the instruction set has a fused multiply-add.
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// `a · b + c` of single numbers.
    fn fma_one(self, a: f32, b: f32, c: f32) -> f32;
    /// `a > b ? a : b` in each lane. The result is `b` if either is NaN, so `max(0, x)` propagates a NaN in `x`.
    fn max(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a < b ? a : b` in each lane. The result is `b` if either is NaN.
    fn min(self, a: Self::F, b: Self::F) -> Self::F;
    /// The set of the lanes whose bits are set.
    fn set(self, bits: u32) -> Self::Set;
    /// Moves each lane up by one. Lane 0 becomes the last lane of `before`, and lanes outside `keep` become zero.
    fn shift_up(self, before: Self::F, v: Self::F, keep: Self::Set) -> Self::F;
    /// Moves each lane down by one. The last lane becomes lane 0 of `after`, and lanes outside `keep` become zero.
    fn shift_down(self, v: Self::F, after: Self::F, keep: Self::Set) -> Self::F;
    /// The even lanes of `a` and then of `b`, and the odd ones.
    fn deinterleave(self, a: Self::F, b: Self::F) -> [Self::F; 2];
    /// Transposes the matrix whose rows are the first `LANES` vectors. The other vectors are unspecified.
    fn transpose(self, rows: [Self::F; MAX_LANES]) -> [Self::F; MAX_LANES];

    /// Moves the first lanes of `v`, in order, to the lanes whose bits are set in `mask`; the other lanes are zero.
    /// `mask` has no bits beyond `LANES`.
    fn expand(self, v: Self::F, mask: u32) -> Self::F;

    /// [`expand`](Self::expand) of the floats at `p`.
    ///
    /// # Safety
    /// `p..p + LANES` is readable.
    #[inline(always)]
    unsafe fn load_expanded(self, p: *const f32, mask: u32) -> Self::F {
        // SAFETY: guaranteed by the caller.
        self.expand(unsafe { self.load(p) }, mask)
    }

    /// [`expand`](Self::expand) of the numbers at `p`.
    ///
    /// # Safety
    /// `p..p + LANES` is readable.
    #[inline(always)]
    unsafe fn load_expanded_bf16(self, p: *const bf16, mask: u32) -> Self::F {
        // SAFETY: guaranteed by the caller.
        self.expand(unsafe { self.load_bf16(p) }, mask)
    }

    /// The floats that lie as many elements from `p` as the first `LANES` of `places` say.
    ///
    /// # Safety
    /// `p` is readable at these places.
    ///
    /// # Panics
    /// Panics if `places` has fewer than `LANES`.
    unsafe fn gather(self, p: *const f32, places: &[u16]) -> Self::F;

    /// Moves the lanes of `v` whose bits are set in `mask` to the first lanes, in order; the others are
    /// unspecified. This is the inverse of [`expand`](Self::expand).
    fn compress(self, v: Self::F, mask: u32) -> Self::F;

    /// The lanes of `a` whose bits are set in `mask`, and those of `b` elsewhere.
    fn select(self, mask: u32, a: Self::F, b: Self::F) -> Self::F;

    /// Returns the lanes in order at the start of an array; the rest is zero.
    fn to_array(self, v: Self::F) -> [f32; MAX_LANES];

    /// Sets every lane to zero.
    #[inline(always)]
    fn zero(self) -> Self::F {
        self.splat(0.0)
    }

    /// Vector `vector` of a list of bits, as a mask. The list has whole vectors of `MAX_LANES` bits.
    #[inline(always)]
    fn mask(self, bits: &[u8], vector: usize) -> u32 {
        if Self::LANES == 8 {
            bits[vector].into()
        } else {
            u16::from_le_bytes([bits[2 * vector], bits[2 * vector + 1]]).into()
        }
    }

    /// Sums the lanes as a balanced tree, in the same order on every call.
    #[inline(always)]
    fn sum(self, v: Self::F) -> f32 {
        let mut lanes = self.to_array(v);
        let mut half = MAX_LANES / 2;
        while half > 0 {
            for i in 0..half {
                lanes[i] += lanes[i + half];
            }
            half /= 2;
        }
        lanes[0]
    }

    /// Reads the first `LANES` floats of `x`, padded with zeros if it is shorter.
    /// This is the safe way to walk a slice: `for part in x.chunks(S::LANES) { … simd.get(part) … }`.
    #[inline(always)]
    fn get(self, x: &[f32]) -> Self::F {
        if x.len() >= Self::LANES {
            // SAFETY: `x` has at least LANES elements.
            unsafe { self.load(x.as_ptr()) }
        } else {
            // SAFETY: only `x` is read, which is shorter than LANES.
            unsafe { self.load_partial(x.as_ptr(), x.len()) }
        }
    }

    /// Writes the first `min(LANES, len)` lanes to the start of `y`, the counterpart of [`get`](Self::get).
    #[inline(always)]
    fn put(self, y: &mut [f32], v: Self::F) {
        if y.len() >= Self::LANES {
            // SAFETY: `y` has at least LANES elements.
            unsafe { self.store(y.as_mut_ptr(), v) }
        } else {
            // SAFETY: only `y` is written, which is shorter than LANES.
            unsafe { self.store_partial(y.as_mut_ptr(), v, y.len()) }
        }
    }
}

/// The maximum number of lanes of any backend.
pub const MAX_LANES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::{Cpu, Isa};

    /// Applies every operation to two slices. Returns the results lane by lane and the number of lanes in a vector.
    struct EveryOperation<'a>(&'a [f32], &'a [f32]);

    impl Kernel for EveryOperation<'_> {
        type Output = (usize, Vec<Vec<f32>>);

        #[inline(always)]
        fn run<S: Simd>(self, s: S) -> Self::Output {
            let mut results = vec![Vec::new(); 7];
            for (a, b) in self.0.chunks(S::LANES).zip(self.1.chunks(S::LANES)) {
                let (va, vb) = (s.get(a), s.get(b));
                let values = [
                    s.add(va, vb),
                    s.sub(va, vb),
                    s.mul(va, vb),
                    s.fma(va, vb, s.splat(1.0)),
                    s.max(va, vb),
                    s.min(va, vb),
                    s.splat(s.sum(va)),
                ];
                for (result, value) in results.iter_mut().zip(values) {
                    let mut out = vec![f32::NAN; a.len()];
                    s.put(&mut out, value);
                    result.extend(out);
                }
            }
            (S::LANES, results)
        }
    }

    #[test]
    fn every_backend_matches_scalar_arithmetic() {
        for cpu in Isa::ALL.iter().filter_map(|&isa| Cpu::with_isa(isa)) {
            for len in 1..40 {
                let a: Vec<f32> = (0..len).map(|i| (i * 7 % 11) as f32 - 5.0).collect();
                let b: Vec<f32> = (0..len).map(|i| (i * 5 % 13) as f32 - 6.5).collect();
                let (lanes, got) = cpu.dispatch(EveryOperation(&a, &b));
                for i in 0..len {
                    let (x, y) = (a[i], b[i]);
                    // Small integers add exactly in any order.
                    let sum = a.chunks(lanes).nth(i / lanes).unwrap().iter().sum();
                    let want = [x + y, x - y, x * y, x * y + 1.0, x.max(y), x.min(y), sum];
                    for (op, want) in want.into_iter().enumerate() {
                        assert_eq!(got[op][i], want, "{} op {op} lane {i} of {len}", cpu.isa());
                    }
                }
            }
        }
    }

    /// Shifts lanes across two vectors in both directions, deinterleaves these, and transposes a matrix of the numbers 0, 1, 2, …
    struct MoveLanes {
        keep: u32,
    }

    impl Kernel for MoveLanes {
        type Output = (usize, [Vec<f32>; 2], [Vec<f32>; 2], Vec<Vec<f32>>);

        #[inline(always)]
        fn run<S: Simd>(self, s: S) -> Self::Output {
            let numbers: Vec<f32> = (0..MAX_LANES * MAX_LANES).map(|i| i as f32).collect();
            let row = |i: usize| s.get(&numbers[i * S::LANES..]);
            let lanes = |v: S::F| s.to_array(v)[..S::LANES].to_vec();
            let keep = s.set(self.keep);
            let shifted = [s.shift_up(row(0), row(1), keep), s.shift_down(row(0), row(1), keep)].map(lanes);
            let split = s.deinterleave(row(0), row(1)).map(lanes);
            let transposed =
                s.transpose(std::array::from_fn(|i| if i < S::LANES { row(i) } else { s.zero() }));
            (S::LANES, shifted, split, transposed.into_iter().take(S::LANES).map(lanes).collect())
        }
    }

    #[test]
    fn lanes_move_in_order() {
        for cpu in Isa::ALL.iter().filter_map(|&isa| Cpu::with_isa(isa)) {
            for keep in [0xffff, 0x0000, 0xfefe, 0x7f7f, 0x1235] {
                let (lanes, [up, down], [even, odd], transposed) = cpu.dispatch(MoveLanes { keep });
                for i in 0..lanes {
                    let kept = |value: usize| if keep >> i & 1 == 1 { value as f32 } else { 0.0 };
                    assert_eq!(
                        (up[i], down[i]),
                        (kept(lanes + i - 1), kept(i + 1)),
                        "{} lane {i}",
                        cpu.isa()
                    );
                    assert_eq!(
                        [even[i], odd[i]],
                        [2 * i, 2 * i + 1].map(|i| i as f32),
                        "{} lane {i}",
                        cpu.isa()
                    );
                    for (j, row) in transposed.iter().enumerate() {
                        assert_eq!(row[i], (i * lanes + j) as f32, "{} row {j}, column {i}", cpu.isa());
                    }
                }
            }
        }
    }

    /// Computes `max(0, x)` of a NaN, which ReLU must propagate.
    struct ReluOfNan;

    impl Kernel for ReluOfNan {
        type Output = f32;

        #[inline(always)]
        fn run<S: Simd>(self, s: S) -> f32 {
            s.to_array(s.max(s.zero(), s.splat(f32::NAN)))[0]
        }
    }

    #[test]
    fn max_with_zero_propagates_nan() {
        for cpu in Isa::ALL.iter().filter_map(|&isa| Cpu::with_isa(isa)) {
            assert!(cpu.dispatch(ReluOfNan).is_nan(), "{}", cpu.isa());
        }
    }
}
