//! Training data: batches of labeled images, epoch by epoch.

use crate::train::State;
use crate::{Result, Tensor};

/// Numbered batches, as [`Batches::epoch_from`] gives them.
pub type Numbered<'a> = Box<dyn Iterator<Item = Result<(usize, Batch)>> + 'a>;

/// Some images and their labels.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Normalized images, `[N, H, W, C]`.
    pub images: Tensor,
    /// Class of each image.
    pub labels: Vec<u32>,
    /// The second classes, if each image is a mixture of two.
    pub mixed: Option<Mixed>,
}

/// The second classes of images that are mixtures of two images.
#[derive(Clone, Debug, PartialEq)]
pub struct Mixed {
    /// The second class of each image.
    pub labels: Vec<u32>,
    /// The share of the second image, in `[0, 1]`.
    pub share: f32,
}

impl Batch {
    /// Creates a batch of images of one class each.
    pub fn new(images: Tensor, labels: Vec<u32>) -> Self {
        Self { images, labels, mixed: None }
    }
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

    /// The batches of epoch `epoch` from number `first` on, each with its number in `0..len()`. A number may be
    /// missing, where no image of its batch could be read and such images are left out. A source whose batches cost
    /// something to make overrides this, so that the first ones are not made.
    fn epoch_from(&mut self, epoch: usize, first: usize) -> Result<Numbered<'_>> {
        let numbered = self.epoch(epoch)?.enumerate().map(|(number, batch)| batch.map(|b| (number, b)));
        Ok(Box::new(numbered.skip(first)))
    }

    /// What has to be remembered to go on from a checkpoint besides epoch and batch: nothing unless it is written.
    fn state(&self) -> State {
        State::default()
    }

    /// Goes on from what [`Batches::state`] gave.
    fn restore(&mut self, state: State) -> Result<()> {
        state.expect_empty("the images")
    }
}
