//! What layers cost that replace another: weights and products.

use lopper_engine::{Layer, Result};

/// The cost of layers that read each other, for one image.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Cost {
    /// Weights, without biases.
    pub weights: u64,
    /// Multiply-accumulates; 0 if the size of images is not known.
    pub macs: u64,
}

/// The cost of `layers`, of which the first reads `x`: `[1, H, W, C]` or `[1, IN]`, if the size of images is known.
pub(super) fn cost(layers: &[Layer], x: Option<&[usize]>) -> Result<Cost> {
    let mut cost = Cost::default();
    let mut shape = x.map(<[usize]>::to_vec);
    for layer in layers {
        cost.weights += layer.params().first().map_or(0, |(_, weight)| weight.value().len()) as u64;
        let Some(x) = &mut shape else { continue };
        cost.macs += match layer {
            Layer::Conv2d(conv) => conv.geometry(x)?.macs(),
            Layer::Linear(linear) => linear.geometry(x)?.macs(),
            _ => 0,
        };
        *x = layer.output_shape(&[x])?;
    }
    Ok(cost)
}

impl Cost {
    /// Why layers of this cost do not replace one of the cost `whole`, if they should not. `rank` describes them.
    pub fn refuses(&self, whole: &Self, rank: &str) -> Option<String> {
        if self.weights >= whole.weights {
            return Some(format!("{rank} takes {} weights instead of {}", self.weights, whole.weights));
        }
        if self.macs >= whole.macs && whole.macs > 0 {
            return Some(format!(
                "{rank} takes {} multiply-accumulates instead of {}",
                self.macs, whole.macs
            ));
        }
        None
    }
}
