//! Evaluation of a network on a data set.

use super::{Accuracy, Outcome, Scores};
use crate::train::Logits;
use crate::train::data::Batches;
use crate::{Device, Error, Result, Tensor};

/// The result of evaluating a network on a data set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evaluation {
    /// The accuracy.
    pub accuracy: Accuracy,
    /// Mean cross entropy.
    pub loss: f64,
}

/// The accuracy and loss of `network` on the first epoch of `data`.
pub fn evaluate(network: impl Logits, data: &mut dyn Batches, device: &Device) -> Result<Evaluation> {
    let scores = score(network, data, device)?;
    Ok(Evaluation { accuracy: scores.top(1), loss: scores.loss() })
}

/// The outcomes of `network` on the first epoch of `data`.
///
/// # Errors
/// [`Error::Invalid`] if there are no images; [`Error::Shape`] if a label is not a class of the network; errors of the
/// images and the network.
pub fn score(mut network: impl Logits, data: &mut dyn Batches, device: &Device) -> Result<Scores> {
    let (mut classes, mut outcomes) = (0, Vec::new());
    each_batch(&mut network, data, 0, device, |logits, labels| {
        classes = logits.dim(1);
        let rows = logits.data().chunks_exact(classes).zip(labels);
        outcomes.extend(rows.map(|(row, &label)| Outcome::of_logits(row, label)));
        Ok(())
    })?;
    Ok(Scores::new(classes, outcomes))
}

/// Passes the logits `[N, K]` and the labels of every batch of an epoch to `see`. Every label is below K.
pub(super) fn each_batch(
    network: &mut dyn Logits,
    data: &mut dyn Batches,
    epoch: usize,
    device: &Device,
    mut see: impl FnMut(&Tensor, &[u32]) -> Result<()>,
) -> Result<()> {
    const OP: &str = "evaluation";
    let (mut largest, mut images) = (0, 0);
    for batch in data.epoch(epoch)? {
        let batch = batch?;
        // The first batch is the largest: the memory is checked once.
        if let &[n, h, w, c] = batch.images.shape()
            && n > largest
        {
            network.require([n, h, w, c], device)?;
            largest = n;
        }
        let logits = network.logits(batch.images, device)?;
        let &[n, classes] = logits.shape() else {
            return Err(Error::shape(OP, format!("expected logits [N, K], found {:?}", logits.shape())));
        };
        if n != batch.labels.len() {
            return Err(Error::shape(OP, format!("{} labels for {n} rows of logits", batch.labels.len())));
        }
        if let Some(label) = batch.labels.iter().find(|&&label| label as usize >= classes) {
            return Err(Error::shape(OP, format!("label {label} is out of range for {classes} classes")));
        }
        see(&logits, &batch.labels)?;
        images += n;
    }
    match images {
        0 => Err(Error::invalid("evaluation: the data set has no images")),
        _ => Ok(()),
    }
}
