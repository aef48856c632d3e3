//! The loops of the algorithm, and how threads divide them.

use super::super::f4;
use super::ends::{Outputs, TransformOutput, TransformRow};
use super::filters::{CHUNK, LineFilters};
use super::map;
use super::shape::{Bands, SIDE};
use crate::cpu::Cpu;
use crate::cpu::conv2d::scatter::Scatter;
use crate::cpu::conv2d::{Epilogue, ImageRows};
use crate::cpu::device::shared::Shared;
use crate::cpu::device::shelf::Workspace;
use crate::cpu::gemm::panels::Panel;
use crate::cpu::gemm::tile::{MAX_NR, Rows, Tile, prefetch};
use crate::shapes::Conv2d;
use bytemuck::cast_slice;
use rayon::prelude::*;
use std::ops::Range;

/// The number of floats in a cache line.
const LINE: usize = 16;

/// A convolution along rows.
#[derive(Clone)]
pub(in crate::cpu::conv2d) struct Line<'a> {
    pub g: &'a Conv2d,
    pub rows: ImageRows,
    /// `[N, rows, W, C]`.
    pub x: &'a [f32],
    pub filters: &'a LineFilters,
    pub packed: &'a [f32],
    pub scatter: Option<&'a Scatter>,
    pub epilogue: Epilogue<'a>,
}

impl Line<'_> {
    /// Computes the rows `rows` of each image's output.
    pub fn run(&self, cpu: &Cpu, y: Shared) {
        let (g, bands) = (self.g, &Bands::new(&self.filters.shape, self.g));
        assert!(self.packed.len() >= self.filters.len());
        assert_eq!(self.x.len(), g.n * self.rows.inputs.len() * g.w * g.c, "the images have these rows");
        let Range { start, end } = self.rows.outputs;
        assert!(start <= end && end <= g.oh(), "rows of the output");
        let count = (end - start).div_ceil(bands.rows);
        assert_eq!(y.len(), g.n * (end - start) * g.ow() * self.width(), "the output has its rows' length");
        cpu.run(|| {
            cpu.divide((0..g.n * count).into_par_iter().with_max_len(1)).for_each(|task| {
                let (image, first) = (task / count, start + task % count * bands.rows);
                let rows = first..(first + bands.rows).min(end);
                cpu.with_workspace(|workspace| {
                    let floats = Workspace::floats(&mut workspace.floats, self.filters.workspace(self.g));
                    Band { line: self, bands, image, rows }.run(cpu, floats, y);
                });
            });
        });
    }

    /// The floats of a pixel of the output.
    fn width(&self) -> usize {
        let columns = || self.filters.panels.last().map_or(0, |panel| panel.start + panel.width);
        self.scatter.map_or_else(columns, Scatter::width)
    }
}

/// Some rows of an image's output.
struct Band<'a> {
    line: &'a Line<'a>,
    bands: &'a Bands,
    image: usize,
    rows: Range<usize>,
}

