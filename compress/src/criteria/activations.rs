//! Criteria that look at what a network computes on images.
//!
//! Those of filters look at their *response*: the layer's output behind the batch norm and the activation that are its
//! only readers, the values that the next layer sees.

use super::{LayerView, Need, Reduction, Score, StepView, described};
use lopper_engine::{Result, Tensor};

/// The mean over images and pixels of `of(value)`, for each channel of `images` `[…, C]`.
fn means(images: &Tensor, of: impl Fn(f32) -> f64) -> Vec<f64> {
    let channels = images.shape().last().copied().unwrap_or(0).max(1);
    let mut sums = vec![0.0; channels];
    for pixel in images.data().chunks_exact(channels) {
        sums.iter_mut().zip(pixel).for_each(|(sum, &value)| *sum += of(value));
    }
    let pixels = (images.data().len() / channels).max(1) as f64;
    sums.into_iter().map(|sum| sum / pixels).collect()
}

/// The response of a layer whose groups are filters. Returns an error if they are smaller.
fn response<'a>(step: &StepView<'a>) -> Result<&'a Tensor> {
    step.require_filters()?;
    step.activations()
}

/// `mean_activation`: the mean of `|y|` over images and pixels of the filter's response (Molchanov et al. 2017, "Pruning
/// convolutional neural networks for resource efficient inference", section 2.2, for a response behind ReLU).
#[derive(Clone, Copy, Debug, Default)]
pub struct MeanActivation;

described!(
    MeanActivation,
    "mean |y| over images and pixels of the response",
    "Molchanov et al. 2017, Pruning convolutional neural networks for resource efficient inference"
);

impl Score for MeanActivation {
    fn name(&self) -> &str {
        "mean_activation"
    }

    fn needs(&self) -> &[Need] {
        &[Need::Responses]
    }

    fn observe(&self, step: &StepView) -> Result<Vec<f64>> {
        Ok(means(response(step)?, |value| f64::from(value.abs())))
    }

    fn score(&self, layer: &LayerView) -> Result<Vec<f32>> {
        layer.observed_scores()
    }
}

/// `apoz`: the share of values of the filter's response above zero: 1 minus the average percentage of zeros (Hu et al.
/// 2016, "Network trimming: a data-driven neuron pruning approach", equation 1).
#[derive(Clone, Copy, Debug, Default)]
pub struct Apoz;

described!(
    Apoz,
    "share of the values of the response above zero",
    "Hu et al. 2016, Network trimming: a data-driven neuron pruning approach towards efficient deep architectures"
);

impl Score for Apoz {
    fn name(&self) -> &str {
        "apoz"
    }

    fn needs(&self) -> &[Need] {
        &[Need::Responses]
    }

    fn observe(&self, step: &StepView) -> Result<Vec<f64>> {
        Ok(means(response(step)?, |value| f64::from(u8::from(value > 0.0))))
    }

    fn score(&self, layer: &LayerView) -> Result<Vec<f32>> {
        layer.observed_scores()
    }
}

/// `hrank`: the mean rank of the maps `[H, W]` of the filter's response (Lin et al. 2020, "HRank: filter pruning using
/// high-rank feature map", equation 3). The rank is that of elimination with full pivots, in f64, up to the rounding of
/// f32.
#[derive(Clone, Copy, Debug, Default)]
pub struct HRank;

described!(
    HRank,
    "mean rank of the maps [H, W] of the response",
    "Lin et al. 2020, HRank: filter pruning using high-rank feature map"
);

impl Score for HRank {
    fn name(&self) -> &str {
        "hrank"
    }

    fn needs(&self) -> &[Need] {
        &[Need::Responses]
    }

    fn observe(&self, step: &StepView) -> Result<Vec<f64>> {
        let images = response(step)?;
        // A number per image, as a linear layer outputs, is a map of rank 1.
        let &[n, h, w, channels] = images.shape() else { return Ok(vec![1.0; step.groups().count()]) };
        let rank_of = |image: usize, channel: usize| {
            let map = &images.data()[image * h * w * channels..][..h * w * channels];
            rank(h, w, map.iter().skip(channel).step_by(channels).map(|&value| f64::from(value)).collect())
        };
        let mean =
            |channel| (0..n).map(|image| rank_of(image, channel)).sum::<usize>() as f64 / n.max(1) as f64;
        Ok((0..channels).map(mean).collect())
    }

