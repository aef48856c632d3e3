//! Tensor cores against the reference. The values are multiples of 1/128, whose products and sums are exact in f32. A
//! result differs from the reference only by its single rounding, so all comparisons are exact.

use crate::bounds::extra_padding;
use crate::support::device;
use crate::values::{FLOATS, filled, get, narrow, put, random, round};
use lopper_kernels::cuda::mma::{self, Blocking, LiveLists, Tile};
use lopper_kernels::cuda::{Cuda, Epilogue};
use lopper_kernels::params::{Activation, Dtype, Trans};
use lopper_kernels::pattern::Pattern;
use lopper_kernels::reference;
use lopper_kernels::shapes::{Conv2d, Matmul};
use proptest::prelude::*;

const ACTIVATIONS: [Activation; 3] = [Activation::None, Activation::Relu, Activation::Relu6];

/// `values`, rounded as the device stores them.
fn stored(dtype: Dtype, values: &[f64]) -> Vec<f32> {
    values.iter().map(|&x| round(dtype, x) as f32).collect()
}

fn check_forward(
    gpu: &Cuda,
    blocking: Blocking,
    g: &Conv2d,
    dtype: Dtype,
    activation: Activation,
    bias: bool,
    residual: bool,
) {
    let (x, w) = (random(1, g.x_len()), random(2, g.w_len()));
    let bias = bias.then(|| random(3, g.o));
    let residual = residual.then(|| random(4, g.y_len()));
    let mut want = vec![0.0; g.y_len()];
    reference::conv2d_forward(g, &x, &w, bias.as_deref(), &mut want);
    reference::conv2d_epilogue(residual.as_deref(), activation, &mut want);
    let [x, w] = [&x, &w].map(|values| put(gpu, dtype, values));
    let bias = bias.map(|bias| put(gpu, Dtype::F32, &bias));
    let residual = residual.map(|residual| put(gpu, dtype, &residual));
    let epilogue = Epilogue { bias: bias.as_ref(), residual: residual.as_ref(), activation };
    let y = filled(gpu, dtype, g.y_len(), |y| {
        mma::conv2d_forward_blocked(gpu, blocking, g, &x, &w, &epilogue, y).unwrap();
    });
    assert_eq!(y, stored(dtype, &want), "{blocking:?} {g:?} {dtype:?}");
}

/// Small convolutions of one group; a third of them have whole vectors of channels.
fn geometry() -> impl Strategy<Value = Conv2d> {
    let channels =
        || prop_oneof![1usize..20, (1usize..5).prop_map(|c| 4 * c), (1usize..6).prop_map(|c| 8 * c)];
    let pair = |range: std::ops::Range<usize>| [range.clone(), range];
    (
        1usize..3,
        pair(1..9),
        channels(),
        channels(),
        pair(1..4),
        pair(1..4),
        pair(0..3),
        pair(1..3),
        extra_padding(),
    )
        .prop_map(|(n, [h, w], c, o, [kh, kw], stride, padding, dilation, extra_padding)| Conv2d {
            n,
            h,
            w,
            c,
            o,
            kh,
            kw,
            stride,
            padding,
            extra_padding,
            dilation,
            groups: 1,
        })
        .prop_filter("fits", |g| g.check().is_ok())
}

#[test]
fn forward_of_any_geometry() {
    let Some(gpu) = device() else { return };
    let case = (geometry(), 0usize..3, (0usize..3, 1usize..6), 0usize..3, any::<[bool; 2]>());
    proptest!(ProptestConfig::with_cases(60), |((g, dtype, (tile, slices), activation, [bias, residual]) in case)| {
        let (blocking, activation) = (Blocking { tile: Tile::ALL[tile], slices }, ACTIVATIONS[activation]);
        check_forward(gpu, blocking, &g, FLOATS[dtype], activation, bias, residual);
    });
}

#[test]
fn forward_of_many_tiles_and_steps() {
    let Some(gpu) = device() else { return };
    let g = Conv2d::square([2, 13, 11, 40], 136, 3, 1, 1);
    for dtype in FLOATS {
        for tile in Tile::ALL {
            for slices in [1, 4] {
                check_forward(gpu, Blocking { tile, slices }, &g, dtype, Activation::Relu, true, true);
            }
        }
        let image = Conv2d::square([1, 15, 14, 3], 70, 7, 2, 3);
        let blocking = Blocking { tile: Tile::Square128, slices: 1 };
        check_forward(gpu, blocking, &image, dtype, Activation::None, true, false);
    }
}

