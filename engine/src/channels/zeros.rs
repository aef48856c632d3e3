//! The zeros of a network that an analysis may rely on.
//!
//! A weight that a mask drops is not there. A weight that merely is zero is a number, and 0·∞ is NaN. A rewrite replaces
//! the network and may use either; a plan computes the network that it is given, so it leaves out only what a mask
//! drops. (A plan of an untrained network, whose weights are all zero, takes as long as that of the trained one.)

use super::filters::{Filters, is_depthwise};
use crate::graph::layer::BatchNorm;
use crate::{Layer, Param};

/// The weights that count as zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Zeros {
    /// All that are zero.
    Values,
    /// Those that a mask drops.
    Masks,
    /// Those of filters that a mask drops whole. A plan multiplies the other masked weights, and every weight of a
    /// depthwise convolution: times an infinity they give the NaN that a strict plan must report.
    Filters,
}

/// The nonzero weights of a convolution or linear layer.
pub(super) struct Nonzeros<'a> {
    /// Nonzero where the weight is; none if no weight is zero.
    marks: Option<&'a [f32]>,
    /// Whether a filter with a nonzero weight has no zeros.
    whole: bool,
    /// The number of weights of a filter.
    size: usize,
}

impl<'a> Nonzeros<'a> {
    /// The weights of `filters`, those of `layer`, that are not `zeros`.
    pub fn new(layer: &'a Layer, filters: &Filters<'a>, zeros: Zeros) -> Self {
        let value = filters.weight.value();
        let marks = match zeros {
            Zeros::Values => Some(value),
            Zeros::Masks => filters.weight.mask(),
            Zeros::Filters => filters.weight.mask().filter(|_| !is_depthwise(layer)),
        };
        Self {
            marks: marks.map(|marks| marks.data()),
            whole: zeros == Zeros::Filters,
            size: value.len() / filters.outputs(),
        }
    }

    /// Whether filter `o` has a nonzero weight.
    pub fn any(&self, o: usize) -> bool {
        self.row(o).is_none_or(|row| row.iter().any(|&mark| mark != 0.0))
    }

    /// The positions of the nonzero weights in filter `o`, ascending.
    pub fn positions(&self, o: usize) -> impl Iterator<Item = usize> {
        let row = self.row(o).filter(|_| !self.whole || !self.any(o));
        (0..self.size).filter(move |&i| row.is_none_or(|row| row[i] != 0.0))
    }

    /// The marks of filter `o`.
    fn row(&self, o: usize) -> Option<&'a [f32]> {
        self.marks.map(|marks| &marks[o * self.size..][..self.size])
    }
}

/// For each channel of `bn`, whether γ is zero, which turns any input into a constant.
pub(super) fn flat(bn: &BatchNorm, zeros: Zeros) -> Vec<bool> {
    match zeros {
        Zeros::Values => bn.affine().iter().map(|&(scale, _)| scale == 0.0).collect(),
        Zeros::Masks | Zeros::Filters => flat_weight(&bn.weight, zeros),
    }
}

/// For each element of the scale `gamma`, whether it is zero.
pub(super) fn flat_weight(gamma: &Param, zeros: Zeros) -> Vec<bool> {
    match (zeros, gamma.mask()) {
        (Zeros::Values, _) => gamma.value().data().iter().map(|&scale| scale == 0.0).collect(),
        (Zeros::Masks, Some(mask)) => mask.data().iter().map(|&mark| mark == 0.0).collect(),
        (Zeros::Masks, None) | (Zeros::Filters, _) => vec![false; gamma.value().len()],
    }
}
