//! Images with few channels, copied with explicit padding. A kernel row then reads one run of `KW · C` floats.
//!
//! ```text
//!                 ┌───────────────────────┐
//!                 │0 0 0 0 0 0 0 0 0 0 0 0│
//!     C = 3       │0 0 0 r g b r g b r g …│   tap row kh of a 3×3 window:  9 floats in a row,
//!                 │0 0 0 r g b r g b r g …│   instead of 3 taps of 3 floats
//!                 │0 0 0 r g b r g b r g …│
//! ```
//!
//! A tap of three channels is too short for its own loop. Copying each window together does not pay either: it is
//! written once per pixel but read only once per panel. The padded copy costs one pass over an image that is small
//! compared with the output.

use super::image_rows::ImageRows;
use super::windows::{Windows, tap_offsets};
use crate::cpu::Cpu;
use crate::cpu::device::scratch::Scratch;
use crate::shapes::Conv2d;
use rayon::prelude::*;
use std::ops::Range;

/// Whether a kernel's taps are read row by row from a padded copy, because a tap has too few channels for its own loop.
pub(super) fn applies(g: &Conv2d) -> bool {
    const FEW: usize = 16;
    g.groups == 1 && g.c < FEW && g.kw > 1 && g.dilation[1] == 1
}

/// The taps of a forward pass: kernel rows if a padded copy is used, single taps otherwise.
pub(super) fn forward_taps(g: &Conv2d) -> Vec<[isize; 2]> {
    if applies(g) { row_taps(g) } else { tap_offsets(g) }
}

/// The windows of a forward pass over some rows of the images or their padded copy; `taps` come from [`forward_taps`].
pub(super) fn forward_windows<'t>(g: &Conv2d, rows: &ImageRows, taps: &'t [[isize; 2]]) -> Windows<'t> {
    let windows = Windows::forward(g, taps).of_rows(g, rows);
    if !applies(g) {
        return windows;
    }
    // Each tap reads `KW · C` floats of the padded copy.
    Windows { source: [copied(g, rows).len(), g.padded()[1]], first_row: 0, row_len: g.kw * g.c, ..windows }
}

/// The offset of each kernel row from the window's origin in the padded image, `[KH]` pairs.
fn row_taps(g: &Conv2d) -> Vec<[isize; 2]> {
    (0..g.kh).map(|k| [(k * g.dilation[0]) as isize, 0]).collect()
}

/// The size of the padded copy of the images of `g` in bytes, saturating at `u64::MAX`.
pub(super) fn bytes(g: &Conv2d) -> u64 {
    let [height, width] = g.padded().map(|size| size as u64);
    let sizes = [height, width, g.c as u64, 4];
    sizes.into_iter().fold(g.n as u64, u64::saturating_mul)
}

/// The rows of padded images of `g` that the outputs of `rows` read.
fn copied(g: &Conv2d, rows: &ImageRows) -> Range<usize> {
    if *rows == ImageRows::all(g) {
        return 0..g.padded()[0];
    }
    let first = rows.outputs.start * g.stride[0];
    first..first + (rows.outputs.len() - 1) * g.stride[0] + (g.kh - 1) * g.dilation[0] + 1
}

/// Copies images to `[N, H + 2·PH, W + 2·PW, C]` with zeros in the padding, or the part of them that some rows read.
pub(super) fn images<'a>(cpu: &'a Cpu, g: &Conv2d, rows: &ImageRows, x: &[f32]) -> Scratch<'a> {
    let ([top, left], width, copied) = (g.padding, g.padded()[1], copied(g, rows));
    let (height, above, inputs) = (copied.len(), top + rows.inputs.start, rows.inputs.len());
    let mut padded = cpu.scratch(g.n * height * width * g.c);
    cpu.run(|| {
        let rows = padded.par_chunks_mut(width * g.c).with_min_len(16);
        cpu.divide(rows.enumerate()).for_each(|(row, to)| {
            let (image, y) = (row / height, (copied.start + row % height).wrapping_sub(above));
            if y >= inputs {
                return to.fill(0.0);
            }
            let (before, rest) = to.split_at_mut(left * g.c);
            let (inside, after) = rest.split_at_mut(g.w * g.c);
            inside.copy_from_slice(&x[(image * inputs + y) * g.w * g.c..][..g.w * g.c]);
            before.fill(0.0);
            after.fill(0.0);
        });
    });
    padded
}
