//! Elementwise operations. A NaN stays a NaN, so that a diverged training run is noticed.

use super::Float;

/// `y = f(a)`.
pub(super) fn map<F: Float>(a: &[F], y: &mut [F], f: impl Fn(F) -> F) {
    assert_eq!(a.len(), y.len());
    for (y, &a) in y.iter_mut().zip(a) {
        *y = f(a);
    }
}

/// `y = f(a, b)`.
pub(super) fn zip<F: Float>(a: &[F], b: &[F], y: &mut [F], f: impl Fn(F, F) -> F) {
    assert_eq!((a.len(), b.len()), (y.len(), y.len()));
    for ((y, &a), &b) in y.iter_mut().zip(a).zip(b) {
        *y = f(a, b);
    }
}

/// `y = a + b`.
pub fn add_forward<F: Float>(a: &[F], b: &[F], y: &mut [F]) {
    zip(a, b, y, |a, b| a + b);
}

/// `y += x`.
pub fn add_assign<F: Float>(y: &mut [F], x: &[F]) {
    axpy(F::ONE, x, y);
}

/// `y = s·x`.
pub fn scale<F: Float>(s: F, x: &[F], y: &mut [F]) {
    map(x, y, |x| s * x);
}

/// `y = a·b`, element by element.
pub fn mul_forward<F: Float>(a: &[F], b: &[F], y: &mut [F]) {
    zip(a, b, y, |a, b| a * b);
}

/// `y += s·x`.
pub fn axpy<F: Float>(s: F, x: &[F], y: &mut [F]) {
    assert_eq!(x.len(), y.len());
    for (y, &x) in y.iter_mut().zip(x) {
        *y += s * x;
    }
}
