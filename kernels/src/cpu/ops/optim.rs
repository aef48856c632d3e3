//! Optimizer steps, as PyTorch defines them, on a parameter `p` with gradient `g`. If there is a `mask`, the weights
//! that it drops (0) become zero in the same pass.
//!
//! The steps are memory-bound: an Adam step reads four numbers per weight and writes three, once each.

use crate::cpu::Cpu;
use crate::cpu::ops::lanewise::lanewise;
use crate::params::{Adam, Sgd};

/// `p`, or 0 if the mask drops it. The value is selected, not multiplied, because a masked NaN must also become zero.
#[inline(always)]
fn masked(p: f32, mask: f32) -> f32 {
    if mask == 0.0 { 0.0 } else { p }
}

/// Performs one step of [`Sgd`]: `d = g + weight_decay·p`; `v = momentum·v + d`, or `v = d` on the `first` step;
/// `p −= lr · (d + momentum·v if nesterov, else v)`. Without momentum the velocity is neither read nor written.
pub fn sgd_step(
    cpu: &Cpu,
    h: &Sgd,
    first: bool,
    p: &mut [f32],
    g: &[f32],
    velocity: &mut [f32],
    mask: Option<&[f32]>,
) {
    let Sgd { lr, momentum, nesterov, weight_decay } = *h;
    let plain = move |p: f32, g: f32| p - lr * (g + weight_decay * p);
    // The first step ignores the contents of the velocity, even an infinity or a NaN.
    let keep = !first;
    let heavy = move |[p, v]: [f32; 2], g: f32| {
        let d = g + weight_decay * p;
        let v = if keep { momentum * v + d } else { d };
        let step = if nesterov { d + momentum * v } else { v };
        [p - lr * step, v]
    };
    match (momentum == 0.0, mask) {
        (true, None) => lanewise(cpu, [p], [g], move |[p], [g]| [plain(p, g)]),
        (true, Some(mask)) => lanewise(cpu, [p], [g, mask], move |[p], [g, m]| [masked(plain(p, g), m)]),
        (false, None) => lanewise(cpu, [p, velocity], [g], move |pv, [g]| heavy(pv, g)),
        (false, Some(mask)) => lanewise(cpu, [p, velocity], [g, mask], move |pv, [g, m]| {
            let [p, v] = heavy(pv, g);
            [masked(p, m), v]
        }),
    }
}

/// Performs step number `step` (from 1) of [`Adam`]: with `d = g + weight_decay·p`, or `d = g` and `p` shrunk if
/// decoupled, `m = β₁m + (1−β₁)d`, `v = β₂v + (1−β₂)d²`, `p −= lr · m/(1−β₁ᵗ) / (√(v/(1−β₂ᵗ)) + eps)`.
pub fn adam_step(
    cpu: &Cpu,
    h: &Adam,
    step: u32,
    p: &mut [f32],
    g: &[f32],
    [m, v]: [&mut [f32]; 2],
    mask: Option<&[f32]>,
) {
    let Adam { lr, beta1, beta2, eps, weight_decay, decoupled } = *h;
    let correction = |beta: f32| 1.0 - f64::from(beta).powi(step as i32);
    let rate = (f64::from(lr) / correction(beta1)) as f32;
    let inv_root = correction(beta2).sqrt().recip() as f32;
    let (penalty, shrink) = if decoupled { (0.0, 1.0 - lr * weight_decay) } else { (weight_decay, 1.0) };
    let adam = move |[p, m, v]: [f32; 3], g: f32| {
        let d = g + penalty * p;
        let m = beta1 * m + (1.0 - beta1) * d;
        let v = beta2 * v + (1.0 - beta2) * d * d;
        [shrink * p - rate * m / (v.sqrt() * inv_root + eps), m, v]
    };
    match mask {
        None => lanewise(cpu, [p, m, v], [g], move |pmv, [g]| adam(pmv, g)),
        Some(mask) => lanewise(cpu, [p, m, v], [g, mask], move |pmv, [g, keep]| {
            let [p, m, v] = adam(pmv, g);
            [masked(p, keep), m, v]
        }),
    }
}
