//! Convolution of a band of an image, for plans that take several rows through a pair of layers while they are in the cache.

use super::Epilogue;
use super::depthwise_rows::{self, DepthwiseRows};
use super::layout::Layout;
use super::packed::PackedConv2d;
use super::winograd::Line;
use crate::cpu::Cpu;
use crate::cpu::device::shared::Shared;
use crate::shapes::Conv2d;
use std::ops::Range;

impl PackedConv2d {
    /// Whether [`conv2d_depthwise_rows`] computes some rows of `g` at a time.
    pub fn computes_rows(&self, g: &Conv2d) -> bool {
        matches!(self.layout, Layout::Depthwise) && depthwise_rows::applies(g)
    }

    /// Whether [`conv2d_forward_rows`] computes some rows of the output at a time.
    pub fn computes_output_rows(&self) -> bool {
        matches!(self.layout, Layout::Line(_)) && self.gather.is_none() && self.scatter.is_none()
    }
}

/// Convolution of a whole image `x`, of which only the output rows `rows` are computed; `g` has one image, and the residual of
/// the epilogue is none. The bits are those of the whole image. Only for weights that
/// [compute rows of the output](PackedConv2d::computes_output_rows).
pub fn conv2d_forward_rows(
    cpu: &Cpu,
    g: &Conv2d,
    rows: Range<usize>,
    x: &[f32],
    w: &PackedConv2d,
    epilogue: &Epilogue,
    y: &mut [f32],
) {
    w.check_geometry(g);
    assert!(g.n == 1 && x.len() == g.x_len() && epilogue.residual.is_none(), "one image without a residual");
    epilogue.check(g.o, y.len());
    let Layout::Line(filters) = &w.layout else { panic!("the kernel computes whole images") };
    assert!(w.computes_output_rows(), "every channel is computed in its place");
    let (packed, scatter, epilogue) = (&w.data[..], None, *epilogue);
    Line { g, rows, x, filters, packed, scatter, epilogue }.run(cpu, Shared::new(y));
}

/// Depthwise convolution of a band of an image: computes the output rows `rows` of `g`, which has one image, from the rows
/// that they read ([`Conv2d::rows_read`]). `x` begins with image row `first`, and the residual of the epilogue is none. The
/// bits are those of the whole image. Only for weights with a [kernel for rows](PackedConv2d::computes_rows).
pub fn conv2d_depthwise_rows(
    cpu: &Cpu,
    g: &Conv2d,
    rows: Range<usize>,
    (x, first): (&[f32], usize),
    w: &PackedConv2d,
    epilogue: &Epilogue,
    y: &mut [f32],
) {
    w.check_geometry(g);
    let read = g.rows_read(rows.clone());
    let fits = first <= read.start && x.len() >= (read.end - first.min(read.end)) * g.w * g.c;
    assert!(w.computes_rows(g) && g.n == 1 && rows.end <= g.oh() && fits, "a band of one image");
    assert!(epilogue.residual.is_none(), "a band has no residual");
    epilogue.check(g.o, y.len());
    let (zeros, w) = (&w.zeros, &w.data);
    DepthwiseRows { g, x, first, zeros, w, epilogue }.run(cpu, rows, y);
}
