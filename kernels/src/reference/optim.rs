//! Optimizer steps, as PyTorch defines them, on a parameter `p` with gradient `g`. With a `mask`, dropped weights (0)
//! become zero.

use super::Float;
use crate::params::{Adam, Sgd};

/// One step of [`Sgd`]: `d = g + weight_decay·p`; `v = momentum·v + d`, or `v = d` on the `first` step;
/// `p −= lr · (d + momentum·v if nesterov, else v)`. Without momentum the velocity is neither read nor written.
pub fn sgd_step<F: Float>(
    h: &Sgd,
    first: bool,
    p: &mut [F],
    g: &[F],
    velocity: &mut [F],
    mask: Option<&[F]>,
) {
    assert_eq!((g.len(), velocity.len()), (p.len(), p.len()));
    let [lr, momentum, decay] = [h.lr, h.momentum, h.weight_decay].map(|x| F::of(x.into()));
    for ((p, &g), v) in p.iter_mut().zip(g).zip(velocity) {
        let d = g + decay * *p;
        let step = if h.momentum == 0.0 {
            d
        } else {
            *v = if first { d } else { momentum * *v + d };
            if h.nesterov { d + momentum * *v } else { *v }
        };
        *p = *p - lr * step;
    }
    apply_mask(p, mask);
}

/// Step number `step` (from 1) of [`Adam`]: with `d = g + weight_decay·p`, or `d = g` and `p` shrunk if decoupled,
/// `m = β₁m + (1−β₁)d`, `v = β₂v + (1−β₂)d²`, `p −= lr · m/(1−β₁ᵗ) / (√(v/(1−β₂ᵗ)) + eps)`.
pub fn adam_step<F: Float>(
    h: &Adam,
    step: u32,
    p: &mut [F],
    g: &[F],
    [m, v]: [&mut [F]; 2],
    mask: Option<&[F]>,
) {
    assert_eq!((g.len(), m.len(), v.len()), (p.len(), p.len(), p.len()));
    let [lr, beta1, beta2, eps, decay] =
        [h.lr, h.beta1, h.beta2, h.eps, h.weight_decay].map(|x| F::of(x.into()));
    let correct1 = F::of(1.0 - f64::from(h.beta1).powi(step as i32));
    let correct2 = F::of(1.0 - f64::from(h.beta2).powi(step as i32));
    for (((p, &g), m), v) in p.iter_mut().zip(g).zip(m).zip(v) {
        let d = if h.decoupled { g } else { g + decay * *p };
        if h.decoupled {
            *p = *p - lr * decay * *p;
        }
        *m = beta1 * *m + (F::ONE - beta1) * d;
        *v = beta2 * *v + (F::ONE - beta2) * d * d;
        *p = *p - lr * (*m / correct1) / ((*v / correct2).sqrt() + eps);
    }
    apply_mask(p, mask);
}

/// Zeroes the weights that the mask drops.
fn apply_mask<F: Float>(p: &mut [F], mask: Option<&[F]>) {
    for (p, &mask) in p.iter_mut().zip(mask.unwrap_or_default()) {
        if mask == F::ZERO {
            *p = F::ZERO;
        }
    }
}
