//! Winograd convolution F(4×4, 3×3): a 3×3 convolution of stride 1 with a quarter of the multiplications.
//!
//! ```text
//!  for block of up to 128 output tiles of 4×4                               one task
//!    V[ξ][tile][c] = Bᵀ d B       of each 6×6 input patch, vectors along c
//!    for ξ in 0..36, panel of up to 48 columns
//!      M[ξ][tile][o] = V[ξ] · U[ξ]      tile kernel; U = G g Gᵀ was packed once
//!    y = Aᵀ M A                   of each tile, with bias, residual and activation
//! ```
//!
//! A panel of U is read from memory for each block, so a block is large; its V[ξ] stays in the second-level cache
//! while the panels pass by. The input gradient is the same with filters rotated by half a turn and transposed.

mod filters;
mod transform;

pub(super) use filters::{Direction, Filters};

use super::Epilogue;
use super::scatter::Scatter;
use crate::cpu::Cpu;
use crate::cpu::scratch::{Shared, Workspace, with_workspace};
use crate::cpu::simd::{Kernel, Simd};
use crate::cpu::tile::{MAX_MR, Tile, activate, load_lanes, store_lanes};
use crate::params::Activation;
use crate::shapes::Conv2d;
use rayon::prelude::*;

/// Products of a tile.
const POINTS: usize = 36;
/// Output pixels along a tile's side, and input pixels along its patch's side.
const SIDE: usize = 4;
const PATCH: usize = 6;
/// Floats added to each point's share of a buffer: without them all points of a vector would fall into the same
/// set of the cache, because channels and tiles come in powers of two.
const SKEW: usize = 16;

/// Most tiles of a task. Filters that fit the second-level cache may be read often, so that V and M fit beside
/// them; larger ones must not.
fn block_size(filter_len: usize) -> usize {
    const SMALL: usize = 640 * 1024;
    if filter_len <= SMALL { 32 } else { 128 }
}

/// Whether Winograd is expected to win. It needs a 3×3 kernel of stride 1 without dilation or groups; then
///
/// - maps that fill their 4×4 tiles at least by half, or the saved multiplications are spent on the border;
/// - 16 channels on either side and 2048 pairs of them, or the transforms outweigh the products;
/// - enough tiles in the batch, or handling the four times larger weight takes longer than the direct product:
///   16, and one for 16384 pairs of channels, where it is only read; 128 where this call also transforms it.
pub(super) fn pays(g: &Conv2d, weight: Weight) -> bool {
    let tiles = g.n * g.oh().div_ceil(SIDE) * g.ow().div_ceil(SIDE);
    let filled = 2 * g.n * g.oh() * g.ow() >= tiles * SIDE * SIDE;
    let possible = [g.kh, g.kw] == [3; 2]
        && g.stride == [1; 2]
        && g.dilation == [1; 2]
        && g.groups == 1
        && g.padding.iter().all(|&p| p <= 2);
    let pairs = g.c * g.o;
    let enough_tiles = match weight {
        Weight::Read => tiles >= 16 && tiles >= pairs / 16384,
        Weight::Transform => tiles >= 128,
    };
    possible && filled && g.c.min(g.o) >= 16 && pairs >= 2048 && enough_tiles
}

/// What a call does with the weight.
#[derive(Clone, Copy)]
pub(super) enum Weight {
    /// It was transformed before.
    Read,
    /// It is transformed for this call alone.
    Transform,
}

/// A stride-1 convolution of `source` `[n, h, w, channels]` to `[n, oh, ow, columns]` with transformed filters.
#[derive(Clone, Copy)]
pub(super) struct Winograd<'a> {
    n: usize,
    source_size: [usize; 2],
    target_size: [usize; 2],
    channels: usize,
    columns: usize,
    padding: [usize; 2],
    source: &'a [f32],
    filters: &'a Filters,
    packed: &'a [f32],
    /// A source pixel of zeros, for patches that reach into the padding.
    zeros: &'a [f32],
    scatter: Option<&'a Scatter>,
    epilogue: Epilogue<'a>,
}

impl<'a> Winograd<'a> {
    /// The forward pass of `g`, or its input gradient, of which `source` is then dy. With a scatter the filters
    /// are the live ones.
    pub(super) fn new(
        g: &Conv2d,
        source: &'a [f32],
        filters: &'a Filters,
        packed: &'a [f32],
        zeros: &'a [f32],
        scatter: Option<&'a Scatter>,
        epilogue: Epilogue<'a>,
    ) -> Self {
        let (n, image, map) = (g.n, [g.h, g.w], [g.oh(), g.ow()]);
        let (source_size, target_size, channels, padding) = match filters.direction {
            Direction::Forward => (image, map, g.c, g.padding),
            Direction::InputGrad => (map, image, g.o, g.padding.map(|p| 2 - p)),
        };
        Self {
            n,
            source_size,
            target_size,
            channels,
            columns: filters.columns(),
            padding,
            source,
            filters,
            packed,
            zeros,
            scatter,
            epilogue,
        }
    }

