//! The granularities that recipes and command lines name.

use super::Extent::{All, One};
use super::Granularity;

/// Every granularity with a name of its own, in the order in which help texts list them.
pub const GRANULARITIES: &[Granularity] =
    &[Granularity::WEIGHT, Granularity::KERNEL, Granularity::FILTER, Granularity::ROW, Granularity::COLUMN];

impl Granularity {
    /// One weight, of convolutions and linear layers.
    pub const WEIGHT: Self = Self::new("weight").conv([One, One, One]).linear([One, One]);
    /// The KH × KW weights that join one input channel to one filter of a convolution.
    pub const KERNEL: Self = Self::new("kernel").conv([One, All, One]);
    /// One filter of a convolution: all the weights that make one output channel.
    pub const FILTER: Self = Self::new("filter").conv([One, All, All]);
    /// One row of a linear layer: all the weights that make one output feature.
    pub const ROW: Self = Self::new("row").linear([One, All]);
    /// One column of a linear layer: all the weights that read one input feature.
    pub const COLUMN: Self = Self::new("column").linear([All, One]);
}

impl Default for Granularity {
    fn default() -> Self {
        Self::FILTER
    }
}
