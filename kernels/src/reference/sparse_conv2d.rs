//! Convolutions that skip work known not to matter: masked (dead filters) and compact (dead inputs too).

use super::{Float, conv2d_forward};
use crate::params::CompactIndex;
use crate::shapes::Conv2d;

/// A convolution that does not compute dead filters (`live[o]` is false): their output is `bias[o]`, or 0.
pub fn conv2d_masked_forward<F: Float>(
    g: &Conv2d,
    x: &[F],
    w: &[F],
    bias: Option<&[F]>,
    live: &[bool],
    y: &mut [F],
) {
    assert_eq!(live.len(), g.o);
    let mut masked = w.to_vec();
    for (filter, &live) in masked.chunks_exact_mut(g.w_len() / g.o).zip(live) {
        if !live {
            filter.fill(F::ZERO);
        }
    }
    conv2d_forward(g, x, &masked, bias, y);
}

/// A convolution with a small weight inside a wide geometry `g` (one group): gathers the live inputs, convolves with
/// `w` `[live outputs, KH, KW, live inputs (+ carrier)]`, and scatters the live outputs. A dead output `o` becomes
/// `fill[o]`. `fill` and `bias` both have length `O`; `fill` is read at dead outputs and `bias` at live ones.
pub fn conv2d_compact_forward<F: Float>(
    g: &Conv2d,
    x: &[F],
    index: &CompactIndex,
    w: &[F],
    fill: &[F],
    bias: Option<&[F]>,
    y: &mut [F],
) {
    assert_eq!((g.groups, fill.len(), x.len(), y.len()), (1, g.o, g.x_len(), g.y_len()));
    for pixel in y.chunks_exact_mut(g.o) {
        pixel.copy_from_slice(fill);
    }
    if index.outputs.is_empty() {
        return;
    }
    let carrier = index.carrier.then_some(F::ONE);
    let gathered: Vec<F> = x
        .chunks_exact(g.c)
        .flat_map(|pixel| index.inputs.iter().map(|&i| pixel[i as usize]).chain(carrier))
        .collect();
    let inner = Conv2d { c: index.inputs.len() + index.carrier as usize, o: index.outputs.len(), ..*g };
    let mut computed = vec![F::ZERO; inner.y_len()];
    if inner.c > 0 {
        conv2d_forward(&inner, &gathered, w, None, &mut computed);
    }
    for (pixel, live) in y.chunks_exact_mut(g.o).zip(computed.chunks_exact(inner.o)) {
        for (&o, &value) in index.outputs.iter().zip(live) {
            let o = o as usize;
            pixel[o] = bias.map_or(value, |bias| value + bias[o]);
        }
    }
}
