//! Padding that is uneven, or that no layer takes in, and edges that are cut off: beside plain loops in double precision.

use crate::by_hand::{floats, integer, integers, list, node, of_images};
use lopper_engine::onnx::{ImportOptions, import};
use lopper_engine::plan::Plan;
use lopper_engine::{Device, Graph, Result, Tensor};
use lopper_models::init;
use proptest::prelude::*;

/// A channels-first image, zero around its edges.
struct Image {
    size: [usize; 3],
    values: Vec<f32>,
}

impl Image {
    fn random(size: [usize; 3], seed: u64) -> Self {
        Self { size, values: init::normal(seed, "image", &size, 1.0).data().to_vec() }
    }

    /// The value of channel `c` at row `y`, column `x`, if it is inside.
    fn at(&self, c: usize, y: i64, x: i64) -> Option<f64> {
        let [_, h, w] = self.size;
        let inside = |at: i64, size: usize| usize::try_from(at).ok().filter(|&at| at < size);
        let (y, x) = (inside(y, h)?, inside(x, w)?);
        Some(f64::from(self.values[(c * h + y) * w + x]))
    }

    /// What `value` computes for each channel, row and column.
    fn of(size: [usize; 3], value: impl Fn(usize, i64, i64) -> f64) -> Self {
        let [c, h, w] = size;
        let pixels = (0..c * h * w).map(|i| value(i / (h * w), (i / w % h) as i64, (i % w) as i64) as f32);
        Self { size, values: pixels.collect() }
    }
}

/// Reads the file with these nodes and constants, whose input `x` is an image of `size` `[C, H, W]`.
fn read(graph: &[Vec<u8>], [c, h, w]: [usize; 3]) -> Result<Graph> {
    let file = tempfile::Builder::new().suffix(".onnx").tempfile().unwrap();
    std::fs::write(file.path(), of_images(graph, [1, c, h, w])).unwrap();
    import(file.path(), &ImportOptions::default()).map(|imported| imported.graph)
}

/// Asserts that the file computes `expected` from `image`.
fn assert_computes(graph: &[Vec<u8>], image: &Image, expected: &Image) {
    let network = read(graph, image.size).unwrap_or_else(|e| panic!("{e}"));
    let ([c, h, w], [oc, oh, ow]) = (image.size, expected.size);
    let x = Tensor::from_slice(&[1, c, h, w], &image.values).unwrap().permute(&[0, 2, 3, 1]);
    let mut plan = Plan::new(&network, [1, h, w, c], &Device::cpu()).unwrap();
    let found = plan.run(x.data()).unwrap();
    assert_eq!(network.shapes([1, h, w, c]).unwrap()[network.output()], [1, oh, ow, oc]);
    let found = Tensor::from_slice(&[1, oh, ow, oc], found).unwrap().permute(&[0, 3, 1, 2]);
    for (i, (a, b)) in found.data().iter().zip(&expected.values).enumerate() {
        assert!((a - b).abs() <= 1e-4, "value {i} of {:?}: {a}, expected {b}", expected.size);
    }
}

/// A kernel, strides, dilations and pads `[top, left, bottom, right]`.
#[derive(Clone, Copy, Debug)]
struct Windows {
    kernel: [usize; 2],
    stride: [usize; 2],
    dilation: [usize; 2],
    pads: [usize; 4],
}

impl Windows {
    fn attributes(&self) -> Vec<u8> {
        let Self { kernel, stride, dilation, pads } = self;
        let lists = [list("kernel_shape", kernel), list("strides", stride), list("pads", pads)];
        let dilations = if *dilation == [1; 2] { Vec::new() } else { list("dilations", dilation) };
        [lists.concat(), dilations].concat()
    }

    /// Rows or columns that a window covers.
    fn span(&self, axis: usize) -> usize {
        self.dilation[axis] * (self.kernel[axis] - 1) + 1
    }

    /// The number of windows on `[H, W]` pixels, if one fits.
    fn count(&self, size: [usize; 2]) -> Option<[usize; 2]> {
        let along = |axis: usize| {
            let padded = size[axis] + self.pads[axis] + self.pads[axis + 2];
            Some(padded.checked_sub(self.span(axis))? / self.stride[axis] + 1)
        };
        Some([along(0)?, along(1)?])
    }

    /// The value of channel `c` under each tap of window `[y, x]`.
    fn taps<'a>(
        &'a self,
        image: &'a Image,
        c: usize,
        [y, x]: [i64; 2],
    ) -> impl Iterator<Item = (usize, Option<f64>)> + 'a {
        let [kh, kw] = self.kernel;
        let place = |axis: usize, window: i64, tap: usize| {
            window * self.stride[axis] as i64 + (tap * self.dilation[axis]) as i64 - self.pads[axis] as i64
        };
        (0..kh * kw).map(move |tap| (tap, image.at(c, place(0, y, tap / kw), place(1, x, tap % kw))))
    }
}

