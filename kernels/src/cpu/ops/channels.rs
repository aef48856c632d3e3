//! Operations that move channels: concatenation and the parameter-free residual shortcut. Rows are processed in
//! parallel, and each row of a result is copied piece by piece.

use crate::cpu::Cpu;
use crate::cpu::ops::lanewise::CHUNK;
use crate::shapes::PadShortcut;
use rayon::prelude::*;

/// Concatenates along channels. Each part is `(x, c)` with `x` `[rows, c]`, and `y` is `[rows, Σ c]`.
pub fn concat_forward(cpu: &Cpu, rows: usize, parts: &[(&[f32], usize)], y: &mut [f32]) {
    let width: usize = parts.iter().map(|(_, c)| c).sum();
    assert_eq!(y.len(), rows * width);
    assert!(parts.iter().all(|(x, c)| x.len() == rows * c), "a part is not [rows, c]");
    cpu.run(|| {
        let rows = y.par_chunks_mut(width).with_min_len(rows_per_task(width));
        cpu.divide(rows.enumerate()).for_each(|(row, mut y)| {
            for &(x, c) in parts {
                let (part, rest) = y.split_at_mut(c);
                part.copy_from_slice(&x[row * c..][..c]);
                y = rest;
            }
        });
    });
}

/// Computes the gradient of [`concat_forward`]: splits `dy` `[rows, Σ c]` into its parts.
pub fn split_channels(cpu: &Cpu, rows: usize, dy: &[f32], parts: &mut [(&mut [f32], usize)]) {
    let width: usize = parts.iter().map(|(_, c)| *c).sum();
    assert_eq!(dy.len(), rows * width);
    assert!(parts.iter().all(|(dx, c)| dx.len() == rows * c), "a part is not [rows, c]");
    let mut start = 0;
    for (dx, c) in parts {
        let c = *c;
        cpu.run(|| {
            dx.par_chunks_mut(c)
                .with_min_len(rows_per_task(c))
                .zip(dy.par_chunks(width))
                .for_each(|(dx, dy)| dx.copy_from_slice(&dy[start..start + c]));
        });
        start += c;
    }
}

/// Copies every `stride`-th pixel, with zero channels before and after: `y[n,i,j,before+c] = x[n, i·s, j·s, c]`.
pub fn pad_shortcut_forward(cpu: &Cpu, g: &PadShortcut, x: &[f32], y: &mut [f32]) {
    let [n, oh, ow, o] = g.y_shape();
    assert_eq!((x.len(), y.len()), (g.x_len(), n * oh * ow * o));
    cpu.run(|| {
        cpu.divide(y.par_chunks_mut(ow * o).enumerate()).for_each(|(row, y)| {
            let x = &x[(row / oh * g.h + row % oh * g.stride) * g.w * g.c..][..g.w * g.c];
            for (y, x) in y.chunks_exact_mut(o).zip(x.chunks_exact(g.c).step_by(g.stride)) {
                y[..g.before].fill(0.0);
                y[g.before..g.before + g.c].copy_from_slice(x);
                y[g.before + g.c..].fill(0.0);
            }
        });
    });
}

/// Computes the gradient of [`pad_shortcut_forward`]; pixels that were not copied get zero, and
/// padding channels contribute nothing.
pub fn pad_shortcut_input_grad(cpu: &Cpu, g: &PadShortcut, dy: &[f32], dx: &mut [f32]) {
    let [n, oh, ow, o] = g.y_shape();
    assert_eq!((dx.len(), dy.len()), (g.x_len(), n * oh * ow * o));
    cpu.run(|| {
        dx.par_chunks_mut(g.w * g.c).enumerate().for_each(|(row, dx)| {
            dx.fill(0.0);
            let (image, h) = (row / g.h, row % g.h);
            if h.is_multiple_of(g.stride) {
                let dy = &dy[(image * oh + h / g.stride) * ow * o..][..ow * o];
                for (dx, dy) in dx.chunks_exact_mut(g.c).step_by(g.stride).zip(dy.chunks_exact(o)) {
                    dx.copy_from_slice(&dy[g.before..g.before + g.c]);
                }
            }
        });
    });
}

/// The number of rows that make a task worth starting.
fn rows_per_task(width: usize) -> usize {
    CHUNK.div_ceil(width.max(1))
}
