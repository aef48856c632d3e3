//! Every precision and number of groups through the functions that choose the units. The values are small integers
//! whose sums are exact in all types, so every comparison is exact.

use crate::support::device;
use crate::values::{get, integers, narrow, put};
use lopper_kernels::cuda::{self, Cuda, DeviceBuffer, Dtype, Epilogue, PackedConv2d};
use lopper_kernels::params::{ACTIVATIONS, Activation, CompactIndex};
use lopper_kernels::pattern::Pattern;
use lopper_kernels::reference;
use lopper_kernels::shapes::{Conv2d, Linear};

/// −1, 0 or 1.
fn signs(seed: u64, len: usize) -> Vec<f64> {
    integers(seed, len).into_iter().map(f64::signum).collect()
}

/// Calls `check` with every precision of the device and the type that stores its operands.
fn each(check: impl Fn(&Cuda, Dtype)) {
    let Some(gpu) = device() else { return };
    for precision in Dtype::PRECISIONS {
        check(&gpu.clone().with_precision(precision), precision.storage());
    }
}

fn run(gpu: &Cuda, dtype: Dtype, len: usize, f: impl Fn(&mut DeviceBuffer) -> cuda::Result<()>) -> Vec<f32> {
    let mut y = gpu.buffer(dtype, len).unwrap();
    f(&mut y).unwrap();
    get(gpu, &y)
}

/// Asserts that `product` with `end` and each activation equals the product followed by the activation as an operation
/// of its own.
fn check_activations(
    gpu: &Cuda,
    dtype: Dtype,
    len: usize,
    end: Epilogue,
    product: impl Fn(&Epilogue, &mut DeviceBuffer) -> cuda::Result<()>,
) {
    let mut plain = gpu.buffer(dtype, len).unwrap();
    product(&Epilogue { activation: Activation::None, ..end }, &mut plain).unwrap();
    for &activation in ACTIVATIONS {
        let apart = run(gpu, dtype, len, |y| cuda::activation_forward(gpu, activation, &plain, y));
        let fused = run(gpu, dtype, len, |y| product(&Epilogue { activation, ..end }, y));
        assert_eq!(fused, apart, "{} {dtype:?}", activation.name());
    }
}

#[test]
fn convolutions() {
    let grouped = Conv2d { groups: 2, ..Conv2d::square([2, 5, 4, 8], 6, 3, 2, 1) };
    let depthwise = Conv2d { groups: 8, ..Conv2d::square([2, 5, 4, 8], 8, 3, 1, 1) };
    let shapes = [
        Conv2d::square([2, 5, 4, 8], 16, 3, 1, 1),
        Conv2d::square([2, 6, 5, 5], 7, 3, 2, 1),
        grouped,
        depthwise,
    ];
    for g in &shapes {
        let [x, w, dy, residual] = [(1, g.x_len()), (2, g.w_len()), (3, g.y_len()), (4, g.y_len())]
            .map(|(seed, len)| signs(seed, len));
        let bias = signs(5, g.o);
        let [mut y, mut dx, mut dw] = [g.y_len(), g.x_len(), g.w_len()].map(|len| vec![0.0; len]);
        reference::conv2d_forward(g, &x, &w, Some(&bias), &mut y);
        reference::conv2d_epilogue(Some(&residual), Activation::Relu, &mut y);
        reference::conv2d_input_grad(g, &dy, &w, &mut dx);
        reference::conv2d_weight_grad(g, &x, &dy, &mut dw);
        each(|gpu, dtype| {
            let [x, w, dy, residual] = [&x, &w, &dy, &residual].map(|values| put(gpu, dtype, values));
            let bias = put(gpu, Dtype::F32, &bias);
            let end = Epilogue { bias: Some(&bias), residual: Some(&residual), activation: Activation::Relu };
            let got = run(gpu, dtype, y.len(), |y| cuda::conv2d_forward(gpu, g, &x, &w, &end, y));
            assert_eq!(got, narrow(&y), "{g:?} {dtype:?}");
            check_activations(gpu, dtype, y.len(), end, |end, y| {
                cuda::conv2d_forward(gpu, g, &x, &w, end, y)
            });
            let got = run(gpu, dtype, dx.len(), |dx| cuda::conv2d_input_grad(gpu, g, &dy, &w, dx));
            assert_eq!(got, narrow(&dx), "dx {g:?} {dtype:?}");
            let got = run(gpu, Dtype::F32, dw.len(), |dw| cuda::conv2d_weight_grad(gpu, g, &x, &dy, dw));
            assert_eq!(got, narrow(&dw), "dw {g:?} {dtype:?}");
        });
    }
}

