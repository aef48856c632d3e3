//! Channels-last data as a matrix `[rows, C]`: maps with per-channel parameters, and sums over rows.
//!
//! Loops run along a row, which is contiguous. With few channels, or an odd number of them, every row would end in a
//! partial vector. Several rows are therefore treated as one (a *tile*) that consists of whole vectors, and per-channel
//! parameters are repeated across it.
//!
//! ```text
//! x [rows, C=3]:   abc abc abc abc …      one tile:  abcabc…abc   (48 floats are three AVX-512 vectors)
//! ```
//!
//! A task works on a fixed number of tiles, about [`CHUNK`] floats. Its sums are `f32`, one per column of the tile, few
//! enough to stay in the L1 cache while the rows stream past. The sums of different columns and chunks are then added
//! in `f64`, in a fixed order, so the results are bit-identical for any number of threads.

use crate::buffer::Buffer;
use crate::cpu::Cpu;
use crate::cpu::ops::lanewise::CHUNK;
use crate::cpu::simd::{Kernel, MAX_LANES, Simd};
use rayon::prelude::*;

/// The minimum tile width for sums: enough independent sums to hide their latency, few enough to add up afterwards.
const SUM_TILE: usize = 8 * MAX_LANES;

/// The minimum tile width for maps: the cost of starting a loop is small compared with the loop itself.
const MAP_TILE: usize = 32 * MAX_LANES;

/// The number of floats in a tile of rows with `c` channels, at least `least`. A tile has whole rows. It also has whole
/// vectors, unless rows are so long that a partial vector at the end does not matter.
fn tile_width(c: usize, least: usize) -> usize {
    let whole_vectors = |rows: &usize| c >= SUM_TILE || (c * rows).is_multiple_of(MAX_LANES);
    let width = c * (1..=MAX_LANES).find(whole_vectors).expect("MAX_LANES rows are whole vectors");
    width * least.div_ceil(width)
}

/// The number of floats that a task works on: whole tiles.
fn chunk_len(width: usize) -> usize {
    width * (CHUNK / width).max(1)
}

/// Repeats `parameter` `[C]` to `width` floats.
fn repeat(parameter: &[f32], width: usize) -> Buffer {
    parameter.iter().copied().cycle().take(width).collect()
}

/// Parameters of `c` channels, repeated across a tile of a map.
pub(in crate::cpu) struct Repeated<const P: usize> {
    c: usize,
    width: usize,
    params: [Buffer; P],
}

impl<const P: usize> Repeated<P> {
    /// Repeats each of `params`, `[C]`.
    pub(in crate::cpu) fn new(c: usize, params: [&[f32]; P]) -> Self {
        assert!(params.iter().all(|p| p.len() == c), "a parameter has one value per channel");
        let width = tile_width(c, MAP_TILE);
        Self { c, width, params: params.map(|p| repeat(p, width)) }
    }

    pub(in crate::cpu) fn channels(&self) -> usize {
        self.c
    }

    /// The parameters of a channel.
    pub(in crate::cpu) fn of(&self, channel: usize) -> [f32; P] {
        assert!(channel < self.c, "there is such a channel");
        self.params.each_ref().map(|param| param[channel])
    }

    pub(in crate::cpu) fn bytes(&self) -> usize {
        Self::bytes_of(self.c)
    }

    /// The size of the parameters of `c` channels in bytes.
    pub(in crate::cpu) fn bytes_of(c: usize) -> usize {
        size_of::<f32>() * P * tile_width(c, MAP_TILE)
    }
}

/// Computes `outs[..][row, ch] = op(params[..][ch], outs[..][row, ch], ins[..][row, ch])`.
pub(in crate::cpu) fn map_channels<const P: usize, const OUT: usize, const IN: usize>(
    cpu: &Cpu,
    params: &Repeated<P>,
    outs: [&mut [f32]; OUT],
    ins: [&[f32]; IN],
    op: impl Fn([f32; P], [f32; OUT], [f32; IN]) -> [f32; OUT] + Copy + Send + Sync,
) {
    let len = outs[0].len();
    let lengths = outs.iter().map(|out| out.len()).chain(ins.iter().map(|x| x.len()));
    assert!(lengths.into_iter().all(|l| l == len), "matrices have different sizes");
    let width = params.width;
    let params = params.params.each_ref().map(|p| &p[..]);
    cpu.run(|| halve(cpu, chunk_len(width), MapChunk { width, params, outs, ins, op }));
}

