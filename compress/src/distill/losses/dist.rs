//! Distillation by correlation instead of equality.

use super::measured::Measured;
use super::rows::{Rows, log_softmax, softmax_back};

/// DIST (Huang et al. 2022, "Knowledge distillation from a stronger teacher", equations 7 to 10):
/// `T² (β · mean_n (1 − ρ(pˢ_n, pᵀ_n)) + γ · mean_k (1 − ρ(pˢ_k, pᵀ_k)))`.
///
/// ρ is Pearson's correlation: of the probabilities `p = softmax(z / T)` of an image over the classes (inter-class), and
/// of a class over the images of the batch (intra-class).
pub fn dist(student: &Rows, teacher: &Rows, t: f64, [beta, gamma]: [f64; 2]) -> Measured {
    let softmax = |logits: &Rows| {
        logits.map(|_, row| log_softmax(row.iter().map(|z| z / t)).into_iter().map(f64::exp).collect())
    };
    let (s, p) = (softmax(student), softmax(teacher));
    let (n, k) = (s.count(), s.width());
    let mut value = 0.0;
    // By the probabilities of the student.
    let mut by_p = s.map(|row, ours| {
        let (rho, slope) = correlation(ours, p.iter().nth(row).unwrap_or(&[]));
        value += t * t * beta / n as f64 * (1.0 - rho);
        slope.into_iter().map(|d| -t * t * beta / n as f64 * d).collect()
    });
    for class in 0..k {
        let (rho, slope) = correlation(&s.column(class), &p.column(class));
        value += t * t * gamma / k as f64 * (1.0 - rho);
        let column = by_p.values_mut().iter_mut().skip(class).step_by(k);
        column.zip(slope).for_each(|(sum, d)| *sum -= t * t * gamma / k as f64 * d);
    }
    let rows: Vec<&[f64]> = by_p.iter().collect();
    let gradient = s.map(|row, p| softmax_back(p, rows[row]).into_iter().map(|d| d / t).collect());
    Measured { value, gradient: gradient.into_values() }
}

/// Pearson's correlation of a and b and its gradient by a: with centered a and b,
/// `(b / (|a||b|) − ρ a / |a|²)`. 0 if one of them is constant.
fn correlation(a: &[f64], b: &[f64]) -> (f64, Vec<f64>) {
    let centered = |x: &[f64]| {
        let mean = x.iter().sum::<f64>() / x.len() as f64;
        x.iter().map(|x| x - mean).collect::<Vec<f64>>()
    };
    let (a, b) = (centered(a), centered(b));
    let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
    let (aa, bb) = (dot(&a, &a), dot(&b, &b));
    if aa == 0.0 || bb == 0.0 {
        return (0.0, vec![0.0; a.len()]);
    }
    let rho = dot(&a, &b) / (aa * bb).sqrt();
    let slope = a.iter().zip(&b).map(|(a, b)| b / (aa * bb).sqrt() - rho * a / aa).collect();
    (rho, slope)
}
