//! Antialiased resizing with Pillow's arithmetic, so that every byte is Pillow's.
//!
//! ```text
//!   the rows that are needed ──horizontally──► [rows, width] ──vertically──► [height, width]
//!                              Σ weight · byte, rounded          Σ weight · byte, rounded
//! ```
//!
//! Weights are whole multiples of 2⁻²². The filter widens with the reduction, and is cut off and normalized at the border.

use super::region::Region;
use image::RgbImage;
use lopper_engine::info::Filter;
use std::f64::consts::PI;
use std::ops::Range;

/// Binary digits of a weight behind the point: a sum of 255 times the weights, some negative, fits 32 bits.
const DIGITS: u32 = 22;

/// Buffers that are reused for all images.
#[derive(Debug, Default)]
pub struct Buffers {
    rows: Vec<u8>,
    sums: Vec<i32>,
}

/// The pixels that each output reads along one axis, with their weights.
struct Taps {
    ranges: Vec<Range<usize>>,
    /// The weights of all outputs, one after the other.
    weights: Vec<i32>,
}

impl Taps {
    /// The taps of `count` outputs, which divide the `extent` of the axis behind `start` evenly. The axis has `length`
    /// pixels.
    fn new(start: f64, extent: f64, count: u32, length: u32, filter: Filter) -> Self {
        let (reach, function) = kernel(filter);
        let scale = extent / f64::from(count);
        let stretch = scale.max(1.0);
        let (reach, shrink) = (reach * stretch, 1.0 / stretch);
        let mut taps = Self { ranges: Vec::with_capacity(count as usize), weights: Vec::new() };
        let mut exact = Vec::new();
        for i in 0..count {
            let center = start + (f64::from(i) + 0.5) * scale;
            // A conversion rounds toward zero and saturates.
            let range =
                (center - reach + 0.5) as usize..((center + reach + 0.5) as usize).min(length as usize);
            exact.clear();
            exact.extend(range.clone().map(|x| function((x as f64 - center + 0.5) * shrink)));
            let sum: f64 = exact.iter().sum();
            let whole = |weight: &f64| (weight / sum * f64::from(1 << DIGITS)).round() as i32;
            taps.weights.extend(exact.iter().map(whole));
            taps.ranges.push(range);
        }
        taps
    }

    /// The range and the weights of each output.
    fn iter(&self) -> impl Iterator<Item = (Range<usize>, &[i32])> {
        let mut weights = &self.weights[..];
        self.ranges.iter().map(move |range| {
            let own;
            (own, weights) = weights.split_at(range.len());
            (range.clone(), own)
        })
    }
}

/// The reach of a filter on either side, in pixels, and its function.
fn kernel(filter: Filter) -> (f64, fn(f64) -> f64) {
    fn triangle(x: f64) -> f64 {
        (1.0 - x.abs()).max(0.0)
    }
    fn cubic(x: f64) -> f64 {
        const A: f64 = -0.5;
        let x = x.abs();
        if x < 1.0 {
            ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
        } else if x < 2.0 {
            (((x - 5.0) * x + 8.0) * x - 4.0) * A
        } else {
            0.0
        }
    }
    fn lanczos(x: f64) -> f64 {
        let sinc = |x: f64| if x == 0.0 { 1.0 } else { (x * PI).sin() / (x * PI) };
        if (-3.0..3.0).contains(&x) { sinc(x) * sinc(x / 3.0) } else { 0.0 }
    }
    match filter {
        Filter::Nearest => panic!("the nearest pixel is not a sum"),
        Filter::Bilinear => (1.0, triangle),
        Filter::Bicubic => (2.0, cubic),
        Filter::Lanczos => (3.0, lanczos),
    }
}

/// Half of the last digit, to which products are added so that the shift rounds.
const HALF: i32 = 1 << (DIGITS - 1);

fn byte(sum: i32) -> u8 {
    (sum >> DIGITS).clamp(0, 255) as u8
}

/// Writes `region` of `image`, resized to `width` × `height`, to `out`.
///
/// # Panics
/// Panics for the nearest filter, or if the region does not lie in the image or `out` does not hold the result.
pub fn resample(
    image: &RgbImage,
    region: Region,
    [width, height]: [u32; 2],
    filter: Filter,
    buffers: &mut Buffers,
    out: &mut [u8],
) {
    let columns = Taps::new(region.left, region.width, width, image.width(), filter);
    let lines = Taps::new(region.top, region.height, height, image.height(), filter);
    let start = lines.ranges.iter().map(|range| range.start).min().unwrap_or(0);
    let end = lines.ranges.iter().map(|range| range.end).max().unwrap_or(0);
    let (stride, row) = (image.width() as usize * 3, width as usize * 3);
    let Buffers { rows, sums } = buffers;
    rows.resize((end - start) * row, 0);
    for (source, target) in
        image.as_raw()[start * stride..].chunks_exact(stride).zip(rows.chunks_exact_mut(row))
    {
        let pixels = source.as_chunks::<3>().0;
        for ((range, weights), pixel) in columns.iter().zip(target.as_chunks_mut::<3>().0) {
            let mut sum = [HALF; 3];
            for (source, &weight) in pixels[range].iter().zip(weights) {
                (0..3).for_each(|c| sum[c] += i32::from(source[c]) * weight);
            }
            *pixel = sum.map(byte);
        }
    }
    for ((range, weights), target) in lines.iter().zip(out.chunks_exact_mut(row)) {
        sums.clear();
        sums.resize(row, HALF);
        for (source, &weight) in rows[(range.start - start) * row..].chunks_exact(row).zip(weights) {
            sums.iter_mut().zip(source).for_each(|(sum, &byte)| *sum += i32::from(byte) * weight);
        }
        target.iter_mut().zip(&*sums).for_each(|(target, &sum)| *target = byte(sum));
    }
}
