//! Pooling to a fixed output size, and its gradients. `x` is `[N, H, W, C]`, `y` is `[N, OH, OW, C]`.

use crate::cpu::Cpu;
use crate::cpu::ops::windows;
use crate::shapes::AdaptivePool2d;

/// Computes the mean of each window.
pub fn adaptive_avg_pool2d_forward(cpu: &Cpu, g: &AdaptivePool2d, x: &[f32], y: &mut [f32]) {
    windows::avg_forward(cpu, g, x, y);
}

/// Spreads each gradient evenly over its window.
pub fn adaptive_avg_pool2d_input_grad(cpu: &Cpu, g: &AdaptivePool2d, dy: &[f32], dx: &mut [f32]) {
    windows::avg_input_grad(cpu, g, dy, dx);
}

/// Computes the maximum of each window.
pub fn adaptive_max_pool2d_forward(cpu: &Cpu, g: &AdaptivePool2d, x: &[f32], y: &mut [f32]) {
    windows::max_forward(cpu, g, x, y);
}

/// Passes each gradient to the window's largest pixel. Ties go to the first pixel in the window.
pub fn adaptive_max_pool2d_input_grad(cpu: &Cpu, g: &AdaptivePool2d, x: &[f32], dy: &[f32], dx: &mut [f32]) {
    windows::max_input_grad(cpu, g, x, dy, dx);
}
