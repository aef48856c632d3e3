//! What training reads: batches of labelled images, epoch by epoch.

use crate::{Result, Tensor};

/// Some images and their labels.
#[derive(Clone, Debug)]
pub struct Batch {
    /// `[N, H, W, C]`, normalised.
    pub images: Tensor,
    /// The class of each image.
    pub labels: Vec<u32>,
}

/// A source of batches. The same epoch gives the same batches, in the same order.
pub trait Batches {
    /// Batches in an epoch.
    fn len(&self) -> usize;

    /// Whether an epoch holds no batch.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Images in an epoch.
    fn samples(&self) -> usize;

    /// `[H, W, C]` of every image.
    fn image_shape(&self) -> [usize; 3];

    /// The name of each class.
    fn classes(&self) -> &[String];

    /// The batches of epoch `epoch`, counted from 0.
    fn epoch(&mut self, epoch: usize) -> Result<Box<dyn Iterator<Item = Result<Batch>> + '_>>;
}
