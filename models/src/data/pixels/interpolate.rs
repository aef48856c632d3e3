//! Resizing without antialiasing: each output is interpolated between the nearest pixels, as PyTorch's `interpolate`
//! does in floating point.

use super::region::Region;
use image::RgbImage;

/// The weights of `N` neighboring pixels. A position between the middle two is given as the distance behind the first
/// of these, in `[0, 1)`.
type Weights<const N: usize> = fn(f64) -> [f64; N];

/// Two pixels, weighted by their distance.
pub fn linear(behind: f64) -> [f64; 2] {
    [1.0 - behind, behind]
}

/// Four pixels, weighted by the cubic convolution of Keys (1981) with a = −¾.
pub fn cubic(behind: f64) -> [f64; 4] {
    const A: f64 = -0.75;
    let near = |x: f64| ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0;
    let far = |x: f64| ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A;
    [far(1.0 + behind), near(behind), near(1.0 - behind), far(2.0 - behind)]
}

/// Writes `region` of `image`, resized to `width` × `height`, to `out`. Pixels outside the image are those of its border.
pub fn interpolate<const N: usize>(
    image: &RgbImage,
    region: Region,
    [width, height]: [u32; 2],
    weights: Weights<N>,
    out: &mut [u8],
) {
    let columns = taps(region.left, region.width, width, image.width(), weights);
    let rows = taps(region.top, region.height, height, image.height(), weights);
    let mut out = out.as_chunks_mut::<3>().0.iter_mut();
    for row in &rows {
        for (column, pixel) in columns.iter().zip(&mut out) {
            let mut sum = [0.0; 3];
            for &(y, down) in row {
                for &(x, across) in column {
                    let source = image.get_pixel(x, y).0;
                    (0..3).for_each(|c| sum[c] += down * across * f64::from(source[c]));
                }
            }
            *pixel = sum.map(|value| value.round_ties_even().clamp(0.0, 255.0) as u8);
        }
    }
}

/// The pixels that each of `count` outputs reads along an axis of `length` pixels, with their weights.
fn taps<const N: usize>(
    start: f64,
    extent: f64,
    count: u32,
    length: u32,
    weights: Weights<N>,
) -> Vec<[(u32, f64); N]> {
    let last = f64::from(length) - 1.0;
    let taps = |i: u32| {
        let center = start + (f64::from(i) + 0.5) * extent / f64::from(count) - 0.5;
        let weights = weights(center - center.floor());
        let first = center.floor() - (N / 2 - 1) as f64;
        std::array::from_fn(|k| ((first + k as f64).clamp(0.0, last) as u32, weights[k]))
    };
    (0..count).map(taps).collect()
}
