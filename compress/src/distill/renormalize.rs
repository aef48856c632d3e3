//! A teacher that was made for images with another normalization than the student's.

use lopper_engine::layer::BatchNorm;
use lopper_engine::{Graph, Info, Layer, Param, Result, Tensor};

/// Name of the layer that [`for_images_of`] adds. No architecture has a name with spaces.
const NAME: &str = "images of the student";

/// Returns `teacher` for images that are normalized as `student` expects them.
///
/// A pixel v is `(v − μ)/σ` for one network and `(v − μ')/σ'` for the other, which is an affine function of the former for
/// each channel: `x' = (σ/σ')·x + (μ − μ')/σ'`. It becomes the first layer, ahead of any padding, so that zeros of padding
/// stay the zeros that the teacher knows. If the normalizations are equal or one is unknown, nothing is added.
pub(super) fn for_images_of(student: &Info, mut teacher: Graph) -> Result<Graph> {
    let Some((scale, shift)) = affine(student, &teacher.info) else { return Ok(teacher) };
    let channels = scale.len();
    let bn = BatchNorm {
        weight: Param::new(Tensor::from_vec(&[channels], scale)?),
        bias: Param::new(Tensor::from_vec(&[channels], shift)?),
        eps: 0.0,
        ..BatchNorm::new(channels)
    };
    teacher.insert_after(0, NAME, Layer::BatchNorm(bn))?;
    Ok(teacher)
}

/// The scale and the shift of each channel that turn images for `from` into images for `to`.
fn affine(from: &Info, to: &Info) -> Option<(Vec<f32>, Vec<f32>)> {
    let channels = from.mean.len();
    let known = channels > 0 && [&from.std, &to.mean, &to.std].iter().all(|values| values.len() == channels);
    if !known || (from.mean == to.mean && from.std == to.std) {
        return None;
    }
    let f64s = |values: &[f32]| -> Vec<f64> { values.iter().map(|&value| value.into()).collect() };
    let [mean, std, their_mean, their_std] = [&from.mean, &from.std, &to.mean, &to.std].map(|v| f64s(v));
    let scale = (0..channels).map(|c| (std[c] / their_std[c]) as f32).collect();
    let shift = (0..channels).map(|c| ((mean[c] - their_mean[c]) / their_std[c]) as f32).collect();
    Some((scale, shift))
}