#[test]
fn tiles_are_shared_if_they_are_few() {
    let Some(gpu) = device() else { return };
    let few = Conv2d::square([1, 4, 4, 128], 16, 3, 1, 1);
    let many = Conv2d { n: 16, ..few };
    let short = Conv2d { c: 64, ..few };
    let shared = [few, many, short].map(|g| mma::shares_tiles(gpu, &g, Dtype::Bf16));
    assert_eq!(shared, [true, false, false]);
}

#[test]
fn forward_chooses_a_tile_and_keeps_a_nan() {
    let Some(gpu) = device() else { return };
    let g = Conv2d::square([1, 6, 6, 8], 16, 3, 1, 0);
    let mut x = random(1, g.x_len());
    x[0] = f64::NAN;
    let w = random(2, g.w_len());
    let relu6 = Epilogue { activation: Activation::Relu6, ..Default::default() };
    for dtype in FLOATS {
        let [x, w] = [&x, &w].map(|values| put(gpu, dtype, values));
        let mut y = gpu.buffer(dtype, g.y_len()).unwrap();
        mma::conv2d_forward(gpu, &g, &x, &w, &relu6, &mut y).unwrap();
        let y = get(gpu, &y);
        assert!(y[..g.o].iter().all(|y| y.is_nan()) && y[g.o..].iter().all(|y| y.is_finite()));
    }
}

/// Rounds to ten mantissa bits, ties away from zero.
fn tf32(x: f64) -> f64 {
    f32::from_bits(((x as f32).to_bits() + 0x1000) & !0x1fff).into()
}

#[test]
fn f32_operands_are_rounded_to_tf32() {
    let Some(gpu) = device() else { return };
    let g = Conv2d::square([1, 5, 5, 4], 8, 3, 1, 1);
    let [x, w] = [(g.x_len(), 1.1), (g.w_len(), 0.7)]
        .map(|(len, scale)| random(len as u64, len).iter().map(|x| x * scale).collect::<Vec<f64>>());
    let mut want = vec![0.0; g.y_len()];
    let [rounded_x, rounded_w] = [&x, &w].map(|values| values.iter().map(|&x| tf32(x)).collect::<Vec<f64>>());
    reference::conv2d_forward(&g, &rounded_x, &rounded_w, None, &mut want);
    let [x, w] = [&x, &w].map(|values| gpu.upload(&narrow(values)).unwrap());
    let mut y = gpu.buffer(Dtype::F32, g.y_len()).unwrap();
    mma::conv2d_forward(gpu, &g, &x, &w, &Epilogue::default(), &mut y).unwrap();
    for (got, want) in get(gpu, &y).into_iter().zip(want) {
        // 36 products, each below 1.
        assert!((f64::from(got) - want).abs() <= 36.0 * f64::from(f32::EPSILON), "{got} for {want}");
    }
}

fn check_weight_grad(gpu: &Cuda, g: &Conv2d, dtype: Dtype) {
    let (x, dy) = (random(1, g.x_len()), random(2, g.y_len()));
    let mut want = vec![0.0; g.w_len()];
    reference::conv2d_weight_grad(g, &x, &dy, &mut want);
    let [x, dy] = [&x, &dy].map(|values| put(gpu, dtype, values));
    let dw = filled(gpu, Dtype::F32, g.w_len(), |dw| {
        mma::conv2d_weight_grad(gpu, g, &x, &dy, dw).unwrap();
    });
    assert_eq!(dw, stored(Dtype::F32, &want), "{g:?} {dtype:?}");
}

#[test]
fn weight_grad() {
    let Some(gpu) = device() else { return };
    proptest!(ProptestConfig::with_cases(40), |(g in geometry(), dtype in 0usize..3)| {
        check_weight_grad(gpu, &g, FLOATS[dtype]);
    });
    for dtype in FLOATS {
        check_weight_grad(gpu, &Conv2d::square([2, 17, 18, 16], 72, 3, 1, 1), dtype);
    }
}

fn check_gemm(gpu: &Cuda, g: &Matmul, dtype: Dtype, wide: bool, accumulate: bool) {
    let [a, b, c] = g.lens();
    let (a, b, c) = (random(1, a), random(2, b), random(3, c));
    let mut want = c.clone();
    reference::gemm(g, &a, &b, accumulate, &mut want);
    let [a, b] = [&a, &b].map(|values| put(gpu, dtype, values));
    let out = if wide { Dtype::F32 } else { dtype };
    let old = put(gpu, out, &c);
    let got = filled(gpu, out, want.len(), |c| {
        gpu.copy(&old, c).unwrap();
        mma::gemm(gpu, g, &a, &b, accumulate, c).unwrap();
    });
    assert_eq!(got, stored(out, &want), "{g:?} {dtype:?}");
}

