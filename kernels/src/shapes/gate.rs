//! Products with a gate.

use super::error::{ShapeError, refuse};

/// The product of `x` `[N, P, C]`, images of P pixels, with a gate `[N, C]`: one factor for each channel of each image
/// (squeeze-and-excitation, Hu, Shen & Sun 2018).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Gate {
    /// Images in the batch.
    pub n: usize,
    /// Pixels of an image.
    pub pixels: usize,
    /// Channels.
    pub c: usize,
}

impl Gate {
    /// Rejects zero sizes.
    pub fn check(&self) -> Result<(), ShapeError> {
        match [self.n, self.pixels, self.c].contains(&0) {
            true => refuse(format!("a gate has a size of zero: {self:?}")),
            false => Ok(()),
        }
    }

    /// The number of elements of `x` and of the product.
    pub fn x_len(&self) -> usize {
        self.n * self.pixels * self.c
    }

    /// The number of elements of the gate.
    pub fn gate_len(&self) -> usize {
        self.n * self.c
    }
}
