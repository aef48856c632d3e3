//! What images are like, whatever they show: neighboring pixels differ little.

use crate::distill::losses::Measured;

/// The neighbors of a pixel, each pair once: `[rows, columns]` from it.
const NEIGHBORS: [[isize; 2]; 4] = [[0, 1], [1, 0], [1, 1], [1, -1]];

/// The total variation of images `[N, H, W, C]`: the sum over the four directions of `√(Σ (x_p − x_q)²)` over all pairs of
/// neighbors p, q of all images of the batch (Mahendran & Vedaldi 2015, "Understanding deep image representations by
/// inverting them", as DeepInversion's code has it).
pub fn total_variation(images: &[f32], shape: [usize; 4]) -> Measured {
    let mut sum = Measured { value: 0.0, gradient: vec![0.0; images.len()] };
    for direction in NEIGHBORS {
        let mut squares = 0.0;
        each_pair(shape, direction, |p, q| squares += difference(images, p, q).powi(2));
        let length = f64::sqrt(squares);
        sum.value += length;
        if length > 0.0 {
            each_pair(shape, direction, |p, q| {
                let slope = difference(images, p, q) / length;
                sum.gradient[p] += slope;
                sum.gradient[q] -= slope;
            });
        }
    }
    sum
}

/// `‖x‖`, the Euclidean norm of all values of a batch.
pub fn norm(images: &[f32]) -> Measured {
    let squares: f64 = images.iter().map(|&x| f64::from(x).powi(2)).sum();
    let length = squares.sqrt();
    let slope = |&x: &f32| if length > 0.0 { f64::from(x) / length } else { 0.0 };
    Measured { value: length, gradient: images.iter().map(slope).collect() }
}

fn difference(images: &[f32], p: usize, q: usize) -> f64 {
    f64::from(images[p]) - f64::from(images[q])
}

/// Calls `f` with the places of each value and of its neighbor in this direction, if it has one.
fn each_pair([n, h, w, c]: [usize; 4], [down, right]: [isize; 2], mut f: impl FnMut(usize, usize)) {
    let inside = |at: usize, by: isize, length: usize| at.checked_add_signed(by).filter(|&at| at < length);
    for i in 0..n * h {
        let Some(row) = inside(i % h, down, h) else { continue };
        for j in 0..w {
            let Some(column) = inside(j, right, w) else { continue };
            let (p, q) = ((i * w + j) * c, ((i - i % h + row) * w + column) * c);
            (0..c).for_each(|channel| f(p + channel, q + channel));
        }
    }
}
