//! The work of a plan as a function of the zeros of its layers.
//!
//! A mask is not packed, only described: its pattern says which weights kernels could leave out, and their costs what that
//! saves. A convolution in row lanes takes less time if its neighbors compute in row lanes, too; whoever compares masks
//! decides which of them do ([`Outline::lane_images`]).

use super::amount::{Amount, Class};
use super::outline::{Kind, Outline};
use crate::{Error, Result, Tensor};
use lopper_kernels::cpu::{LinearChoice, MaskedTime};
use lopper_kernels::params::Dtype;
use lopper_kernels::pattern::Pattern;
use lopper_kernels::shapes;

/// The work of an operation whose weight has zeros.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Masked {
    /// Its work if its input and its output are pixels.
    pub alone: Amount,
    /// Its work in row lanes, by whether its input and its output stay in lanes; none where row lanes do not apply.
    pub in_lanes: Option<[[Amount; 2]; 2]>,
}

impl Outline {
    /// The work of operation `step` if its weight has the zeros of `mask`, which has the weight's shape: `[O, KH, KW, C/G]` of
    /// a convolution, `[OUT, IN]` of a linear layer. Of other operations and grouped convolutions, the work that they do now:
    /// they do not skip zeros. Depends on shapes, zeros and the instruction set only.
    ///
    /// # Errors
    /// If the mask does not have the shape of the weight.
    pub fn masked(&self, step: usize, mask: &Tensor) -> Result<Masked> {
        let sketch = self.sketch(step);
        match &sketch.kind {
            Kind::Conv2d(g) if g.groups == 1 => {
                let [o, taps, c] = g.filters_shape();
                if mask.len() != o * taps * c || mask.shape().len() != 4 {
                    let (found, g) = (mask.shape(), [o, g.kh, g.kw, c]);
                    return Err(Error::shape("outline", format!("expected a mask {g:?}, found {found:?}")));
                }
                let pattern = Pattern::of(mask.data(), [o, taps, c]);
                let residual = if sketch.residual { g.y_len() as f64 } else { 0.0 };
                Ok(self.masked_convolution(g, &pattern, residual))
            }
            Kind::Conv2d(_) | Kind::Pixels { .. } => {
                Ok(Masked { alone: self.amount_of(step, sketch.widths), in_lanes: None })
            }
            Kind::Linear { rows, .. } => {
                let &[outputs, inputs] = mask.shape() else {
                    let found = mask.shape();
                    return Err(Error::shape(
                        "outline",
                        format!("expected a mask [OUT, IN], found {found:?}"),
                    ));
                };
                let dense = self.amount_of(step, sketch.widths);
                let units = dense.units * self.linear_share([*rows, inputs, outputs], mask);
                Ok(Masked { alone: Amount { units, ..dense }, in_lanes: None })
            }
        }
    }

    fn masked_convolution(&self, g: &shapes::Conv2d, pattern: &Pattern, residual: f64) -> Masked {
        let MaskedTime { algorithm, macs, in_lanes } = MaskedTime::of(&self.cpu, g, pattern, self.weights);
        let class = Class::of_convolution(g, algorithm);
        let lanes = |macs: f64| Amount { class: Class::RowLanes, units: macs + residual };
        Masked {
            alone: Amount { class, units: macs + residual },
            in_lanes: in_lanes.map(|times| times.map(|times| times.map(lanes))),
        }
    }

