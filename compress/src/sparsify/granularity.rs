//! Granularity: which weights live and die together.

use crate::names::named;
use lopper_engine::Layer;
use serde::{Deserialize, Serialize};

/// The unit that is kept or dropped. Convolution weights are `[O, KH, KW, C / groups]`, linear ones
/// `[OUT, IN]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Granularity {
    /// One weight, of convolutions and linear layers.
    Weight,
    /// The KH × KW weights that join one input channel to one filter of a convolution.
    Kernel,
    /// One filter of a convolution: all that makes one output channel.
    #[default]
    Filter,
    /// One row of a linear layer: all that makes one output feature.
    Row,
    /// One column of a linear layer: all that reads one input feature.
    Column,
}

named!(Granularity, "granularity");

impl Granularity {
    /// How it divides the weight of `layer`; none where it does not apply to that kind of layer.
    pub fn groups(self, layer: &Layer) -> Option<Groups> {
        Some(match (self, layer) {
            (Self::Weight, Layer::Conv2d(conv)) => Groups::new(conv.weight.value().len(), 1, 1),
            (Self::Weight, Layer::Linear(linear)) => Groups::new(linear.weight.value().len(), 1, 1),
            (Self::Kernel, Layer::Conv2d(conv)) => {
                let [kh, kw] = conv.kernel();
                Groups::new(conv.out_channels(), kh * kw, conv.weight.value().dim(3))
            }
            (Self::Filter, Layer::Conv2d(conv)) => {
                Groups::new(conv.out_channels(), conv.weight.value().len() / conv.out_channels().max(1), 1)
            }
            (Self::Row, Layer::Linear(linear)) => Groups::new(linear.out_features(), linear.in_features(), 1),
            (Self::Column, Layer::Linear(linear)) => {
                Groups::new(1, linear.out_features(), linear.in_features())
            }
            _ => return None,
        })
    }
}

/// A division of a weight into groups of one size. Every granularity is the same picture: seen as
/// `[outer, size, inner]`, the weights along the middle axis are one group, and the groups are numbered
/// row-major by `(outer, inner)`:
///
/// ```text
///   weight  [len,   1,       1 ]      filter  [O, KH·KW·C, 1 ]      row     [OUT, IN,  1 ]
///   kernel  [O,   KH·KW,     C ]                                    column  [1,   OUT, IN]
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Groups {
    outer: usize,
    size: usize,
    inner: usize,
}

impl Groups {
    fn new(outer: usize, size: usize, inner: usize) -> Self {
        Self { outer, size, inner }
    }

    /// The number of groups.
    pub fn count(&self) -> usize {
        self.outer * self.inner
    }

    /// Weights in a group.
    pub fn size(&self) -> usize {
        self.size
    }

    /// The sum over each group of `term(i)`, `i` the position of a weight.
    pub fn sum(&self, term: impl Fn(usize) -> f64) -> Vec<f64> {
        let mut sums = vec![0.0; self.count()];
        self.for_each_weight(|i, group| sums[group] += term(i));
        sums
    }

    /// The groups in which every weight satisfies `holds(i)`.
    pub fn all(&self, holds: impl Fn(usize) -> bool) -> Vec<bool> {
        let mut all = vec![true; self.count()];
        self.for_each_weight(|i, group| all[group] &= holds(i));
        all
    }

    /// Zeroes the weights of the groups in `dropped`.
    ///
    /// # Panics
    /// Where `dropped` or `values` belongs to another division.
    pub fn clear(&self, dropped: &[bool], values: &mut [f32]) {
        assert_eq!(dropped.len(), self.count(), "one entry for each group");
        assert_eq!(values.len(), self.count() * self.size, "the weight that was divided");
        self.for_each_weight(|i, group| {
            if dropped[group] {
                values[i] = 0.0;
            }
        });
    }

    /// Calls `f(position, group)` for each weight, in order.
    fn for_each_weight(&self, mut f: impl FnMut(usize, usize)) {
        let mut i = 0;
        for outer in 0..self.outer {
            for _ in 0..self.size {
                for inner in 0..self.inner {
                    f(i, outer * self.inner + inner);
                    i += 1;
                }
            }
        }
    }
}
