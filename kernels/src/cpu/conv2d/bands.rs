//! Convolution of a band of an image, for plans that take several rows through some layers while they are in the cache.

use super::algorithm::Packing;
use super::image_rows::ImageRows;
use super::layout::Layout;
use super::packed::{PackedConv2d, choose, conv2d_forward_packed};
use super::widen::widened;
use super::{Epilogue, depthwise_rows, gather};
use crate::cpu::Cpu;
use crate::dtype::Dtype;
use crate::params::CompactIndex;
use crate::pattern::Pattern;
use crate::shapes::Conv2d;
use std::ops::Range;

impl PackedConv2d {
    /// The number of rows whose multiples [`conv2d_forward_rows`] computes in the least time each, or none if the kernel of `g`
    /// computes whole images only.
    pub fn rows_at_a_time(&self, g: &Conv2d) -> Option<usize> {
        rows_at_a_time(g, &self.layout, self.gather.is_some())
    }
}

/// What [`PackedConv2d::rows_at_a_time`] will return for [masked](PackedConv2d::masked) weights.
pub fn conv2d_rows_at_a_time(cpu: &Cpu, g: &Conv2d, pattern: &Pattern, packing: Packing) -> Option<usize> {
    let ((_, layout), _) = choose(cpu, g, pattern, packing, Dtype::F32);
    rows_at_a_time(g, &layout, false)
}

/// What [`PackedConv2d::rows_at_a_time`] will return for [compact](PackedConv2d::compact) weights.
pub fn conv2d_compact_rows_at_a_time(
    cpu: &Cpu,
    g: &Conv2d,
    index: &CompactIndex,
    packing: Packing,
) -> Option<usize> {
    let wide = widened(cpu, g, index, packing);
    let (inner, pattern) = gather::inner(g, &wide);
    let (_, layout) = Layout::choose(cpu, &inner, &pattern, packing, Dtype::F32);
    rows_at_a_time(g, &layout, wide.carrier || wide.inputs.len() < g.c)
}

fn rows_at_a_time(g: &Conv2d, layout: &Layout, gathers: bool) -> Option<usize> {
    if reads_one_pixel(g) {
        return Some(1);
    }
    match layout {
        Layout::Depthwise => depthwise_rows::applies(g).then_some(1),
        Layout::RowLanes(lanes) if !gathers => lanes.rows_at_a_time(g),
        Layout::Line(_) | Layout::Panels(_) if !gathers => Some(1),
        _ => None,
    }
}

/// Whether each output reads the pixel in its own place only.
fn reads_one_pixel(g: &Conv2d) -> bool {
    [g.kh, g.kw, g.stride[0], g.stride[1]] == [1; 4] && g.padded() == [g.h, g.w]
}

/// Convolution of a band of an image: computes the output rows `rows` of `g`, which has one image, from the rows that they read
/// ([`Conv2d::rows_read`]). `x` begins with image row `first`, and the residual of the epilogue is none. The bits are those of
/// the whole image. Only for weights that compute
/// [rows at a time](PackedConv2d::rows_at_a_time).
pub fn conv2d_forward_rows(
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
    let inputs = first.min(read.start)..read.end;
    let (len, row) = (inputs.len() * g.w * g.c, g.ow() * g.o);
    assert!(w.rows_at_a_time(g).is_some() && g.n == 1 && rows.end <= g.oh(), "a band of one image");
    assert!(rows.is_empty() || first <= read.start && x.len() >= len, "the band has the rows that are read");
    assert!(epilogue.residual.is_none() && y.len() == rows.len() * row, "rows without a residual");
    epilogue.check(g.o, y.len());
    if rows.is_empty() {
        return;
    }
    if reads_one_pixel(g) {
        let band = Conv2d { h: rows.len(), ..*g };
        let x = &x[(rows.start - first) * g.w * g.c..][..band.x_len()];
        return conv2d_forward_packed(cpu, &band, x, w, epilogue, y);
    }
    let bias = w.constants.as_ref().map(|constants| constants.bias(cpu, epilogue.bias));
    let epilogue = &Epilogue { bias: bias.as_deref().or(epilogue.bias), ..*epilogue };
    w.product(cpu, g, ImageRows { outputs: rows, inputs }, (&x[..len], None), epilogue, y);
}
