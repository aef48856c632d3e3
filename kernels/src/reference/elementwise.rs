//! Elementwise operations. A NaN stays a NaN, so that a diverged training run is noticed.

use super::Float;

/// `max(0, x)`.
pub(super) fn relu<F: Float>(x: F) -> F {
    if x < F::ZERO { F::ZERO } else { x }
}

/// `min(max(0, x), 6)`.
pub(super) fn relu6<F: Float>(x: F) -> F {
    let six = F::of(6.0);
    if x > six { six } else { relu(x) }
}

/// `y = f(a)`.
fn map<F: Float>(a: &[F], y: &mut [F], f: impl Fn(F) -> F) {
    assert_eq!(a.len(), y.len());
    for (y, &a) in y.iter_mut().zip(a) {
        *y = f(a);
    }
}

/// `y = f(a, b)`.
fn zip<F: Float>(a: &[F], b: &[F], y: &mut [F], f: impl Fn(F, F) -> F) {
    assert_eq!((a.len(), b.len()), (y.len(), y.len()));
    for ((y, &a), &b) in y.iter_mut().zip(a).zip(b) {
        *y = f(a, b);
    }
}

/// `y = max(0, x)`.
pub fn relu_forward<F: Float>(x: &[F], y: &mut [F]) {
    map(x, y, relu);
}

/// `dx = dy` where the output `y` is above 0, and 0 elsewhere.
pub fn relu_input_grad<F: Float>(y: &[F], dy: &[F], dx: &mut [F]) {
    zip(y, dy, dx, |y, dy| if y > F::ZERO { dy } else { F::ZERO });
}

/// `y = min(max(0, x), 6)`.
pub fn relu6_forward<F: Float>(x: &[F], y: &mut [F]) {
    map(x, y, relu6);
}

/// `dx = dy` where the output `y` lies strictly between 0 and 6, and 0 elsewhere.
pub fn relu6_input_grad<F: Float>(y: &[F], dy: &[F], dx: &mut [F]) {
    zip(y, dy, dx, |y, dy| if y > F::ZERO && y < F::of(6.0) { dy } else { F::ZERO });
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