fn windows() -> impl Strategy<Value = Windows> {
    let pair = || [1..4usize, 1..4];
    (pair(), pair(), pair(), [0..4usize, 0..4, 0..4, 0..4])
        .prop_map(|(kernel, stride, dilation, pads)| Windows { kernel, stride, dilation, pads })
}

proptest! {
    #[test]
    fn convolutions_pad_each_side_as_they_say(
        windows in windows(), size in [1..4usize, 1..9, 1..9], filters in 1..4usize, seed: u64,
    ) {
        let Some([oh, ow]) = windows.count([size[1], size[2]]) else { return Ok(()) };
        let ([c, ..], [kh, kw]) = (size, windows.kernel);
        let (image, taps) = (Image::random(size, seed), kh * kw);
        let weight = init::normal(seed, "weight", &[filters, c, kh, kw], 1.0);
        let expected = Image::of([filters, oh, ow], |o, y, x| {
            let of_channel = |i: usize| {
                let weight = |tap: usize| f64::from(weight.data()[(o * c + i) * taps + tap]);
                windows.taps(&image, i, [y, x]).map(|(tap, v)| weight(tap) * v.unwrap_or(0.0)).sum::<f64>()
            };
            (0..c).map(of_channel).sum()
        });
        let constant = floats("w", &[filters, c, kh, kw], weight.data());
        let node = node("Conv", &["x", "w"], "y", &windows.attributes());
        assert_computes(&[constant, node], &image, &expected);
    }

    /// Each pixel adds its multiple of the kernel to the output, of which pads are cut off.
    #[test]
    fn transposed_convolutions_cut_each_side_as_they_say(
        windows in windows(), further in [0..2usize, 0..2], size in [1..4usize, 1..6, 1..6], filters in 1..3usize, seed: u64,
    ) {
        let reach = [0, 1, 0, 1].map(|axis| windows.span(axis) - 1);
        let pads: [usize; 4] = std::array::from_fn(|side| windows.pads[side].min(reach[side]));
        let windows = Windows { pads, ..windows };
        let along = |axis: usize| {
            let whole = windows.stride[axis] * (size[axis + 1] - 1) + windows.span(axis) + further[axis];
            whole.checked_sub(pads[axis] + pads[axis + 2]).filter(|&out| out > 0)
        };
        let (Some(oh), Some(ow)) = (along(0), along(1)) else { return Ok(()) };
        let ([c, h, w], [kh, kw]) = (size, windows.kernel);
        let image = Image::random(size, seed);
        let weight = init::normal(seed, "weight", &[c, filters, kh, kw], 1.0);
        let mut sums = vec![0.0; filters * oh * ow];
        for i in 0..c * h * w * filters * kh * kw {
            let (tap, rest) = (i % (kh * kw), i / (kh * kw));
            let (o, pixel) = (rest % filters, rest / filters);
            let (x, y, channel) = (pixel % w, pixel / w % h, pixel / (w * h));
            let place = |axis: usize, at: usize, tap: usize| {
                (at * windows.stride[axis] + tap * windows.dilation[axis]).checked_sub(pads[axis])
            };
            let at = (place(0, y, tap / kw), place(1, x, tap % kw));
            if let (Some(row), Some(column)) = at
                && row < oh
                && column < ow
            {
                sums[(o * oh + row) * ow + column] += f64::from(image.values[pixel])
                    * f64::from(weight.data()[(channel * filters + o) * kh * kw + tap]);
            }
        }
        let expected = Image { size: [filters, oh, ow], values: sums.iter().map(|&sum| sum as f32).collect() };
        let constant = floats("w", &[c, filters, kh, kw], weight.data());
        let attributes = [windows.attributes(), list("output_padding", &further)].concat();
        assert_computes(&[constant, node("ConvTranspose", &["x", "w"], "y", &attributes)], &image, &expected);
    }

    #[test]
    fn means_count_the_padding_of_each_side(windows in windows(), size in [1..3usize, 1..9, 1..9], seed: u64) {
        let windows = Windows { dilation: [1; 2], ..windows };
        let Some([oh, ow]) = windows.count([size[1], size[2]]) else { return Ok(()) };
        let (image, [kh, kw]) = (Image::random(size, seed), windows.kernel);
        let mean = |c: usize, y: i64, x: i64| {
            windows.taps(&image, c, [y, x]).filter_map(|(_, v)| v).sum::<f64>() / (kh * kw) as f64
        };
        let expected = Image::of([size[0], oh, ow], mean);
        let attributes = [windows.attributes(), integer("count_include_pad", 1)].concat();
        assert_computes(&[node("AveragePool", &["x"], "y", &attributes)], &image, &expected);
    }

    #[test]
    fn maxima_of_all_windows_ignore_the_padding_of_each_side(
        windows in windows(), size in [1..3usize, 1..9, 1..9], seed: u64,
    ) {
        // At most half of a window may be padding.
        let pads = std::array::from_fn(|side| windows.pads[side].min(windows.kernel[side % 2] / 2));
        let windows = Windows { dilation: [1; 2], stride: [1; 2], pads, ..windows };
        let Some([oh, ow]) = windows.count([size[1], size[2]]) else { return Ok(()) };
        let image = Image::random(size, seed);
        let largest = |c: usize, y: i64, x: i64| {
            windows.taps(&image, c, [y, x]).filter_map(|(_, v)| v).fold(f64::MIN, f64::max)
        };
        let expected = Image::of([size[0], oh, ow], largest);
        assert_computes(&[node("MaxPool", &["x"], "y", &windows.attributes())], &image, &expected);
    }

    /// Zeros around an image are part of what any node reads, and edges may be cut off.
    #[test]
    fn images_are_padded_and_cropped(
        pads in [0..3usize, 0..3, 0..3, 0..3], cuts in [0..3usize, 0..3, 0..3, 0..3], size in [1..3usize, 1..6, 1..6], seed: u64,
    ) {
        let image = Image::random(size, seed);
        let [c, h, w] = size;
        let padded = [h + pads[0] + pads[2], w + pads[1] + pads[3]];
        let left = [0, 1].map(|axis| padded[axis].saturating_sub(cuts[axis] + cuts[axis + 2]));
        if left.contains(&0) {
            return Ok(());
        }
        let shift = [0, 1].map(|axis| cuts[axis] as i64 - pads[axis] as i64);
        let squared = |c: usize, y: i64, x: i64| {
            image.at(c, y + shift[0], x + shift[1]).unwrap_or(0.0).powi(2)
        };
        let expected = Image::of([c, left[0], left[1]], squared);
        let pads = pads.map(|pad| pad as i64);
        let ends = [0, 1].map(|axis| (cuts[axis] + left[axis]) as i64);
        let graph = [
            integers("pads", &[0, 0, pads[0], pads[1], 0, 0, pads[2], pads[3]]),
            integers("starts", &[cuts[0] as i64, cuts[1] as i64]),
            integers("ends", &ends),
            integers("axes", &[2, 3]),
            node("Pad", &["x", "pads"], "p", &[]),
            node("Mul", &["p", "p"], "m", &[]),
            node("Slice", &["m", "starts", "ends", "axes"], "y", &[]),
        ];
        assert_computes(&graph, &image, &expected);
    }

    #[test]
    fn means_over_channels_are_layers(size in [1..5usize, 1..6, 1..6], seed: u64) {
        let (image, [c, h, w]) = (Image::random(size, seed), size);
        let mean = |_: usize, y: i64, x: i64| {
            (0..c).filter_map(|c| image.at(c, y, x)).sum::<f64>() / c as f64
        };
        let graph = [node("ReduceMean", &["x"], "y", &list("axes", &[1]))];
        assert_computes(&graph, &image, &Image::of([1, h, w], mean));
    }
}

/// What stands for padding is no weight: a training leaves it as it is.
#[test]
fn zeros_behind_a_kernel_are_masked() {
    let pads = list("pads", &[1, 0, 0, 0]);
    let graph = [floats("w", &[1, 1, 2, 1], &[3.0, 5.0]), node("Conv", &["x", "w"], "y", &pads)];
    let network = read(&graph, [1, 4, 4]).unwrap();
    let weight = network.param("y.weight").unwrap();
    assert_eq!((weight.value().shape(), weight.value().data()), (&[1, 3, 1, 1][..], &[3.0, 5.0, 0.0][..]));
    assert_eq!(weight.mask().map(Tensor::data), Some(&[1.0, 1.0, 0.0][..]));
}

#[test]
fn an_image_is_not_cut_to_a_few_of_many_pixels() {
    let [starts, ends, axes] =
        [("starts", 12), ("ends", 14), ("axes", 2)].map(|(name, v)| integers(name, &[v]));
    let graph = [starts, ends, axes, node("Slice", &["x", "starts", "ends", "axes"], "y", &[])];
    let message = read(&graph, [1, 20, 4]).unwrap_err().to_string();
    assert!(message.contains("cuts [12, 0, 6, 0] off an image, more than 8 rows or columns"), "{message}");
}