#[test]
fn linear_layers() {
    for [n, inputs, outputs] in [[3, 40, 24], [20, 13, 9], [130, 72, 70]] {
        let g = Linear { n, inputs, outputs };
        let [x, w, dy] = [(1, g.n * g.inputs), (2, g.outputs * g.inputs), (3, g.n * g.outputs)]
            .map(|(seed, len)| signs(seed, len));
        let bias = signs(4, g.outputs);
        let [mut y, mut dx, mut dw] = [dy.len(), x.len(), w.len()].map(|len| vec![0.0; len]);
        reference::linear_forward(&g, &x, &w, Some(&bias), &mut y);
        reference::linear_input_grad(&g, &dy, &w, &mut dx);
        reference::linear_weight_grad(&g, &x, &dy, &mut dw);
        each(|gpu, dtype| {
            let [x, w, dy] = [&x, &w, &dy].map(|values| put(gpu, dtype, values));
            let bias = put(gpu, Dtype::F32, &bias);
            let end = Epilogue { bias: Some(&bias), ..Default::default() };
            let got = run(gpu, dtype, y.len(), |y| cuda::linear_forward(gpu, &g, &x, &w, &end, y));
            assert_eq!(got, narrow(&y), "{g:?} {dtype:?}");
            check_activations(gpu, dtype, y.len(), end, |end, y| {
                cuda::linear_forward(gpu, &g, &x, &w, end, y)
            });
            let got = run(gpu, dtype, dx.len(), |dx| cuda::linear_input_grad(gpu, &g, &dy, &w, dx));
            assert_eq!(got, narrow(&dx), "dx {g:?} {dtype:?}");
            let got = run(gpu, Dtype::F32, dw.len(), |dw| cuda::linear_weight_grad(gpu, &g, &x, &dy, dw));
            assert_eq!(got, narrow(&dw), "dw {g:?} {dtype:?}");
        });
    }
}

#[test]
fn masked_and_compact_convolutions() {
    let g = Conv2d::square([2, 5, 4, 32], 12, 3, 1, 1);
    let live: Vec<bool> = (0..g.o).map(|o| o % 3 != 1).collect();
    // No live filter reads the second block of channels.
    let mut w = signs(2, g.w_len());
    w.iter_mut().enumerate().filter(|(i, _)| i % g.c >= 16).for_each(|(_, w)| *w = 0.0);
    let (x, bias) = (signs(1, g.x_len()), signs(3, g.o));
    let mut dead = w.clone();
    for (filter, live) in dead.chunks_exact_mut(g.w_len() / g.o).zip(&live) {
        if !live {
            filter.fill(0.0);
        }
    }
    let mut y = vec![0.0; g.y_len()];
    reference::conv2d_forward(&g, &x, &dead, Some(&bias), &mut y);
    // Compact: the live filters over the channels that they read; outputs that are not computed are their bias.
    let index = CompactIndex {
        inputs: (0..16).collect(),
        outputs: (0..g.o as u32).filter(|&o| live[o as usize]).collect(),
        carrier: false,
    };
    let inner: Vec<f32> =
        (0..g.w_len()).filter(|i| i % g.c < 16 && live[i / (g.w_len() / g.o)]).map(|i| w[i] as f32).collect();
    let pattern = Pattern::of(&narrow(&dead), g.filters_shape());
    each(|gpu, dtype| {
        let masked = PackedConv2d::masked(gpu, &g, &narrow(&w), &pattern).unwrap();
        assert_eq!(masked.products(&g), (g.n * g.oh() * g.ow() * 8 * 9 * 16) as u64);
        let compact = PackedConv2d::compact(gpu, &g, &index, &inner, &narrow(&bias)).unwrap();
        let x = put(gpu, dtype, &x);
        let bias = put(gpu, Dtype::F32, &bias);
        let end = Epilogue { bias: Some(&bias), ..Default::default() };
        let got = run(gpu, dtype, y.len(), |y| cuda::conv2d_forward_packed(gpu, &g, &x, &masked, &end, y));
        assert_eq!(got, narrow(&y), "masked {dtype:?}");
        check_activations(gpu, dtype, y.len(), end, |end, y| {
            cuda::conv2d_forward_packed(gpu, &g, &x, &masked, end, y)
        });
        let got = run(gpu, dtype, y.len(), |y| cuda::conv2d_forward_packed(gpu, &g, &x, &compact, &end, y));
        assert_eq!(got, narrow(&y), "compact {dtype:?}");
        check_activations(gpu, dtype, y.len(), end, |end, y| {
            cuda::conv2d_forward_packed(gpu, &g, &x, &compact, end, y)
        });
    });
}