    /// The share of a dense layer's time that a linear layer takes with the zeros of `mask`.
    fn linear_share(&self, [rows, inputs, outputs]: [usize; 3], mask: &Tensor) -> f64 {
        let g = shapes::Linear { n: rows, inputs, outputs };
        let shape = [outputs, 1, inputs];
        let cycles = |pattern: &Pattern| {
            LinearChoice::fastest(&self.cpu, &g, pattern, Dtype::F32).cycles(&self.cpu, &g, Dtype::F32)
        };
        let pattern = Pattern::of(mask.data(), shape);
        let live = pattern.filters().len() as f64 / outputs as f64;
        live * cycles(&pattern) / cycles(&Pattern::dense(shape))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::layer::{Conv2d, Linear};
    use crate::{Device, Graph, Layer, Param};

    fn conv(o: usize, k: usize, c: usize, groups: usize) -> Layer {
        let weight = Param::new(Tensor::zeros(&[o, k, k, c / groups]));
        let (stride, padding) = ([1; 2], [k / 2; 2]);
        let (extra_padding, dilation) = ([0; 2], [1; 2]);
        Layer::Conv2d(Conv2d { weight, bias: None, stride, padding, extra_padding, dilation, groups })
    }

    /// A mask of `shape` with one weight in `every`, and one at least in each row and column.
    fn mask(shape: &[usize], every: usize) -> Tensor {
        let (row, c) = (shape[1..].iter().product::<usize>(), shape[shape.len() - 1]);
        let live = |i: usize| (i * 31).is_multiple_of(every) || i % c == i / row % c;
        Tensor::from_fn(shape, |i| f32::from(u8::from(live(i))))
    }

    fn network() -> Graph {
        let mut g = Graph::new(32);
        let a = g.push("a", conv(64, 3, 32, 1), &[0]).unwrap();
        let b = g.push("b", conv(64, 3, 64, 64), &[a]).unwrap();
        let c = g.push("c", conv(96, 1, 64, 1), &[b]).unwrap();
        let flat = g.push("flat", Layer::Flatten, &[c]).unwrap();
        let linear = Linear { weight: Param::new(Tensor::zeros(&[100, 96 * 64])), bias: None };
        g.push("fc", Layer::Linear(linear), &[flat]).unwrap();
        g
    }

    #[test]
    fn without_zeros_the_work_is_that_of_the_outline() {
        let g = network();
        let outline = Outline::new(&g, [1, 8, 8, 32], &Device::cpu()).unwrap();
        let shapes = g.shapes([1, 8, 8, 32]).unwrap();
        for step in 0..outline.len() {
            let node = outline.nodes(step)[1];
            let weight = g.nodes()[node].layer.params()[0].1.value().clone();
            let masked = outline.masked(step, &Tensor::full(weight.shape(), 1.0)).unwrap();
            let dense = outline.amount(step, |node| *shapes[node].last().unwrap());
            assert_eq!((masked.alone.class, masked.in_lanes), (dense.class, None), "step {step}");
            let ratio = masked.alone.units / dense.units;
            assert!((ratio - 1.0).abs() < 1e-9, "step {step}: {masked:?}, {dense:?}");
        }
    }

    #[test]
    fn zeros_save_work_where_kernels_skip_them() {
        let g = network();
        let outline = Outline::new(&g, [1, 8, 8, 32], &Device::cpu()).unwrap();
        let steps: Vec<usize> = (0..outline.len()).collect();
        let units = |step: usize, every: usize| {
            let node = outline.nodes(step)[1];
            let shape = g.nodes()[node].layer.params()[0].1.value().shape().to_vec();
            let masked = outline.masked(step, &mask(&shape, every)).unwrap();
            masked.in_lanes.map_or(masked.alone.macs(), |lanes| lanes[1][1].macs().min(masked.alone.macs()))
        };
        for &step in &[steps[0], steps[2], steps[3]] {
            assert!(units(step, 20) < 0.7 * units(step, 1), "step {step}");
            assert!(units(step, 40) < units(step, 20), "step {step}");
        }
        assert_eq!(units(steps[1], 20), units(steps[1], 1), "a depthwise convolution skips nothing");
    }

    #[test]
    fn a_mask_of_another_shape_is_refused() {
        let g = network();
        let outline = Outline::new(&g, [1, 8, 8, 32], &Device::cpu()).unwrap();
        for (step, shape) in [(0, &[3, 3][..]), (0, &[64, 3, 3, 31]), (3, &[100, 8, 12, 64])] {
            let error = outline.masked(step, &Tensor::full(shape, 1.0)).unwrap_err().to_string();
            assert!(error.contains("expected a mask"), "{error}");
        }
    }
}
