//! The inner kernel: the sums of a tile of up to eight vectors of pixels, for a team of one or two filters at a time.
//!
//! ```text
//!   for team in teams
//!     for list in before, after, same
//!       for (step, weight …)                       x += step
//!         for vector in 0..N                       (unrolled)
//!           sums[filter][vector] += weight · x[vector]
//!       before, after: shift the sums by a lane
//!     add the sums of the blocks before; store, in the last block with the end of the convolution if that is possible
//! ```
//!
//! Every load of pixels is aligned, although taps look left and right: the sums of all taps on one side are shifted
//! together, once for each list instead of once for each weight. One filter of 8 vectors takes a load for each fused
//! multiply-add, and a broadcast and two scalar loads for eight of them. Two filters share the loads of the pixels: 16
//! multiply-adds take 8 loads and 2 broadcasts, and the multiply-add units are the limit. A tile of few vectors divides
//! each list among up to four partial sums, which hide the latency of the additions. The three lists of one filter have
//! sums of their own, so that the processor can begin with one while it finishes another. The next step is added behind
//! the products because the compiler would turn one before them into an index register, which costs every multiply-add a
//! second slot of those that a core fills per cycle.

use super::lists::HEADER;
use super::rows::RowsEnd;
use crate::cpu::Cpu;
use crate::cpu::gemm::tile::prefetch_far;
use crate::cpu::simd::{Kernel, Simd};

/// The number of bytes by which lists are prefetched in advance. Without this, the hardware prefetcher fetches lists from the
/// last-level cache at a fifth of its speed, and a call that reads all of them from there takes up to twice as long.
const AHEAD: usize = 2048;
/// The number of entries that are read between two prefetches: at most a cache line.
const UNROLLED: usize = 4;

/// The arguments of a tile.
pub(super) struct Tile<'a> {
    /// The lists of the first team, which those of the others follow, and at least one more word.
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
    /// Stores the sums of the first team's filters and of those that follow, if they do not go to `y`.
    pub end: Option<&'a RowsEnd<'a>>,
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
/// `tile.lists` are the lists of `tile.teams` teams of `T` filters and another word. The steps of each list lead from `x`
/// to `N` readable vectors, and `y` has `N` vectors for each filter of a team. If there is an `end`, it is that of a tile of
/// `N` vectors of these teams, whose rows no other task has.
unsafe fn run<const T: usize, const N: usize, const V: usize>(cpu: &Cpu, tile: &Tile) {
    cpu.dispatch(Teams::<T, N, V>(tile));
}

/// All teams of a tile. Only [`run`] makes one, whose caller guarantees that the tile is valid.
struct Teams<'a, const T: usize, const N: usize, const V: usize>(&'a Tile<'a>);

/// An entry of a list.
#[repr(C)]
pub(super) struct Entry<const T: usize> {
    /// The step to its pixels, in bytes.
    pub step: i32,
    pub weights: [f32; T],
}

/// The next entry, and its pixels.
struct Walk<const T: usize> {
    entry: *const Entry<T>,
    x: *const f32,
}

/// The sums of a team's tile.
type Sums<S, const T: usize, const N: usize> = [[<S as Simd>::F; N]; T];

impl<const T: usize, const N: usize, const V: usize> Kernel for Teams<'_, T, N, V> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self(tile) = self;
        assert!(tile.end.is_none_or(|end| end.vectors == N), "the end is that of a tile of {N} vectors");
        let mut lists = tile.lists.as_ptr();
        for team in 0..tile.teams {
            // SAFETY: a team has three lengths before its lists, a word follows them even if they are empty, and `y` has `N`
            // vectors for each of its filters.
            unsafe {
                let lengths = lists.cast::<[u32; HEADER]>().read();
                let entry = lists.add(HEADER).cast::<Entry<T>>();
                let mut walk = Walk { entry, x: tile.x.wrapping_byte_offset((*entry).step as isize) };
                let y = tile.y.add(team * T * N * S::LANES);
                let sums = team_sums::<S, T, N, V>(s, tile, lengths, &mut walk, y);
                match tile.end {
                    Some(end) => end.store(s, sums, team * T),
                    None => store(s, sums, y),
                }
                lists = walk.entry.cast();
            }
        }
    }
}

/// Computes the sums of one team, using `y` for those of a part of its lists.
///
/// # Safety
/// As for [`run`]: `walk` starts at the team's lists, which have these lengths, and `y` at its sums.
#[inline(always)]
unsafe fn team_sums<S: Simd, const T: usize, const N: usize, const V: usize>(
    s: S,
    tile: &Tile,
    [before, after, same]: [u32; 3],
    walk: &mut Walk<T>,
    y: *mut f32,
) -> Sums<S, T, N> {
    let (up, down) = (s.set(tile.enterable[0]), s.set(tile.enterable[1]));
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
        if T == 1 && before + after > 0 {
            let own = add_list(s, walk, same, zeros);
            add(s, sums, own)
        } else {
            add_list(s, walk, same, sums)
        }
    }
}

/// Adds the products of a list of `count` entries, in partial sums if the tile has few vectors.
///
/// # Safety
/// `walk` is followed by `count` entries, whose steps lead to `N` readable vectors each, and another word.
#[inline(always)]
unsafe fn add_list<S: Simd, const T: usize, const N: usize>(
    s: S,
    walk: &mut Walk<T>,
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
    walk: &mut Walk<T>,
    count: u32,
    sums: Sums<S, T, N>,
) -> Sums<S, T, N> {
    let mut parts = [[[s.zero(); N]; T]; P];
    parts[0] = sums;
    let (mut entry, mut x) = (walk.entry, walk.x);
    // SAFETY: guaranteed by the caller.
    unsafe {
        let (whole, end) = (entry.add(count as usize / UNROLLED * UNROLLED), entry.add(count as usize));
        while entry != whole {
            prefetch_far(entry.cast::<u8>().wrapping_add(AHEAD));
            for i in 0..UNROLLED {
                add_products(s, &(*entry).weights, x, &mut parts[i % P]);
                entry = entry.add(1);
                x = x.wrapping_byte_offset((*entry).step as isize);
            }
        }
        prefetch_far(entry.cast::<u8>().wrapping_add(AHEAD));
        for i in 0..UNROLLED - 1 {
            if entry == end {
                break;
            }
            add_products(s, &(*entry).weights, x, &mut parts[i % P]);
            entry = entry.add(1);
            x = x.wrapping_byte_offset((*entry).step as isize);
        }
    }
    *walk = Walk { entry, x };
    let mut sums = parts[0];
    for part in parts.iter().skip(1) {
        sums = add(s, sums, *part);
    }
    sums
}

/// Adds the products of one entry.
///
/// # Safety
/// `x` has `N` readable vectors.
#[inline(always)]
unsafe fn add_products<S: Simd, const T: usize, const N: usize>(
    s: S,
    weights: &[f32; T],
    x: *const f32,
    sums: &mut Sums<S, T, N>,
) {
    for i in 0..N {
        // SAFETY: guaranteed by the caller.
        let pixels = unsafe { s.load(x.add(i * S::LANES)) };
        for f in 0..T {
            sums[f][i] = s.fma(s.splat(weights[f]), pixels, sums[f][i]);
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
