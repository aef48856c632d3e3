//! The residues of a convolution's stride: the input gradient as stride-1 convolutions of `dy`.
//!
//! Along one axis, input position `h` is read by output `i` through tap `k` if `i·s + k·d = h + p`. The positions
//! `h = a + s·j` of one residue `a` are therefore reached by the same taps, those with `k·d ≡ a + p (mod s)`: every
//! `s / gcd(s, d)`-th tap from the first, `k₀`. Through tap `t` of these, position `j` reads
//!
//! ```text
//!   i = (a + s·j + p − k·d) / s = j + (a + p − k₀·d) / s − t · d / gcd(s, d)
//! ```
//!
//! so a residue is a convolution of `dy` with stride 1 whose taps run backward, and no product is wasted.

use crate::shapes::Conv2d;

/// The input positions of one residue along one axis, and the taps that reach them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Residue {
    /// The residue, which is also the first position.
    pub first: usize,
    /// The number of input positions that have it.
    pub count: usize,
    /// The first tap that reaches them; 0 if none does.
    pub first_tap: usize,
    /// The distance from one tap to the next.
    pub tap_step: usize,
    /// The number of taps that reach them.
    pub taps: usize,
    /// The output that the first position reads through the first tap; it may be outside the image.
    pub origin: isize,
    /// The distance between the outputs that consecutive taps read, toward the beginning.
    pub distance: usize,
}

impl Residue {
    /// The residues along `axis` (0 for height, 1 for width) that occur among the input positions.
    pub fn along(g: &Conv2d, axis: usize) -> Vec<Self> {
        let (size, kernel) = ([g.h, g.w][axis], [g.kh, g.kw][axis]);
        let (stride, dilation, padding) = (g.stride[axis], g.dilation[axis], g.padding[axis]);
        let divisor = gcd(stride, dilation);
        let residue = |first: usize| {
            let position = first + padding;
            let reaching = (0..kernel).find(|tap| tap * dilation % stride == position % stride);
            let (tap_step, first_tap) = (stride / divisor, reaching.unwrap_or(0));
            Self {
                first,
                count: (size - first).div_ceil(stride),
                first_tap,
                tap_step,
                taps: reaching.map_or(0, |tap| (kernel - tap).div_ceil(tap_step)),
                origin: (position as isize - (first_tap * dilation) as isize).div_euclid(stride as isize),
                distance: dilation / divisor,
            }
        };
        (0..stride.min(size)).map(residue).collect()
    }

    /// Each tap with the output that the first position reads through it.
    pub fn reads(&self) -> impl Iterator<Item = (usize, isize)> {
        let Self { first_tap, tap_step, taps, origin, distance, .. } = *self;
        (0..taps).map(move |t| (first_tap + t * tap_step, origin - (t * distance) as isize))
    }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Every position and tap for which the defining equation has a solution occurs once, with that solution.
        #[test]
        fn residues_solve_the_equation(
            size in 1usize..20, kernel in 1usize..8, stride in 1usize..7, dilation in 1usize..7, padding in 0usize..9,
        ) {
            let square = Conv2d::square([1, size, 1, 1], 1, kernel, stride, padding);
            let g = Conv2d { kw: 1, dilation: [dilation, 1], ..square };
            let mut found = Vec::new();
            for residue in Residue::along(&g, 0) {
                for j in 0..residue.count {
                    let position = residue.first + stride * j;
                    found.extend(residue.reads().map(|(tap, origin)| (position, tap, origin + j as isize)));
                }
            }
            found.sort_unstable();
            let mut expected = Vec::new();
            for position in 0..size {
                for tap in 0..kernel {
                    let reach = (position + padding) as isize - (tap * dilation) as isize;
                    if reach.rem_euclid(stride as isize) == 0 {
                        expected.push((position, tap, reach.div_euclid(stride as isize)));
                    }
                }
            }
            prop_assert_eq!(found, expected);
        }
    }
}