    /// Computes the whole target.
    pub(super) fn run(&self, cpu: &Cpu, y: Shared) {
        let tiles = self.n * self.tiles_down() * self.tiles_across();
        let mr = self.filters.panels[0].kernel.mr;
        let block = tiles
            .div_ceil(cpu.thread_count())
            .next_multiple_of(mr)
            .min(block_size(self.filters.len()) / mr * mr);
        cpu.run(|| {
            (0..tiles.div_ceil(block)).into_par_iter().with_max_len(1).for_each(|task| {
                let first = task * block;
                let count = block.min(tiles - first);
                with_workspace(|workspace| {
                    let stride = count.next_multiple_of(mr);
                    let v_point = (stride * self.channels).next_multiple_of(16) + SKEW;
                    let m_point = (stride * self.columns).next_multiple_of(16) + SKEW;
                    let computed_len = SIDE * SIDE * self.columns;
                    let len = POINTS * (v_point + m_point) + computed_len;
                    let floats = Workspace::floats(&mut workspace.floats, len);
                    let (v, rest) = floats.split_at_mut(POINTS * v_point);
                    let (m, computed) = rest.split_at_mut(POINTS * m_point);
                    cpu.dispatch(TransformInput { product: self, first, count, point_len: v_point, v });
                    self.multiply(count, v_point, v, m_point, m);
                    let output = TransformOutput {
                        cpu,
                        product: self,
                        first,
                        count,
                        point_len: m_point,
                        m,
                        computed,
                        y,
                    };
                    cpu.dispatch(output);
                });
            });
        });
    }

    fn tiles_down(&self) -> usize {
        self.target_size[0].div_ceil(SIDE)
    }

    fn tiles_across(&self) -> usize {
        self.target_size[1].div_ceil(SIDE)
    }

    /// Image, and first row and column of the target, of a tile.
    fn position(&self, tile: usize) -> (usize, usize, usize) {
        let (row, across) = (tile / self.tiles_across(), tile % self.tiles_across());
        (row / self.tiles_down(), row % self.tiles_down() * SIDE, across * SIDE)
    }

    /// `M[ξ] = V[ξ] · U[ξ]` for all points; V is `[36, tiles, channels]`, M `[36, tiles, columns]`, with `count`
    /// tiles rounded up to whole register tiles.
    fn multiply(&self, count: usize, v_point: usize, v: &[f32], m_point: usize, m: &mut [f32]) {
        for point in 0..POINTS {
            let v = &v[point * v_point..][..v_point];
            let m = &mut m[point * m_point..][..m_point];
            for panel in &self.filters.panels {
                let kernel = panel.kernel;
                let b = &self.packed[point * self.filters.point_len + panel.offset..];
                for tile in (0..count).step_by(kernel.mr) {
                    // Rows beyond `count` exist up to a multiple of MR; they are not stored.
                    let rows: [*const f32; MAX_MR] =
                        std::array::from_fn(|i| v.as_ptr().wrapping_add((tile + i) * self.channels));
                    let out: [usize; MAX_MR] = std::array::from_fn(|i| (tile + i) * self.columns);
                    let tile = Tile {
                        segments: 1,
                        len: self.channels,
                        rows: rows.as_ptr(),
                        row_stride: MAX_MR,
                        a_offset: 0,
                        a_step: 1,
                        b: b.as_ptr(),
                        c: m.as_mut_ptr().wrapping_add(panel.start),
                        out: out.as_ptr(),
                        m: kernel.mr.min(count - tile),
                        n: panel.width,
                        accumulate: false,
                        bias: std::ptr::null(),
                        residual: std::ptr::null(),
                        activation: Activation::None,
                    };
                    // SAFETY: the kernel comes from a backend that this machine has; V has rows of `channels`
                    // up to a multiple of MR, the panel `channels` rows of NR, M rows of `columns`.
                    unsafe { (kernel.run)(&tile) }
                }
            }
        }
    }
}

/// `V[ξ][tile][c] = (Bᵀ d B)[ξ]` of each patch, pixels outside the image zero.
struct TransformInput<'a> {
    product: &'a Winograd<'a>,
    first: usize,
    count: usize,
    /// Floats of one point.
    point_len: usize,
    v: &'a mut [f32],
}

