//! What layers cost that replace another: weights, products, and the time that a plan estimates.

use lopper_engine::plan::Outline;
use lopper_engine::{Device, Graph, Layer, Result};
use std::sync::LazyLock;

/// The CPU for which times are estimated: they depend on its instruction set.
static CPU: LazyLock<Device> = LazyLock::new(Device::cpu);

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

/// The time that a plan of `layers`, on one image `x` `[1, H, W, C]`, is estimated to take, in multiply-accumulates of a
/// direct convolution.
pub(super) fn time(layers: &[Layer], x: &[usize]) -> Result<f64> {
    let &[n, h, w, c] = x else { return Ok(0.0) };
    let mut graph = Graph::new(c);
    let mut widths = vec![c];
    for (index, layer) in layers.iter().enumerate() {
        graph.push(index.to_string(), layer.clone(), &[index])?;
        widths.push(layer.params().first().map_or(c, |(_, weight)| weight.value().dim(0)));
    }
    let outline = Outline::new(&graph, [n, h, w, c], &CPU)?;
    Ok((0..outline.len()).map(|step| outline.amount(step, |node| widths[node]).macs()).sum())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::conv;

    #[test]
    fn times_add_up_and_grow_with_the_image() {
        let layers = [conv(32, 3, 16, 1), conv(24, 1, 32, 1)];
        let together = time(&layers, &[1, 16, 16, 16]).unwrap();
        let first = time(&layers[..1], &[1, 16, 16, 16]).unwrap();
        let second = time(&layers[1..], &[1, 16, 16, 32]).unwrap();
        assert!((together / (first + second) - 1.0).abs() < 1e-9);
        assert!(time(&layers, &[1, 32, 32, 16]).unwrap() > 2.0 * together);
    }
}
