//! Checks results against plain loops in f64, on slices small enough for them.
//!
//! An output of a convolution depends on one image and one filter, an input gradient on one image and one channel, a
//! weight gradient on one filter and one channel. Each check therefore cuts some of these out of the case, computes
//! them in full, including every border, with [`lopper_kernels::reference`], and compares elementwise within `c · ε ·
//! √K · Σ|a||b|`: K is the number of products in a sum, and c is 2 for direct algorithms and 8 for Winograd's.

use lopper::atlas::{Element, compare};
use lopper_engine::{Error, Result};
use lopper_kernels::reference;
use lopper_kernels::shapes::Conv2d;
use std::ops::Range;

/// Returns c for a kernel. Gradients do not reveal which algorithm computes them, so they get Winograd's bound.
pub fn bound(way: &str, kernel: &str) -> f64 {
    if kernel.contains("winograd") || way.ends_with("grad") { 8.0 } else { 2.0 }
}

/// Some elements of a result, in f64.
pub struct Expected(Vec<Element>);

impl Expected {
    /// Computes the outputs of some filters on the first and the last image.
    pub fn forward(g: &Conv2d, x: &[f32], w: &[f32], bias: Option<&[f32]>) -> Self {
        let (inputs, filters) = (g.c / g.groups, g.o / g.groups);
        let slice = Conv2d { n: 1, c: inputs, o: 1, groups: 1, ..*g };
        let mut expected = Self(Vec::new());
        for (n, o) in pairs(g.n, g.o) {
            let first = o / filters * inputs;
            let x = channels(image(x, g.n, n), g.c, first..first + inputs);
            let w = wide(&w[o * slice.w_len()..][..slice.w_len()]);
            let b = bias.map(|bias| [f64::from(bias[o])]);
            let [value, sum] =
                [(&x, &w, b), (&abs(&x), &abs(&w), b.map(|[b]| [b.abs()]))].map(|(x, w, b)| {
                    let mut y = vec![0.0; slice.y_len()];
                    reference::conv2d_forward(&slice, x, w, b.as_ref().map(|b| &b[..]), &mut y);
                    y
                });
            expected.add(slice.w_len(), &value, &sum, |i| (n * slice.y_len() + i) * g.o + o);
        }
        expected
    }

    /// Computes the input gradients of some channels on the first and the last image.
    pub fn input_grad(g: &Conv2d, dy: &[f32], w: &[f32]) -> Self {
        let (inputs, filters) = (g.c / g.groups, g.o / g.groups);
        let slice = Conv2d { n: 1, c: 1, o: filters, groups: 1, ..*g };
        let mut expected = Self(Vec::new());
        for (n, c) in pairs(g.n, g.c) {
            let first = c / inputs * filters;
            let dy = channels(image(dy, g.n, n), g.o, first..first + filters);
            let per_filter = g.w_len() / g.o;
            let w = &w[first * per_filter..][..filters * per_filter];
            let w = channels(w, inputs, c % inputs..c % inputs + 1);
            let [value, sum] = [(&dy, &w), (&abs(&dy), &abs(&w))].map(|(dy, w)| {
                let mut dx = vec![0.0; slice.x_len()];
                reference::conv2d_input_grad(&slice, dy, w, &mut dx);
                dx
            });
            expected.add(g.kh * g.kw * filters, &value, &sum, |i| (n * slice.x_len() + i) * g.c + c);
        }
        expected
    }

    /// Computes the weight gradients of some filters for some channels.
    pub fn weight_grad(g: &Conv2d, x: &[f32], dy: &[f32]) -> Self {
        let (inputs, filters) = (g.c / g.groups, g.o / g.groups);
        let slice = Conv2d { c: 1, o: 1, groups: 1, ..*g };
        let mut expected = Self(Vec::new());
        for (c, o) in pairs(inputs, g.o) {
            let channel = o / filters * inputs + c;
            let (x, dy) = (channels(x, g.c, channel..channel + 1), channels(dy, g.o, o..o + 1));
            let [value, sum] = [(&x, &dy), (&abs(&x), &abs(&dy))].map(|(x, dy)| {
                let mut dw = vec![0.0; slice.w_len()];
                reference::conv2d_weight_grad(&slice, x, dy, &mut dw);
                dw
            });
            let products = g.n * g.oh() * g.ow();
            expected.add(products, &value, &sum, |tap| (o * g.kh * g.kw + tap) * inputs + c);
        }
        expected
    }

    fn add(&mut self, products: usize, value: &[f64], sum: &[f64], index: impl Fn(usize) -> usize) {
        let unit = f64::from(f32::EPSILON) * (products as f64).sqrt();
        let elements = value.iter().zip(sum).enumerate();
        self.0.extend(elements.map(|(i, (&value, &sum))| Element {
            index: index(i),
            value,
            unit: unit * sum,
        }));
    }
    /// Compares a whole result with the known elements.
    ///
    /// # Errors
    /// If an element differs by more than `c` units; the error names `what` and the element.
    pub fn check(&self, what: &str, c: f64, result: &[f32]) -> Result<()> {
        compare(&self.0, what, c, result)
    }
}

/// Compares the results of two equally valid computations.
///
/// # Errors
/// If an element differs by more than a thousandth of the largest.
pub fn close(what: &str, found: &[f32], expected: &[f32]) -> Result<()> {
    let largest = expected.iter().fold(0.0, |max: f32, v| max.max(v.abs()));
    let close = |(a, b): (&f32, &f32)| (a - b).abs() <= 1e-3 * largest; // false for NaN
    match found.len() == expected.len() && found.iter().zip(expected).all(close) {
        true => Ok(()),
        false => Err(Error::invalid(format!("{what}: expected {expected:?}, found {found:?}"))),
    }
}

/// Pairs the first and the last of `a` with the first, the last and two in between of `b`.
fn pairs(a: usize, b: usize) -> Vec<(usize, usize)> {
    let mut pairs: Vec<_> = [0, b / 3, b / 2, b - 1].into_iter().flat_map(|j| [(0, j), (a - 1, j)]).collect();
    pairs.sort_unstable();
    pairs.dedup();
    pairs
}

/// Returns image `n` of a batch of `count`.
fn image(values: &[f32], count: usize, n: usize) -> &[f32] {
    let len = values.len() / count;
    &values[n * len..][..len]
}

/// Returns the `kept` channels of every pixel, where a pixel has `width` channels.
fn channels(values: &[f32], width: usize, kept: Range<usize>) -> Vec<f64> {
    values.chunks_exact(width).flat_map(|pixel| &pixel[kept.clone()]).map(|&v| f64::from(v)).collect()
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| f64::from(v)).collect()
}

fn abs(values: &[f64]) -> Vec<f64> {
    values.iter().map(|v| v.abs()).collect()
}
