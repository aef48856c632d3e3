//! The parameter-free residual shortcut.

use super::error::{ShapeError, refuse};

/// A residual shortcut without parameters (He et al. 2016, option A): takes every `stride`-th pixel and adds `before`
/// zero channels in front and `after` behind: `[N, H, W, C] → [N, ⌈H/s⌉, ⌈W/s⌉, before + C + after]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PadShortcut {
    /// Images in the batch.
    pub n: usize,
    /// Input height.
    pub h: usize,
    /// Input width.
    pub w: usize,
    /// Input channels.
    pub c: usize,
    /// Step between the pixels that are kept.
    pub stride: usize,
    /// Zero channels before the copied ones.
    pub before: usize,
    /// Zero channels after the copied ones.
    pub after: usize,
}

impl PadShortcut {
    /// Rejects zero sizes.
    pub fn check(&self) -> Result<(), ShapeError> {
        if [self.n, self.h, self.w, self.c, self.stride].contains(&0) {
            return refuse(format!("a shortcut has a size of zero: {self:?}"));
        }
        Ok(())
    }

    /// `[N, OH, OW, before + C + after]`.
    pub fn y_shape(&self) -> [usize; 4] {
        [
            self.n,
            self.h.div_ceil(self.stride),
            self.w.div_ceil(self.stride),
            self.before + self.c + self.after,
        ]
    }

    /// The number of input elements.
    pub fn x_len(&self) -> usize {
        self.n * self.h * self.w * self.c
    }

    /// The number of output elements.
    pub fn y_len(&self) -> usize {
        self.y_shape().iter().product()
    }
}
