//! The rectifier with a learned slope for each channel (He et al. 2015) over the rows of `x` `[rows, C]`.

use crate::cpu::Cpu;
use crate::cpu::ops::columns::{Repeated, Shift, column_sums, map_channels};

/// The slopes, packed in the order in which the kernel reads them.
pub struct PackedPRelu(Repeated<1>);

impl PackedPRelu {
    /// Packs `slope` `[C]`.
    pub fn new(slope: &[f32]) -> Self {
        Self(Repeated::new(slope.len(), [slope]))
    }

    /// The size of the packed slopes in bytes.
    pub fn bytes(&self) -> usize {
        self.0.bytes()
    }

    /// The size of the packed slopes of `c` channels in bytes, known before they are packed.
    pub fn bytes_of(c: usize) -> usize {
        Repeated::<1>::bytes_of(c)
    }
}

/// `y = x` where `x` is positive, otherwise `slope·x`. It allocates nothing.
pub fn prelu_forward_packed(cpu: &Cpu, packed: &PackedPRelu, x: &[f32], y: &mut [f32]) {
    assert_eq!((x.len(), x.len() % packed.0.channels()), (y.len(), 0));
    map_channels(cpu, &packed.0, [y], [x], |[slope], _, [x]| [if x > 0.0 { x } else { slope * x }]);
}

/// [`prelu_forward_packed`] of `slope` `[c]`.
pub fn prelu_forward(cpu: &Cpu, c: usize, x: &[f32], slope: &[f32], y: &mut [f32]) {
    assert_eq!(slope.len(), c);
    prelu_forward_packed(cpu, &PackedPRelu::new(slope), x, y);
}

/// The gradients of [`prelu_forward`]: of `x`, and of the slopes, `dslope = Σ dy·x` over the rows where `x` is not positive.
pub fn prelu_backward(
    cpu: &Cpu,
    c: usize,
    x: &[f32],
    slope: &[f32],
    dy: &[f32],
    dx: &mut [f32],
    dslope: &mut [f32],
) {
    assert_eq!((x.len() % c, dy.len(), dx.len()), (0, x.len(), x.len()));
    assert_eq!((slope.len(), dslope.len()), (c, c));
    let packed = Repeated::new(c, [slope]);
    map_channels(cpu, &packed, [dx], [x, dy], |[slope], _, [x, dy]| [if x > 0.0 { dy } else { slope * dy }]);
    let sums =
        column_sums(cpu, c, Shift::FirstTile, [x, dy], |_, [x, dy]| [if x > 0.0 { 0.0 } else { dy * x }]);
    dslope.iter_mut().zip(sums.totals()).for_each(|(dslope, [sum])| *dslope = sum as f32);
}
