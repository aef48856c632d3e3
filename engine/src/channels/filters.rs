//! The weights of convolutions and linear layers, as the rewrites read and write them.
//!
//! Both kinds of layer are seen as filters `[O, TAPS, C / groups]`; a linear layer has one tap and no padding.

use crate::{Graph, Layer, NodeId, Param, Tensor};

/// The weights of a convolution or linear layer.
pub struct Filters<'a> {
    /// `[O, …, C / groups]`.
    pub weight: &'a Param,
    /// `[O]`.
    pub bias: Option<&'a Param>,
    /// Independent groups of channels.
    pub groups: usize,
    /// Whether windows reach past the image's border, where they read zeros.
    pub padded: bool,
}

impl<'a> Filters<'a> {
    /// The filters of `layer`. None unless it is a (non-compact) convolution or a linear layer.
    pub fn of(layer: &'a Layer) -> Option<Self> {
        match layer {
            Layer::Conv2d(conv) => Some(Self {
                weight: &conv.weight,
                bias: conv.bias.as_ref(),
                groups: conv.groups,
                padded: [conv.padding, conv.extra_padding] != [[0; 2]; 2],
            }),
            Layer::Linear(linear) => {
                Some(Self { weight: &linear.weight, bias: linear.bias.as_ref(), groups: 1, padded: false })
            }
            _ => None,
        }
    }

    /// O.
    pub fn outputs(&self) -> usize {
        self.weight.value().dim(0)
    }

    /// The number of input channels that a filter reads, C / groups.
    pub fn depth(&self) -> usize {
        self.weight.value().shape().last().copied().unwrap_or(0)
    }

    /// The first input channel that filter `o` reads.
    pub fn first_input(&self, o: usize) -> usize {
        o / (self.outputs() / self.groups) * self.depth()
    }

    /// The weights of filter `o`, `[TAPS, C / groups]`.
    pub fn filter(&self, o: usize) -> &'a [f32] {
        let values = self.weight.value().data();
        let size = values.len() / self.outputs();
        &values[o * size..][..size]
    }

    /// Whether every weight is finite.
    pub fn finite(&self) -> bool {
        // Zero times a finite number is zero; otherwise it is NaN. The sum vectorizes, whereas a search would not.
        let zero = |weights: &[f32]| weights.iter().fold(0.0, |sum, w| sum + 0.0 * w) == 0.0;
        (0..self.outputs()).all(|o| zero(self.filter(o)))
    }

    /// The bias of filter `o`; 0 if the layer has none.
    pub fn bias_of(&self, o: usize) -> f64 {
        self.bias.map_or(0.0, |b| f64::from(b.value().data()[o]))
    }

    /// The bias of every filter.
    pub fn biases(&self) -> Vec<f64> {
        (0..self.outputs()).map(|o| self.bias_of(o)).collect()
    }

    /// The contribution of constant input channels to filter `o`: `Σ_c w[o, t, c] · constant[c]` for each tap t.
    /// `constants` covers all input channels of the layer.
    pub fn response(&self, o: usize, constants: &[f64]) -> Vec<f64> {
        let constants = &constants[self.first_input(o)..][..self.depth()];
        let tap = |w: &[f32]| w.iter().zip(constants).map(|(&w, &c)| f64::from(w) * c).sum();
        self.filter(o).chunks_exact(self.depth()).map(tap).collect()
    }
}

/// Whether `layer` produces new channels from weights: a convolution (compact or not) or a linear layer.
pub fn has_weight(layer: &Layer) -> bool {
    matches!(layer, Layer::Conv2d(_) | Layer::CompactConv2d(_) | Layer::Linear(_))
}

/// Whether `layer` is a depthwise convolution, whose channels are tied to those of the layer before it.
pub fn is_depthwise(layer: &Layer) -> bool {
    matches!(layer, Layer::Conv2d(conv) if conv.is_depthwise())
}

/// The weight and the bias of a convolution or linear layer, for writing.
pub fn filters_mut(layer: &mut Layer) -> Option<(&mut Param, &mut Option<Param>)> {
    match layer {
        Layer::Conv2d(conv) => Some((&mut conv.weight, &mut conv.bias)),
        Layer::Linear(linear) => Some((&mut linear.weight, &mut linear.bias)),
        _ => None,
    }
}

/// Sets the bias of the convolution or linear layer `node`. A new one is frozen if the weight is.
pub fn set_bias(graph: &mut Graph, node: NodeId, values: &[f64]) {
    let Some((weight, bias)) = filters_mut(graph.layer_mut(node)) else { return };
    let values: Vec<f32> = values.iter().map(|&v| v as f32).collect();
    match bias {
        Some(bias) => overwrite(bias, values),
        None => {
            let mut new = Param::new(Tensor::from_fn(&[values.len()], |o| values[o]));
            new.trainable = weight.trainable;
            *bias = Some(new);
        }
    }
}

/// Replaces the values of `param`, keeping its shape. The mask opens where a new value is not zero.
pub fn overwrite(param: &mut Param, values: Vec<f32>) {
    let shape = param.value().shape().to_vec();
    let mask = param.mask().map(|mask| {
        let mut mask = mask.clone();
        mask.data_mut().iter_mut().zip(&values).filter(|(_, v)| **v != 0.0).for_each(|(m, _)| *m = 1.0);
        mask
    });
    let value = Tensor::from_vec(&shape, values).expect("as many values as before");
    param.replace(value, mask).expect("a mask of ones and zeros in the same shape");
}
