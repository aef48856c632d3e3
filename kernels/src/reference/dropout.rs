//! Dropout (Srivastava et al. 2014) from a counter instead of a stream: whether element `i` is kept depends only on
//! `(seed, i)`, so any number of threads gives the same bits and the gradient needs no stored mask.

use super::Float;

/// Zeroes each element with probability `p` and multiplies the others by `1/(1 − p)`. The gradient is the same call
/// on `dy`.
pub fn dropout<F: Float>(p: f32, seed: u64, x: &[F], y: &mut [F]) {
    assert_eq!(x.len(), y.len());
    let scale = F::ONE / (F::ONE - F::of(p.into()));
    for (i, (y, &x)) in y.iter_mut().zip(x).enumerate() {
        *y = if keeps(p, seed, i as u64) { scale * x } else { F::ZERO };
    }
}

/// Whether dropout keeps element `i`: a uniform 24-bit number, drawn by SplitMix64 (Steele et al. 2014) at position
/// `i` of the sequence with seed `seed`, is at least `p`.
pub fn keeps(p: f32, seed: u64, i: u64) -> bool {
    let mut z = seed.wrapping_add((i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^= z >> 31;
    (z >> 40) as f32 / (1u32 << 24) as f32 >= p
}
