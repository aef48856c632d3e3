//! Elementwise operations. A NaN stays a NaN, so that diverged training is noticed.

use crate::cpu::Cpu;
use crate::cpu::ops::lanewise::lanewise;

/// Computes `y = a + b`.
pub fn add_forward(cpu: &Cpu, a: &[f32], b: &[f32], y: &mut [f32]) {
    lanewise(cpu, [y], [a, b], |_, [a, b]| [a + b]);
}

/// Computes `y += x`.
pub fn add_assign(cpu: &Cpu, y: &mut [f32], x: &[f32]) {
    lanewise(cpu, [y], [x], |[y], [x]| [y + x]);
}

/// Computes `y = s·x`.
pub fn scale(cpu: &Cpu, s: f32, x: &[f32], y: &mut [f32]) {
    lanewise(cpu, [y], [x], move |_, [x]| [s * x]);
}

/// Computes `y = a·b` element by element.
pub fn mul_forward(cpu: &Cpu, a: &[f32], b: &[f32], y: &mut [f32]) {
    lanewise(cpu, [y], [a, b], |_, [a, b]| [a * b]);
}

/// Computes `y += s·x`.
pub fn axpy(cpu: &Cpu, s: f32, x: &[f32], y: &mut [f32]) {
    lanewise(cpu, [y], [x], move |[y], [x]| [y + s * x]);
}
