//! Distillation of where each channel is active.

use super::maps::Map;
use super::measured::Measured;
use super::rows::log_softmax;

/// Channel-wise distillation (Shu et al. 2021, "Channel-wise knowledge distillation for dense prediction", equations 3 and
/// 4): `T²/C · mean_n Σ_c KL(φᵀ_c ‖ φˢ_c)`, where φ_c is the softmax of `x_c / T` over the H·W pixels of an image.
///
/// The softmax takes away how strong a channel is: what counts is where. Both maps are `[N, H, W, C]`, of one shape. The
/// gradient by the student's `x_ci` is `T/(N·C) · (φˢ_ci − φᵀ_ci)`.
pub fn channelwise(student: Map, teacher: Map, t: f64) -> Measured {
    let channels = student.channels();
    let scale = t * t / (student.images() * channels) as f64;
    let (mut value, mut gradient) = (0.0, Vec::new());
    for (s, p) in student.rows().zip(teacher.rows()) {
        let begin = gradient.len();
        gradient.resize(begin + s.len(), 0.0);
        for c in 0..channels {
            let over_pixels = |image: &[f32]| {
                log_softmax(image.iter().skip(c).step_by(channels).map(|&x| f64::from(x) / t))
            };
            let (ours, theirs) = (over_pixels(s), over_pixels(p));
            for (pixel, (q, p)) in ours.iter().zip(&theirs).enumerate() {
                value += scale * p.exp() * (p - q);
                gradient[begin + pixel * channels + c] = scale / t * (q.exp() - p.exp());
            }
        }
    }
    Measured { value, gradient }
}
