//! wgmma and bulk copies against the reference: 16-bit or TF32 operands, sums in f32, one rounding at the end.

use crate::bounds::extra_padding;
use crate::bounds::{Random, magnitude, wide};
use crate::support::device;
use crate::values::{FLOATS, epsilon, get, put, round};
use lopper_kernels::cuda::{Cuda, Epilogue, wgmma};
use lopper_kernels::params::{Activation, Dtype};
use lopper_kernels::reference;
use lopper_kernels::shapes::Conv2d;
use proptest::prelude::*;

/// Rounds `x` to what the tensor cores read of the type: for f32, all but the last thirteen bits.
fn operand(dtype: Dtype, x: f32) -> f32 {
    match dtype {
        Dtype::F32 => f32::from_bits(x.to_bits() & !0x1fff),
        _ => round(dtype, x.into()) as f32,
    }
}

/// Inputs of a convolution, rounded to its type.
struct Inputs {
    x: Vec<f32>,
    w: Vec<f32>,
    bias: Option<Vec<f32>>,
    residual: Option<Vec<f32>>,
}

impl Inputs {
    fn random(g: &Conv2d, dtype: Dtype, bias: bool, residual: bool, seed: u64) -> Self {
        let mut random = Random(seed);
        let mut values = |len| random.reals(len).into_iter().map(|x| operand(dtype, x)).collect::<Vec<_>>();
        Self {
            x: values(g.x_len()),
            w: values(g.w_len()),
            bias: bias.then(|| values(g.o)),
            residual: residual.then(|| values(g.y_len())),
        }
    }

    fn integers(g: &Conv2d, seed: u64) -> Self {
        let mut random = Random(seed);
        Self { x: random.integers(g.x_len()), w: random.integers(g.w_len()), bias: None, residual: None }
    }

    fn forward(&self, gpu: &Cuda, g: &Conv2d, dtype: Dtype, activation: Activation) -> Vec<f32> {
        let (x, w) = (put(gpu, dtype, &wide(&self.x)), put(gpu, dtype, &wide(&self.w)));
        let bias = self.bias.as_ref().map(|b| gpu.upload(b).unwrap());
        let residual = self.residual.as_ref().map(|r| put(gpu, dtype, &wide(r)));
        let mut y = gpu.buffer(dtype, g.y_len()).unwrap();
        let epilogue = Epilogue { bias: bias.as_ref(), residual: residual.as_ref(), activation };
        wgmma::conv2d_forward(gpu, g, &x, &w, &epilogue, &mut y).unwrap();
        get(gpu, &y)
    }

    /// The expected result, and the sums of the absolute values.
    fn reference(&self, g: &Conv2d, activation: Activation) -> [Vec<f64>; 2] {
        let run = |activation, f: fn(&[f32]) -> Vec<f64>| {
            let (bias, residual) = (self.bias.as_deref().map(f), self.residual.as_deref().map(f));
            let mut y = vec![0.0; g.y_len()];
            reference::conv2d_forward(g, &f(&self.x), &f(&self.w), bias.as_deref(), &mut y);
            reference::conv2d_epilogue(residual.as_deref(), activation, &mut y);
            y
        };
        [run(activation, wide), run(Activation::None, magnitude)]
    }
}

/// Asserts `|got − want| ≤ 2ε√K·Σ|a||b|`, plus half a unit of the type for the rounding.
fn assert_close(dtype: Dtype, depth: usize, got: &[f32], [want, sums]: &[Vec<f64>; 2]) {
    assert_eq!(got.len(), want.len());
    for (i, ((&got, &want), &sum)) in got.iter().zip(want).zip(sums).enumerate() {
        let bound =
            2.0 * f64::from(f32::EPSILON) * (depth as f64).sqrt() * sum + 0.51 * epsilon(dtype) * want.abs();
        let error = (f64::from(got) - want).abs();
        assert!(error <= bound, "[{i}]: {got} for {want}, error {error:e} above {bound:e}");
    }
}

fn check(g: &Conv2d, dtype: Dtype, bias: bool, residual: bool, activation: Activation, seed: u64) {
    let Some(gpu) = device() else { return };
    assert!(wgmma::applies(gpu, g, dtype), "{g:?}");
    let inputs = Inputs::random(g, dtype, bias, residual, seed);
    let y = inputs.forward(gpu, g, dtype, activation);
    assert_close(dtype, g.kh * g.kw * g.c, &y, &inputs.reference(g, activation));
    assert_eq!(y, inputs.forward(gpu, g, dtype, activation), "the same bits again");
}

const TYPES: [Dtype; 3] = FLOATS;

