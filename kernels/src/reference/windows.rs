//! What all pooling has in common: the pixels of a window, and the first of its largest.

use super::Float;
use std::ops::Range;

/// Offsets into `[N, H, W, C]` of channel `c` at the pixels `rows × cols` of image `n`, row by row.
pub(super) fn taps(
    [n, h, w, channels]: [usize; 4],
    c: usize,
    rows: Range<usize>,
    cols: Range<usize>,
) -> impl Iterator<Item = usize> {
    rows.flat_map(move |row| cols.clone().map(move |col| ((n * h + row) * w + col) * channels + c))
}

/// The offset of the largest of `x` at `taps`; of equals the first, and a NaN beats all (PyTorch's rule).
pub(super) fn argmax<F: Float>(x: &[F], mut taps: impl Iterator<Item = usize>) -> usize {
    let first = taps.next().expect("a window holds a pixel");
    taps.fold(first, |best, tap| if x[tap] > x[best] || x[tap].is_nan() { tap } else { best })
}
