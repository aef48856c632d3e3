//! Losses over `[rows, k]`, averaged over rows, and their gradients, multiplied by the upstream gradient `scale`.

use super::{Float, log_softmax_forward, softmax_forward};

/// Cross entropy against the target class, with label smoothing (Szegedy et al. 2016):
/// `−1/rows · Σ_row Σ_j q_j · log_softmax(logits)_j` with `q = (1 − smoothing)·onehot(target) + smoothing/k`.
pub fn cross_entropy_forward<F: Float>(
    [rows, k]: [usize; 2],
    logits: &[F],
    targets: &[u32],
    smoothing: F,
) -> F {
    assert_eq!(targets.len(), rows);
    let mut log_p = vec![F::ZERO; rows * k];
    log_softmax_forward(rows, k, logits, &mut log_p);
    let total: F = (0..rows * k).map(|i| target_share(k, targets, smoothing, i) * log_p[i]).sum();
    -total / F::of(rows as f64)
}

/// `dlogits = scale/rows · (softmax(logits) − q)`.
pub fn cross_entropy_input_grad<F: Float>(
    [rows, k]: [usize; 2],
    logits: &[F],
    targets: &[u32],
    smoothing: F,
    scale: F,
    dlogits: &mut [F],
) {
    assert_eq!(targets.len(), rows);
    softmax_forward(rows, k, logits, dlogits);
    for (i, d) in dlogits.iter_mut().enumerate() {
        *d = scale / F::of(rows as f64) * (*d - target_share(k, targets, smoothing, i));
    }
}

/// `q` at offset `i` of `[rows, k]`.
fn target_share<F: Float>(k: usize, targets: &[u32], smoothing: F, i: usize) -> F {
    let target = targets[i / k] as usize;
    assert!(target < k, "class {target} of {k}");
    let hit = if target == i % k { F::ONE - smoothing } else { F::ZERO };
    hit + smoothing / F::of(k as f64)
}

/// Distillation with soft targets (Hinton et al. 2015): `T² · mean_row KL(p ‖ q)` with `p = softmax(teacher/T)` and
/// `q = softmax(student/T)`.
pub fn kl_divergence_forward<F: Float>(
    [rows, k]: [usize; 2],
    student: &[F],
    teacher: &[F],
    temperature: F,
) -> F {
    let log_p = softened(rows, k, teacher, temperature);
    let log_q = softened(rows, k, student, temperature);
    let total: F = log_p.iter().zip(&log_q).map(|(&p, &q)| p.exp() * (p - q)).sum();
    temperature * temperature * total / F::of(rows as f64)
}

/// `dstudent = scale · T/rows · (q − p)`.
pub fn kl_divergence_input_grad<F: Float>(
    [rows, k]: [usize; 2],
    student: &[F],
    teacher: &[F],
    temperature: F,
    scale: F,
    dstudent: &mut [F],
) {
    let log_p = softened(rows, k, teacher, temperature);
    let log_q = softened(rows, k, student, temperature);
    for ((d, &p), &q) in dstudent.iter_mut().zip(&log_p).zip(&log_q) {
        *d = scale * temperature / F::of(rows as f64) * (q.exp() - p.exp());
    }
}

/// `log_softmax(logits/T)`.
fn softened<F: Float>(rows: usize, k: usize, logits: &[F], temperature: F) -> Vec<F> {
    let scaled: Vec<F> = logits.iter().map(|&x| x / temperature).collect();
    let mut log_p = vec![F::ZERO; rows * k];
    log_softmax_forward(rows, k, &scaled, &mut log_p);
    log_p
}

/// The mean of `(a − b)²` over all elements.
pub fn mse_forward<F: Float>(a: &[F], b: &[F]) -> F {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(&a, &b)| (a - b) * (a - b)).sum::<F>() / F::of(a.len() as f64)
}

/// `da = scale · 2/len · (a − b)`.
pub fn mse_input_grad<F: Float>(a: &[F], b: &[F], scale: F, da: &mut [F]) {
    assert_eq!((a.len(), b.len()), (da.len(), da.len()));
    let factor = scale * F::of(2.0 / a.len() as f64);
    for ((da, &a), &b) in da.iter_mut().zip(a).zip(b) {
        *da = factor * (a - b);
    }
}
