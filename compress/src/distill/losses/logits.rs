//! Distances between the logits of an image.

use super::measured::Measured;
use super::rows::{Rows, log_softmax};

/// `mean_n (1 − s·t / (|s| |t|))` over the rows s, t. A row of zeros has no direction: its cosine is 0.
pub fn cosine(student: &Rows, teacher: &Rows) -> Measured {
    let n = student.count() as f64;
    let mut value = 0.0;
    let gradient = student.map(|row, s| {
        let t = teacher.iter().nth(row).unwrap_or(&[]);
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let (ss, tt) = (dot(s, s).sqrt(), dot(t, t).sqrt());
        if ss == 0.0 || tt == 0.0 {
            value += 1.0 / n;
            return vec![0.0; s.len()];
        }
        let cos = dot(s, t) / (ss * tt);
        value += (1.0 - cos) / n;
        s.iter().zip(t).map(|(s, t)| -(t / (ss * tt) - cos * s / (ss * ss)) / n).collect()
    });
    Measured { value, gradient: gradient.into_values() }
}

/// Decoupled distillation (Zhao et al. 2022, "Decoupled knowledge distillation", equation 7):
/// `T² · mean_n (α · KL(bᵀ ‖ bˢ) + β · KL(p̂ᵀ ‖ p̂ˢ))`.
///
/// With `p = softmax(z / T)` and the label y, `b = (p_y, 1 − p_y)` and p̂ is the softmax over all classes but y. The
/// gradient by z_y / T is `α (pˢ_y − pᵀ_y)`, by another z_j / T `α p̂ˢ_j (pᵀ_y − pˢ_y) + β (p̂ˢ_j − p̂ᵀ_j)`.
pub fn decoupled(
    student: &Rows,
    teacher: &Rows,
    labels: &[u32],
    t: f64,
    [alpha, beta]: [f64; 2],
) -> Measured {
    let n = student.count() as f64;
    let mut value = 0.0;
    let gradient = student.map(|row, logits| {
        let y = labels.get(row).map_or(0, |&label| label as usize);
        let (s, p) =
            (Decoupled::of(logits, y, t), Decoupled::of(teacher.iter().nth(row).unwrap_or(&[]), y, t));
        let target = p.hit * (p.log_hit - s.log_hit) + p.miss * (p.log_miss - s.log_miss);
        let others: f64 = p.others.iter().zip(&s.others).map(|(p, s)| p.exp() * (p - s)).sum();
        value += t * t / n * (alpha * target + beta * others);
        let slope = |j: usize| match j {
            j if j == y => alpha * (s.hit - p.hit),
            j => {
                let other = if j < y { j } else { j - 1 };
                let (s_j, p_j) = (s.others[other].exp(), p.others[other].exp());
                alpha * s_j * (p.hit - s.hit) + beta * (s_j - p_j)
            }
        };
        (0..logits.len()).map(|j| t / n * slope(j)).collect()
    });
    Measured { value, gradient: gradient.into_values() }
}

/// Normalized distillation (Yang et al. 2023, "From knowledge distillation to self-knowledge distillation", equation 7):
/// `mean_n (−pᵀ_y log pˢ_y − γ T² Σ_{j≠y} p̂ᵀ_j log p̂ˢ_j)`.
///
/// p is the softmax at temperature 1, p̂ that of `z / T` over all classes but the label y.
pub fn normalized(student: &Rows, teacher: &Rows, labels: &[u32], t: f64, gamma: f64) -> Measured {
    let n = student.count() as f64;
    let mut value = 0.0;
    let gradient = student.map(|row, logits| {
        let y = labels.get(row).map_or(0, |&label| label as usize);
        let theirs = teacher.iter().nth(row).unwrap_or(&[]);
        let (s1, p1) = (log_softmax(logits.iter().copied()), log_softmax(theirs.iter().copied()));
        let (s, p) = (Decoupled::of(logits, y, t), Decoupled::of(theirs, y, t));
        let hit = p1[y].exp();
        let others: f64 = p.others.iter().zip(&s.others).map(|(p, s)| p.exp() * s).sum();
        value -= (hit * s1[y] + gamma * t * t * others) / n;
        let slope = |j: usize| {
            let own = hit * (s1[j].exp() - f64::from(u8::from(j == y)));
            let other = if j < y { j } else { j.wrapping_sub(1) };
            let rest = if j == y { 0.0 } else { s.others[other].exp() - p.others[other].exp() };
            own + gamma * t * rest
        };
        (0..logits.len()).map(|j| slope(j) / n).collect()
    });
    Measured { value, gradient: gradient.into_values() }
}

/// The distribution of an image, split into its label and the other classes. Logarithms come from sums over the other
/// classes, so that they are exact even if one class has almost all.
struct Decoupled {
    hit: f64,
    miss: f64,
    log_hit: f64,
    log_miss: f64,
    /// log p̂ of the classes but the label, in order.
    others: Vec<f64>,
}

impl Decoupled {
    fn of(logits: &[f64], y: usize, t: f64) -> Self {
        let scaled = log_softmax(logits.iter().map(|z| z / t));
        let rest = scaled.iter().enumerate().filter(|&(j, _)| j != y).map(|(_, &log)| log);
        let max = rest.clone().fold(f64::NEG_INFINITY, f64::max);
        let log_miss = max + rest.clone().map(|log| (log - max).exp()).sum::<f64>().ln();
        let others = rest.map(|log| log - log_miss).collect();
        Self { hit: scaled[y].exp(), miss: log_miss.exp(), log_hit: scaled[y], log_miss, others }
    }
}
