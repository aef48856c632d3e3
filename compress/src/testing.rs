//! Layers with varied weights, for the unit tests of this crate.

use lopper_engine::layer::{BatchNorm, Conv2d, Linear};
use lopper_engine::{Layer, Param, Tensor};

/// Pseudorandom numbers in −1..1: a multiplicative hash of the position.
fn noise(shape: &[usize]) -> Tensor {
    Tensor::from_fn(shape, |i| {
        let hash = (i as u32 + 1).wrapping_mul(2_654_435_761) >> 8;
        hash as f32 / (1u32 << 23) as f32 - 1.0
    })
}

/// A convolution from `c` to `o` channels, without bias, that preserves the image size (for odd `k`).
pub fn conv(o: usize, k: usize, c: usize, groups: usize) -> Layer {
    Layer::Conv2d(Conv2d {
        weight: Param::new(noise(&[o, k, k, c / groups])),
        bias: None,
        stride: [1; 2],
        padding: [k / 2; 2],
        extra_padding: [0; 2],
        dilation: [1; 2],
        groups,
    })
}

/// A linear layer with bias.
pub fn linear(outputs: usize, inputs: usize) -> Layer {
    Layer::Linear(Linear {
        weight: Param::new(noise(&[outputs, inputs])),
        bias: Some(Param::new(noise(&[outputs]))),
    })
}

/// A batch norm that differs from the identity.
pub fn bn(channels: usize) -> Layer {
    let mut bn = BatchNorm::new(channels);
    bn.weight = Param::new(noise(&[channels]));
    bn.bias = Param::new(noise(&[channels]));
    bn.running_mean = noise(&[channels]);
    bn.running_var = Tensor::from_fn(&[channels], |i| 0.5 + i as f32);
    Layer::BatchNorm(bn)
}