/// Runs `whole`, recursively split into parallel halves until they fit in one chunk.
fn halve<const P: usize, const OUT: usize, const IN: usize, Op>(
    cpu: &Cpu,
    chunk: usize,
    whole: MapChunk<P, OUT, IN, Op>,
) where
    Op: Fn([f32; P], [f32; OUT], [f32; IN]) -> [f32; OUT] + Copy + Send + Sync,
{
    let chunks = whole.outs[0].len().div_ceil(chunk);
    if chunks <= 1 {
        return cpu.dispatch(whole);
    }
    let middle = chunks / 2 * chunk;
    let MapChunk { width, params, outs, ins, op } = whole;
    let mut outs = outs.map(|out| out.split_at_mut(middle));
    let left = outs.each_mut().map(|(left, _)| std::mem::take(left));
    let left = MapChunk { width, params, outs: left, ins: ins.map(|x| &x[..middle]), op };
    let right = outs.map(|(_, right)| right);
    let right = MapChunk { width, params, outs: right, ins: ins.map(|x| &x[middle..]), op };
    cpu.join(|| halve(cpu, chunk, left), || halve(cpu, chunk, right));
}

struct MapChunk<'a, const P: usize, const OUT: usize, const IN: usize, Op> {
    width: usize,
    params: [&'a [f32]; P],
    outs: [&'a mut [f32]; OUT],
    ins: [&'a [f32]; IN],
    op: Op,
}

impl<const P: usize, const OUT: usize, const IN: usize, Op> Kernel for MapChunk<'_, P, OUT, IN, Op>
where
    Op: Fn([f32; P], [f32; OUT], [f32; IN]) -> [f32; OUT],
{
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, _: S) {
        let all = self.outs[0].len();
        for start in (0..all).step_by(self.width) {
            // Slices of equal length let the compiler drop the bounds checks in the loop.
            let len = self.width.min(all - start);
            let params = self.params.map(|p| &p[..len]);
            let outs = self.outs.each_mut().map(|out| &mut out[start..][..len]);
            let ins = self.ins.map(|x| &x[start..][..len]);
            for j in 0..len {
                let (mut p, mut out, mut x) = ([0.0; P], [0.0; OUT], [0.0; IN]);
                for k in 0..P {
                    p[k] = params[k][j];
                }
                for k in 0..OUT {
                    out[k] = outs[k][j];
                }
                for k in 0..IN {
                    x[k] = ins[k][j];
                }
                let new = (self.op)(p, out, x);
                for k in 0..OUT {
                    outs[k][j] = new[k];
                }
            }
        }
    }
}

/// The shift that the formula of [`column_sums`] subtracts from the data before it forms products. A formula that needs
/// no shift ignores it.
#[derive(Clone, Copy)]
pub(in crate::cpu) enum Shift<'a> {
    /// One value per channel.
    Channels(&'a [f32]),
    /// The first tile of each chunk.
    FirstTile,
}

/// Sums of `K` terms over rows, one set per column and chunk.
pub(in crate::cpu) struct ColumnSums<const K: usize> {
    c: usize,
    width: usize,
    chunk: usize,
    len: usize,
    /// `[chunks, K, width]`.
    sums: Buffer,
}

/// The sums of one column of one chunk.
pub(in crate::cpu) struct ColumnSum<const K: usize> {
    /// The channel that the column belongs to.
    pub channel: usize,
    /// The offset into the data of the first element added.
    pub first: usize,
    /// The number of rows added.
    pub count: usize,
    /// The `K` sums.
    pub sums: [f64; K],
}

/// Sums the `K` terms of `op(shift, ins[..][row, ch])` over the rows of each column and chunk.
pub(in crate::cpu) fn column_sums<const K: usize, const IN: usize>(
    cpu: &Cpu,
    c: usize,
    shift: Shift<'_>,
    ins: [&[f32]; IN],
    op: impl Fn(f32, [f32; IN]) -> [f32; K] + Copy + Send + Sync,
) -> ColumnSums<K> {
    let (width, len) = (tile_width(c, SUM_TILE), ins[0].len());
    let chunk = chunk_len(width);
    let repeated = match shift {
        Shift::Channels(values) => Some(repeat(values, width)),
        Shift::FirstTile => None,
    };
    let mut sums = Buffer::zeros(len.div_ceil(chunk) * K * width);
    cpu.run(|| {
        sums.par_chunks_mut(K * width).enumerate().for_each(|(i, sums)| {
            let ins = ins.map(|x| &x[i * chunk..len.min((i + 1) * chunk)]);
            let shift = repeated.as_deref().unwrap_or(ins[0]);
            cpu.dispatch(SumChunk { width, shift, ins, sums, op });
        });
    });
    ColumnSums { c, width, chunk, len, sums }
}

struct SumChunk<'a, const IN: usize, Op> {
    width: usize,
    shift: &'a [f32],
    ins: [&'a [f32]; IN],
    sums: &'a mut [f32],
    op: Op,
}

impl<const K: usize, const IN: usize, Op: Fn(f32, [f32; IN]) -> [f32; K]> Kernel for SumChunk<'_, IN, Op> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let mut sums = self.sums.chunks_exact_mut(self.width);
        let mut sums: [&mut [f32]; K] = std::array::from_fn(|_| sums.next().expect("K rows of sums"));
        let len = self.ins[0].len();
        let blocks = len / (BLOCK * self.width) * (BLOCK * self.width);
        for start in (0..blocks).step_by(BLOCK * self.width) {
            add_tiles::<BLOCK, K, IN>(
                self.width, self.width, start, self.shift, self.ins, &mut sums, &self.op,
            );
        }
        for start in (blocks..len).step_by(self.width) {
            let tile = self.width.min(len - start);
            add_tiles::<1, K, IN>(self.width, tile, start, self.shift, self.ins, &mut sums, &self.op);
        }
    }
}

