//! Batch normalization.

/// Batch normalization of channels: `x` is `[rows, C]`, with `rows = N·H·W` for images and `N` for vectors.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BatchNorm {
    /// Values per channel.
    pub rows: usize,
    /// Channels.
    pub c: usize,
    /// Added to the variance.
    pub eps: f32,
}

impl BatchNorm {
    /// The length of `x`.
    pub fn len(&self) -> usize {
        self.rows * self.c
    }

    /// Whether `x` is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
