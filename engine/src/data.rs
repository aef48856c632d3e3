//! Training data: batches of labeled images, epoch by epoch.

use crate::{Result, Tensor};

/// Some images and their labels.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Normalized images, `[N, H, W, C]`.
    pub images: Tensor,
    /// Class of each image.
    pub labels: Vec<u32>,
}

/// Source of batches. The same epoch always gives the same batches, in the same order.
pub trait Batches {
    /// Returns the number of batches in an epoch.
    fn len(&self) -> usize;

    /// Returns whether an epoch has no batches.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the number of images in an epoch.
    fn samples(&self) -> usize;

    /// Returns `[H, W, C]` of every image.
    fn image_shape(&self) -> [usize; 3];

    /// Returns the name of each class.
    fn classes(&self) -> &[String];

    /// Returns the batches of epoch `epoch`, counted from 0.
    fn epoch(&mut self, epoch: usize) -> Result<Box<dyn Iterator<Item = Result<Batch>> + '_>>;
}
