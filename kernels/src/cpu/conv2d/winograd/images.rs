//! The two ends of Winograd's algorithm: from the image to V, and from M to the image.

use super::pass::Pass;
use super::patches::pixels;
use super::tiling::{Tiling, padded};
use super::transform::Map;
use crate::cpu::Cpu;
use crate::cpu::conv2d::Epilogue;
use crate::cpu::device::shared::Shared;
use crate::cpu::simd::activate::Ending;
use crate::cpu::simd::partial::load_bias;
use crate::cpu::simd::{Kernel, Simd};
use std::ops::Range;

/// Computes `V[ξ][tile][c] = (Bᵀ d B)[ξ]` for each patch; pixels outside the image are zero.
pub(super) struct TransformInput<'a, const PATCH: usize, T: Map<PATCH, PATCH>> {
    pub pass: &'a Pass<'a>,
    pub tiles: Range<usize>,
    /// `Bᵀ`.
    pub map: T,
}

impl<const PATCH: usize, T: Map<PATCH, PATCH>> Kernel for TransformInput<'_, PATCH, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (pass, p) = (self.pass, self.pass.product);
        for tile in self.tiles.clone() {
            let (image, row, column) = p.position(pass.first + tile);
            let corner = [row, column];
            let pixels: [[_; PATCH]; PATCH] =
                pixels(p.source, p.source_size, p.channels, p.zeros, image, corner, p.padding);
            let v = pass.v.as_mut_ptr().wrapping_add(tile * padded(p.channels));
            for c in (0..p.channels).step_by(S::LANES) {
                let lanes = S::LANES.min(p.channels - c);
                // SAFETY: a pixel, whether from the source or from `zeros`, has `channels ≥ c + lanes` floats. V has rows
                // of at least `c + LANES` floats for each point and tile, and only this task writes this tile.
                unsafe {
                    if lanes == S::LANES {
                        self.half::<S, 0, true>(s, &pixels, c, v, lanes);
                        self.half::<S, 1, true>(s, &pixels, c, v, lanes);
                    } else {
                        self.half::<S, 0, false>(s, &pixels, c, v, lanes);
                        self.half::<S, 1, false>(s, &pixels, c, v, lanes);
                    }
                }
            }
        }
    }
}

impl<const PATCH: usize, T: Map<PATCH, PATCH>> TransformInput<'_, PATCH, T> {
    /// Transforms a vector of channels from `c` on to the upper (`HALF` = 0) or the lower half of its points. The values
    /// between the columns and the rows of a half fit in registers, those of the whole patch do not; the halves share
    /// only loads.
    ///
    /// # Safety
    /// Each pixel has `lanes` floats from `c` on, which are a `WHOLE` vector or fewer, and each point of `v` has `LANES`.
    #[inline(always)]
    unsafe fn half<S: Simd, const HALF: usize, const WHOLE: bool>(
        &self,
        s: S,
        pixels: &[[*const f32; PATCH]; PATCH],
        c: usize,
        v: *mut f32,
        lanes: usize,
    ) {
        let rows = HALF * PATCH / 2..(HALF + 1) * PATCH / 2;
        let mut columns = [[s.zero(); PATCH]; PATCH];
        for x in 0..PATCH {
            let mut column = [s.zero(); PATCH];
            for y in 0..PATCH {
                // SAFETY: guaranteed by the caller.
                column[y] = unsafe { read::<S, WHOLE>(s, pixels[y][x].add(c), lanes) };
            }
            // Values of the other half are not used, and therefore not computed.
            let column = self.map.apply(s, column);
            for y in rows.clone() {
                columns[y][x] = column[y];
            }
        }
        for y in rows {
            let row = self.map.apply(s, columns[y]);
            for x in 0..PATCH {
                let point = y * PATCH + x;
                // SAFETY: guaranteed by the caller.
                unsafe { s.store(v.add(point * self.pass.v_point + c), row[x]) };
            }
        }
    }
}

/// Computes `y = activation(Aᵀ M A + bias + residual)` for each tile, clipped to the target.
pub(super) struct TransformOutput<'a, const PATCH: usize, const SIDE: usize, T: Map<PATCH, SIDE>> {
    pub cpu: &'a Cpu,
    pub pass: &'a Pass<'a>,
    pub tiles: Range<usize>,
    pub y: Shared<'a>,
    /// `Aᵀ`.
    pub map: T,
}

/// The part of a tile that lies in the target.
struct Clipped {
    /// The first pixel, and the distance between rows, in pixels.
    first: usize,
    width: usize,
    /// The numbers of rows and columns.
    size: [usize; 2],
}