impl Kernel for TransformInput<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let p = self.product;
        let [height, width] = p.source_size;
        for tile in 0..self.count {
            let (image, row, column) = p.position(self.first + tile);
            let mut pixels = [[p.zeros.as_ptr(); PATCH]; PATCH];
            for (dy, pixels) in pixels.iter_mut().enumerate() {
                for (dx, pixel) in pixels.iter_mut().enumerate() {
                    let (y, x) =
                        ((row + dy).wrapping_sub(p.padding[0]), (column + dx).wrapping_sub(p.padding[1]));
                    if y < height && x < width {
                        *pixel = p.source[((image * height + y) * width + x) * p.channels..].as_ptr();
                    }
                }
            }
            let v = &mut self.v[tile * p.channels..][..(POINTS - 1) * self.point_len + p.channels];
            for c in (0..p.channels).step_by(S::LANES) {
                let lanes = S::LANES.min(p.channels - c);
                let mut d = [[s.zero(); PATCH]; PATCH];
                for (d, pixel) in d.as_flattened_mut().iter_mut().zip(pixels.as_flattened()) {
                    // SAFETY: a pixel, of the source or of zeros, has `channels ≥ c + lanes` floats.
                    *d = unsafe { load_lanes(s, pixel.add(c), lanes) };
                }
                for (point, &value) in transform::input(s, &d).as_flattened().iter().enumerate() {
                    // SAFETY: `v` reaches to the end of this tile's channels in the last point.
                    unsafe { store_lanes(s, v.as_mut_ptr().add(point * self.point_len + c), value, lanes) };
                }
            }
        }
    }
}

/// `y = activation(Aᵀ M A + bias + residual)` of each tile, cut at the target's border.
struct TransformOutput<'a> {
    cpu: &'a Cpu,
    product: &'a Winograd<'a>,
    first: usize,
    count: usize,
    /// Floats of one point.
    point_len: usize,
    m: &'a [f32],
    /// The sixteen pixels of a tile, used with a scatter.
    computed: &'a mut [f32],
    y: Shared<'a>,
}

impl Kernel for TransformOutput<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let p = self.product;
        let [height, width] = p.target_size;
        let row_len = p.scatter.map_or(p.columns, Scatter::width);
        for tile in 0..self.count {
            let (image, row, column) = p.position(self.first + tile);
            let (down, across) = (SIDE.min(height - row), SIDE.min(width - column));
            let mut pixels = [0; SIDE * SIDE];
            for i in 0..down * across {
                pixels[i] = ((image * height + row + i / across) * width + column + i % across) * row_len;
            }
            let pixels = &pixels[..down * across];
            let sums = &self.m[tile * p.columns..][..(POINTS - 1) * self.point_len + p.columns];
            for o in (0..p.columns).step_by(S::LANES) {
                let lanes = S::LANES.min(p.columns - o);
                let mut m = [[s.zero(); PATCH]; PATCH];
                for (point, value) in m.as_flattened_mut().iter_mut().enumerate() {
                    // SAFETY: `sums` reaches to the end of this tile's columns in the last point.
                    *value = unsafe { load_lanes(s, sums.as_ptr().add(point * self.point_len + o), lanes) };
                }
                let values = transform::output(s, &m);
                for (i, &pixel) in pixels.iter().enumerate() {
                    let value = values[i / across][i % across];
                    if p.scatter.is_some() {
                        s.put(&mut self.computed[i * p.columns + o..][..lanes], value);
                        continue;
                    }
                    // SAFETY: each tile of the target belongs to one task.
                    let y = unsafe { self.y.range(pixel + o, lanes) };
                    s.put(y, finish(s, &p.epilogue, value, o, pixel + o, lanes));
                }
            }
            if let Some(scatter) = p.scatter {
                scatter.expand(self.cpu, 0..p.columns, pixels, self.computed, p.columns, &p.epilogue, self.y);
            }
        }
    }
}

/// `activation(value + bias[column..] + residual[at..])`.
#[inline(always)]
fn finish<S: Simd>(s: S, epilogue: &Epilogue, value: S::F, column: usize, at: usize, lanes: usize) -> S::F {
    let mut value = value;
    if let Some(bias) = epilogue.bias {
        value = s.add(value, s.get(&bias[column..column + lanes]));
    }
    if let Some(residual) = epilogue.residual {
        value = s.add(value, s.get(&residual[at..at + lanes]));
    }
    activate(s, epilogue.activation, value)
}
