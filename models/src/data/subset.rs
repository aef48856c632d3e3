//! Some images of a data set.

use super::Dataset;
use image::RgbImage;
use lopper_engine::Result;
use std::borrow::Cow;
use std::sync::Arc;

/// The images of a data set at some positions, in that order.
pub(super) struct Subset {
    inner: Arc<dyn Dataset>,
    positions: Vec<usize>,
}

impl Subset {
    /// The images of `inner` at `positions`, each below its length.
    pub fn new(inner: Arc<dyn Dataset>, positions: Vec<usize>) -> Self {
        assert!(positions.iter().all(|&position| position < inner.len()), "positions are those of images");
        Self { inner, positions }
    }
}

impl Dataset for Subset {
    fn len(&self) -> usize {
        self.positions.len()
    }

    fn classes(&self) -> &[String] {
        self.inner.classes()
    }

    fn label(&self, index: usize) -> u32 {
        self.inner.label(self.positions[index])
    }

    fn name(&self, index: usize) -> String {
        self.inner.name(self.positions[index])
    }

    fn image(&self, index: usize) -> Result<Cow<'_, RgbImage>> {
        self.inner.image(self.positions[index])
    }

    fn identify(&self, feed: &mut dyn FnMut(&[u8])) {
        self.inner.identify(feed);
        self.positions.iter().for_each(|position| feed(&position.to_le_bytes()));
    }
}
