//! Test-time augmentation: predictions averaged over several views of each image.

use super::{Outcome, Scores};
use crate::train::Logits;
use crate::train::data::Batches;
use crate::{Device, Error, Result, memory};

/// Probabilities of every image, for the plain view and summed over augmented views.
///
/// The prediction is that of fastai's `Learner.tta`: `β · plain + (1 − β) · mean of the augmented`, where each is the
/// softmax of the logits.
#[derive(Clone, Debug)]
pub struct Views {
    classes: usize,
    labels: Vec<u32>,
    plain: Vec<f32>,
    sum: Vec<f64>,
    count: usize,
}

impl Views {
    /// Starts with the first epoch of `data`: the plain view of each image.
    pub fn plain(network: &mut dyn Logits, data: &mut dyn Batches, device: &Device) -> Result<Self> {
        let mut views = Self { classes: 0, labels: Vec::new(), plain: Vec::new(), sum: Vec::new(), count: 0 };
        let samples = data.samples();
        super::evaluate::each_batch(network, data, 0, device, |logits, labels| {
            if views.labels.is_empty() {
                views.classes = logits.dim(1);
                let bytes = (samples * views.classes * 12) as u64;
                memory::require("the predictions of all images", bytes)?;
            }
            views.labels.extend_from_slice(labels);
            let rows = logits.data().chunks_exact(views.classes);
            rows.for_each(|row| views.plain.extend(softmax(row).map(|p| p as f32)));
            Ok(())
        })?;
        views.sum = vec![0.0; views.plain.len()];
        Ok(views)
    }

    /// Adds a view: the next epoch of `data`, which has the same images in the same order, augmented.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the images are others; errors of the images and the network.
    pub fn add(&mut self, network: &mut dyn Logits, data: &mut dyn Batches, device: &Device) -> Result<()> {
        let (mut at, classes) = (0, self.classes);
        let Self { labels: expected, sum, count, .. } = self;
        super::evaluate::each_batch(network, data, *count, device, |logits, labels| {
            if expected.get(at..at + labels.len()) != Some(labels) || logits.dim(1) != classes {
                return Err(Error::invalid("test-time augmentation: the images of a view are others"));
            }
            let rows = logits.data().chunks_exact(classes);
            let sums = sum[at * classes..].chunks_exact_mut(classes);
            for (sums, row) in sums.zip(rows) {
                sums.iter_mut().zip(softmax(row)).for_each(|(sum, p)| *sum += p);
            }
            at += labels.len();
            Ok(())
        })?;
        match at == expected.len() {
            true => *count += 1,
            false => return Err(Error::invalid("test-time augmentation: a view lacks images")),
        }
        Ok(())
    }

    /// Number of augmented views.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The scores of the average with weight `beta` of the plain view, or of the plain view as long as it is the only
    /// one.
    pub fn scores(&self, beta: f64) -> Scores {
        let (plain, augmented) = match self.count {
            0 => (1.0, 0.0),
            count => (beta, (1.0 - beta) / count as f64),
        };
        let mut row = vec![0.0; self.classes];
        let outcome = |(i, &label): (usize, &u32)| {
            let at = i * self.classes..(i + 1) * self.classes;
            let both = self.plain[at.clone()].iter().zip(&self.sum[at]);
            for (mean, (&p, &sum)) in row.iter_mut().zip(both) {
                *mean = plain * f64::from(p) + augmented * sum;
            }
            Outcome::of_probabilities(&row, label)
        };
        Scores::new(self.classes, self.labels.iter().enumerate().map(outcome).collect())
    }
}

/// Probabilities of `logits`, in double precision. As in [`Outcome::of_logits`], infinite logits share them.
pub fn softmax(logits: &[f32]) -> impl Iterator<Item = f64> {
    let largest = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let exp = move |x: f64| if x == largest { 1.0 } else { (x - largest).exp() };
    let sum: f64 = logits.iter().map(|&x| exp(x.into())).sum();
    logits.iter().map(move |&x| exp(x.into()) / sum)
}
