//! The inner kernel: the sums of a tile of up to eight vectors of pixels, for a team of one or two filters at a time.
//!
//! ```text
//!   for team in teams
//!     for list in before, after, same
//!       for (step, weight …)                       x += step
//!         for vector in 0..N                       (unrolled)
//!           sums[filter][vector] += weight · x[vector]
//!       before, after: shift the sums by a lane
//!     add the sums of the blocks before; store, or add bias and residual, clamp and store to images in lanes
//! ```
//!
//! Every load of pixels is aligned, although taps look left and right: the sums of all taps on one side are shifted
//! together, once for each list instead of once for each weight. One filter of 8 vectors takes a load for each fused
//! multiply-add, a scalar load for eight of them, and one of four weights for 32. Two filters share the loads of the pixels:
//! 16 multiply-adds take 8 loads, and the multiply-add units are the limit. A tile of few vectors divides
//! each list among up to four partial sums, which hide the latency of the additions. The three lists of one filter have
//! sums of their own, so that the processor can begin with one while it finishes another.

use super::entries::{Entry, GROUP, Group};
use super::lists::HEADER;
use crate::cpu::Cpu;
use crate::cpu::simd::{Kernel, Simd};

/// The arguments of a tile.
pub(super) struct Tile<'a> {
    /// The lists of the first team, which those of the others follow.
    pub lists: &'a [u32],
    /// The number of teams.
    pub teams: usize,
    /// The first pixel of the tile in the first channel's first plane.
    pub x: *const f32,
    /// The sums, one tile of vectors for each filter of each team.
    pub y: *mut f32,
    /// Whether the sums start at zero instead of continuing those in `y`.
    pub first: bool,
    /// The lanes that sums may enter when they shift up or down.
    pub enterable: [u32; 2],
    /// Where the sums go after the last block, if that is not `y`.
    pub end: Option<End<'a>>,
}

/// The end of the sums in images that stay in lanes, whose rows are a tile's vectors: `clamp(sum + bias + residual)`.
#[derive(Clone, Copy)]
pub(super) struct End<'a> {
    /// The tile in the plane of the first filter, and in that of a residual.
    pub y: *mut f32,
    pub residual: Option<*const f32>,
    /// Floats from one filter's plane to the next.
    pub plane: usize,
    /// The biases of the filters.
    pub bias: Option<&'a [f32]>,
    /// The least and the greatest output.
    pub bounds: [f32; 2],
}

/// A function that computes a tile.
pub(super) type Run = unsafe fn(&Cpu, &Tile);

/// The kernel for tiles of `vectors` vectors, in units of `unit`, for `team` filters at a time.
pub(super) fn kernel(vectors: usize, unit: usize, team: usize) -> Run {
    macro_rules! table {
        ($($n:literal $v:literal),*) => {
            match (vectors, unit, team) {
                $(($n, $v, 1) => run::<1, $n, $v>, ($n, $v, 2) => run::<2, $n, $v>,)*
                _ => panic!("no kernel has tiles of {vectors} vectors in units of {unit} for {team} filters"),
            }
        };
    }
    table!(1 1, 2 1, 3 1, 4 1, 5 1, 6 1, 7 1, 8 1, 2 2, 4 2, 6 2, 8 2, 3 3, 6 3, 4 4, 8 4, 5 5, 6 6, 7 7, 8 8)
}

/// Runs the kernel for `N` vectors, in units of `V`, and teams of `T` filters.
///
/// # Safety
/// `tile.lists` are the lists of `tile.teams` teams of `T` filters. The steps of each list lead from `x` to `N`
/// readable vectors, and `y` has `N` vectors for each filter of a team. With an `end`, so has each plane of its output and
/// of its residual.
unsafe fn run<const T: usize, const N: usize, const V: usize>(cpu: &Cpu, tile: &Tile) {
    cpu.dispatch(Teams::<T, N, V>(tile));
}

/// All teams of a tile. Only [`run`] makes one, whose caller guarantees that the tile is valid.
struct Teams<'a, const T: usize, const N: usize, const V: usize>(&'a Tile<'a>);

/// The rest of a team's lists, and the pixels of the entry before them.
struct Walk {
    list: *const u32,
    x: *const f32,
}

/// The sums of a team's tile.
type Sums<S, const T: usize, const N: usize> = [[<S as Simd>::F; N]; T];

