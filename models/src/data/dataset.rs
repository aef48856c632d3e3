//! What a loader needs to know of a data set.

use image::RgbImage;
use lopper_engine::{Result, memory};
use std::borrow::Cow;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

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

/// A data set that decodes each picture once and keeps it, at `width · height · 3` bytes of memory each, as long as there is
/// room; pictures beyond that are decoded each time.
pub struct Cached<D> {
    inner: D,
    images: Vec<OnceLock<RgbImage>>,
    /// Bytes that may still be kept.
    room: AtomicU64,
}

/// Of the memory that is available when a data set is opened, one part in this many may keep pictures: there are two splits,
/// and training needs the rest.
const SHARE: u64 = 4;

impl<D: Dataset> Cached<D> {
    /// `inner`, remembered as it is read.
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
        // Another worker may have been first, with the same picture.
        Ok(Cow::Borrowed(slot.get_or_init(|| image)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    /// Pictures of 4×4 pixels; counts how often one is decoded.
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
    fn pictures_are_kept_while_there_is_room() {
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