impl<const PATCH: usize, const SIDE: usize, T: Map<PATCH, SIDE>> Kernel
    for TransformOutput<'_, PATCH, SIDE, T>
{
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (pass, p) = (self.pass, self.pass.product);
        let [height, width] = p.target_size;
        // Holds the pixels of a tile before they are scattered.
        let mut computed = p.scatter.map(|_| self.cpu.scratch(SIDE * SIDE * p.columns));
        for tile in self.tiles.clone() {
            let (image, row, column) = p.position(pass.first + tile);
            let size = [SIDE.min(height - row), SIDE.min(width - column)];
            let first = (image * height + row) * width + column;
            let sums = pass.m.as_mut_ptr().cast_const().wrapping_add(tile * padded(p.columns));
            match (p.scatter, &mut computed) {
                (Some(scatter), Some(computed)) => {
                    let (plain, [down, across]) = (Epilogue::default(), size);
                    let local = Clipped { first: 0, width: across, size };
                    self.columns(s, sums, &local, &plain, Shared::new(computed));
                    let mut pixels = [0; MAX_TILE];
                    for i in 0..down * across {
                        pixels[i] = (first + i / across * width + i % across) * scatter.width();
                    }
                    let rows = computed.chunks_exact(p.columns);
                    let pixels = &pixels[..down * across];
                    scatter.expand(self.cpu, 0..p.columns, pixels, rows, &p.epilogue, self.y);
                }
                _ => self.columns(s, sums, &Clipped { first, width, size }, &p.epilogue, self.y),
            }
        }
    }
}

/// The number of pixels in the largest tile.
const MAX_TILE: usize = Tiling::F4.side() * Tiling::F4.side();

impl<const PATCH: usize, const SIDE: usize, T: Map<PATCH, SIDE>> TransformOutput<'_, PATCH, SIDE, T> {
    /// Transforms all columns of a tile, whose sums begin at `sums`, to pixels of `columns` floats of `y`.
    #[inline(always)]
    fn columns<S: Simd>(&self, s: S, sums: *const f32, tile: &Clipped, epilogue: &Epilogue, y: Shared) {
        let columns = self.pass.product.columns;
        let Epilogue { bias, residual, activation } = *epilogue;
        let ending = Ending::new(activation);
        for o in (0..columns).step_by(S::LANES) {
            let lanes = S::LANES.min(columns - o);
            let sums = sums.wrapping_add(o);
            // SAFETY: M has `columns ≥ o + lanes` floats for each point and tile.
            let rows = unsafe {
                if lanes == S::LANES {
                    self.down::<S, true>(s, sums, lanes)
                } else {
                    self.down::<S, false>(s, sums, lanes)
                }
            };
            let bias = load_bias(s, bias, o..o + lanes);
            for row in 0..SIDE {
                if row >= tile.size[0] {
                    break;
                }
                let values = self.map.apply(s, rows[row]);
                for column in 0..SIDE {
                    if column >= tile.size[1] {
                        break;
                    }
                    let at = (tile.first + row * tile.width + column) * columns + o;
                    let mut value = s.add(values[column], bias);
                    if let Some(residual) = residual {
                        value = s.add(value, s.get(&residual[at..at + lanes]));
                    }
                    // SAFETY: each tile of the target belongs to one task.
                    s.put(unsafe { y.range(at, lanes) }, ending.in_registers(s, value));
                }
            }
        }
        if ending.is_left() {
            for row in 0..tile.size[0] {
                let at = (tile.first + row * tile.width) * columns;
                // SAFETY: as above.
                ending.in_place(s, unsafe { y.range(at, tile.size[1] * columns) });
            }
        }
    }

    /// `Aᵀ M` of a vector of columns, row by row.
    ///
    /// # Safety
    /// Each point of M has `lanes` floats from `sums` on, which are a `WHOLE` vector or fewer.
    #[inline(always)]
    unsafe fn down<S: Simd, const WHOLE: bool>(
        &self,
        s: S,
        sums: *const f32,
        lanes: usize,
    ) -> [[S::F; PATCH]; SIDE] {
        let mut rows = [[s.zero(); PATCH]; SIDE];
        for x in 0..PATCH {
            let mut column = [s.zero(); PATCH];
            for y in 0..PATCH {
                let point = (y * PATCH + x) * self.pass.m_point;
                // SAFETY: guaranteed by the caller.
                column[y] = unsafe { read::<S, WHOLE>(s, sums.add(point), lanes) };
            }
            let column = self.map.apply(s, column);
            for y in 0..SIDE {
                rows[y][x] = column[y];
            }
        }
        rows
    }
}

/// Reads a `WHOLE` vector, or its first `lanes` floats.
///
/// # Safety
/// These floats are readable.
#[inline(always)]
unsafe fn read<S: Simd, const WHOLE: bool>(s: S, p: *const f32, lanes: usize) -> S::F {
    // SAFETY: guaranteed by the caller.
    unsafe { if WHOLE { s.load(p) } else { s.load_partial(p, lanes) } }
}
