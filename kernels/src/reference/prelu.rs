//! The rectifier with a learned slope for each channel (He et al. 2015) over the rows of `x` `[rows, C]`.

use super::Float;

/// `y = x` where `x` is positive, otherwise `slope·x`; `slope` is `[c]`.
pub fn prelu_forward<F: Float>(c: usize, x: &[F], slope: &[F], y: &mut [F]) {
    assert_eq!((x.len() % c, slope.len(), y.len()), (0, c, x.len()));
    for (i, (y, &x)) in y.iter_mut().zip(x).enumerate() {
        *y = if x > F::ZERO { x } else { slope[i % c] * x };
    }
}

/// The gradients of [`prelu_forward`]: of `x`, and of the slopes, `dslope = Σ dy·x` over the rows where `x` is not positive.
pub fn prelu_backward<F: Float>(c: usize, x: &[F], slope: &[F], dy: &[F], dx: &mut [F], dslope: &mut [F]) {
    assert_eq!((x.len() % c, dy.len(), dx.len()), (0, x.len(), x.len()));
    assert_eq!((slope.len(), dslope.len()), (c, c));
    dslope.fill(F::ZERO);
    for i in 0..x.len() {
        if x[i] > F::ZERO {
            dx[i] = dy[i];
        } else {
            dx[i] = slope[i % c] * dy[i];
            dslope[i % c] += dy[i] * x[i];
        }
    }
}
