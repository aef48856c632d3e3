//! f32 matrix products and linear layers: every transpose and tile, split reductions, fused epilogues.

use crate::bounds::{Random, assert_bounded, magnitude, wide};
use crate::support::device;
use lopper_kernels::cuda::{self, Cuda, Epilogue};
use lopper_kernels::params::{Activation, Dtype, Trans};
use lopper_kernels::reference;
use lopper_kernels::shapes::{Linear, Matmul};
use proptest::prelude::*;

const TRANSPOSES: [Trans; 2] = [Trans::No, Trans::Yes];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn gemm_stays_within_the_bound(m in 1..=140usize, n in 1..=100usize, k in 1..=70usize, seed: u64) {
        let Some(gpu) = device() else { return Ok(()) };
        bounded(gpu, m, n, k, seed);
    }

    #[test]
    fn integer_products_are_exact_and_accumulate(m in 1..=40usize, n in 1..=70usize, k in 0..=40usize, seed: u64) {
        let Some(gpu) = device() else { return Ok(()) };
        exact(gpu, m, n, k, seed);
    }

    #[test]
    fn linear_layers_are_exact_on_integers(n in 1..=20usize, inputs in 1..=130usize, outputs in 1..=130usize, seed: u64) {
        let Some(gpu) = device() else { return Ok(()) };
        linear(gpu, &Linear { n, inputs, outputs }, seed);
    }
}

/// Long reductions, which are split, and products of many tiles, which use the large one.
#[test]
fn split_reductions_and_large_tiles() {
    let Some(gpu) = device() else { return };
    exact(gpu, 9, 50, 1100, 1);
    exact(gpu, 3, 20, 601, 2);
    bounded(gpu, 260, 200, 36, 3);
    bounded(gpu, 30, 30, 1500, 4);
    linear(gpu, &Linear { n: 1, inputs: 3000, outputs: 40 }, 5);
}

/// Computes the product, after checking that two runs give the same bits.
fn run(gpu: &Cuda, g: &Matmul, a: &[f32], b: &[f32], start: Option<&[f32]>) -> Vec<f32> {
    let (a, b) = (gpu.upload(a).unwrap(), gpu.upload(b).unwrap());
    let once = || {
        let mut c = start.map_or_else(|| gpu.buffer(Dtype::F32, g.m * g.n), |c| gpu.upload(c)).unwrap();
        cuda::gemm(gpu, g, &a, &b, start.is_some(), &mut c).unwrap();
        gpu.download(&c).unwrap()
    };
    let first = once();
    assert_eq!(first, once(), "the same bits from run to run");
    first
}

fn bounded(gpu: &Cuda, m: usize, n: usize, k: usize, seed: u64) {
    let mut random = Random(seed);
    let (a, b) = (random.reals(m * k), random.reals(k * n));
    for (ta, tb) in TRANSPOSES.into_iter().flat_map(|ta| TRANSPOSES.map(|tb| (ta, tb))) {
        let g = Matmul::new([ta, tb], [m, n, k]);
        let (mut want, mut sums) = (vec![0.0; m * n], vec![0.0; m * n]);
        reference::gemm(&g, &wide(&a), &wide(&b), false, &mut want);
        reference::gemm(&g, &magnitude(&a), &magnitude(&b), false, &mut sums);
        let c = run(gpu, &g, &a, &b, None);
        assert_bounded(&format!("{ta:?} {tb:?}"), 2.0, k, &c, &want, &sums);
    }
}

fn exact(gpu: &Cuda, m: usize, n: usize, k: usize, seed: u64) {
    let mut random = Random(seed);
    let (a, b, start) = (random.integers(m * k), random.integers(k * n), random.integers(m * n));
    for (ta, tb) in TRANSPOSES.into_iter().flat_map(|ta| TRANSPOSES.map(|tb| (ta, tb))) {
        let g = Matmul::new([ta, tb], [m, n, k]);
        for accumulate in [false, true] {
            let mut want = start.clone();
            reference::gemm(&g, &a, &b, accumulate, &mut want);
            let c = run(gpu, &g, &a, &b, accumulate.then_some(&start));
            assert_eq!(c, want, "{ta:?} {tb:?} {m}×{n}×{k}");
        }
    }
}

/// Checks the forward pass with a fused epilogue, and both gradients.
fn linear(gpu: &Cuda, g: &Linear, seed: u64) {
    let mut random = Random(seed);
    let (x, w) = (random.integers(g.n * g.inputs), random.integers(g.outputs * g.inputs));
    let (bias, dy) = (random.integers(g.outputs), random.integers(g.n * g.outputs));
    let (mut y, mut dx, mut dw) = (vec![0.0; dy.len()], vec![0.0; x.len()], vec![0.0; w.len()]);
    reference::linear_forward(g, &x, &w, Some(&bias), &mut y);
    reference::linear_input_grad(g, &dy, &w, &mut dx);
    reference::linear_weight_grad(g, &x, &dy, &mut dw);
    reference::conv2d_epilogue(Some(&dy), Activation::Relu, &mut y);
    let [x, w, bias, dy] = [&x, &w, &bias, &dy].map(|values| gpu.upload(values).unwrap());
    let result = |len: usize, run: &dyn Fn(&mut cuda::DeviceBuffer) -> cuda::Result<()>| {
        let mut out = gpu.buffer(Dtype::F32, len).unwrap();
        run(&mut out).unwrap();
        gpu.download(&out).unwrap()
    };
    let end = Epilogue { bias: Some(&bias), residual: Some(&dy), activation: Activation::Relu };
    assert_eq!(result(y.len(), &|y| cuda::linear_forward(gpu, g, &x, &w, &end, y)), y, "forward");
    assert_eq!(result(dx.len(), &|dx| cuda::linear_input_grad(gpu, g, &dy, &w, dx)), dx, "dx");
    assert_eq!(result(dw.len(), &|dw| cuda::linear_weight_grad(gpu, g, &x, &dy, dw)), dw, "dw");
}
