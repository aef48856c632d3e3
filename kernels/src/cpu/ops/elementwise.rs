//! Elementwise operations. A NaN stays a NaN, so that diverged training is noticed.

use crate::cpu::Cpu;
use crate::cpu::ops::lanewise::lanewise;

/// Computes `y = max(0, x)`.
pub fn relu_forward(cpu: &Cpu, x: &[f32], y: &mut [f32]) {
    lanewise(cpu, [y], [x], |_, [x]| [if x < 0.0 { 0.0 } else { x }]);
}

/// Computes `dx = dy` where the output `y` is above 0, and 0 elsewhere.
pub fn relu_input_grad(cpu: &Cpu, y: &[f32], dy: &[f32], dx: &mut [f32]) {
    lanewise(cpu, [dx], [y, dy], |_, [y, dy]| [if y > 0.0 { dy } else { 0.0 }]);
}

/// Computes `y = min(max(0, x), 6)`.
pub fn relu6_forward(cpu: &Cpu, x: &[f32], y: &mut [f32]) {
    lanewise(cpu, [y], [x], |_, [x]| {
        let above = if x < 0.0 { 0.0 } else { x };
        [if above > 6.0 { 6.0 } else { above }]
    });
}

/// Computes `dx = dy` where the output `y` lies strictly between 0 and 6, and 0 elsewhere.
pub fn relu6_input_grad(cpu: &Cpu, y: &[f32], dy: &[f32], dx: &mut [f32]) {
    lanewise(cpu, [dx], [y, dy], |_, [y, dy]| [if y > 0.0 && y < 6.0 { dy } else { 0.0 }]);
}

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
