//! How many weights each layer of a sparse network keeps.
//!
//! ```text
//!   uniform        d = 1 − s
//!   uniform+       uniform, but the first convolution is dense and the last linear layer keeps at least 20 %
//!   Erdős-Rényi    d = ε (IN + OUT) / (IN · OUT)
//!   ERK            d = ε (IN + OUT + KH + KW) / (IN · OUT · KH · KW)
//!   global         as many as the largest |w| of all layers leave
//! ```
//!
//! ε, and what uniform+ takes from the other layers, follow from the number of weights to keep in all layers together. A
//! layer whose density would exceed 1 is dense, and the others make up for it.

use crate::names::named;
use lopper_engine::{Error, Layer, Result};
use serde::{Deserialize, Serialize};

/// How many weights each layer keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Densities {
    /// The same share of every layer.
    Uniform,
    /// The same share of every layer but the first convolution and the last linear layer (Gale et al. 2019, "The state of
    /// sparsity in deep neural networks").
    UniformPlus,
    /// By a layer's channels (Mocanu et al. 2018).
    ErdosRenyi,
    /// By a layer's channels and kernel (Evci et al. 2020).
    #[default]
    Erk,
    /// `erk` at first; then as many as the largest live magnitudes of all layers leave at each update, so that layers find their
    /// own (Liu et al. 2021, GraNet). Only while sparsity rises.
    Global,
}

named!(Densities, "densities");

/// The size of a layer's weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerShape {
    /// Filters, or output features.
    pub outputs: usize,
    /// Input channels of a filter, or input features.
    pub inputs: usize,
    /// Height and width of a kernel; none for a linear layer.
    pub kernel: Option<[usize; 2]>,
}

/// The density below which uniform+ does not cut the last linear layer.
const LAST: f64 = 0.2;

impl LayerShape {
    /// The size of the weight of `layer`; none unless it is a convolution or a linear layer.
    pub fn of(layer: &Layer) -> Option<Self> {
        match layer {
            Layer::Conv2d(conv) => Some(Self {
                outputs: conv.out_channels(),
                inputs: conv.weight.value().dim(3),
                kernel: Some(conv.kernel()),
            }),
            Layer::Linear(linear) => {
                Some(Self { outputs: linear.out_features(), inputs: linear.in_features(), kernel: None })
            }
            _ => None,
        }
    }

    fn weights(&self) -> f64 {
        let [kh, kw] = self.kernel.unwrap_or([1; 2]);
        (self.outputs * self.inputs * kh * kw) as f64
    }

    /// The density up to ε.
    fn scale(&self, with_kernel: bool) -> f64 {
        let ends = self.outputs + self.inputs;
        match self.kernel.filter(|_| with_kernel) {
            Some([kh, kw]) => (ends + kh + kw) as f64 / self.weights(),
            None => ends as f64 / (self.outputs * self.inputs) as f64,
        }
    }
}