#[test]
fn every_tile_of_filters() {
    for (i, o) in [64, 128, 200, 256, 201].into_iter().enumerate() {
        // Enough pixels for a block on each of four multiprocessors.
        let g = Conv2d::square([5, 10, 11, 64], o, 1, 1, 0);
        check(&g, TYPES[i % 3], true, i % 2 == 0, Activation::Relu, 3);
    }
}

#[test]
fn more_steps_than_stages() {
    check(&Conv2d::square([1, 6, 7, 128], 24, 3, 1, 1), Dtype::Bf16, true, true, Activation::Relu6, 4);
    check(&Conv2d::square([1, 9, 9, 64], 65, 3, 2, 1), Dtype::F16, true, true, Activation::None, 5);
    check(&Conv2d::square([2, 12, 12, 8], 7, 7, 2, 3), Dtype::Bf16, true, true, Activation::None, 6);
}

fn input_grad(gpu: &Cuda, g: &Conv2d, dtype: Dtype, dy: &[f64], w: &[f64]) -> Vec<f32> {
    let mut dx = gpu.buffer(dtype, g.x_len()).unwrap();
    let [dy, w] = [dy, w].map(|values| put(gpu, dtype, values));
    wgmma::conv2d_input_grad(gpu, g, &dy, &w, &mut dx).unwrap();
    get(gpu, &dx)
}

fn check_input_grad(g: &Conv2d, dtype: Dtype, seed: u64) {
    let Some(gpu) = device() else { return };
    assert!(wgmma::applies_to_input_grad(gpu, g, dtype), "{g:?}");
    let inputs = Inputs::random(g, dtype, false, true, seed);
    let (dy, w) = (inputs.residual.unwrap(), inputs.w);
    let got = input_grad(gpu, g, dtype, &wide(&dy), &wide(&w));
    let want = [wide, magnitude].map(|f| {
        let mut dx = vec![0.0; g.x_len()];
        reference::conv2d_input_grad(g, &f(&dy), &f(&w), &mut dx);
        dx
    });
    assert_close(dtype, g.kh * g.kw * g.o, &got, &want);
}

#[test]
fn input_gradients() {
    check_input_grad(&Conv2d::square([2, 7, 9, 40], 72, 3, 1, 1), Dtype::Bf16, 10);
    // More padding than the kernel reaches: the gradient is cropped.
    check_input_grad(&Conv2d::square([1, 5, 6, 3], 8, 2, 1, 3), Dtype::F16, 11);
    let dilated = Conv2d { dilation: [2, 1], padding: [0, 2], ..Conv2d::square([1, 9, 8, 33], 16, 3, 1, 0) };
    check_input_grad(&dilated, Dtype::F16, 12);
    check_input_grad(&Conv2d::square([1, 6, 6, 37], 36, 3, 1, 1), Dtype::F32, 13);
}

#[test]
fn strided_input_gradients() {
    check_input_grad(&Conv2d::square([2, 9, 8, 40], 72, 3, 2, 1), Dtype::Bf16, 19);
    // No tap reaches three of four classes of pixels; a dilation that the stride divides; a stride beyond 8.
    check_input_grad(&Conv2d::square([2, 8, 7, 16], 24, 1, 2, 0), Dtype::F16, 20);
    let dilated = Conv2d { dilation: [2, 3], ..Conv2d::square([1, 11, 12, 9], 16, 3, 2, 2) };
    check_input_grad(&dilated, Dtype::Bf16, 21);
    check_input_grad(&Conv2d::square([1, 23, 25, 3], 8, 11, 9, 2), Dtype::F32, 22);
}

fn weight_grad(gpu: &Cuda, g: &Conv2d, dtype: Dtype, x: &[f32], dy: &[f32]) -> Vec<f32> {
    let [x, dy] = [x, dy].map(|v| put(gpu, dtype, &wide(v)));
    let mut dw = gpu.buffer(Dtype::F32, g.w_len()).unwrap();
    wgmma::conv2d_weight_grad(gpu, g, &x, &dy, &mut dw).unwrap();
    gpu.download(&dw).unwrap()
}

fn check_weight_grad(g: &Conv2d, dtype: Dtype, seed: u64) {
    let Some(gpu) = device() else { return };
    assert!(wgmma::applies_to_weight_grad(gpu, g, dtype), "{g:?}");
    let inputs = Inputs::random(g, dtype, false, true, seed);
    let (x, dy) = (inputs.x, inputs.residual.unwrap());
    let got = weight_grad(gpu, g, dtype, &x, &dy);
    let want = [wide, magnitude].map(|f| {
        let mut dw = vec![0.0; g.w_len()];
        reference::conv2d_weight_grad(g, &f(&x), &f(&dy), &mut dw);
        dw
    });
    assert_close(Dtype::F32, g.y_len() / g.o, &got, &want);
    assert_eq!(got, weight_grad(gpu, g, dtype, &x, &dy), "the same bits again");
}