#[test]
fn gemm() {
    let Some(gpu) = device() else { return };
    let trans = || prop_oneof![Just(Trans::No), Just(Trans::Yes)];
    let size = || prop_oneof![1usize..80, (1usize..12).prop_map(|n| 8 * n)];
    let case = ([trans(), trans()], [size(), size(), size()], 0usize..3, any::<[bool; 2]>());
    proptest!(ProptestConfig::with_cases(60), |((trans, sizes, dtype, [wide, accumulate]) in case)| {
        check_gemm(gpu, &Matmul::new(trans, sizes), FLOATS[dtype], wide, accumulate);
    });
    for dtype in FLOATS {
        for trans in [[Trans::No, Trans::No], [Trans::No, Trans::Yes], [Trans::Yes, Trans::No]] {
            check_gemm(gpu, &Matmul::new(trans, [136, 72, 40]), dtype, false, false);
            check_gemm(gpu, &Matmul::new(trans, [24, 40, 520]), dtype, false, true);
        }
    }
}

#[test]
fn input_grad() {
    let Some(gpu) = device() else { return };
    let check = |g: &Conv2d, dtype: Dtype| {
        let (dy, w) = (random(1, g.y_len()), random(2, g.w_len()));
        let mut want = vec![0.0; g.x_len()];
        reference::conv2d_input_grad(g, &dy, &w, &mut want);
        let [dy, w] = [&dy, &w].map(|values| put(gpu, dtype, values));
        let dx = filled(gpu, dtype, g.x_len(), |dx| {
            mma::conv2d_input_grad(gpu, g, &dy, &w, dx).unwrap();
        });
        assert_eq!(dx, stored(dtype, &want), "{g:?} {dtype:?}");
    };
    proptest!(ProptestConfig::with_cases(40), |(g in geometry(), dtype in 0usize..3)| {
        check(&g, FLOATS[dtype]);
    });
    for dtype in FLOATS {
        for stride in [1, 2] {
            check(&Conv2d::square([2, 18, 13, 72], 24, 3, stride, 1), dtype);
        }
        // Few pixels and a long k: in slices, also for a scattered class of pixels.
        check(&Conv2d::square([1, 4, 4, 24], 128, 3, 1, 1), dtype);
        check(&Conv2d::square([1, 4, 4, 24], 512, 3, 2, 1), dtype);
    }
}

#[test]
fn masked_forward() {
    let Some(gpu) = device() else { return };
    let check = |g: &Conv2d, dtype: Dtype, live: &[bool], blocks: Option<&[bool]>| {
        let (x, mut w, bias) = (random(1, g.x_len()), random(2, g.w_len()), random(3, g.o));
        let given = w.clone();
        for (i, w) in w.iter_mut().enumerate() {
            let dead = blocks.is_some_and(|blocks| !blocks[i % g.c / LiveLists::BLOCK]);
            if dead || !live[i / (g.w_len() / g.o)] {
                *w = 0.0;
            }
        }
        let mut want = vec![0.0; g.y_len()];
        reference::conv2d_forward(g, &x, &w, Some(&bias), &mut want);
        reference::conv2d_epilogue(None, Activation::Relu, &mut want);
        let pattern = Pattern::of(&narrow(&w), g.filters_shape());
        let [x, w] = [&x, &given].map(|values| put(gpu, dtype, values));
        let bias = put(gpu, Dtype::F32, &bias);
        let mask = LiveLists::new(gpu, &pattern).unwrap();
        let epilogue = Epilogue { bias: Some(&bias), residual: None, activation: Activation::Relu };
        let y = filled(gpu, dtype, g.y_len(), |y| {
            mma::conv2d_masked_forward(gpu, g, &x, &w, &mask, &epilogue, y).unwrap();
        });
        assert_eq!(y, stored(dtype, &want), "{g:?} {dtype:?}");
    };
    let g = Conv2d::square([2, 9, 8, 48], 150, 3, 2, 1);
    let some: Vec<bool> = (0..g.o).map(|o| o % 3 == 1).collect();
    for dtype in FLOATS {
        for live in [&some, &vec![true; g.o], &vec![false; g.o]] {
            for blocks in [None, Some([true, false, true]), Some([false; 3])] {
                check(&g, dtype, live, blocks.as_ref().map(|blocks| blocks.as_slice()));
            }
        }
        check(&Conv2d::square([2, 5, 5, 3], 5, 3, 1, 1), dtype, &[true, false, true, true, false], None);
        // In slices.
        let long = Conv2d::square([1, 4, 4, 256], 24, 3, 1, 1);
        for live in [&some[..24], &[false; 24]] {
            check(&long, dtype, live, Some(&[true, false].repeat(8)));
        }
        let large = Conv2d::square([2, 15, 15, 16], 140, 1, 1, 0);
        check(&large, dtype, &[true; 140], Some(&[true]));
    }
}
