//! Products with a gate `[N, C]`, one factor for each channel of each image.

use super::Float;
use crate::shapes::Gate;

/// `y[n, p, c] = x[n, p, c]·gate[n, c]`.
pub fn gate_forward<F: Float>(g: &Gate, x: &[F], gate: &[F], y: &mut [F]) {
    assert_eq!((x.len(), gate.len(), y.len()), (g.x_len(), g.gate_len(), g.x_len()));
    for (i, y) in y.iter_mut().enumerate() {
        *y = x[i] * gate[factor(g, i)];
    }
}

/// The gradient of the gate, `dgate[n, c] = Σ_p dy[n, p, c]·x[n, p, c]`. That of `x` is [`gate_forward`] of `dy`.
pub fn gate_grad<F: Float>(g: &Gate, x: &[F], dy: &[F], dgate: &mut [F]) {
    assert_eq!((x.len(), dgate.len(), dy.len()), (g.x_len(), g.gate_len(), g.x_len()));
    dgate.fill(F::ZERO);
    for (i, (&x, &dy)) in x.iter().zip(dy).enumerate() {
        dgate[factor(g, i)] += dy * x;
    }
}

/// The position in the gate of the factor of element `i` of `x`.
fn factor(g: &Gate, i: usize) -> usize {
    i / (g.pixels * g.c) * g.c + i % g.c
}