impl<const T: usize, const N: usize, const V: usize> Kernel for Teams<'_, T, N, V> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self(tile) = self;
        let mut lists = tile.lists.as_ptr();
        for team in 0..tile.teams {
            // SAFETY: a team has three lengths before its lists, and `y` has `N` vectors for each of its filters, as has
            // the end.
            unsafe {
                let lengths = lists.cast::<[u32; HEADER]>().read();
                let mut walk = Walk { list: lists.add(HEADER), x: tile.x };
                let y = tile.y.add(team * T * N * S::LANES);
                let sums = team_sums::<S, T, N, V>(s, tile, lengths, &mut walk, y);
                match &tile.end {
                    None => store(s, sums, y),
                    Some(end) => end.store(s, team * T, sums),
                }
                lists = walk.list;
            }
        }
    }
}

/// Computes the sums of one team. Those in `y` are unspecified afterwards.
///
/// # Safety
/// As for [`run`]: `walk` starts at the team's lists, which have these lengths, and `y` at its sums.
#[inline(always)]
unsafe fn team_sums<S: Simd, const T: usize, const N: usize, const V: usize>(
    s: S,
    tile: &Tile,
    [before, after, same]: [u32; 3],
    walk: &mut Walk,
    y: *mut f32,
) -> Sums<S, T, N> {
    let [up, down] = tile.enterable.map(|bits| s.set(bits));
    let zeros = [[s.zero(); N]; T];
    // SAFETY: guaranteed by the caller.
    unsafe {
        let mut sums = add_list(s, walk, before, zeros);
        if before > 0 {
            sums = shift_up::<S, T, N, V>(s, sums, up);
        }
        if !tile.first {
            sums = add_stored(s, sums, y);
        }
        if after > 0 {
            // The sums of two filters do not fit in registers together with those of another list.
            if T > 1 {
                store(s, sums, y);
            }
            let moved = shift_down::<S, T, N, V>(s, add_list(s, walk, after, zeros), down);
            sums = if T > 1 { add_stored(s, moved, y) } else { add(s, sums, moved) };
        }
        // A list that continued the sums of the others would wait for their last additions and shifts.
        if T == 1 { add(s, sums, add_list(s, walk, same, zeros)) } else { add_list(s, walk, same, sums) }
    }
}

impl End<'_> {
    /// Ends the sums of the filters from `filter` on, and stores them.
    ///
    /// # Safety
    /// The planes of these filters have `N` vectors at `y`, which nothing else accesses, and at `residual`.
    #[inline(always)]
    unsafe fn store<S: Simd, const T: usize, const N: usize>(
        &self,
        s: S,
        filter: usize,
        sums: Sums<S, T, N>,
    ) {
        let [low, high] = self.bounds.map(|bound| s.splat(bound));
        for f in 0..T {
            let bias = s.splat(self.bias.map_or(0.0, |bias| bias[filter + f]));
            for i in 0..N {
                let (at, mut v) = ((filter + f) * self.plane + i * S::LANES, s.add(sums[f][i], bias));
                // SAFETY: guaranteed by the caller.
                unsafe {
                    if let Some(residual) = self.residual {
                        v = s.add(v, s.load(residual.add(at)));
                    }
                    s.store(self.y.add(at), s.min(high, s.max(low, v)));
                }
            }
        }
    }
}

/// Adds the products of a list of `count` entries, in partial sums if the tile has few vectors.
///
/// # Safety
/// `walk` is followed by a list of `count` entries, whose steps lead to `N` readable vectors each.
#[inline(always)]
unsafe fn add_list<S: Simd, const T: usize, const N: usize>(
    s: S,
    walk: &mut Walk,
    count: u32,
    sums: Sums<S, T, N>,
) -> Sums<S, T, N> {
    // SAFETY: guaranteed by the caller.
    unsafe {
        match T * N {
            1 | 2 => add_parts::<S, T, N, 4>(s, walk, count, sums),
            3 | 4 => add_parts::<S, T, N, 2>(s, walk, count, sums),
            _ => add_parts::<S, T, N, 1>(s, walk, count, sums),
        }
    }
}