#[test]
fn weight_gradients() {
    // Many boxes of pixels, so that blocks share them; each tile width; edges that boxes do not divide.
    check_weight_grad(&Conv2d::square([2, 24, 32, 16], 8, 1, 1, 0), Dtype::Bf16, 14);
    check_weight_grad(&Conv2d::square([3, 6, 7, 136], 72, 3, 1, 1), Dtype::F16, 15);
    check_weight_grad(&Conv2d::square([3, 5, 5, 264], 136, 1, 1, 0), Dtype::Bf16, 16);
    check_weight_grad(&Conv2d::square([2, 9, 8, 24], 16, 3, 2, 1), Dtype::Bf16, 17);
    let dilated = Conv2d { dilation: [2, 1], padding: [0, 2], ..Conv2d::square([1, 9, 8, 8], 16, 3, 1, 0) };
    check_weight_grad(&dilated, Dtype::F16, 18);
}

#[test]
fn integers_are_exact() {
    let Some(gpu) = device() else { return };
    let g = Conv2d::square([2, 5, 6, 16], 10, 3, 1, 1);
    let inputs = Inputs::integers(&g, 7);
    let y = inputs.forward(gpu, &g, Dtype::F16, Activation::None);
    assert_eq!(wide(&y), inputs.reference(&g, Activation::None)[0]);
    let g = Conv2d::square([2, 7, 6, 10], 16, 3, 2, 1);
    let mut random = Random(9);
    let [dy, w] = [random.integers(g.y_len()), random.integers(g.w_len())].map(|values| wide(&values));
    let mut want = vec![0.0; g.x_len()];
    reference::conv2d_input_grad(&g, &dy, &w, &mut want);
    assert_eq!(wide(&input_grad(gpu, &g, Dtype::F16, &dy, &w)), want);
}

#[test]
fn single_precision_is_rounded_to_tf32() {
    let Some(gpu) = device() else { return };
    let g = Conv2d::square([1, 1, 2, 4], 1, 1, 1, 0);
    let above = 1.0 + 2f32.powi(-11) + 2f32.powi(-20);
    let x = vec![above, 0.0, 0.0, 0.0, -above, 0.0, 0.0, 0.0];
    let inputs = Inputs { x, w: vec![1.0; 4], bias: None, residual: None };
    let up = 1.0 + 2f32.powi(-10);
    assert_eq!(inputs.forward(gpu, &g, Dtype::F32, Activation::None), [up, -up]);
}

#[test]
fn a_nan_stays_a_nan() {
    let Some(gpu) = device() else { return };
    let g = Conv2d::square([1, 4, 4, 8], 8, 1, 1, 0);
    let mut inputs = Inputs::integers(&g, 8);
    inputs.x[3 * 8] = f32::NAN;
    let y = inputs.forward(gpu, &g, Dtype::Bf16, Activation::Relu6);
    assert!(y.iter().enumerate().all(|(i, y)| y.is_nan() == (i / 8 == 3)), "{y:?}");
}

/// Small geometries with every option: strides, padding beyond the kernel, dilation, channels around a step's edge.
fn geometry() -> impl Strategy<Value = Conv2d> {
    let image = (1..=3usize, 1..=9usize, 1..=9usize, 1..=10usize, 1..=70usize);
    let window = ([1..=3usize, 1..=3], [1..=3usize, 1..=3], [0..=3usize, 0..=3], [1..=2usize, 1..=2]);
    (image, window, extra_padding()).prop_filter_map(
        "a window that fits",
        |((n, h, w, c, o), ([kh, kw], stride, padding, dilation), extra_padding)| {
            let g =
                Conv2d { n, h, w, c: 8 * c, o, kh, kw, stride, padding, extra_padding, dilation, groups: 1 };
            (g.check().is_ok() && g.macs() < 2_000_000).then_some(g)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn forward_stays_within_the_bound(g in geometry(), flags in 0..36usize, seed: u64) {
        let activation = [Activation::None, Activation::Relu, Activation::Relu6][flags % 3];
        check(&g, TYPES[flags / 12], flags % 2 == 0, flags % 4 < 2, activation, seed);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]

    #[test]
    fn gradients_stay_within_the_bound(g in geometry(), which in 0..6usize, seed: u64) {
        let g = Conv2d { o: g.o.div_ceil(8) * 8, ..g };
        check_weight_grad(&g, TYPES[1 + which % 2], seed);
        check_input_grad(&g, TYPES[which % 3], seed);
    }
}