impl Densities {
    /// The density of each of `layers`, in graph order, at which they keep `1 − sparsity` of their weights together.
    ///
    /// # Errors
    /// If uniform+ keeps more than that in its two layers alone.
    pub fn of(self, layers: &[LayerShape], sparsity: f64) -> Result<Vec<f64>> {
        let density = 1.0 - sparsity;
        let mut fixed: Vec<Option<f64>> = vec![None; layers.len()];
        let mut scales = vec![1.0; layers.len()];
        match self {
            Self::Uniform => {}
            Self::UniformPlus => {
                if let Some(last) = layers.iter().rposition(|layer| layer.kernel.is_none()) {
                    fixed[last] = Some(density.max(LAST));
                }
                if let Some(first) = layers.iter().position(|layer| layer.kernel.is_some()) {
                    fixed[first] = Some(1.0);
                }
            }
            Self::ErdosRenyi | Self::Erk | Self::Global => {
                scales = layers.iter().map(|layer| layer.scale(self != Self::ErdosRenyi)).collect();
            }
        }
        let budget = density * layers.iter().map(LayerShape::weights).sum::<f64>();
        loop {
            let taken: f64 = layers
                .iter()
                .zip(&fixed)
                .filter_map(|(layer, fixed)| Some(layer.weights() * (*fixed)?))
                .sum();
            let open = || layers.iter().zip(&scales).zip(&fixed).filter(|(_, fixed)| fixed.is_none());
            let total: f64 = open().map(|((layer, scale), _)| layer.weights() * scale).sum();
            let factor = if total > 0.0 { (budget - taken) / total } else { 0.0 };
            if factor < 0.0 || (total == 0.0 && taken > budget * (1.0 + 1e-9)) {
                return Err(Error::invalid(format!(
                    "sparse_train densities: {self} keeps {taken:.0} weights of the first and the last layer, more than \
                     the {budget:.0} of all layers at a sparsity of {sparsity}: choose erk or a lower sparsity"
                )));
            }
            let largest = open().map(|((_, scale), _)| *scale).fold(0.0, f64::max);
            if factor * largest <= 1.0 {
                let density = |(scale, fixed): (&f64, &Option<f64>)| fixed.unwrap_or(factor * scale);
                return Ok(scales.iter().zip(&fixed).map(density).collect());
            }
            for (scale, fixed) in scales.iter().zip(&mut fixed) {
                if fixed.is_none() && *scale == largest {
                    *fixed = Some(1.0);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn conv(outputs: usize, inputs: usize, k: usize) -> LayerShape {
        LayerShape { outputs, inputs, kernel: Some([k, k]) }
    }

    fn linear(outputs: usize, inputs: usize) -> LayerShape {
        LayerShape { outputs, inputs, kernel: None }
    }

    /// By hand: sizes 432, 2304 and 160, scales 25/432, 38/2304 and 26/160; 20 % of 2896 are 579.2 weights. With all
    /// layers open, ε = 579.2 / (25 + 38 + 26) = 6.508, and 6.508 · 26/160 = 1.06 > 1: the linear layer is dense, and
    /// ε = (579.2 − 160) / 63 = 6.654.
    #[test]
    fn erk_agrees_with_a_hand_example() {
        let layers = [conv(16, 3, 3), conv(16, 16, 3), linear(10, 16)];
        let found = Densities::Erk.of(&layers, 0.8).unwrap();
        let epsilon = (579.2 - 160.0) / 63.0;
        let expected = [epsilon * 25.0 / 432.0, epsilon * 38.0 / 2304.0, 1.0];
        assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{found:?}");
        // Without kernels: scales 19/48, 32/256 and 26/160, so ε = 579.2 / (432·19/48 + 2304·32/256 + 26).
        let found = Densities::ErdosRenyi.of(&layers, 0.8).unwrap();
        let epsilon = 579.2 / (171.0 + 288.0 + 26.0);
        let expected = [19.0 / 48.0, 0.125, 26.0 / 160.0].map(|scale| epsilon * scale);
        assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{found:?}");
    }

    #[test]
    fn uniform_plus_spares_the_first_and_the_last_layer() {
        let layers = [conv(16, 3, 3), conv(16, 16, 3), linear(10, 16)];
        assert_eq!(Densities::Uniform.of(&layers, 0.75).unwrap(), [0.25; 3]);
        let found = Densities::UniformPlus.of(&layers, 0.75).unwrap();
        assert_eq!((found[0], found[2]), (1.0, 0.25));
        assert!((found[1] - (0.25 * 2896.0 - 432.0 - 40.0) / 2304.0).abs() < 1e-12);
        assert_eq!(Densities::UniformPlus.of(&layers, 0.82).unwrap()[2], 0.2, "not below a fifth");
        let error = Densities::UniformPlus.of(&layers, 0.9).unwrap_err().to_string();
        assert!(error.contains("uniform_plus keeps 464 weights"), "{error}");
    }

    proptest! {
        #[test]
        fn the_budget_is_kept(
            shapes in prop::collection::vec((1usize..40, 1usize..40, 0usize..6), 1..8),
            sparsity in 0.0..0.99f64,
        ) {
            let layers: Vec<LayerShape> = shapes
                .into_iter()
                .map(|(o, i, k)| if k == 0 { linear(o, i) } else { conv(o, i, k) })
                .collect();
            for kind in [Densities::Uniform, Densities::UniformPlus, Densities::ErdosRenyi, Densities::Erk] {
                let Ok(densities) = kind.of(&layers, sparsity) else {
                    prop_assert_eq!(kind, Densities::UniformPlus);
                    continue;
                };
                let kept: f64 = layers.iter().zip(&densities).map(|(layer, d)| layer.weights() * d).sum();
                let all: f64 = layers.iter().map(LayerShape::weights).sum();
                prop_assert!(densities.iter().all(|d| (0.0..=1.0 + 1e-12).contains(d)), "{densities:?}");
                prop_assert!((kept - (1.0 - sparsity) * all).abs() < 1e-6 * all, "{kind}: {kept} of {all}");
            }
        }
    }
}
