//! The live part of a convolution, and the compact layer that computes it.

use lopper_engine::channels::{Constant, Filters};
use lopper_engine::layer::{CompactConv2d, Conv2d};
use lopper_engine::{Param, Tensor};

/// The live channels of a convolution.
pub(super) struct Live {
    inputs: Vec<usize>,
    outputs: Vec<usize>,
    /// The value of each constant input channel, zero for the others.
    constants: Vec<f64>,
    /// Whether a carrier channel brings in the constants.
    carrier: bool,
    /// The value of each output channel that is constant.
    fill: Vec<f32>,
}

impl Live {
    pub fn of(filters: &Filters, inputs: &[Constant], outputs: &[Constant]) -> Self {
        let live = |channels: &[Constant]| -> Vec<usize> {
            (0..channels.len()).filter(|&channel| channels[channel].is_none()).collect()
        };
        // A convolution needs at least one channel: the first stays.
        let or_first = |channels: Vec<usize>| if channels.is_empty() { vec![0] } else { channels };
        let outputs_live = or_first(live(outputs));
        let weighed = |channel: usize| {
            let mut filters =
                outputs_live.iter().map(|&o| filters.filter(o).iter().skip(channel).step_by(inputs.len()));
            filters.any(|mut taps| taps.any(|&w| w != 0.0))
        };
        let constant = |(i, value): (usize, &Constant)| value.filter(|_| weighed(i)).map_or(0.0, f64::from);
        let constants: Vec<f64> = inputs.iter().enumerate().map(constant).collect();
        Self {
            inputs: or_first(live(inputs).into_iter().filter(|&channel| weighed(channel)).collect()),
            carrier: filters.padded && constants.iter().any(|&c| c != 0.0),
            constants,
            fill: outputs.iter().map(|value| value.unwrap_or(0.0)).collect(),
            outputs: outputs_live,
        }
    }

    pub fn everything(&self, filters: &Filters) -> bool {
        self.inputs.len() == filters.depth() && self.outputs.len() == filters.outputs()
    }

    fn depth(&self) -> usize {
        self.inputs.len() + usize::from(self.carrier)
    }

    /// The number of weights that are left.
    pub fn weights(&self, filters: &Filters) -> usize {
        let taps = filters.filter(0).len() / filters.depth();
        self.outputs.len() * taps * self.depth()
    }

    pub fn summary(&self, filters: &Filters) -> String {
        format!(
            "{} of {} filters, {} of {} inputs{}",
            self.outputs.len(),
            filters.outputs(),
            self.inputs.len(),
            filters.depth(),
            if self.carrier { " and a carrier" } else { "" }
        )
    }

    pub fn layer(&self, conv: &Conv2d, filters: &Filters) -> CompactConv2d {
        let (mut weights, mut biases) = (Vec::with_capacity(self.weights(filters)), Vec::new());
        for &o in &self.outputs {
            let response = filters.response(o, &self.constants);
            for (tap, carried) in filters.filter(o).chunks_exact(filters.depth()).zip(&response) {
                weights
                    .extend(self.inputs.iter().map(|&i| if self.constants[i] == 0.0 { tap[i] } else { 0.0 }));
                weights.extend(self.carrier.then_some(*carried as f32));
            }
            let absorbed = if self.carrier { 0.0 } else { response.iter().sum() };
            biases.push((filters.bias_of(o) + absorbed) as f32);
        }
        let [kh, kw] = conv.kernel();
        // For inference: its parameters are not trained.
        let param = |shape: &[usize], values: &[f32]| {
            let value = Tensor::from_slice(shape, values).expect("one value for each position");
            let mut param = Param::new(value);
            param.trainable = false;
            param
        };
        let count = self.outputs.len();
        let has_bias = conv.bias.is_some() || biases.iter().any(|&b| b != 0.0);
        let inner = Conv2d {
            weight: param(&[count, kh, kw, self.depth()], &weights),
            bias: has_bias.then(|| param(&[count], &biases)),
            ..conv.clone()
        };
        let indices = |channels: &[usize]| channels.iter().map(|&channel| channel as u32).collect();
        CompactConv2d {
            conv: inner,
            inputs: indices(&self.inputs),
            outputs: indices(&self.outputs),
            in_width: filters.depth(),
            carrier: self.carrier,
            fill: self.fill.clone(),
        }
    }
}
