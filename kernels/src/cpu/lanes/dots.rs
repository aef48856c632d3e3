//! The inner kernel of the weight gradient: the dot products of one filter's gradients with the pixels of its weights.
//!
//! ```text
//!   for team in teams
//!     for list in before, after, same
//!       d[0..N] = dy of the filter, moved to the lanes that the list reads        (registers)
//!       for 16 (step) at a time
//!         for entry in 0..16                         x += step
//!           rows[entry] = Σ_vector d[vector] · x[vector]
//!         sums[16] += the sums of the rows, which are transposed first
//! ```
//!
//! The gradient stays in registers for a whole list, so that a multiply-add takes one load, as in the forward kernel.
//! The horizontal sums of 16 entries are one transpose, about five operations an entry.

use super::lists::HEADER;
use super::tile::Entry;
use crate::cpu::Cpu;
use crate::cpu::simd::{Kernel, MAX_LANES, Simd};

/// The arguments of a tile.
pub(super) struct Tile<'a> {
    /// The lists of the first filter, which those of the others follow.
    pub lists: &'a [u32],
    /// The number of filters, each of which is a team.
    pub filters: usize,
    /// The first pixel of the tile in the first channel's first plane.
    pub x: *const f32,
    /// The tile's gradients of the first filter, and the distance to those of the next one, in floats.
    pub dy: *const f32,
    pub step: usize,
    /// A sum for each entry of the lists.
    pub sums: &'a mut [f32],
    /// Vectors per unit, along which lanes shift.
    pub unit: usize,
    /// The lanes that sums of the forward pass may enter when they shift up or down.
    pub enterable: [u32; 2],
}

/// Adds the dot products of a tile of `vectors` vectors to its sums.
///
/// # Safety
/// `tile.lists` are the lists of `tile.filters` teams of one filter, and `tile.sums` has a sum for each entry. The steps
/// of each list lead from `x` to `vectors` readable vectors, and every filter has as many at `dy`.
pub(super) unsafe fn add_dots(cpu: &Cpu, vectors: usize, tile: &mut Tile) {
    match vectors {
        1 => cpu.dispatch(Filters::<1>(tile)),
        2 => cpu.dispatch(Filters::<2>(tile)),
        3 => cpu.dispatch(Filters::<3>(tile)),
        4 => cpu.dispatch(Filters::<4>(tile)),
        5 => cpu.dispatch(Filters::<5>(tile)),
        6 => cpu.dispatch(Filters::<6>(tile)),
        7 => cpu.dispatch(Filters::<7>(tile)),
        8 => cpu.dispatch(Filters::<8>(tile)),
        _ => panic!("no kernel has tiles of {vectors} vectors"),
    }
}

/// All filters of a tile. Only [`add_dots`] makes one, whose caller guarantees that the tile is valid.
struct Filters<'a, 'b, const N: usize>(&'a mut Tile<'b>);

/// The next entry, the pixels of the one before it, and the next entry's sum.
struct Walk {
    entry: *const Entry<1>,
    x: *const f32,
    sum: *mut f32,
}

impl<const N: usize> Kernel for Filters<'_, '_, N> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self(tile) = self;
        let (up, down) = (s.set(tile.enterable[0]), s.set(tile.enterable[1]));
        let mut walk = Walk { entry: tile.lists.as_ptr().cast(), x: tile.x, sum: tile.sums.as_mut_ptr() };
        for filter in 0..tile.filters {
            // SAFETY: three lengths precede a team's lists, whose entries have sums and lead to `N` vectors of pixels;
            // `dy` has `N` vectors for each filter.
            unsafe {
                let [before, after, same] = walk.entry.cast::<[u32; HEADER]>().read();
                walk.entry = walk.entry.cast::<u32>().add(HEADER).cast();
                walk.x = tile.x;
                let dy = tile.dy.add(filter * tile.step);
                let mut d = [s.zero(); N];
                for (i, d) in d.iter_mut().enumerate() {
                    *d = s.load(dy.add(i * S::LANES));
                }
                // A sum of the forward pass that moves up adds a product of the lane below its own.
                let [mut lower, mut upper] = [d; 2];
                for i in 0..N {
                    let first = i % tile.unit == 0;
                    let last = i % tile.unit == tile.unit - 1;
                    lower[i] = s.shift_down(d[i], if last || i == N - 1 { s.zero() } else { d[i + 1] }, down);
                    upper[i] = s.shift_up(if first { s.zero() } else { d[i - 1] }, d[i], up);
                }
                add_list(s, &lower, before, &mut walk);
                add_list(s, &upper, after, &mut walk);
                add_list(s, &d, same, &mut walk);
            }
        }
    }
}

/// Adds the dot products of `d` with the pixels of a list of `count` entries.
///
/// # Safety
/// `walk` is followed by `count` entries and sums, whose steps lead to `N` readable vectors each.
#[inline(always)]
unsafe fn add_list<S: Simd, const N: usize>(s: S, d: &[S::F; N], count: u32, walk: &mut Walk) {
    let mut left = count as usize;
    // SAFETY: guaranteed by the caller: each pass reads as many entries and adds to as many sums as it takes off `left`.
    unsafe {
        while left >= S::LANES {
            let mut rows = [s.zero(); MAX_LANES];
            for row in &mut rows[..S::LANES] {
                *row = dot(s, d, walk);
            }
            let sums = s.add(s.load(walk.sum), sum_of_rows(s, rows));
            s.store(walk.sum, sums);
            walk.sum = walk.sum.add(S::LANES);
            left -= S::LANES;
        }
        if left > 0 {
            let mut rows = [s.zero(); MAX_LANES];
            for row in &mut rows[..left] {
                *row = dot(s, d, walk);
            }
            let sums = s.add(s.load_partial(walk.sum, left), sum_of_rows(s, rows));
            s.store_partial(walk.sum, sums, left);
            walk.sum = walk.sum.add(left);
        }
    }
}

/// The products of `d` with the pixels of the next entry, summed over the vectors.
///
/// # Safety
/// `walk` is followed by an entry, whose step leads to `N` readable vectors.
#[inline(always)]
unsafe fn dot<S: Simd, const N: usize>(s: S, d: &[S::F; N], walk: &mut Walk) -> S::F {
    // SAFETY: guaranteed by the caller.
    unsafe {
        walk.x = walk.x.wrapping_byte_offset((*walk.entry).step as isize);
        walk.entry = walk.entry.add(1);
        let mut sum = s.mul(d[0], s.load(walk.x));
        for (i, &d) in d.iter().enumerate().skip(1) {
            sum = s.fma(d, s.load(walk.x.add(i * S::LANES)), sum);
        }
        sum
    }
}

/// The sum of the lanes of row `i`, in lane `i`.
#[inline(always)]
fn sum_of_rows<S: Simd>(s: S, rows: [S::F; MAX_LANES]) -> S::F {
    let mut columns = s.transpose(rows);
    let mut count = S::LANES;
    while count > 1 {
        count /= 2;
        for i in 0..count {
            columns[i] = s.add(columns[i], columns[i + count]);
        }
    }
    columns[0]
}
