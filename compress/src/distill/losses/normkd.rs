//! Distillation at a temperature of each image.

use super::measured::Measured;
use super::rows::{Rows, log_softmax};

/// NormKD (Chi et al. 2023, "NormKD: normalized logits for knowledge distillation"):
/// `mean_n (T·σᵀ)² · KL(softmax(zᵀ / (T·σᵀ)) ‖ softmax(zˢ / (T·σˢ)))`.
///
/// σ is the standard deviation of an image's logits, of K − 1 degrees of freedom as in the authors' code, so that T is a
/// temperature for logits of deviation 1. The gradient also flows through σˢ: with `u = z / (T·σ)` and g its gradient,
/// `dz = (g − (Σ g·z) (z − mean z) / (σ² (K − 1))) / (T·σ)`.
pub fn normkd(student: &Rows, teacher: &Rows, t: f64) -> Measured {
    let n = student.count() as f64;
    let mut value = 0.0;
    let gradient = student.map(|row, z| {
        let theirs = teacher.iter().nth(row).unwrap_or(&[]);
        let (ours, deviation) = (temperature(z, t), temperature(theirs, t) / t);
        let factor = (t * deviation).powi(2) / n;
        let s = log_softmax(z.iter().map(|z| z / ours));
        let p = log_softmax(theirs.iter().map(|z| z / (t * deviation)));
        value += factor * p.iter().zip(&s).map(|(p, s)| p.exp() * (p - s)).sum::<f64>();
        let g: Vec<f64> = s.iter().zip(&p).map(|(s, p)| factor * (s.exp() - p.exp())).collect();
        let along: f64 = g.iter().zip(z).map(|(g, z)| g * z).sum();
        let (mean, sigma) = (z.iter().sum::<f64>() / z.len() as f64, ours / t);
        let bend = along / (sigma * sigma * (z.len() - 1) as f64);
        g.iter().zip(z).map(|(g, z)| (g - bend * (z - mean)) / ours).collect()
    });
    Measured { value, gradient: gradient.into_values() }
}

/// T·σ. Equal logits say nothing, so that they count as logits of a tiny deviation.
fn temperature(z: &[f64], t: f64) -> f64 {
    let mean = z.iter().sum::<f64>() / z.len() as f64;
    let squares: f64 = z.iter().map(|z| (z - mean).powi(2)).sum();
    t * (squares / (z.len() - 1) as f64).sqrt().max(1e-6)
}
