//! Images that stay in row lanes between two convolutions.
//!
//! ```text
//!   [group][channel][row][vectors · LANES]     a group is an image, or the narrow images that share the lanes of a row
//! ```
//!
//! A convolution of one pixel reads such images where they are; one that also reads neighbors copies the rows of its band,
//! with zeros around the images. Neither transposes pixels. A convolution that writes them stores its sums as they are. Lanes
//! without a pixel have any value, and so have the cache lines that may follow the rows of a channel.

use super::shape::{LINE, MAX_VECTORS};

/// The layout of images in row lanes, whatever their number of channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaneImages {
    pub(super) images: usize,
    pub(super) height: usize,
    pub(super) width: usize,
    /// Floats per vector.
    pub(super) lanes: usize,
    /// Vectors per row.
    pub(super) vectors: usize,
    /// Whether a row is one image's. Otherwise, each vector has as many images as fit.
    pub(super) linked: bool,
}

impl LaneImages {
    /// The number of floats of `channels` channels.
    pub fn len(&self, channels: usize) -> usize {
        self.groups() * channels * self.plane()
    }

    /// The layout of a part of `images` images, if every part of as many images one after another is contiguous.
    pub fn part(&self, images: usize) -> Option<Self> {
        (self.linked || images.is_multiple_of(self.together())).then_some(self.of_images(images))
    }

    /// The same layout of `images` images.
    pub fn of_images(&self, images: usize) -> Self {
        Self { images, ..*self }
    }

    /// The layout of as many images of size `[height, width]`, if each vector holds the pixels of one image: narrow images
    /// would move to other groups.
    pub(in crate::cpu) fn of_size(&self, [height, width]: [usize; 2]) -> Option<Self> {
        self.linked.then_some(Self { height, width, vectors: width.div_ceil(self.lanes), ..*self })
    }

    /// Whether these are `n` images of size `[h, w]`.
    pub(in crate::cpu) fn holds(&self, [n, h, w]: [usize; 3]) -> bool {
        [self.images, self.height, self.width] == [n, h, w]
    }

    pub(super) fn groups(&self) -> usize {
        if self.linked {
            return self.images;
        }
        self.images.div_ceil(self.together())
    }

    /// The number of narrow images in a group.
    fn together(&self) -> usize {
        self.lanes / self.width * self.vectors
    }

    /// Floats per row.
    pub(in crate::cpu) fn row(&self) -> usize {
        self.vectors * self.lanes
    }

    /// Floats of the rows of a channel of a group.
    pub(super) fn rows(&self) -> usize {
        self.height * self.row()
    }

    /// Floats per channel of a group: whole cache lines. Tiles of neighboring channels would crowd into a few sets of the L1
    /// cache if channels were a power of two apart, so that two lines follow the rows of these.
    pub(in crate::cpu) fn plane(&self) -> usize {
        let lines = self.rows().div_ceil(LINE);
        let crowded = lines.is_multiple_of(4) && lines % (2 * MAX_VECTORS) != MAX_VECTORS;
        (if crowded && lines > MAX_VECTORS { lines + 2 } else { lines }) * LINE
    }
}

/// The layout of the images between two layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ImageLayout {
    /// `[N, H, W, C]`.
    #[default]
    ChannelsLast,
    /// Row lanes.
    RowLanes(LaneImages),
}

impl ImageLayout {
    /// The layout of a part of `images` images, if every part of as many images one after another is contiguous.
    pub fn part(&self, images: usize) -> Option<Self> {
        match self {
            Self::ChannelsLast => Some(*self),
            Self::RowLanes(lanes) => lanes.part(images).map(Self::RowLanes),
        }
    }

    /// The same layout of `images` images.
    pub fn of_images(&self, images: usize) -> Self {
        match self {
            Self::ChannelsLast => *self,
            Self::RowLanes(lanes) => Self::RowLanes(lanes.of_images(images)),
        }
    }

    /// The number of floats of images of shape `[N, H, W, C]`.
    pub fn len(&self, shape: [usize; 4]) -> usize {
        match self {
            Self::ChannelsLast => shape.iter().product(),
            Self::RowLanes(images) => images.len(shape[3]),
        }
    }
}

/// The layouts of the images that a convolution reads and writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ImageLayouts {
    /// The input.
    pub x: ImageLayout,
    /// The residual, if there is one.
    pub residual: ImageLayout,
    /// The output.
    pub y: ImageLayout,
}

impl ImageLayouts {
    /// The same layouts of `images` images.
    pub fn of_images(&self, images: usize) -> Self {
        let [x, residual, y] = [self.x, self.residual, self.y].map(|layout| layout.of_images(images));
        Self { x, residual, y }
    }
}
