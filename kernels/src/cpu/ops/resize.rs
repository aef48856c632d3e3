//! Resizing: each output row is a weighted sum of a few input rows, and so is each column.
//!
//! ```text
//!   for each output row i:                                     parallel
//!     for each row tap (p, a), for each output column j, for each column tap (q, b):
//!       y[i, j, ·] += a·b · x[p, q, ·]                         contiguous, vectorized
//! ```
//!
//! The gradient is the same operation with the taps turned around: each input row is a weighted sum of the gradients of the
//! output rows that read it.

use crate::cpu::Cpu;
use crate::cpu::simd::{Kernel, Simd};
use crate::shapes::Resize;
use rayon::prelude::*;

/// The taps of a resizing, found once.
#[derive(Clone, Debug)]
pub struct PackedResize {
    g: Resize,
    rows: Taps,
    cols: Taps,
}

/// For each target row, the sources and their weights.
#[derive(Clone, Debug)]
struct Taps {
    starts: Vec<usize>,
    taps: Vec<(usize, f32)>,
}

impl PackedResize {
    /// Finds the taps of `g`.
    pub fn new(g: &Resize) -> Self {
        Self { g: *g, rows: Taps::of(g, 0), cols: Taps::of(g, 1) }
    }

    /// The same resizing of `images` images.
    pub fn of_images(&self, images: usize) -> Self {
        Self { g: Resize { n: images, ..self.g }, ..self.clone() }
    }

    /// The geometry.
    pub fn geometry(&self) -> &Resize {
        &self.g
    }

    /// The size of the taps in bytes.
    pub fn bytes(&self) -> usize {
        let of = |taps: &Taps| size_of_val(&taps.starts[..]) + size_of_val(&taps.taps[..]);
        of(&self.rows) + of(&self.cols)
    }

    /// An upper bound on the size of the taps of `g` in bytes, known before they are found.
    pub fn bytes_of(g: &Resize) -> usize {
        let a_row = size_of::<usize>() + 2 * size_of::<(usize, f32)>();
        (g.oh + g.ow + 2) * a_row
    }
}

impl Taps {
    fn of(g: &Resize, axis: usize) -> Self {
        let out = if axis == 0 { g.oh } else { g.ow };
        let (mut starts, mut taps) = (vec![0], Vec::new());
        for i in 0..out {
            taps.extend(g.taps(axis, i).into_iter().filter(|&(_, weight)| weight != 0.0));
            starts.push(taps.len());
        }
        Self { starts, taps }
    }

    /// For each of `sources`, the targets that it is part of, ascending.
    fn turned(&self, sources: usize) -> Self {
        let mut lists = vec![Vec::new(); sources];
        for target in 0..self.starts.len() - 1 {
            self.at(target).iter().for_each(|&(source, weight)| lists[source].push((target, weight)));
        }
        let mut starts = vec![0];
        starts.extend(lists.iter().scan(0, |end, list| {
            *end += list.len();
            Some(*end)
        }));
        Self { starts, taps: lists.concat() }
    }

    fn at(&self, target: usize) -> &[(usize, f32)] {
        &self.taps[self.starts[target]..self.starts[target + 1]]
    }

    fn len(&self) -> usize {
        self.starts.len() - 1
    }
}

/// `y[n, i, j, c] = Σ rows[i, p]·cols[j, q]·x[n, p, q, c]`.
pub fn resize_forward(cpu: &Cpu, packed: &PackedResize, x: &[f32], y: &mut [f32]) {
    let PackedResize { g, rows, cols } = packed;
    assert_eq!((x.len(), y.len()), (g.x_len(), g.y_len()));
    resample(cpu, [g.h, g.w, g.c], [rows, cols], x, y);
}

/// The gradient of [`resize_forward`].
pub fn resize_input_grad(cpu: &Cpu, packed: &PackedResize, dy: &[f32], dx: &mut [f32]) {
    let PackedResize { g, rows, cols } = packed;
    assert_eq!((dx.len(), dy.len()), (g.x_len(), g.y_len()));
    let (rows, cols) = (rows.turned(g.h), cols.turned(g.w));
    resample(cpu, [g.oh, g.ow, g.c], [&rows, &cols], dy, dx);
}

/// Writes each row of `y` as the weighted sum of pixels of images `[h, w, c]`.
fn resample(cpu: &Cpu, [h, w, c]: [usize; 3], [rows, cols]: [&Taps; 2], x: &[f32], y: &mut [f32]) {
    cpu.run(|| {
        cpu.divide(y.par_chunks_mut(cols.len() * c).enumerate()).for_each(|(line, y)| {
            let (image, row) = (line / rows.len(), line % rows.len());
            let x = &x[image * h * w * c..][..h * w * c];
            cpu.dispatch(Line { x, w, c, rows: rows.at(row), cols, y });
        });
    });
}

/// A row of an output image.
struct Line<'a> {
    x: &'a [f32],
    w: usize,
    c: usize,
    rows: &'a [(usize, f32)],
    cols: &'a Taps,
    y: &'a mut [f32],
}

impl Kernel for Line<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { x, w, c, rows, cols, y } = self;
        for (j, y) in y.chunks_exact_mut(c).enumerate() {
            let mut empty = true;
            for &(p, a) in rows {
                for &(q, b) in cols.at(j) {
                    let (x, weight) = (&x[(p * w + q) * c..][..c], a * b);
                    match (empty, weight == 1.0) {
                        (true, true) => y.copy_from_slice(x),
                        (true, false) => y.iter_mut().zip(x).for_each(|(y, x)| *y = weight * x),
                        (false, _) => y.iter_mut().zip(x).for_each(|(y, x)| *y += weight * x),
                    }
                    empty = false;
                }
            }
            if empty {
                y.fill(0.0);
            }
        }
    }
}
