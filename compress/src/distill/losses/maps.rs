//! Distances between feature maps, image by image.

use super::measured::Measured;
use lopper_engine::{Result, Tensor};

/// Feature maps `[N, H, W, C]`, or features `[N, C]` of one pixel.
#[derive(Clone, Copy, Debug)]
pub struct Map<'a> {
    values: &'a [f32],
    images: usize,
    channels: usize,
}

impl<'a> Map<'a> {
    /// The maps in `values`, fetched from their device.
    pub fn of(values: &'a Tensor) -> Result<Self> {
        values.fetch()?;
        let (images, channels) = match values.shape() {
            [n, .., c] => (*n, *c),
            _ => (values.len(), 1),
        };
        Ok(Self { values: values.data(), images: images.max(1), channels: channels.max(1) })
    }

    /// Number of images.
    pub fn images(&self) -> usize {
        self.images
    }

    /// C.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// The values of each image.
    pub(super) fn rows(&self) -> std::slice::ChunksExact<'a, f32> {
        self.values.chunks_exact((self.values.len() / self.images).max(1))
    }

    /// The attention of each pixel of an image: the mean of |x|^p over its channels.
    fn attention(&self, image: &[f32], p: f64) -> Vec<f64> {
        let mean = |pixel: &[f32]| {
            let powers = pixel.iter().map(|&x| f64::from(x).abs().powf(p));
            powers.sum::<f64>() / self.channels as f64
        };
        image.chunks_exact(self.channels).map(mean).collect()
    }
}

/// Attention transfer (Zagoruyko & Komodakis 2017, "Paying more attention to attention"):
/// `mean (Q̂ˢ − Q̂ᵀ)²` over all pixels of all images, with `Q = mean_c |x|^p` and `Q̂ = Q / ‖Q‖₂` of an image.
///
/// Student and teacher have the same H and W; the channels may differ.
pub fn attention(student: Map, teacher: Map, p: f64) -> Measured {
    let pixels = student.values.len() / student.channels;
    let (mut value, mut gradient) = (0.0, Vec::with_capacity(student.values.len()));
    for (s, t) in student.rows().zip(teacher.rows()) {
        let (ours, theirs) = (student.attention(s, p), teacher.attention(t, p));
        let ([q, r], [norm, _]) = normalized([ours, theirs]);
        let slope: Vec<f64> = q.iter().zip(&r).map(|(q, r)| 2.0 * (q - r) / pixels as f64).collect();
        value += q.iter().zip(&r).map(|(q, r)| (q - r).powi(2)).sum::<f64>() / pixels as f64;
        let along: f64 = q.iter().zip(&slope).map(|(q, d)| q * d).sum();
        for (pixel, (q, d)) in s.chunks_exact(student.channels).zip(q.iter().zip(&slope)) {
            let by_q = if norm == 0.0 { 0.0 } else { (d - q * along) / norm * p / student.channels as f64 };
            gradient.extend(pixel.iter().map(|&x| match f64::from(x) {
                0.0 => 0.0,
                x => by_q * x.abs().powf(p - 1.0) * x.signum(),
            }));
        }
    }
    Measured { value, gradient }
}

/// Both vectors divided by their Euclidean norms, and the norms. Zeros stay zeros.
fn normalized(vectors: [Vec<f64>; 2]) -> ([Vec<f64>; 2], [f64; 2]) {
    let norms = [0, 1].map(|i: usize| vectors[i].iter().map(|x| x * x).sum::<f64>().sqrt());
    let [a, b] = vectors;
    let over = |x: Vec<f64>, norm: f64| match norm {
        0.0 => x,
        norm => x.into_iter().map(|x| x / norm).collect(),
    };
    ([over(a, norms[0]), over(b, norms[1])], norms)
}

/// Activation boundaries (Heo et al. 2019, "Knowledge transfer via distillation of activation boundaries formed by hidden
/// neurons", equation 7): the mean over all values of `max(0, m − s)²` where the teacher's neuron is active (t > 0), and
/// of `max(0, m + s)²` where it is not.
///
/// s and t are values before the activation, of equal shapes.
pub fn boundaries(student: Map, teacher: Map, margin: f64) -> Measured {
    let n = student.values.len() as f64;
    let mut value = 0.0;
    let slope = |(&s, &t): (&f32, &f32)| {
        let side = if t > 0.0 { 1.0 } else { -1.0 };
        let short = (margin - side * f64::from(s)).max(0.0);
        value += short * short / n;
        -2.0 * side * short / n
    };
    let gradient = student.values.iter().zip(teacher.values).map(slope).collect();
    Measured { value, gradient }
}