    fn score(&self, layer: &LayerView) -> Result<Vec<f32>> {
        layer.observed_scores()
    }
}

/// The rank of the matrix `values` `[rows, columns]`.
fn rank(rows: usize, columns: usize, mut values: Vec<f64>) -> usize {
    let largest = |values: &[f64], from: usize| {
        let rest = (from..rows).flat_map(|row| (from..columns).map(move |column| (row, column)));
        rest.fold((0.0, (from, from)), |best, (row, column)| {
            let size = values[row * columns + column].abs();
            if size > best.0 { (size, (row, column)) } else { best }
        })
    };
    let tolerance = largest(&values, 0).0 * rows.max(columns) as f64 * f64::from(f32::EPSILON);
    for step in 0..rows.min(columns) {
        let (size, (row, column)) = largest(&values, step);
        if size <= tolerance {
            return step;
        }
        (0..columns).for_each(|j| values.swap(step * columns + j, row * columns + j));
        (0..rows).for_each(|i| values.swap(i * columns + step, i * columns + column));
        for i in step + 1..rows {
            let factor = values[i * columns + step] / values[step * columns + step];
            (step..columns).for_each(|j| values[i * columns + j] -= factor * values[step * columns + j]);
        }
    }
    rows.min(columns)
}

/// `wanda`: the mean of `|w|·‖x‖₂` over the group, where `x` are the values of the weight's input channel in a batch (Sun
/// et al. 2024, "A simple and effective pruning approach for large language models", equation 1). The norm is the root
/// of the mean square, so that it does not grow with the size of batch and map.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanda;

described!(
    Wanda,
    "mean of |w|·‖x‖₂ over the group, x the inputs of the weight",
    "Sun et al. 2024, A simple and effective pruning approach for large language models"
);

impl Score for Wanda {
    fn name(&self) -> &str {
        "wanda"
    }

    fn needs(&self) -> &[Need] {
        &[Need::Inputs]
    }

    fn observe(&self, step: &StepView) -> Result<Vec<f64>> {
        let inputs = step.activations()?;
        let norms: Vec<f64> = means(inputs, |x| f64::from(x).powi(2)).into_iter().map(f64::sqrt).collect();
        let (weight, [_, _, ins]) = (step.weight(), step.groups().axes());
        // Grouped convolutions read a run of channels for each run of filters.
        let runs = norms.len() / ins.max(1);
        let len = weight.len() / runs.max(1);
        let norm = |i: usize| norms.get(i / len.max(1) * ins + i % ins).copied().unwrap_or(0.0);
        Ok(Reduction::Mean.of(step.groups(), |i| f64::from(weight[i].abs()) * norm(i)))
    }

    fn score(&self, layer: &LayerView) -> Result<Vec<f32>> {
        layer.observed_scores()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::criteria::testing::score_seeing;

    /// Two images of 2 × 1 pixels and two channels.
    fn images() -> Tensor {
        Tensor::from_slice(&[2, 2, 1, 2], &[1.0, 0.0, 3.0, 0.0, -2.0, 4.0, 0.0, 0.0]).unwrap()
    }

    #[test]
    fn each_statistic_agrees_with_a_hand_example() {
        let scores = |criterion: &dyn Score| score_seeing(criterion, &[2, 1], &[1.0, 1.0], &images());
        assert_eq!(scores(&MeanActivation), [1.5, 1.0]);
        assert_eq!(scores(&Apoz), [0.5, 0.25]);
        assert_eq!(scores(&HRank), [1.0, 0.5]);
    }

    #[test]
    fn wanda_weighs_by_the_norm_of_the_inputs() {
        // Root mean squares: √(14 / 4) and √(16 / 4).
        let scores = score_seeing(&Wanda, &[2, 2], &[2.0, 0.0, 0.0, -1.0], &images());
        assert_eq!(scores, [(3.5f64.sqrt()) as f32, 1.0]);
    }

    #[test]
    fn ranks_are_those_of_matrices() {
        assert_eq!(rank(2, 3, vec![1.0, 2.0, 3.0, 2.0, 4.0, 6.0]), 1);
        assert_eq!(rank(2, 3, vec![1.0, 2.0, 3.0, 2.0, 4.0, 7.0]), 2);
        assert_eq!(rank(3, 3, vec![0.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0]), 3);
        assert_eq!(rank(3, 3, vec![0.0; 9]), 0);
    }
}
