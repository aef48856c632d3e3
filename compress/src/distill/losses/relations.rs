//! Distances between what two networks say of the relations among the images of a batch: functions of Gram matrices. Each
//! returns its value and its gradient by the student's matrix.

use super::gram::Gram;
use super::measured::Measured;

/// Similarity-preserving distillation (Tung & Mori 2019, "Similarity-preserving knowledge distillation", equation 4):
/// `‖Ĝˢ − Ĝᵀ‖² / N²`, where Ĝ has the rows of the Gram matrix divided by their Euclidean norms.
pub fn similarity(student: &Gram, teacher: &Gram) -> Measured {
    let n = student.count();
    let (mut value, mut gradient) = (0.0, Vec::with_capacity(n * n));
    let norm = |row: &[f64]| row.iter().map(|x| x * x).sum::<f64>().sqrt();
    let over = |x: f64, norm: f64| if norm == 0.0 { 0.0 } else { x / norm };
    for i in 0..n {
        let (s, t) = (student.row(i), teacher.row(i));
        let (ours, theirs) = (norm(s), norm(t));
        let difference: Vec<f64> = s.iter().zip(t).map(|(s, t)| over(*s, ours) - over(*t, theirs)).collect();
        let scale = 1.0 / (n * n) as f64;
        value += scale * difference.iter().map(|d| d * d).sum::<f64>();
        let along: f64 = s.iter().zip(&difference).map(|(s, d)| over(*s, ours) * d).sum();
        let slope = |(s, d): (&f64, &f64)| 2.0 * scale * over(d - over(*s, ours) * along, ours);
        gradient.extend(s.iter().zip(&difference).map(slope));
    }
    Measured { value, gradient }
}

/// Relational distillation by distances (Park et al. 2019, "Relational knowledge distillation", equation 9):
/// `mean_ij h(ψˢ_ij − ψᵀ_ij)` over all N² pairs, with `ψ_ij = ‖f_i − f_j‖ / μ`, μ the mean of the distances that are not
/// zero, and Huber's h.
pub fn distances(student: &Gram, teacher: &Gram) -> Measured {
    let n = student.count();
    let (s, t) = (Distances::of(student), Distances::of(teacher));
    let scale = 1.0 / (n * n) as f64;
    let relative = |d: &Distances, at: usize| if d.mean == 0.0 { 0.0 } else { d.values[at] / d.mean };
    let mut value = 0.0;
    let slopes: Vec<f64> = (0..n * n)
        .map(|at| {
            let (h, slope) = huber(relative(&s, at) - relative(&t, at));
            value += scale * h;
            scale * slope
        })
        .collect();
    if s.mean == 0.0 {
        return Measured { value, gradient: vec![0.0; n * n] };
    }
    let total: f64 = slopes.iter().zip(&s.values).map(|(g, d)| g * d).sum();
    let by_mean = total / (s.mean * s.mean * s.count as f64);
    let by_distance = slopes
        .iter()
        .zip(&s.values)
        .map(|(g, &d)| if d > 0.0 { g / s.mean - by_mean } else { 0.0 })
        .collect();
    Measured { value, gradient: s.back(by_distance) }
}

/// Relational distillation by angles (Park et al. 2019, equation 11): `mean_ijk h(cos ∠ˢ_ijk − cos ∠ᵀ_ijk)` over all N³
/// triples, where ∠_ijk is the angle at j, `cos = (f_i − f_j)·(f_k − f_j) / (‖f_i − f_j‖ ‖f_k − f_j‖)`, 0 if two of them
/// are one, and Huber's h.
pub fn angles(student: &Gram, teacher: &Gram) -> Measured {
    let n = student.count();
    let (s, t) = (Distances::of(student), Distances::of(teacher));
    let scale = 1.0 / (n * n * n) as f64;
    let (mut value, mut by_gram, mut by_distance) = (0.0, vec![0.0; n * n], vec![0.0; n * n]);
    for j in 0..n {
        for i in 0..n {
            for k in 0..n {
                let cos = s.cosine(student, [i, j, k]);
                let (h, slope) = huber(cos - t.cosine(teacher, [i, j, k]));
                value += scale * h;
                let (a, b) = (s.values[i * n + j], s.values[k * n + j]);
                if a == 0.0 || b == 0.0 || slope == 0.0 {
                    continue;
                }
                let (by_cos, by_product) = (scale * slope, scale * slope / (a * b));
                by_gram[i * n + k] += by_product;
                by_gram[i * n + j] -= by_product;
                by_gram[k * n + j] -= by_product;
                by_gram[j * n + j] += by_product;
                by_distance[i * n + j] -= by_cos * cos / a;
                by_distance[k * n + j] -= by_cos * cos / b;
            }
        }
    }
    let gradient = s.back(by_distance).into_iter().zip(by_gram).map(|(a, b)| a + b).collect();
    Measured { value, gradient }
}

