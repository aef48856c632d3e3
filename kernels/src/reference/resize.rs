//! Resizing: each output pixel is a weighted sum of input pixels.

use super::Float;
use crate::shapes::Resize;

/// `y[n, i, j, c] = Σ rows[i, p]·cols[j, q]·x[n, p, q, c]`.
pub fn resize_forward<F: Float>(g: &Resize, x: &[F], y: &mut [F]) {
    assert_eq!((x.len(), y.len()), (g.x_len(), g.y_len()));
    y.fill(F::ZERO);
    for_each_weight(g, |ix, iy, weight: F| y[iy] += weight * x[ix]);
}

/// The gradient of [`resize_forward`].
pub fn resize_input_grad<F: Float>(g: &Resize, dy: &[F], dx: &mut [F]) {
    assert_eq!((dx.len(), dy.len()), (g.x_len(), g.y_len()));
    dx.fill(F::ZERO);
    for_each_weight(g, |ix, iy, weight: F| dx[ix] += weight * dy[iy]);
}

/// Calls `visit(x, y, weight)` with the offsets of every input value and every output value that it is part of.
fn for_each_weight<F: Float>(g: &Resize, mut visit: impl FnMut(usize, usize, F)) {
    for pixel in 0..g.n * g.oh * g.ow {
        let (image, i, j) = (pixel / (g.oh * g.ow), pixel / g.ow % g.oh, pixel % g.ow);
        for (p, row) in g.taps(0, i) {
            for (q, col) in g.taps(1, j) {
                let weight = F::of(row.into()) * F::of(col.into());
                if row == 0.0 || col == 0.0 {
                    continue;
                }
                for c in 0..g.c {
                    visit(((image * g.h + p) * g.w + q) * g.c + c, pixel * g.c + c, weight);
                }
            }
        }
    }
}
