//! What a loader needs to know of a data set.

use image::RgbImage;
use lopper_engine::Result;
use std::borrow::Cow;
use std::sync::OnceLock;

/// Labelled pictures in a fixed order, readable from several threads.
pub trait Dataset: Send + Sync {
    /// Number of pictures.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The name of each class, by label.
    fn classes(&self) -> &[String];

    /// The class of picture `index`.
    fn label(&self, index: usize) -> u32;

    /// Picture `index`; an error that names it where it cannot be decoded.
    fn image(&self, index: usize) -> Result<Cow<'_, RgbImage>>;

    /// Hands `feed` bytes that differ where another data set, in images, labels or their order, stands behind the same
    /// options: names and sizes of files, or the pictures themselves where they are in memory.
    fn identify(&self, feed: &mut dyn FnMut(&[u8]));
}

/// A data set that decodes each picture once and keeps it, at `width · height · 3` bytes of memory each.
pub struct Cached<D> {
    inner: D,
    images: Vec<OnceLock<RgbImage>>,
}

impl<D: Dataset> Cached<D> {
    /// `inner`, remembered as it is read.
    pub fn new(inner: D) -> Self {
        let images = (0..inner.len()).map(|_| OnceLock::new()).collect();
        Self { inner, images }
    }
}

impl<D: Dataset> Dataset for Cached<D> {
    fn len(&self) -> usize {
        self.inner.len()
    }

    fn classes(&self) -> &[String] {
        self.inner.classes()
    }

    fn label(&self, index: usize) -> u32 {
        self.inner.label(index)
    }

    fn identify(&self, feed: &mut dyn FnMut(&[u8])) {
        self.inner.identify(feed);
    }

    fn image(&self, index: usize) -> Result<Cow<'_, RgbImage>> {
        let slot = &self.images[index];
        if slot.get().is_none() {
            let image = self.inner.image(index)?.into_owned();
            // Another worker may have been first, with the same picture.
            let _ = slot.set(image);
        }
        Ok(Cow::Borrowed(slot.get().expect("set above")))
    }
}
