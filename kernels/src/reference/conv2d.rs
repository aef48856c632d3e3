//! Two-dimensional convolution with stride, padding, dilation and groups, and its gradients.
//!
//! A convolution is a set of index triples: output `y` reads input `x` through weight `w`. The forward pass and both
//! gradients visit the same triples and differ only in which of the three they write:
//!
//! ```text
//! y += x·w        dx += dy·w        dw += x·dy
//! ```

use super::Float;
use crate::params::Activation;
use crate::shapes::Conv2d;

/// Calls `visit(x, w, y)` with the indices of every product of the convolution that reads inside the image.
fn for_each_product(g: &Conv2d, mut visit: impl FnMut(usize, usize, usize)) {
    let (oh, ow) = (g.oh(), g.ow());
    let (group_in, group_out) = (g.c / g.groups, g.o / g.groups);
    for (n, row, col, o) in positions([g.n, oh, ow, g.o]) {
        let y = ((n * oh + row) * ow + col) * g.o + o;
        let first = o / group_out * group_in;
        for (kh, kw) in (0..g.kh).flat_map(|kh| (0..g.kw).map(move |kw| (kh, kw))) {
            let (Some(h), Some(w)) = (
                source(row, g.stride[0], kh, g.dilation[0], g.padding[0], g.h),
                source(col, g.stride[1], kw, g.dilation[1], g.padding[1], g.w),
            ) else {
                continue;
            };
            for c in 0..group_in {
                visit(
                    ((n * g.h + h) * g.w + w) * g.c + first + c,
                    ((o * g.kh + kh) * g.kw + kw) * group_in + c,
                    y,
                );
            }
        }
    }
}

/// All indices of a four-dimensional array; the last varies fastest.
fn positions([a, b, c, d]: [usize; 4]) -> impl Iterator<Item = (usize, usize, usize, usize)> {
    (0..a * b * c * d).map(move |i| (i / (b * c * d), i / (c * d) % b, i / d % c, i % d))
}

/// The image row (or column) that output row `out` reads through tap `tap`; `None` in the padding.
fn source(
    out: usize,
    stride: usize,
    tap: usize,
    dilation: usize,
    padding: usize,
    size: usize,
) -> Option<usize> {
    (out * stride + tap * dilation).checked_sub(padding).filter(|&i| i < size)
}

fn check_lengths<F: Float>(g: &Conv2d, x: &[F], w: &[F], y: &[F]) {
    assert_eq!((x.len(), w.len(), y.len()), (g.x_len(), g.w_len(), g.y_len()));
}

/// `y[n,oh,ow,o] = bias[o] + Σ x·w` as [`Conv2d`] defines it: `x` `[N,H,W,C]`, `w` `[O,KH,KW,C/G]`, `y` `[N,OH,OW,O]`.
pub fn conv2d_forward<F: Float>(g: &Conv2d, x: &[F], w: &[F], bias: Option<&[F]>, y: &mut [F]) {
    check_lengths(g, x, w, y);
    for (i, y) in y.iter_mut().enumerate() {
        *y = bias.map_or(F::ZERO, |bias| bias[i % g.o]);
    }
    for_each_product(g, |ix, iw, iy| y[iy] += x[ix] * w[iw]);
}

/// The gradient of the input: `dx[x] = Σ dy[y]·w[w]` over the triples that read `x`.
pub fn conv2d_input_grad<F: Float>(g: &Conv2d, dy: &[F], w: &[F], dx: &mut [F]) {
    check_lengths(g, dx, w, dy);
    dx.fill(F::ZERO);
    for_each_product(g, |ix, iw, iy| dx[ix] += dy[iy] * w[iw]);
}

/// The gradient of the weight: `dw[w] = Σ x[x]·dy[y]` over the triples that use `w`. The bias gradient is
/// [`super::sum_rows`] of `dy`.
pub fn conv2d_weight_grad<F: Float>(g: &Conv2d, x: &[F], dy: &[F], dw: &mut [F]) {
    check_lengths(g, x, dw, dy);
    dw.fill(F::ZERO);
    for_each_product(g, |ix, iw, iy| dw[iw] += x[ix] * dy[iy]);
}

/// The end of a fused convolution: `y = activation(y + residual)`.
pub fn conv2d_epilogue<F: Float>(residual: Option<&[F]>, activation: Activation, y: &mut [F]) {
    for (i, y) in y.iter_mut().enumerate() {
        let sum = residual.map_or(*y, |r| *y + r[i]);
        *y = activation.apply(sum);
    }
}
