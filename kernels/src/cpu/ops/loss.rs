//! Losses over `[rows, k]`, averaged over rows, and their gradients, multiplied by the upstream gradient `scale`.
//! The loss of each row is an `f64`; the losses are added in row order.

use crate::cpu::Cpu;
use crate::cpu::ops::columns::{Shift, column_sums};
use crate::cpu::ops::lanewise::lanewise;
use crate::cpu::ops::softmax::{log_softmax_row, rows_per_task};
use rayon::prelude::*;

/// Computes the cross entropy against the target class, with label smoothing (Szegedy et al. 2016):
/// `−1/rows · Σ_row Σ_j q_j · log_softmax(logits)_j` with `q = (1 − smoothing)·onehot(target) + smoothing/k`.
pub fn cross_entropy_forward(
    cpu: &Cpu,
    [rows, k]: [usize; 2],
    logits: &[f32],
    targets: &[u32],
    smoothing: f32,
) -> f32 {
    assert_eq!((logits.len(), targets.len()), (rows * k, rows));
    mean_of_rows(cpu, rows, k, |row| {
        let log_p = log_softmax_row(&logits[row * k..][..k], 1.0);
        -log_p.zip(target_shares(k, targets[row], smoothing)).map(|(log_p, q)| q * log_p).sum::<f64>()
    })
}

/// Computes `dlogits = scale/rows · (softmax(logits) − q)`.
pub fn cross_entropy_input_grad(
    cpu: &Cpu,
    [rows, k]: [usize; 2],
    logits: &[f32],
    targets: &[u32],
    smoothing: f32,
    scale: f32,
    dlogits: &mut [f32],
) {
    assert_eq!((logits.len(), targets.len(), dlogits.len()), (rows * k, rows, rows * k));
    let factor = f64::from(scale) / rows as f64;
    for_each_row(cpu, k, dlogits, |row, d| {
        let log_p = log_softmax_row(&logits[row * k..][..k], 1.0);
        for ((d, log_p), q) in d.iter_mut().zip(log_p).zip(target_shares(k, targets[row], smoothing)) {
            *d = (factor * (log_p.exp() - q)) as f32;
        }
    });
}

/// The target distribution `q` of one row.
fn target_shares(k: usize, target: u32, smoothing: f32) -> impl Iterator<Item = f64> {
    let target = target as usize;
    assert!(target < k, "class {target} of {k}");
    let smoothing = f64::from(smoothing);
    (0..k).map(move |j| if j == target { 1.0 - smoothing } else { 0.0 } + smoothing / k as f64)
}

/// Computes the distillation loss with soft targets (Hinton et al. 2015): `T² · mean_row KL(p ‖ q)` with
/// `p = softmax(teacher/T)` and `q = softmax(student/T)`.
pub fn kl_divergence_forward(
    cpu: &Cpu,
    [rows, k]: [usize; 2],
    student: &[f32],
    teacher: &[f32],
    temperature: f32,
) -> f32 {
    assert_eq!((student.len(), teacher.len()), (rows * k, rows * k));
    let t = f64::from(temperature);
    mean_of_rows(cpu, rows, k, |row| {
        let log_p = log_softmax_row(&teacher[row * k..][..k], t);
        let log_q = log_softmax_row(&student[row * k..][..k], t);
        t * t * log_p.zip(log_q).map(|(log_p, log_q)| log_p.exp() * (log_p - log_q)).sum::<f64>()
    })
}

/// Computes `dstudent = scale · T/rows · (q − p)`.
pub fn kl_divergence_input_grad(
    cpu: &Cpu,
    [rows, k]: [usize; 2],
    student: &[f32],
    teacher: &[f32],
    temperature: f32,
    scale: f32,
    dstudent: &mut [f32],
) {
    assert_eq!((student.len(), teacher.len(), dstudent.len()), (rows * k, rows * k, rows * k));
    let t = f64::from(temperature);
    let factor = f64::from(scale) * t / rows as f64;
    for_each_row(cpu, k, dstudent, |row, d| {
        let log_p = log_softmax_row(&teacher[row * k..][..k], t);
        let log_q = log_softmax_row(&student[row * k..][..k], t);
        for ((d, log_p), log_q) in d.iter_mut().zip(log_p).zip(log_q) {
            *d = (factor * (log_q.exp() - log_p.exp())) as f32;
        }
    });
}

/// Computes the mean of `(a − b)²` over all elements.
pub fn mse_forward(cpu: &Cpu, a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let sums = column_sums(cpu, 1, Shift::FirstTile, [a, b], |_, [a, b]| [(a - b) * (a - b)]);
    (sums.totals()[0][0] / a.len() as f64) as f32
}

/// Computes `da = scale · 2/len · (a − b)`.
pub fn mse_input_grad(cpu: &Cpu, a: &[f32], b: &[f32], scale: f32, da: &mut [f32]) {
    let factor = (f64::from(scale) * 2.0 / a.len() as f64) as f32;
    lanewise(cpu, [da], [a, b], move |_, [a, b]| [factor * (a - b)]);
}

/// Computes the mean of `loss(row)` over all rows.
fn mean_of_rows(cpu: &Cpu, rows: usize, k: usize, loss: impl Fn(usize) -> f64 + Send + Sync) -> f32 {
    let losses: Vec<f64> =
        cpu.run(|| (0..rows).into_par_iter().with_min_len(rows_per_task(k)).map(loss).collect());
    (losses.iter().sum::<f64>() / rows as f64) as f32
}

/// Calls `fill(row, d)` with every row of `d` `[rows, k]`.
fn for_each_row(cpu: &Cpu, k: usize, d: &mut [f32], fill: impl Fn(usize, &mut [f32]) + Send + Sync) {
    cpu.run(|| {
        d.par_chunks_mut(k).with_min_len(rows_per_task(k)).enumerate().for_each(|(row, d)| fill(row, d));
    });
}
