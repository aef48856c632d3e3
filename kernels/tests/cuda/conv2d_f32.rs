//! Convolutions of f32 images and their gradients: strides, dilations, groups, every tile, split reductions.

use crate::bounds::extra_padding;
use crate::bounds::{Random, assert_bounded, magnitude, wide};
use crate::support::device;
use lopper_kernels::cuda::{self, Cuda, DeviceBuffer, Epilogue};
use lopper_kernels::params::{Activation, Dtype};
use lopper_kernels::reference;
use lopper_kernels::shapes::Conv2d;
use proptest::prelude::*;

/// Random geometries, all cheap to compute.
pub fn geometry() -> impl Strategy<Value = Conv2d> {
    let image = (1..=2usize, 1..=11usize, 1..=11usize);
    let channels =
        (1..=40usize, 1..=70usize, prop_oneof![4 => Just(1usize), 1 => 2..=3usize, 1 => Just(0usize)]);
    let kernel = (1..=4usize, 1..=4usize);
    let window = (1..=3usize, 1..=3usize, 0..=3usize, 0..=3usize, 1..=3usize, 1..=2usize);
    (image, channels, kernel, window, any::<bool>(), extra_padding()).prop_filter_map(
        "a window that fits",
        |((n, h, w), (c, o, groups), (kh, kw), (sh, sw, ph, pw, dh, dw), fours, extra_padding)| {
            // Zero groups stands for depthwise; `fours` for channels whose loads are aligned.
            let round = |size: usize| if fours { size.next_multiple_of(4) } else { size };
            let (c, o, groups) = match groups {
                0 => (c + 1, c + 1, c + 1),
                groups => (round(c.div_ceil(groups)) * groups, round(o.div_ceil(groups)) * groups, groups),
            };
            let (stride, padding, dilation) = ([sh, sw], [ph, pw], [dh, dw]);
            let g = Conv2d { n, h, w, c, o, kh, kw, stride, padding, extra_padding, dilation, groups };
            (g.check().is_ok() && g.macs() < 1_000_000).then_some(g)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn convolutions_are_exact_on_integers(g in geometry(), seed: u64) {
        let Some(gpu) = device() else { return Ok(()) };
        exact(gpu, &g, seed);
    }
}

/// Several ranges of pixels; also several filters per channel and many taps, which run as ordinary grouped
/// convolutions.
#[test]
fn depthwise_convolutions_are_exact_and_bounded() {
    let Some(gpu) = device() else { return };
    let geometries = [
        Conv2d { groups: 40, ..Conv2d::square([1, 31, 30, 40], 40, 3, 1, 1) },
        Conv2d { groups: 5, ..Conv2d::square([3, 17, 14, 5], 5, 5, 2, 2) },
        Conv2d { groups: 6, dilation: [2, 3], ..Conv2d::square([2, 15, 19, 6], 6, 3, 3, 2) },
        Conv2d { groups: 4, ..Conv2d::square([1, 11, 10, 4], 12, 3, 1, 1) },
        Conv2d { groups: 2, ..Conv2d::square([1, 12, 12, 2], 2, 9, 1, 4) },
    ];
    for (seed, g) in (0..).zip(&geometries) {
        exact(gpu, g, seed);
        bounded(gpu, g, seed);
    }
}

/// Large tiles, split reductions, three channels, one pixel, gradients that no tap reaches.
#[test]
fn chosen_geometries_are_exact_and_bounded() {
    let Some(gpu) = device() else { return };
    let geometries = [
        Conv2d::square([1, 16, 17, 16], 132, 3, 1, 1),
        Conv2d::square([1, 16, 17, 130], 12, 3, 1, 1),
        Conv2d::square([2, 4, 4, 80], 36, 3, 1, 1),
        Conv2d::square([1, 23, 24, 3], 24, 7, 2, 3),
        Conv2d::square([3, 1, 1, 200], 9, 1, 1, 0),
        Conv2d::square([2, 9, 8, 12], 20, 1, 2, 0),
        Conv2d { dilation: [2, 2], ..Conv2d::square([1, 13, 13, 4], 8, 3, 2, 0) },
    ];
    for (seed, g) in (0..).zip(&geometries) {
        exact(gpu, g, seed);
        bounded(gpu, g, seed);
    }
}

/// Returns what `run` writes to `len` f32s, after checking that two runs give the same bits.
pub fn result(gpu: &Cuda, len: usize, run: impl Fn(&mut DeviceBuffer) -> cuda::Result<()>) -> Vec<f32> {
    let once = || {
        let mut out = gpu.buffer(Dtype::F32, len).unwrap();
        run(&mut out).unwrap();
        gpu.download(&out).unwrap()
    };
    let first = once();
    assert_eq!(first, once(), "the same bits from run to run");
    first
}

fn exact(gpu: &Cuda, g: &Conv2d, seed: u64) {
    let mut random = Random(seed);
    let [x, w, dy] = [g.x_len(), g.w_len(), g.y_len()].map(|len| random.integers(len));
    let bias = random.integers(g.o);
    let (mut y, mut dx, mut dw) = (vec![0.0; dy.len()], vec![0.0; x.len()], vec![0.0; w.len()]);
    reference::conv2d_forward(g, &x, &w, Some(&bias), &mut y);
    reference::conv2d_epilogue(Some(&dy), Activation::Relu6, &mut y);
    reference::conv2d_input_grad(g, &dy, &w, &mut dx);
    reference::conv2d_weight_grad(g, &x, &dy, &mut dw);
    let [x, w, dy, bias] = [&x, &w, &dy, &bias].map(|values| gpu.upload(values).unwrap());
    let end = Epilogue { bias: Some(&bias), residual: Some(&dy), activation: Activation::Relu6 };
    assert_eq!(result(gpu, y.len(), |y| cuda::conv2d_forward(gpu, g, &x, &w, &end, y)), y, "{g:?}");
    assert_eq!(result(gpu, dx.len(), |dx| cuda::conv2d_input_grad(gpu, g, &dy, &w, dx)), dx, "dx {g:?}");
    assert_eq!(result(gpu, dw.len(), |dw| cuda::conv2d_weight_grad(gpu, g, &x, &dy, dw)), dw, "dw {g:?}");
}

/// All three products of `x`, `w` and `dy` in double precision.
fn products(g: &Conv2d, x: &[f64], w: &[f64], dy: &[f64]) -> [Vec<f64>; 3] {
    let [mut y, mut dx, mut dw] = [dy.len(), x.len(), w.len()].map(|len| vec![0.0; len]);
    reference::conv2d_forward(g, x, w, None, &mut y);
    reference::conv2d_input_grad(g, dy, w, &mut dx);
    reference::conv2d_weight_grad(g, x, dy, &mut dw);
    [y, dx, dw]
}

fn bounded(gpu: &Cuda, g: &Conv2d, seed: u64) {
    let mut random = Random(seed);
    let [x, w, dy] = [g.x_len(), g.w_len(), g.y_len()].map(|len| random.reals(len));
    let want = products(g, &wide(&x), &wide(&w), &wide(&dy));
    let sums = products(g, &magnitude(&x), &magnitude(&w), &magnitude(&dy));
    let [x, w, dy] = [&x, &w, &dy].map(|values| gpu.upload(values).unwrap());
    let got = [
        result(gpu, want[0].len(), |y| cuda::conv2d_forward(gpu, g, &x, &w, &Epilogue::default(), y)),
        result(gpu, want[1].len(), |dx| cuda::conv2d_input_grad(gpu, g, &dy, &w, dx)),
        result(gpu, want[2].len(), |dw| cuda::conv2d_weight_grad(gpu, g, &x, &dy, dw)),
    ];
    let taps = g.kh * g.kw;
    let lengths = [taps * g.c / g.groups, taps * g.o / g.groups, g.n * g.oh() * g.ow()];
    for (i, what) in ["y", "dx", "dw"].into_iter().enumerate() {
        assert_bounded(what, 2.0, lengths[i], &got[i], &want[i], &sums[i]);
    }
}