/// The number of tiles added together before they are added to the sums, which are thus read and written `BLOCK` times
/// less often.
const BLOCK: usize = 4;

/// Adds the first `len` columns of `TILES` tiles, starting at `start`, to the sums.
#[inline(always)]
fn add_tiles<const TILES: usize, const K: usize, const IN: usize>(
    width: usize,
    len: usize,
    start: usize,
    shift: &[f32],
    ins: [&[f32]; IN],
    sums: &mut [&mut [f32]; K],
    op: &impl Fn(f32, [f32; IN]) -> [f32; K],
) {
    // Slices of equal length let the compiler drop the bounds checks in the loop.
    let mut tiles = [[&shift[..0]; IN]; TILES];
    for tile in 0..TILES {
        for k in 0..IN {
            tiles[tile][k] = &ins[k][start + tile * width..][..len];
        }
    }
    let shift = &shift[..len];
    let sums = sums.each_mut().map(|s| &mut s[..len]);
    for j in 0..len {
        let mut total = [0.0; K];
        for tile in 0..TILES {
            let mut x = [0.0; IN];
            for k in 0..IN {
                x[k] = tiles[tile][k][j];
            }
            let terms = op(shift[j], x);
            for k in 0..K {
                total[k] += terms[k];
            }
        }
        for k in 0..K {
            sums[k][j] += total[k];
        }
    }
}

impl<const K: usize> ColumnSums<K> {
    /// Visits every sum, in chunk order.
    pub(in crate::cpu) fn for_each(&self, mut visit: impl FnMut(ColumnSum<K>)) {
        for (i, chunk) in self.sums.chunks_exact(K * self.width).enumerate() {
            let start = i * self.chunk;
            let len = self.chunk.min(self.len - start);
            let (tiles, rest) = (len / self.width, len % self.width);
            let columns =
                (0..self.width).step_by(self.c).flat_map(|row| (0..self.c).map(move |ch| (row + ch, ch)));
            for (column, channel) in columns {
                let count = tiles + usize::from(column < rest);
                if count > 0 {
                    let sums = std::array::from_fn(|k| chunk[k * self.width + column].into());
                    visit(ColumnSum { channel, first: start + column, count, sums });
                }
            }
        }
    }

    /// Returns the totals of each channel.
    pub(in crate::cpu) fn totals(&self) -> Vec<[f64; K]> {
        let mut totals = vec![[0.0; K]; self.c];
        self.for_each(|part| {
            for k in 0..K {
                totals[part.channel][k] += part.sums[k];
            }
        });
        totals
    }
}