/// Adds the products of a list in `P` partial sums.
///
/// # Safety
/// As for [`add_list`].
#[inline(always)]
unsafe fn add_parts<S: Simd, const T: usize, const N: usize, const P: usize>(
    s: S,
    walk: &mut Walk,
    count: u32,
    sums: Sums<S, T, N>,
) -> Sums<S, T, N> {
    let mut parts = [[[s.zero(); N]; T]; P];
    parts[0] = sums;
    let mut x = walk.x;
    // SAFETY: guaranteed by the caller.
    unsafe {
        let (mut group, groups) = (walk.list.cast::<Group<T>>(), count as usize / GROUP);
        let whole = group.add(groups);
        while group != whole {
            let mut fours = [[s.zero(); GROUP]; T];
            for f in 0..T {
                fours[f] = s.splat_four(&(*group).weights[f]);
            }
            for i in 0..GROUP {
                let mut weights = [s.zero(); T];
                for f in 0..T {
                    weights[f] = fours[f][i];
                }
                x = x.wrapping_byte_offset((*group).steps[i] as isize);
                add_products(s, weights, x, &mut parts[i % P]);
            }
            group = group.add(1);
        }
        let mut entry = group.cast::<Entry<T>>();
        let end = entry.add(count as usize % GROUP);
        while entry != end {
            let mut weights = [s.zero(); T];
            for f in 0..T {
                weights[f] = s.splat((*entry).weights[f]);
            }
            x = x.wrapping_byte_offset((*entry).step as isize);
            add_products(s, weights, x, &mut parts[0]);
            entry = entry.add(1);
        }
        *walk = Walk { list: entry.cast(), x };
    }
    let mut sums = parts[0];
    for part in parts.iter().skip(1) {
        sums = add(s, sums, *part);
    }
    sums
}

/// Adds the products of one entry, whose weights are in all lanes.
///
/// # Safety
/// `x` has `N` readable vectors.
#[inline(always)]
unsafe fn add_products<S: Simd, const T: usize, const N: usize>(
    s: S,
    weights: [S::F; T],
    x: *const f32,
    sums: &mut Sums<S, T, N>,
) {
    for i in 0..N {
        // SAFETY: guaranteed by the caller.
        let pixels = unsafe { s.load(x.add(i * S::LANES)) };
        for f in 0..T {
            sums[f][i] = s.fma(weights[f], pixels, sums[f][i]);
        }
    }
}

/// Moves the sums up by one lane, along each unit.
#[inline(always)]
fn shift_up<S: Simd, const T: usize, const N: usize, const V: usize>(
    s: S,
    mut sums: Sums<S, T, N>,
    keep: S::Set,
) -> Sums<S, T, N> {
    for f in 0..T {
        for i in (0..N).rev() {
            let before = if i % V > 0 { sums[f][i - 1] } else { s.zero() };
            sums[f][i] = s.shift_up(before, sums[f][i], keep);
        }
    }
    sums
}

/// Moves the sums down by one lane, along each unit.
#[inline(always)]
fn shift_down<S: Simd, const T: usize, const N: usize, const V: usize>(
    s: S,
    mut sums: Sums<S, T, N>,
    keep: S::Set,
) -> Sums<S, T, N> {
    for f in 0..T {
        for i in 0..N {
            let after = if i % V < V - 1 { sums[f][i + 1] } else { s.zero() };
            sums[f][i] = s.shift_down(sums[f][i], after, keep);
        }
    }
    sums
}

#[inline(always)]
fn add<S: Simd, const T: usize, const N: usize>(
    s: S,
    mut sums: Sums<S, T, N>,
    others: Sums<S, T, N>,
) -> Sums<S, T, N> {
    for f in 0..T {
        for i in 0..N {
            sums[f][i] = s.add(sums[f][i], others[f][i]);
        }
    }
    sums
}

/// Adds the sums at `y`.
///
/// # Safety
/// `y` has `T · N` readable vectors.
#[inline(always)]
unsafe fn add_stored<S: Simd, const T: usize, const N: usize>(
    s: S,
    mut sums: Sums<S, T, N>,
    y: *const f32,
) -> Sums<S, T, N> {
    for f in 0..T {
        for i in 0..N {
            // SAFETY: guaranteed by the caller.
            sums[f][i] = s.add(sums[f][i], unsafe { s.load(y.add((f * N + i) * S::LANES)) });
        }
    }
    sums
}

/// Writes the sums to `y`.
///
/// # Safety
/// `y` has `T · N` writable vectors.
#[inline(always)]
unsafe fn store<S: Simd, const T: usize, const N: usize>(s: S, sums: Sums<S, T, N>, y: *mut f32) {
    for f in 0..T {
        for i in 0..N {
            // SAFETY: guaranteed by the caller.
            unsafe { s.store(y.add((f * N + i) * S::LANES), sums[f][i]) };
        }
    }
}
