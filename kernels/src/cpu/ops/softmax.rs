//! Softmax and its logarithm over the last axis of `x` `[rows, k]`, and their gradients. Rows are mostly class scores, few
//! and short, so they are computed in `f64`. The cost is negligible, and the differences of logarithms that losses take
//! stay exact.

use crate::cpu::Cpu;
use rayon::prelude::*;

/// Computes `y = exp(x) / Σ_row exp(x)`.
pub fn softmax_forward(cpu: &Cpu, rows: usize, k: usize, x: &[f32], y: &mut [f32]) {
    map_log_softmax(cpu, rows, k, x, y, f64::exp);
}

/// Computes `y = x − ln Σ_row exp(x)`.
pub fn log_softmax_forward(cpu: &Cpu, rows: usize, k: usize, x: &[f32], y: &mut [f32]) {
    map_log_softmax(cpu, rows, k, x, y, |log_p| log_p);
}

/// Computes `y = f(log_softmax(x))`.
fn map_log_softmax(
    cpu: &Cpu,
    rows: usize,
    k: usize,
    x: &[f32],
    y: &mut [f32],
    f: impl Fn(f64) -> f64 + Sync,
) {
    assert_eq!((x.len(), y.len()), (rows * k, rows * k));
    cpu.run(|| {
        y.par_chunks_mut(k).with_min_len(rows_per_task(k)).zip(x.par_chunks(k)).for_each(|(y, x)| {
            for (y, log_p) in y.iter_mut().zip(log_softmax_row(x, 1.0)) {
                *y = f(log_p) as f32;
            }
        });
    });
}

/// Computes the gradient of [`softmax_forward`], whose output is `y`: `dx = y · (dy − Σ_row dy·y)`.
pub fn softmax_input_grad(cpu: &Cpu, [rows, k]: [usize; 2], y: &[f32], dy: &[f32], dx: &mut [f32]) {
    map_grad(cpu, [rows, k], [y, dy], dx, |y, dy, dx| {
        let dot: f64 = y.iter().zip(dy).map(|(&y, &dy)| f64::from(y) * f64::from(dy)).sum();
        for ((dx, &y), &dy) in dx.iter_mut().zip(y).zip(dy) {
            *dx = (f64::from(y) * (f64::from(dy) - dot)) as f32;
        }
    });
}

/// Computes the gradient of [`log_softmax_forward`], whose output is `y`: `dx = dy − exp(y) · Σ_row dy`.
pub fn log_softmax_input_grad(cpu: &Cpu, [rows, k]: [usize; 2], y: &[f32], dy: &[f32], dx: &mut [f32]) {
    map_grad(cpu, [rows, k], [y, dy], dx, |y, dy, dx| {
        let total: f64 = dy.iter().map(|&dy| f64::from(dy)).sum();
        for ((dx, &y), &dy) in dx.iter_mut().zip(y).zip(dy) {
            *dx = (f64::from(dy) - f64::from(y).exp() * total) as f32;
        }
    });
}

/// Calls `f` with each row of the output, of its gradient, and of the input's gradient.
fn map_grad(
    cpu: &Cpu,
    [rows, k]: [usize; 2],
    [y, dy]: [&[f32]; 2],
    dx: &mut [f32],
    f: impl Fn(&[f32], &[f32], &mut [f32]) + Sync,
) {
    assert_eq!([y.len(), dy.len(), dx.len()], [rows * k; 3]);
    cpu.run(|| {
        let rows = dx.par_chunks_mut(k).with_min_len(rows_per_task(k));
        rows.zip(y.par_chunks(k)).zip(dy.par_chunks(k)).for_each(|((dx, y), dy)| f(y, dy, dx));
    });
}

/// Computes `log_softmax(x / temperature)` of one row, shifted by its maximum so that nothing overflows.
pub(in crate::cpu) fn log_softmax_row(x: &[f32], temperature: f64) -> impl Iterator<Item = f64> {
    let scaled = move |x: &f32| f64::from(*x) / temperature;
    let max = x.iter().map(scaled).fold(f64::NEG_INFINITY, f64::max);
    let log_sum = max + x.iter().map(|x| (scaled(x) - max).exp()).sum::<f64>().ln();
    x.iter().map(move |x| scaled(x) - log_sum)
}

/// The number of rows of `k` that make a task worth starting.
pub(in crate::cpu) fn rows_per_task(k: usize) -> usize {
    const SCORES: usize = 1 << 10;
    SCORES.div_ceil(k.max(1))
}
