//! Labeled images of the caller as batches.

use crate::arrays::View;
use lopper_engine::data::{Batch, Batches};
use lopper_engine::{Error, Graph, Result};

/// Images with a class each, in batches, in their order. Only the images of a batch are copied.
pub struct Labeled<'a> {
    images: View<'a>,
    labels: &'a [u32],
    classes: Vec<String>,
    batch: usize,
}

impl<'a> Labeled<'a> {
    /// Images for `graph`, at most `batch` at a time.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the images do not have the size that the network is made for, or there are none.
    pub fn new(graph: &Graph, images: View<'a>, labels: &'a [u32], batch: usize) -> Result<Self> {
        let [count, size @ ..] = images.shape();
        let expected = graph.info.input;
        if size != expected || count == 0 {
            return Err(Error::invalid(format!(
                "images: expected some of {expected:?}, [height, width, channels], found {count} of {size:?}"
            )));
        }
        if batch == 0 {
            return Err(Error::invalid("batch: expected at least one image, found 0"));
        }
        Ok(Self { images, labels, classes: graph.info.classes.clone(), batch: batch.min(count) })
    }

    /// The largest number of images of a batch.
    pub fn batch(&self) -> usize {
        self.batch
    }
}

impl Batches for Labeled<'_> {
    fn len(&self) -> usize {
        self.labels.len().div_ceil(self.batch)
    }

    fn samples(&self) -> usize {
        self.labels.len()
    }

    fn image_shape(&self) -> [usize; 3] {
        let [_, h, w, c] = self.images.shape();
        [h, w, c]
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn epoch(&mut self, _: usize) -> Result<Box<dyn Iterator<Item = Result<Batch>> + '_>> {
        let batches = (0..self.len()).map(|number| {
            let first = number * self.batch;
            let last = (first + self.batch).min(self.labels.len());
            Ok(Batch::new(self.images.tensor(first..last)?, self.labels[first..last].to_vec()))
        });
        Ok(Box::new(batches))
    }
}
