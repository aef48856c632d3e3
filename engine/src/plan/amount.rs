//! The work of an operation: its kernel, and how much of it there is.

use lopper_kernels::cpu::{Algorithm, Cpu, DenseTime, Weights};
use lopper_kernels::shapes;
use serde::{Deserialize, Serialize};

/// The kernels whose time per unit of work is alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// A convolution with more than one tap that is direct, or along rows.
    Direct,
    /// A direct convolution with one tap.
    Pointwise,
    /// Winograd's F(2×2, 3×3).
    Winograd2,
    /// Winograd's F(4×4, 3×3).
    Winograd4,
    /// A convolution with filters of its own for each channel.
    Depthwise,
    /// A convolution with several groups of channels.
    Grouped,
    /// A convolution in row lanes, which leaves out single weights.
    RowLanes,
    /// A linear layer.
    Linear,
    /// A batch norm that is not folded.
    BatchNorm,
    /// Pooling.
    Pool,
    /// Sums, activations and copies that no other kernel performs on the way.
    Elementwise,
}

impl Class {
    /// Every class.
    pub const ALL: [Self; 11] = [
        Self::Direct,
        Self::Pointwise,
        Self::Winograd2,
        Self::Winograd4,
        Self::Depthwise,
        Self::Grouped,
        Self::RowLanes,
        Self::Linear,
        Self::BatchNorm,
        Self::Pool,
        Self::Elementwise,
    ];

    /// The class of the convolution `g` that `algorithm` computes.
    pub(super) fn of_convolution(g: &shapes::Conv2d, algorithm: Algorithm) -> Self {
        match algorithm {
            _ if g.is_depthwise() => Self::Depthwise,
            _ if g.groups > 1 => Self::Grouped,
            Algorithm::RowLanes => Self::RowLanes,
            Algorithm::Winograd2 => Self::Winograd2,
            Algorithm::Winograd4 => Self::Winograd4,
            Algorithm::Direct if g.kh * g.kw == 1 => Self::Pointwise,
            Algorithm::Direct | Algorithm::WinogradRows => Self::Direct,
        }
    }
}

/// The work of an operation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Amount {
    /// Its kernel.
    pub class: Class,
    /// Its size: estimated multiply-accumulates of convolutions and linear layers, floats that are read and written of
    /// others.
    pub units: f64,
}

impl Amount {
    /// The work of a linear layer without zeros: products, or reading the weights where there are few rows.
    pub(super) fn of_linear(cpu: &Cpu, [rows, inputs, outputs]: [usize; 3]) -> Self {
        let g = shapes::Conv2d::square([rows, 1, 1, inputs], outputs, 1, 1, 0);
        Self { class: Class::Linear, units: DenseTime::of(cpu, &g, Weights::Memory).macs }
    }

    /// The time in multiply-accumulates of a direct convolution, without regard to a machine: what a float costs beside a
    /// product, and a kernel's call. As the estimates of convolutions, it is rounded from one core of a Zen 4.
    pub fn macs(&self) -> f64 {
        /// Starting a kernel and ending it.
        const CALL: f64 = 7e3;
        let a_unit = match self.class {
            Class::Direct
            | Class::Pointwise
            | Class::Winograd2
            | Class::Winograd4
            | Class::RowLanes
            | Class::Linear => 1.0,
            Class::Depthwise | Class::Grouped => 3.0,
            Class::BatchNorm | Class::Elementwise => 4.0,
            Class::Pool => 8.0,
        };
        CALL + a_unit * self.units
    }
}
