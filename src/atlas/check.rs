//! Known elements of a result, computed by the reference in f64.
//!
//! Every filter is checked at corners of the first and the last image and at random pixels (wide layers: a part of the
//! filters). An element may differ by `c · ε · √K · Σ|a||b|`, where K is the number of products in a sum, and c is 2 for
//! direct algorithms and 8 for Winograd's.

use super::random::Random;
use lopper_engine::{Error, Result};
use lopper_kernels::reference;
use lopper_kernels::shapes::Conv2d;

/// Some elements of a result.
pub(super) struct Samples {
    elements: Vec<Element>,
}

/// A known element of a result.
pub struct Element {
    /// Its position.
    pub index: usize,
    /// Its value.
    pub value: f64,
    /// The unit of its error, `ε · √K · Σ|a||b|`.
    pub unit: f64,
}

/// Products of all samples together, so that a check takes a fraction of a second.
const PRODUCTS: usize = 10_000_000;

impl Samples {
    /// Computes elements of `y` `[N, OH, OW, O]` from `x` `[N, H, W, C]`, `w` `[O, KH, KW, C/G]` and `bias` `[O]`.
    pub(super) fn new(g: &Conv2d, x: &[f32], w: &[f32], bias: &[f32]) -> Self {
        let (oh, ow, depth) = (g.oh(), g.ow(), g.w_len() / g.o);
        let most = (PRODUCTS / depth).max(64);
        let count = (4 * g.o.max(16)).min(most);
        let mut random = Random::new(5);
        let elements = (0..count).map(|i| {
            let o = if count < g.o { i * g.o / count } else { i % g.o };
            // Every other sample of a filter is at a corner of the first or the last image.
            let [n, y, x_] = match (i + i / g.o) % 2 {
                0 => [i / 8 % 2 * (g.n - 1), i / 4 % 2 * (oh - 1), i / 2 % 2 * (ow - 1)],
                _ => [random.below(g.n), random.below(oh), random.below(ow)],
            };
            let (value, sum) = element(g, x, &w[o * depth..][..depth], bias[o], [n, y, x_, o]);
            let unit = f64::from(f32::EPSILON) * (depth as f64).sqrt() * sum;
            Element { index: ((n * oh + y) * ow + x_) * g.o + o, value, unit }
        });
        Self { elements: elements.collect() }
    }

    /// Compares a whole result with the known elements.
    ///
    /// # Errors
    /// If an element differs by more than `c` units; the error names `what` and the element.
    pub(super) fn check(&self, what: &str, c: f64, result: &[f32]) -> Result<()> {
        compare(&self.elements, what, c, result)
    }
}

/// Compares a whole result with its known `elements`.
///
/// # Errors
/// If an element differs by more than `c` units; the error names `what` and the element.
pub fn compare(elements: &[Element], what: &str, c: f64, result: &[f32]) -> Result<()> {
    for &Element { index, value, unit } in elements {
        let (found, bound) = (f64::from(result[index]), c * unit);
        let close = (found - value).abs() <= bound; // false for NaN
        if !close {
            return Err(Error::invalid(format!(
                "{what}: element {index} is {found}, expected {value} ± {bound:.1e}"
            )));
        }
    }
    Ok(())
}

/// An output and the sum of its products' magnitudes, by the reference on one window.
fn element(g: &Conv2d, x: &[f32], filter: &[f32], bias: f32, [n, oy, ox, o]: [usize; 4]) -> (f64, f64) {
    let inputs = g.c / g.groups;
    let first = o / (g.o / g.groups) * inputs;
    let [h, w] = [(g.kh, g.dilation[0]), (g.kw, g.dilation[1])].map(|(k, d)| d * (k - 1) + 1);
    let window = Conv2d { n: 1, h, w, c: inputs, o: 1, groups: 1, stride: [1; 2], padding: [0; 2], ..*g };
    let mut values = vec![0.0; window.x_len()];
    for (i, pixel) in values.chunks_exact_mut(inputs).enumerate() {
        let row = (oy * g.stride[0] + i / w).checked_sub(g.padding[0]).filter(|&row| row < g.h);
        let column = (ox * g.stride[1] + i % w).checked_sub(g.padding[1]).filter(|&column| column < g.w);
        let (Some(row), Some(column)) = (row, column) else { continue };
        let from = &x[((n * g.h + row) * g.w + column) * g.c + first..][..inputs];
        pixel.iter_mut().zip(from).for_each(|(to, &from)| *to = f64::from(from));
    }
    let filter: Vec<f64> = filter.iter().map(|&w| f64::from(w)).collect();
    let abs = |values: &[f64]| values.iter().map(|v| v.abs()).collect::<Vec<_>>();
    let run = |x: &[f64], w: &[f64], bias: f64| {
        let mut y = [0.0];
        reference::conv2d_forward(&window, x, w, Some(&[bias]), &mut y);
        y[0]
    };
    let bias = f64::from(bias);
    (run(&values, &filter, bias), run(&abs(&values), &abs(&filter), bias.abs()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use lopper_kernels::cpu::{self, Cpu};

    #[test]
    fn samples_are_what_the_kernels_compute_and_notice_errors() {
        let cpu = Cpu::detect();
        let dense = Conv2d::square([3, 9, 7, 6], 8, 3, 2, 1);
        let depthwise = Conv2d { groups: 6, o: 6, ..dense };
        let dilated = Conv2d { dilation: [2, 1], stride: [1, 1], ..dense };
        for g in [dense, depthwise, dilated, Conv2d { groups: 2, ..dense }] {
            let values = |seed, len| Random::new(seed).values(len).collect::<Vec<f32>>();
            let (x, w, bias) = (values(1, g.x_len()), values(2, g.w_len()), values(3, g.o));
            let samples = Samples::new(&g, &x, &w, &bias);
            let mut y = vec![f32::NAN; g.y_len()];
            cpu::conv2d_forward(&cpu, &g, &x, &w, Some(&bias), &mut y);
            samples.check("right", 2.0, &y).unwrap();
            let filters = |from: usize| samples.elements.iter().filter(|e| e.index % g.o == from).count();
            assert!((0..g.o).all(|o| filters(o) > 1), "every filter is sampled");
            let corners = [0, (g.ow() - 1) * g.o, ((g.n * g.oh() - 1) * g.ow()) * g.o, g.y_len() - g.o];
            for corner in corners {
                let seen = samples.elements.iter().any(|e| e.index / g.o * g.o == corner);
                assert!(seen, "the pixel at {corner} of {} is sampled", g.y_len());
            }
            let wrong = samples.elements[samples.elements.len() / 2].index;
            y[wrong] = y[wrong] * 1.0001 + 1e-4;
            let message = samples.check("wrong", 2.0, &y).unwrap_err().to_string();
            assert!(message.contains(&format!("wrong: element {wrong}")), "{message}");
        }
    }
}
