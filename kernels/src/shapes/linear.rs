//! The fully connected layer.

use super::conv2d::Conv2d;
use super::error::{ShapeError, refuse};
use super::matmul::{Matmul, Trans};

/// A fully connected layer: `y[n,o] = b[o] + Σ_i x[n,i] · w[o,i]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Linear {
    /// Rows of the batch.
    pub n: usize,
    /// Input features.
    pub inputs: usize,
    /// Output features.
    pub outputs: usize,
}

impl Linear {
    /// Rejects zero sizes.
    pub fn check(&self) -> Result<(), ShapeError> {
        if [self.n, self.inputs, self.outputs].contains(&0) {
            return refuse(format!("a linear layer has a size of zero: {self:?}"));
        }
        Ok(())
    }

    /// The product of a forward pass: `y = x · wᵀ`.
    pub fn forward(&self) -> Matmul {
        Matmul::new([Trans::No, Trans::Yes], [self.n, self.outputs, self.inputs])
    }

    /// The product that gives the gradient of the input: `dx = dy · w`.
    pub fn input_grad(&self) -> Matmul {
        Matmul::new([Trans::No, Trans::No], [self.n, self.inputs, self.outputs])
    }

    /// The product that gives the gradient of the weight: `dw = dyᵀ · x`.
    pub fn weight_grad(&self) -> Matmul {
        Matmul::new([Trans::Yes, Trans::No], [self.outputs, self.inputs, self.n])
    }

    /// The layer as a 1×1 convolution of one image, whose pixels are the rows of the batch.
    pub fn over_pixels(&self) -> Conv2d {
        Conv2d::square([1, 1, self.n, self.inputs], self.outputs, 1, 1, 0)
    }

    /// The layer as a 1×1 convolution of images of one pixel, one for each row of the batch.
    pub fn over_images(&self) -> Conv2d {
        Conv2d::square([self.n, 1, 1, self.inputs], self.outputs, 1, 1, 0)
    }

    /// Multiply-accumulates of one forward pass.
    pub fn macs(&self) -> u64 {
        (self.n * self.inputs * self.outputs) as u64
    }

    /// Bytes of input, weight and output, each counted once.
    pub fn bytes(&self) -> u64 {
        4 * (self.n * self.inputs + self.inputs * self.outputs + self.n * self.outputs) as u64
    }
}
