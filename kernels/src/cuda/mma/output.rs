//! The destination of a product's sums, and its epilogue.

use super::divide::Divide;
use crate::cuda::DeviceBuffer;
use crate::cuda::ops::ClampArg;
use crate::params::{Activation, Dtype};
use bytemuck::{Pod, Zeroable};

/// The destination of the sums, and the operations applied to them.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Output {
    pub rows: i32,
    pub columns: i32,
    pub activation: ClampArg,
    /// Whether y is f32, regardless of the operand type.
    pub f32: i32,
    /// Whether row `(image, i, j)` goes to pixel `(i·step + first, j·step + first)` of an image of `size`; otherwise
    /// rows stay in order.
    pub scattered: i32,
    pub size: [i32; 2],
    pub step: [i32; 2],
    pub first: [i32; 2],
    pub by_rows: Divide,
    pub by_columns: Divide,
}

impl Output {
    /// A `rows` × `columns` output, in order.
    pub fn dense(rows: usize, columns: usize, activation: Activation, y: &DeviceBuffer) -> Self {
        Self {
            rows: rows as i32,
            columns: columns as i32,
            activation: activation.into(),
            f32: (y.dtype() == Dtype::F32).into(),
            scattered: 0,
            size: [1; 2],
            step: [1; 2],
            first: [0; 2],
            by_rows: Divide::by(1),
            by_columns: Divide::by(1),
        }
    }

    /// The same rows and columns as f32 sums, in order and without an epilogue.
    pub fn of_sums(&self, sums: &DeviceBuffer) -> Self {
        Self::dense(self.rows as usize, self.columns as usize, Activation::None, sums)
    }
}