impl Band<'_> {
    fn run(&self, cpu: &Cpu, floats: &mut [f32], y: Shared) {
        let Line { g, filters, .. } = self.line;
        let [row, v, m, _] = filters.lens(g);
        let (row, floats) = floats.split_at_mut(row);
        let (v, floats) = floats.split_at_mut(v);
        let (m, computed) = floats.split_at_mut(m);
        self.transform(cpu, row, v);
        let (tiles, mut chunk) = (self.rows.len() * self.bands.across, Chunk::default());
        for panel in &filters.panels {
            let most = filters.chunk(panel);
            for first in (0..tiles).step_by(most) {
                self.locate(first..(first + most).min(tiles), &mut chunk);
                self.prefetch(panel, &chunk, y);
                self.multiply(panel, &chunk, v, m);
                self.finish(cpu, panel, &chunk, m, computed, y);
            }
        }
    }

    /// Finds the places of the tiles `tiles` of the band, without a division for each.
    fn locate(&self, tiles: Range<usize>, chunk: &mut Chunk) {
        let (Line { g, rows, filters, .. }, across) = (self.line, self.bands.across);
        let (width, cells) = (self.line.width(), g.stride[0] * filters.shape.cell);
        let (mut row, mut column) = (tiles.start / across, tiles.start % across);
        chunk.count = tiles.len();
        for (v, outputs) in chunk.v.iter_mut().zip(&mut chunk.outputs).take(tiles.len()) {
            *v = column * self.bands.tile + row * cells;
            let pixel = SIDE * column;
            let above = self.image * rows.outputs.len() + self.rows.start + row - rows.outputs.start;
            *outputs = Outputs { first: (above * g.ow() + pixel) * width, count: SIDE.min(g.ow() - pixel) };
            column += 1;
            if column == across {
                (row, column) = (row + 1, 0);
            }
        }
    }

    /// Fills V.
    fn transform(&self, cpu: &Cpu, x: &mut [f32], v: &mut [f32]) {
        let (g, shape, bands) = (self.line.g, &self.line.filters.shape, self.bands);
        let rows = (self.rows.len() - 1) * g.stride[0] + g.kh;
        let cell = shape.cell;
        x[bands.row..].fill(0.0);
        for row in 0..rows {
            self.copy_row(row, &mut x[..bands.row]);
            let (x, v) = (&*x, &mut *v);
            match shape.taps {
                3 => cpu.dispatch(TransformRow { bands, cell, x, row, v, map: f4::Input }),
                _ => cpu.dispatch(TransformRow { bands, cell, x, row, v, map: map::Input }),
            }
        }
    }

    /// Copies input row `row` of the band to `to`, with zeros in the padding.
    fn copy_row(&self, row: usize, to: &mut [f32]) {
        let Line { g, x, rows: ImageRows { inputs, .. }, .. } = self.line;
        let y = (self.rows.start * g.stride[0] + row).wrapping_sub(g.padding[0] + inputs.start);
        if y >= inputs.len() {
            return to.fill(0.0);
        }
        let before = (g.padding[1] * g.c).min(to.len());
        let (padding, to) = to.split_at_mut(before);
        let inside = (g.w * g.c).min(to.len());
        let (to, after) = to.split_at_mut(inside);
        padding.fill(0.0);
        to.copy_from_slice(&x[(self.image * inputs.len() + y) * g.w * g.c..][..inside]);
        after.fill(0.0);
    }

    /// Computes `M[ξ] = V[ξ] · U[ξ]` for the tiles of a chunk and the filters of a panel.
    fn multiply(&self, panel: &Panel, chunk: &Chunk, v: &[f32], m: &mut [f32]) {
        let Line { filters, packed, .. } = self.line;
        let (bands, kernel, reduced) = (self.bands, panel.kernel, filters.shape.reduced());
        let (points, row, count) = (filters.shape.points(), kernel.nr, chunk.count);
        assert!(count <= CHUNK && m.len() >= points * CHUNK * row && v.len() >= points * bands.point());
        let rows: [*const f32; CHUNK] = std::array::from_fn(|i| {
            // Rows beyond the last one repeat it; their results are not stored.
            let at = chunk.v[i.min(count - 1)];
            assert!(at + reduced <= bands.point(), "a tile's rows lie in V");
            v.as_ptr().wrapping_add(at)
        });
        let out: [usize; CHUNK] = std::array::from_fn(|i| i * row);
        for point in 0..points {
            let a = Rows {
                rows: rows.as_ptr(),
                segments: 1,
                len: reduced,
                row_stride: CHUNK,
                a_offset: point * bands.point(),
                a_step: 1,
            };
            let u = cast_slice(&packed[point * filters.point + panel.offset..][..kernel.packed_len(reduced)]);
            let c = m[point * CHUNK * row..].as_mut_ptr();
            let mut tile = Tile::new(a, u, c, &out, [count, panel.width], false);
            tile.b_column = reduced;
            // SAFETY: the kernel comes from a backend that this machine supports. Each row leads to `reduced` floats
            // of the first point of V, and `a_offset` to those of another point, as asserted; there are whole blocks of
            // them, as CHUNK is a multiple of MR or the last block ends before it. `u` has the panel's rows. M has a row
            // of NR floats for each of the at most CHUNK tiles of each point.
            unsafe { (kernel.run)(&tile) }
        }
    }

    /// Prefetches the outputs of a chunk, which storing would wait for.
    fn prefetch(&self, panel: &Panel, chunk: &Chunk, y: Shared) {
        let width = self.line.width();
        for &Outputs { first, count } in chunk.outputs() {
            for pixel in 0..count {
                for column in panel.columns().step_by(LINE) {
                    prefetch(y.as_mut_ptr().wrapping_add(first + pixel * width + column));
                }
            }
        }
    }

    /// Transforms the products of a chunk to outputs.
    fn finish(&self, cpu: &Cpu, panel: &Panel, chunk: &Chunk, m: &[f32], computed: &mut [f32], y: Shared) {
        let (line, width, outputs) = (self.line, self.line.width(), chunk.outputs());
        let Some(scatter) = line.scatter else {
            let (columns, epilogue) = (panel.columns(), &line.epilogue);
            let row = panel.kernel.nr;
            return self.transform_output(cpu, (m, row), outputs, End { columns, pixel: width, epilogue, y });
        };
        let of_tile = SIDE * MAX_NR;
        let mut local = [Outputs::default(); CHUNK];
        for (i, (local, outputs)) in local.iter_mut().zip(outputs).enumerate() {
            *local = Outputs { first: i * of_tile, count: outputs.count };
        }
        let end = End {
            columns: 0..panel.width,
            pixel: MAX_NR,
            epilogue: &Epilogue::default(),
            y: Shared::new(computed),
        };
        self.transform_output(cpu, (m, panel.kernel.nr), &local[..outputs.len()], end);
        for (&Outputs { first, count }, computed) in outputs.iter().zip(computed.chunks_exact(of_tile)) {
            let pixels: [usize; SIDE] = std::array::from_fn(|i| first + i * width);
            let rows = computed.chunks_exact(MAX_NR);
            scatter.expand(cpu, panel.columns(), &pixels[..count], rows, &line.epilogue, y);
        }
    }

    /// Transforms the products `m`, in rows of `row` floats.
    fn transform_output(&self, cpu: &Cpu, (m, row): (&[f32], usize), tiles: &[Outputs], end: End) {
        let End { columns, pixel, epilogue, y } = end;
        let point = CHUNK * row;
        match self.line.filters.shape.taps {
            3 => {
                let map = f4::Output;
                cpu.dispatch(TransformOutput { m, point, row, tiles, columns, pixel, epilogue, y, map });
            }
            _ => {
                let map = map::Output;
                cpu.dispatch(TransformOutput { m, point, row, tiles, columns, pixel, epilogue, y, map });
            }
        }
    }
}

/// The places of the tiles of a chunk.
struct Chunk {
    /// The offsets of their rows in a point of V.
    v: [usize; CHUNK],
    outputs: [Outputs; CHUNK],
    count: usize,
}

impl Default for Chunk {
    fn default() -> Self {
        Self { v: [0; CHUNK], outputs: [Outputs::default(); CHUNK], count: 0 }
    }
}

impl Chunk {
    fn outputs(&self) -> &[Outputs] {
        &self.outputs[..self.count]
    }
}

/// Where outputs go, and what is added to them.
struct End<'a> {
    columns: Range<usize>,
    pixel: usize,
    epilogue: &'a Epilogue<'a>,
    y: Shared<'a>,
}
