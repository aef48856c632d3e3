//! Cost of a network: parameters, multiply-accumulates and bytes, node by node.

use crate::{Graph, Layer, Result};

/// Cost of a node for one image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Number of values of the parameters, which do not include running statistics.
    pub params: u64,
    /// Multiply-accumulates of convolutions and linear layers (by the field's convention, nothing else counts).
    pub macs: u64,
    /// Bytes of parameters, inputs and outputs as f32, each moved once.
    pub bytes: u64,
}

impl std::ops::Add for Cost {
    type Output = Self;
    fn add(self, o: Self) -> Self {
        Self { params: self.params + o.params, macs: self.macs + o.macs, bytes: self.bytes + o.bytes }
    }
}

impl std::iter::Sum for Cost {
    fn sum<I: Iterator<Item = Self>>(costs: I) -> Self {
        costs.fold(Self::default(), |a, b| a + b)
    }
}

impl Graph {
    /// Returns the number of parameters.
    pub fn param_count(&self) -> u64 {
        self.params().map(|(_, p)| p.value().len() as u64).sum()
    }

    /// Returns the number of parameters that optimizers update.
    pub fn trainable_count(&self) -> u64 {
        self.params().filter(|(_, p)| p.trainable).map(|(_, p)| p.value().len() as u64).sum()
    }

    /// Returns the cost of every node for one image `[H, W, C]`.
    pub fn costs(&self, image: [usize; 3]) -> Result<Vec<Cost>> {
        let [h, w, c] = image;
        let shapes = self.shapes([1, h, w, c])?;
        let cost = |(id, node): (usize, &crate::Node)| {
            let params: usize = node.layer.params().iter().map(|(_, p)| p.value().len()).sum();
            let inputs: usize = node.inputs.iter().map(|&i| shapes[i].iter().product::<usize>()).sum();
            let output: usize = shapes[id].iter().product();
            let x = node.inputs.first().map(|&i| shapes[i].as_slice()).unwrap_or_default();
            let macs = match &node.layer {
                Layer::Conv2d(conv) => conv.geometry(x)?.macs(),
                Layer::CompactConv2d(compact) => {
                    let pixels = shapes[id][1] * shapes[id][2];
                    (pixels * compact.conv.weight.value().len()) as u64
                }
                Layer::Linear(linear) => linear.geometry(x)?.macs(),
                Layer::Input { .. }
                | Layer::BatchNorm(_)
                | Layer::LayerNorm(_)
                | Layer::GroupNorm(_)
                | Layer::Activation(_)
                | Layer::PRelu(_)
                | Layer::Softmax { .. }
                | Layer::Pool(_)
                | Layer::Flatten
                | Layer::Dropout { .. }
                | Layer::Add
                | Layer::Multiply
                | Layer::Concat
                | Layer::Gather { .. }
                | Layer::Resize(_)
                | Layer::Dilate { .. }
                | Layer::PadShortcut { .. } => 0,
            };
            Ok(Cost { params: params as u64, macs, bytes: 4 * (params + inputs + output) as u64 })
        };
        self.nodes().iter().enumerate().map(cost).collect()
    }
}
