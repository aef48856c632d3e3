//! The data set interface that loaders use.

use image::RgbImage;
use lopper_engine::{Result, memory};
use std::borrow::Cow;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Labeled images in a fixed order, readable from several threads.
pub trait Dataset: Send + Sync {
    /// Number of images.
    fn len(&self) -> usize;

    /// Whether there are no images.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The class names, by label.
    fn classes(&self) -> &[String];

    /// The label of image `index`.
    fn label(&self, index: usize) -> u32;

    /// A name for image `index`, for people: a file's path in the data set, if it has one.
    fn name(&self, index: usize) -> String {
        format!("image {index}")
    }

    /// Decodes image `index`. The error names the image if it cannot be decoded.
    fn image(&self, index: usize) -> Result<Cow<'_, RgbImage>>;

    /// Passes to `feed` bytes that identify the data set. They differ between data sets with different images, labels
    /// or order, even under the same options: names and sizes of files, or the images themselves if they are in
    /// memory.
    fn identify(&self, feed: &mut dyn FnMut(&[u8]));
}

/// A data set that decodes each image once and keeps it, in `width · height · 3` bytes of memory, while there is room.
/// Images beyond that are decoded each time.
pub struct Cached<D> {
    inner: D,
    images: Vec<OnceLock<RgbImage>>,
    /// Bytes that may still be kept.
    room: AtomicU64,
}

/// One part in this many of the memory that is available when a data set is opened may hold images: there are two
/// splits, and training needs the rest.
const SHARE: u64 = 4;

impl<D: Dataset> Cached<D> {
    /// Caches the images of `inner` as they are read.
    pub fn new(inner: D) -> Self {
        let images = (0..inner.len()).map(|_| OnceLock::new()).collect();
        Self { inner, images, room: AtomicU64::new(memory::available() / SHARE) }
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

    fn name(&self, index: usize) -> String {
        self.inner.name(index)
    }

    fn identify(&self, feed: &mut dyn FnMut(&[u8])) {
        self.inner.identify(feed);
    }

    fn image(&self, index: usize) -> Result<Cow<'_, RgbImage>> {
        let slot = &self.images[index];
        if let Some(image) = slot.get() {
            return Ok(Cow::Borrowed(image));
        }
        let image = self.inner.image(index)?.into_owned();
        let bytes = image.as_raw().len() as u64;
        let take = |room: u64| room.checked_sub(bytes);
        if self.room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_err() {
            return Ok(Cow::Owned(image));
        }
        // Another worker may have stored the same image first.
        Ok(Cow::Borrowed(slot.get_or_init(|| image)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    /// Images of 4×4 pixels, with a count of decodes.
    #[derive(Default)]
    struct Counting(AtomicUsize);

    impl Dataset for Counting {
        fn len(&self) -> usize {
            3
        }
        fn classes(&self) -> &[String] {
            &[]
        }
        fn label(&self, _: usize) -> u32 {
            0
        }
        fn image(&self, index: usize) -> Result<Cow<'_, RgbImage>> {
            self.0.fetch_add(1, Ordering::Relaxed);
            Ok(Cow::Owned(RgbImage::from_pixel(4, 4, image::Rgb([index as u8; 3]))))
        }
        fn identify(&self, feed: &mut dyn FnMut(&[u8])) {
            feed(b"counting");
        }
    }

    #[test]
    fn images_are_kept_while_there_is_room() {
        let decoded = |room: u64| {
            let mut cached = Cached::new(Counting::default());
            cached.room = AtomicU64::new(room);
            for index in [0, 1, 2, 0, 1, 2] {
                assert_eq!(cached.image(index).unwrap().as_raw()[0], index as u8);
            }
            cached.inner.0.into_inner()
        };
        assert_eq!([decoded(1 << 20), decoded(2 * 48), decoded(0)], [3, 4, 6]);
    }
}
