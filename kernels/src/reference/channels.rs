//! Operations that move channels: concatenation, gathering, and the parameter-free residual shortcut.

use super::Float;
use crate::shapes::PadShortcut;

/// Concatenates along channels: part `i` is `(x, c)` with `x` `[rows, c]`, and `y` is `[rows, Σ c]`.
pub fn concat_forward<F: Float>(rows: usize, parts: &[(&[F], usize)], y: &mut [F]) {
    let width: usize = parts.iter().map(|(_, c)| c).sum();
    assert_eq!(y.len(), rows * width);
    for row in 0..rows {
        let mut start = row * width;
        for &(x, c) in parts {
            y[start..start + c].copy_from_slice(&x[row * c..(row + 1) * c]);
            start += c;
        }
    }
}

/// The gradient of [`concat_forward`]: splits `dy` `[rows, Σ c]` into its parts.
pub fn split_channels<F: Float>(rows: usize, dy: &[F], parts: &mut [(&mut [F], usize)]) {
    let width: usize = parts.iter().map(|(_, c)| *c).sum();
    assert_eq!(dy.len(), rows * width);
    for row in 0..rows {
        let mut start = row * width;
        for (dx, c) in parts.iter_mut() {
            dx[row * *c..(row + 1) * *c].copy_from_slice(&dy[start..start + *c]);
            start += *c;
        }
    }
}

/// Gathers channels: `y[row, i] = x[row, channels[i]]` with `x` `[rows, c]`.
pub fn gather_forward<F: Float>(c: usize, channels: &[u32], x: &[F], y: &mut [F]) {
    assert_eq!(x.len() / c * channels.len(), y.len());
    for (x, y) in x.chunks_exact(c).zip(y.chunks_exact_mut(channels.len())) {
        for (y, &channel) in y.iter_mut().zip(channels) {
            *y = x[channel as usize];
        }
    }
}

/// The gradient of [`gather_forward`]: adds up what was read of each channel, in the order of the list.
pub fn gather_input_grad<F: Float>(c: usize, channels: &[u32], dy: &[F], dx: &mut [F]) {
    assert_eq!(dx.len() / c * channels.len(), dy.len());
    dx.fill(F::ZERO);
    for (dx, dy) in dx.chunks_exact_mut(c).zip(dy.chunks_exact(channels.len())) {
        for (&dy, &channel) in dy.iter().zip(channels) {
            dx[channel as usize] += dy;
        }
    }
}

/// Takes every `stride`-th pixel and adds zero channels before and after: `y[n,i,j,before+c] = x[n, i·s, j·s, c]`.
pub fn pad_shortcut_forward<F: Float>(g: &PadShortcut, x: &[F], y: &mut [F]) {
    assert_eq!((x.len(), y.len()), (g.x_len(), g.y_len()));
    y.fill(F::ZERO);
    for_each_kept(g, |ix, iy| y[iy] = x[ix]);
}

/// The gradient of [`pad_shortcut_forward`]; it is zero for pixels and channels that were not copied.
pub fn pad_shortcut_input_grad<F: Float>(g: &PadShortcut, dy: &[F], dx: &mut [F]) {
    assert_eq!((dx.len(), dy.len()), (g.x_len(), g.y_len()));
    dx.fill(F::ZERO);
    for_each_kept(g, |ix, iy| dx[ix] = dy[iy]);
}

/// Calls `visit(x, y)` with the offsets of every value that the shortcut copies.
fn for_each_kept(g: &PadShortcut, mut visit: impl FnMut(usize, usize)) {
    let [n, oh, ow, o] = g.y_shape();
    for pixel in 0..n * oh * ow {
        let (image, row, col) = (pixel / (oh * ow), pixel / ow % oh, pixel % ow);
        let from = ((image * g.h + row * g.stride) * g.w + col * g.stride) * g.c;
        for c in 0..g.c {
            visit(from + c, pixel * o + g.before + c);
        }
    }
}
