//! Maximum and average pooling, and their gradients. `x` is `[N, H, W, C]`, `y` is `[N, OH, OW, C]`.

use crate::cpu::Cpu;
use crate::cpu::ops::windows;
use crate::shapes::Pool2d;

/// Computes the maximum of each window; padding never counts.
pub fn max_pool2d_forward(cpu: &Cpu, g: &Pool2d, x: &[f32], y: &mut [f32]) {
    windows::max_forward(cpu, g, x, y);
}

/// Passes each gradient to the window's largest pixel. Ties go to the first pixel in the window.
pub fn max_pool2d_input_grad(cpu: &Cpu, g: &Pool2d, x: &[f32], dy: &[f32], dx: &mut [f32]) {
    windows::max_input_grad(cpu, g, x, dy, dx);
}

/// Computes the mean of each window. With `count_include_pad`, the padding counts as zeros.
pub fn avg_pool2d_forward(cpu: &Cpu, g: &Pool2d, x: &[f32], y: &mut [f32]) {
    windows::avg_forward(cpu, g, x, y);
}

/// Spreads each gradient evenly over its window.
pub fn avg_pool2d_input_grad(cpu: &Cpu, g: &Pool2d, dy: &[f32], dx: &mut [f32]) {
    windows::avg_input_grad(cpu, g, dy, dx);
}
