//! A data set that is in memory as one tensor.

use super::data::{Batch, Batches};
use crate::{Error, Result, Tensor};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_xoshiro::Xoshiro256PlusPlus;

/// Labeled images in memory, in batches: in order, or shuffled in each epoch.
#[derive(Clone, Debug)]
pub struct InMemory {
    images: Tensor,
    labels: Vec<u32>,
    classes: Vec<String>,
    batch: usize,
    /// The seed of the order, if each epoch has one of its own.
    shuffle: Option<u64>,
}

impl InMemory {
    /// Images `[N, H, W, C]` with a label each, as one batch in order.
    ///
    /// # Errors
    /// [`Error::Invalid`] if there is no image, a number of labels other than N, or a label without a class.
    pub fn new(images: Tensor, labels: Vec<u32>, classes: Vec<String>) -> Result<Self> {
        let &[n, _, _, _] = images.shape() else {
            let found = images.shape();
            return Err(Error::invalid(format!("data: expected images [N, H, W, C], found {found:?}")));
        };
        if images.is_empty() || n != labels.len() {
            let found = labels.len();
            return Err(Error::invalid(format!(
                "data: expected images and a label for each, found {n} images and {found} labels"
            )));
        }
        match labels.iter().find(|&&label| label as usize >= classes.len()) {
            None => Ok(Self { images, labels, classes, batch: n, shuffle: None }),
            Some(label) => {
                let count = classes.len();
                Err(Error::invalid(format!("data: expected labels of {count} classes, found {label}")))
            }
        }
    }

    /// Sets the number of images per batch, at least 1. The last batch of an epoch may be smaller.
    pub fn batch(self, batch: usize) -> Self {
        Self { batch: batch.max(1), ..self }
    }

    /// Shuffles the images in each epoch, by `seed` and the epoch's number.
    pub fn shuffled(self, seed: u64) -> Self {
        Self { shuffle: Some(seed), ..self }
    }

    /// The order of the images in `epoch`.
    fn order(&self, epoch: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.labels.len()).collect();
        if let Some(seed) = self.shuffle {
            // The generator's seeding spreads neighboring seeds apart; the factor keeps epochs of two seeds apart.
            let key = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(epoch as u64);
            order.shuffle(&mut Xoshiro256PlusPlus::seed_from_u64(key));
        }
        order
    }

    fn gather(&self, chosen: &[usize]) -> Batch {
        let labels = chosen.iter().map(|&i| self.labels[i]).collect();
        Batch::new(self.images.select(0, chosen), labels)
    }
}

impl Batches for InMemory {
    fn len(&self) -> usize {
        self.labels.len().div_ceil(self.batch)
    }

    fn samples(&self) -> usize {
        self.labels.len()
    }

    fn image_shape(&self) -> [usize; 3] {
        [self.images.dim(1), self.images.dim(2), self.images.dim(3)]
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn epoch(&mut self, epoch: usize) -> Result<Box<dyn Iterator<Item = Result<Batch>> + '_>> {
        let (data, order) = (&*self, self.order(epoch));
        let batches = (0..data.len()).map(move |number| {
            let first = number * data.batch;
            let last = (first + data.batch).min(order.len());
            Ok(data.gather(&order[first..last]))
        });
        Ok(Box::new(batches))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(count: usize) -> InMemory {
        let images = Tensor::from_fn(&[count, 1, 2, 1], |i| i as f32);
        let labels = (0..count).map(|i| (i % 3) as u32).collect();
        InMemory::new(images, labels, ["a", "b", "c"].map(String::from).to_vec()).unwrap()
    }

    #[test]
    fn an_epoch_has_each_image_once_with_its_label() {
        let mut data = numbers(10).batch(4).shuffled(1);
        assert_eq!((data.len(), data.samples(), data.image_shape()), (3, 10, [1, 2, 1]));
        let mut read = |epoch| -> Vec<f32> {
            let mut seen = Vec::new();
            for batch in data.epoch(epoch).unwrap().map(Result::unwrap) {
                for (pair, &label) in batch.images.data().chunks(2).zip(&batch.labels) {
                    assert_eq!((pair[0] as u32 / 2 % 3, pair[1]), (label, pair[0] + 1.0));
                    seen.push(pair[0]);
                }
            }
            seen
        };
        let (first, again, second) = (read(0), read(0), read(1));
        assert!(first == again && first != second, "an order for each epoch");
        let mut sorted = first.clone();
        sorted.sort_by(f32::total_cmp);
        assert_eq!(sorted, (0..10).map(|i| 2.0 * i as f32).collect::<Vec<_>>());
        let plain: Vec<usize> = numbers(5).order(7);
        assert_eq!(plain, [0, 1, 2, 3, 4]);
    }

    #[test]
    fn images_without_labels_are_refused() {
        let new = |shape: &[usize], labels: &[u32], classes: usize| {
            let classes = (0..classes).map(|class| class.to_string()).collect();
            InMemory::new(Tensor::zeros(shape), labels.to_vec(), classes).map_err(|e| e.to_string())
        };
        assert!(new(&[2, 1, 1, 1], &[0, 1], 2).is_ok());
        assert!(new(&[2, 1, 1], &[0, 1], 2).unwrap_err().contains("[N, H, W, C]"));
        assert!(new(&[2, 1, 1, 1], &[0], 2).unwrap_err().contains("2 images and 1 labels"));
        assert!(new(&[0, 1, 1, 1], &[], 2).unwrap_err().contains("0 images"));
        assert!(new(&[1, 1, 1, 1], &[2], 2).unwrap_err().contains("2 classes, found 2"));
    }
}
