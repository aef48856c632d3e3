//! Contrastive representation distillation: an image's two embeddings are told from pairs of different images.
//!
//! ```text
//!   student ─ head ─► u        h(u, v) = p / (p + N/M),   p = exp(u·v / τ) / Z
//!   memory            v        L = −log h(u, v₊) − Σ over N negatives log(1 − h(u, v₋))
//! ```
//!
//! Tian et al. 2020, "Contrastive representation distillation", section 3: h is the probability that u and v belong to one
//! image, if one pair in N + 1 does, of a data set of M images (noise-contrastive estimation, Gutmann & Hyvärinen 2010).
//! Embeddings have length 1. Z, which the authors' code has and their paper leaves out, makes p a distribution over the M
//! images; it is a constant, estimated once as `Z = M·mean exp(u·v/τ)`, as Wu et al. 2018 do. So M cancels:
//! `h = e / (e + N·ē)` with `e = exp(u·v/τ)` and its first mean ē.

use super::measured::Measured;
use super::rows::Rows;
use crate::threads::for_each;
use lopper_engine::Device;

/// What an embedding is contrasted with: places in a memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// The place of the other network's embedding of the same image.
    pub positive: usize,
    /// The places of the images that it must differ from.
    pub negatives: Vec<usize>,
}

/// Embeddings of length 1 to compare others with, row by row, at the temperature τ.
#[derive(Clone, Copy, Debug)]
pub struct Memory<'a> {
    /// `[M, D]`.
    pub embeddings: &'a [f64],
    /// τ.
    pub temperature: f64,
}

impl Memory<'_> {
    /// `u·v/τ` for the v at `place`.
    fn likeness(&self, u: &[f64], place: usize) -> f64 {
        dot(u, self.at(place, u.len())) / self.temperature
    }

    fn at(&self, place: usize, width: usize) -> &[f64] {
        &self.embeddings[place * width..][..width]
    }

    /// `log ē`: the logarithm of the mean of `exp(u·v/τ)` over all pairs of the embeddings u of `heads` `[N, D]` with what
    /// `anchors`, one for each, contrasts them with. None without negatives.
    pub fn log_mean(&self, heads: &Rows, anchors: &[Anchor]) -> Option<f64> {
        if anchors.iter().all(|anchor| anchor.negatives.is_empty()) {
            return None;
        }
        let of_anchor = |(row, anchor): (&[f64], &Anchor)| {
            let u = unit(row).0;
            let places = [anchor.positive].into_iter().chain(anchor.negatives.iter().copied());
            places.map(|place| self.likeness(&u, place)).collect::<Vec<_>>()
        };
        let all: Vec<f64> = heads.iter().zip(anchors).flat_map(of_anchor).collect();
        let max = all.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = all.iter().map(|x| (x - max).exp()).sum();
        Some(max + (sum / all.len() as f64).ln())
    }

    /// The loss L, as the mean over the N images of a batch, as a function of the outputs `heads` `[N, D]` of a head, before
    /// they are divided by their lengths. `log_mean` is `log ē`.
    ///
    /// With `x = u·v/τ` and `b = log(N·ē)`, `−log h = softplus(b − x)` and `−log(1 − h) = softplus(x − b)`. An image
    /// without negatives has no loss: it is the only one there is.
    pub fn contrast(&self, heads: &Rows, anchors: &[Anchor], log_mean: f64, device: &Device) -> Measured {
        let n = heads.count() as f64;
        let mut lines: Vec<Line> = heads
            .iter()
            .zip(anchors)
            .map(|(row, anchor)| Line { row, anchor, loss: Measured { value: 0.0, gradient: Vec::new() } })
            .collect();
        for_each(device, &mut lines, |line| line.loss = self.of_one(line.row, line.anchor, log_mean));
        let value = lines.iter().map(|line| line.loss.value).sum::<f64>() / n;
        let gradient = lines.into_iter().flat_map(|line| line.loss.gradient).map(|g| g / n).collect();
        Measured { value, gradient }
    }

    /// The loss of one image.
    fn of_one(&self, row: &[f64], anchor: &Anchor, log_mean: f64) -> Measured {
        let ((u, length), count) = (unit(row), anchor.negatives.len());
        let (mut value, mut by_u) = (0.0, vec![0.0; u.len()]);
        if count == 0 || length == 0.0 {
            return Measured { value, gradient: by_u };
        }
        let bound = (count as f64).ln() + log_mean;
        let signed = anchor.negatives.iter().map(|&place| (place, 1.0)).chain([(anchor.positive, -1.0)]);
        for (place, sign) in signed {
            let (loss, slope) = softplus(sign * (self.likeness(&u, place) - bound));
            value += loss;
            let factor = sign * slope / self.temperature;
            by_u.iter_mut().zip(self.at(place, u.len())).for_each(|(sum, v)| *sum += factor * v);
        }
        let along = dot(&u, &by_u);
        let gradient = by_u.iter().zip(&u).map(|(g, u)| (g - along * u) / length).collect();
        Measured { value, gradient }
    }
}

/// An image of the batch with its loss.
struct Line<'a> {
    row: &'a [f64],
    anchor: &'a Anchor,
    loss: Measured,
}

/// `row` divided by its length, and the length. Zeros stay zeros.
pub(crate) fn unit(row: &[f64]) -> (Vec<f64>, f64) {
    let length = dot(row, row).sqrt();
    let over = |x: &f64| if length == 0.0 { 0.0 } else { x / length };
    (row.iter().map(over).collect(), length)
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// `log(1 + exp x)` and its slope, the logistic function.
fn softplus(x: f64) -> (f64, f64) {
    let small = (-x.abs()).exp();
    let slope = if x > 0.0 { 1.0 / (1.0 + small) } else { small / (1.0 + small) };
    (x.max(0.0) + small.ln_1p(), slope)
}