/// Probabilistic knowledge transfer (Passalis & Tefas 2018, "Learning deep representations with probabilistic knowledge
/// transfer", equations 3 to 6): `mean_ij pᵀ_ij log((pᵀ_ij + ε) / (pˢ_ij + ε))` over all N² pairs, where row i of p is the
/// kernel `(1 + cos(f_i, f_j)) / 2` divided by its sum, and ε = 1e-7 as in the authors' code.
pub fn probabilities(student: &Gram, teacher: &Gram) -> Measured {
    const EPS: f64 = 1e-7;
    let n = student.count();
    let (s, t) = (kernel(student), kernel(teacher));
    let (mut value, mut by_cos) = (0.0, Vec::with_capacity(n * n));
    for i in 0..n {
        let (ours, theirs) = (s.row(i), t.row(i));
        let (sum, their_sum) = (ours.iter().sum::<f64>(), theirs.iter().sum::<f64>());
        let by_p: Vec<f64> = ours
            .iter()
            .zip(theirs)
            .map(|(s, t)| {
                let (s, t) = (s / sum, t / their_sum);
                value += t * ((t + EPS) / (s + EPS)).ln() / (n * n) as f64;
                -t / (s + EPS) / (n * n) as f64
            })
            .collect();
        let along: f64 = by_p.iter().zip(ours).map(|(g, s)| g * s / sum).sum();
        // The kernel is half of the cosine.
        by_cos.extend(by_p.iter().map(|g| 0.5 * (g - along) / sum));
    }
    Measured { value, gradient: cosines_back(student, &by_cos) }
}

/// `(1 + cos) / 2` of each pair; images without features have the cosine 0 to all.
fn kernel(gram: &Gram) -> Gram {
    let n = gram.count();
    gram.like((0..n * n).map(|at| (1.0 + cosine(gram, at / n, at % n)) / 2.0).collect())
}

fn cosine(gram: &Gram, i: usize, j: usize) -> f64 {
    match gram.at(i, i) * gram.at(j, j) {
        0.0 => 0.0,
        squares => gram.at(i, j) / squares.sqrt(),
    }
}

/// The gradient by the Gram matrix of a function of the cosines with the gradient `by_cos`.
fn cosines_back(gram: &Gram, by_cos: &[f64]) -> Vec<f64> {
    let n = gram.count();
    let mut by_gram = vec![0.0; n * n];
    for i in 0..n {
        for j in 0..n {
            let squares = gram.at(i, i) * gram.at(j, j);
            if squares == 0.0 {
                continue;
            }
            let (slope, cos) = (by_cos[i * n + j], gram.at(i, j) / squares.sqrt());
            by_gram[i * n + j] += slope / squares.sqrt();
            by_gram[i * n + i] -= 0.5 * slope * cos / gram.at(i, i);
            by_gram[j * n + j] -= 0.5 * slope * cos / gram.at(j, j);
        }
    }
    by_gram
}

/// Huber's function and its slope: `x²/2` up to |x| = 1, then `|x| − 1/2`.
fn huber(x: f64) -> (f64, f64) {
    if x.abs() < 1.0 { (0.5 * x * x, x) } else { (x.abs() - 0.5, x.signum()) }
}

/// The distances of the images of a batch.
struct Distances {
    values: Vec<f64>,
    n: usize,
    /// How many are not zero, and their mean.
    count: usize,
    mean: f64,
}

impl Distances {
    fn of(gram: &Gram) -> Self {
        let n = gram.count();
        let distance = |at: usize| {
            let (i, j) = (at / n, at % n);
            // Rounding leaves a little of what is exactly zero.
            let (square, scale) =
                (gram.at(i, i) + gram.at(j, j) - 2.0 * gram.at(i, j), gram.at(i, i) + gram.at(j, j));
            if i == j || square <= 1e-12 * scale { 0.0 } else { square.sqrt() }
        };
        let values: Vec<f64> = (0..n * n).map(distance).collect();
        let count = values.iter().filter(|&&d| d > 0.0).count();
        let mean = if count == 0 { 0.0 } else { values.iter().sum::<f64>() / count as f64 };
        Self { values, n, count, mean }
    }

    /// The cosine of the angle at j between i and k.
    fn cosine(&self, gram: &Gram, [i, j, k]: [usize; 3]) -> f64 {
        let (a, b) = (self.values[i * self.n + j], self.values[k * self.n + j]);
        match a == 0.0 || b == 0.0 {
            true => 0.0,
            false => (gram.at(i, k) - gram.at(i, j) - gram.at(k, j) + gram.at(j, j)) / (a * b),
        }
    }

    /// The gradient by the Gram matrix of a function of the distances with the gradient `by_distance`.
    fn back(&self, by_distance: Vec<f64>) -> Vec<f64> {
        let n = self.n;
        let mut by_gram = vec![0.0; n * n];
        for (at, slope) in by_distance.into_iter().enumerate() {
            let (i, j, d) = (at / n, at % n, self.values[at]);
            if d > 0.0 {
                by_gram[i * n + i] += slope / (2.0 * d);
                by_gram[j * n + j] += slope / (2.0 * d);
                by_gram[i * n + j] -= slope / d;
            }
        }
        by_gram
    }
}
