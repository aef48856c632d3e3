//! Images that stay in row lanes between two convolutions.
//!
//! ```text
//!   [group][channel][row][vectors · LANES]     a group is an image, or the narrow images that share the lanes of a row
//! ```
//!
//! A convolution that reads such images copies the rows of its band instead of transposing pixels, and one that writes
//! them stores its sums as they are. Lanes without a pixel have any value.

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

    /// Whether these are `n` images of size `[h, w]`.
    pub(super) fn holds(&self, [n, h, w]: [usize; 3]) -> bool {
        [self.images, self.height, self.width] == [n, h, w]
    }

    fn groups(&self) -> usize {
        if self.linked {
            return self.images;
        }
        self.images.div_ceil(self.lanes / self.width * self.vectors)
    }

    /// Floats per row.
    pub(super) fn row(&self) -> usize {
        self.vectors * self.lanes
    }

    /// Floats per channel of a group.
    pub(in crate::cpu) fn plane(&self) -> usize {
        self.height * self.row()
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
