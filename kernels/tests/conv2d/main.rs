//! Compares the CPU convolutions with the reference in double precision, on every instruction set.

mod dead_filters;
mod kernel_blocks;
mod line;
mod row_lanes;
#[path = "../support/mod.rs"]
mod support;
mod winograd;

use lopper_kernels::buffer::Buffer;
use lopper_kernels::cpu::{self, Algorithm, Cpu, Epilogue, PackedConv2d, Packing, Weights};
use lopper_kernels::params::{ACTIVATIONS, Activation, CompactIndex};
use lopper_kernels::pattern::Pattern;
use lopper_kernels::reference;
use lopper_kernels::shapes::Conv2d;
use proptest::prelude::*;
use support::{CPUS, Random, assert_bounded, dot, extra_padding, finish, magnitude, wide};

/// Random geometries with strides, padding, dilation, groups, depthwise, and channels around the edge of every tile.
fn geometry() -> impl Strategy<Value = Conv2d> {
    let image = (1..=3usize, 1..=13usize, 1..=13usize);
    let channels =
        (1..=70usize, 1..=70usize, prop_oneof![4 => Just(1usize), 1 => 2..=3usize, 1 => Just(0usize)]);
    // 5×5 and 7×7 for depthwise convolutions, which have kernels of these sizes.
    let kernel = prop_oneof![6 => (1..=4usize, 1..=4usize), 1 => Just((5, 5)), 1 => Just((7, 7))];
    let window = (1..=3usize, 1..=3usize, 0..=3usize, 0..=3usize, 1..=2usize, 1..=2usize);
    (image, channels, kernel, window, extra_padding()).prop_filter_map(
        "the window fits",
        |(image, channels, kernel, window, extra_padding)| {
            let (n, h, w) = image;
            // Zero groups mean depthwise.
            let (c, o, groups) = match channels {
                (c, _, 0) => (c + 1, c + 1, c + 1),
                (c, o, groups) => (c.div_ceil(groups) * groups, o.div_ceil(groups) * groups, groups),
            };
            let (sh, sw, ph, pw, dh, dw) = window;
            let g = Conv2d {
                n,
                h,
                w,
                c,
                o,
                kh: kernel.0,
                kw: kernel.1,
                stride: [sh, sw],
                padding: [ph, pw],
                extra_padding,
                dilation: [dh, dw],
                groups,
            };
            (g.check().is_ok() && g.macs() < 2_000_000).then_some(g)
        },
    )
}

/// Random geometries that training computes directly: only those are exact on integers.
fn direct_geometry() -> impl Strategy<Value = Conv2d> {
    geometry().prop_filter("Winograd's algorithm does not apply", |g| !winograd_applies(g))
}

/// Whether Winograd's algorithm applies.
fn winograd_applies(g: &Conv2d) -> bool {
    [g.kh, g.kw] == [3; 2] && g.stride == [1; 2] && g.dilation == [1; 2] && g.groups == 1
}

/// Geometries that Winograd applies to, with every padding, tiles cut by the border, and channels around the edge of
/// every tile.
fn winograd_geometry() -> impl Strategy<Value = Conv2d> {
    let image = (1..=4usize, 5..=18usize, 5..=18usize);
    (image, 8..=110usize, 8..=110usize, 0..=2usize, 0..=2usize).prop_filter_map(
        "the case is fast",
        |((n, h, w), c, o, ph, pw)| {
            let g = Conv2d { padding: [ph, pw], ..Conv2d::square([n, h, w, c], o, 3, 1, 0) };
            (g.macs() < 8_000_000).then_some(g)
        },
    )
}

/// Shapes that cross the limits of the loop nests: more windows than one task takes, reductions longer than a chunk
/// (5120 steps), one tap longer than a chunk, several chunks of pixels and blocks of filters in the weight gradient,
/// and three channels.
fn large_geometries() -> [Conv2d; 8] {
    [
        Conv2d::square([1, 20, 20, 13], 130, 5, 1, 2),
        Conv2d::square([1, 3, 3, 600], 49, 3, 1, 1),
        Conv2d::square([2, 1, 1, 5200], 9, 1, 1, 0),
        Conv2d::square([2, 48, 50, 5], 17, 3, 1, 1),
        Conv2d::square([1, 33, 35, 3], 64, 7, 2, 3),
        Conv2d::square([1, 8, 9, 200], 530, 1, 1, 0),
        // Single pixels of every second row, in tasks that end within a row.
        Conv2d { stride: [2, 3], ..Conv2d::square([2, 37, 40, 90], 130, 1, 1, 0) },
        Conv2d { groups: 16, ..Conv2d::square([2, 40, 40, 16], 16, 3, 1, 1) },
    ]
}

/// Returns the output of `kernel`, `len` floats, computed with all operands guarded.
fn guarded(
    len: usize,
    [a, b]: [&[f32]; 2],
    bias: Option<&[f32]>,
    kernel: impl FnOnce(&[f32], &[f32], Option<&[f32]>, &mut [f32]),
) -> Vec<f32> {
    let (a, b, bias) = (Buffer::from_slice(a), Buffer::from_slice(b), bias.map(Buffer::from_slice));
    let mut out = Buffer::unspecified(len);
    out.fill(f32::NAN);
    kernel(&a, &b, bias.as_deref(), &mut out);
    out.to_vec()
}

fn forward(cpu: &Cpu, g: &Conv2d, x: &[f32], w: &[f32], bias: Option<&[f32]>) -> Vec<f32> {
    guarded(g.y_len(), [x, w], bias, |x, w, bias, y| cpu::conv2d_forward(cpu, g, x, w, bias, y))
}

fn input_grad(cpu: &Cpu, g: &Conv2d, dy: &[f32], w: &[f32]) -> Vec<f32> {
    guarded(g.x_len(), [dy, w], None, |dy, w, _, dx| cpu::conv2d_input_grad(cpu, g, dy, w, dx))
}

fn weight_grad(cpu: &Cpu, g: &Conv2d, x: &[f32], dy: &[f32]) -> Vec<f32> {
    guarded(g.w_len(), [x, dy], None, |x, dy, _, dw| cpu::conv2d_weight_grad(cpu, g, x, dy, dw))
}

fn masked(cpu: &Cpu, g: &Conv2d, x: &[f32], w: &[f32], bias: Option<&[f32]>, live: &[bool]) -> Vec<f32> {
    guarded(g.y_len(), [x, w], bias, |x, w, bias, y| {
        let pattern = Pattern::of_filters(live, g.filters_shape());
        let packed = PackedConv2d::masked(cpu, g, w, &pattern, Packing::Fastest(Weights::Fresh));
        cpu::conv2d_forward_packed(cpu, g, x, &packed, &Epilogue { bias, ..Default::default() }, y);
    })
}

/// Applies `f` in double precision to the operands, and to their absolute values.
fn oracle(f: impl Fn(&[f64], &[f64], &mut [f64]), a: &[f32], b: &[f32], len: usize) -> (Vec<f64>, Vec<f64>) {
    let (mut want, mut sums) = (vec![0.0; len], vec![0.0; len]);
    f(&wide(a), &wide(b), &mut want);
    f(&magnitude(a), &magnitude(b), &mut sums);
    (want, sums)
}

/// The weight with its dead filters set to zero.
fn without(w: &[f32], live: &[bool]) -> Vec<f32> {
    let filter = w.len() / live.len();
    w.iter().enumerate().map(|(i, &w)| if live[i / filter] { w } else { 0.0 }).collect()
}

/// The convolution of integers by `w`, packed by `pack`, is exact with a bias, a residual and each activation.
fn exact_epilogues(g: &Conv2d, w: &[f32], random: &mut Random, pack: impl Fn(&Cpu) -> PackedConv2d) {
    let (x, bias, residual) = (random.integers(g.x_len()), random.integers(g.o), random.integers(g.y_len()));
    for &activation in ACTIVATIONS {
        let mut want = vec![0.0; g.y_len()];
        reference::conv2d_forward(g, &x, w, Some(&bias), &mut want);
        finish(Some(&residual), activation, &mut want);
        let epilogue = Epilogue { bias: Some(&bias), residual: Some(&residual), activation };
        for cpu in &*CPUS {
            let packed = pack(cpu);
            let mut y = vec![f32::NAN; g.y_len()];
            cpu::conv2d_forward_packed(cpu, g, &x, &packed, &epilogue, &mut y);
            assert_eq!(y, want, "{} of {g:?} on {}", packed.kernel(), cpu.isa());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn forward_and_gradients_stay_within_the_bound(g in geometry(), seed: u64) {
        let mut random = Random(seed);
        let (x, w, dy) = (random.reals(g.x_len()), random.reals(g.w_len()), random.reals(g.y_len()));
        let (y, y_sums) = oracle(|x, w, y| reference::conv2d_forward(&g, x, w, None, y), &x, &w, g.y_len());
        let (dx, dx_sums) = oracle(|dy, w, dx| reference::conv2d_input_grad(&g, dy, w, dx), &dy, &w, g.x_len());
        let (dw, dw_sums) = oracle(|x, dy, dw| reference::conv2d_weight_grad(&g, x, dy, dw), &x, &dy, g.w_len());
        let (taps, c) = (g.kh * g.kw, if winograd_applies(&g) { 8.0 } else { 2.0 });
        for cpu in &*CPUS {
            let isa = cpu.isa();
            assert_bounded(&format!("{isa} y"), c, taps * g.c / g.groups, &forward(cpu, &g, &x, &w, None), &y, &y_sums);
            let got = input_grad(cpu, &g, &dy, &w);
            assert_bounded(&format!("{isa} dx"), c, taps * g.o / g.groups, &got, &dx, &dx_sums);
            let got = weight_grad(cpu, &g, &x, &dy);
            assert_bounded(&format!("{isa} dw"), c, g.y_len() / g.o, &got, &dw, &dw_sums);
        }
    }

    #[test]
    fn winograd_weight_grad_stays_within_its_bound(g in winograd_geometry(), seed: u64) {
        bounded_weight_grad(&g, seed);
    }

    #[test]
    fn winograd_weight_grad_is_adjoint_to_forward(g in winograd_geometry(), seed: u64) {
        let mut random = Random(seed);
        let (x, w, dy) = (random.reals(g.x_len()), random.reals(g.w_len()), random.reals(g.y_len()));
        let (_, sums) = oracle(|x, dy, dw| reference::conv2d_weight_grad(&g, x, dy, dw), &x, &dy, g.w_len());
        let sum: f64 = sums.iter().zip(magnitude(&w)).map(|(dw, w)| dw * w).sum();
        // Both sides round: the forward pass sums over taps and channels, the gradient over pixels.
        let lengths = (g.w_len() / g.o).max(g.y_len() / g.o) as f64;
        let bound = 2.0 * 8.0 * f64::from(f32::EPSILON) * lengths.sqrt() * sum;
        for cpu in &*CPUS {
            let difference =
                dot(&forward(cpu, &g, &x, &w, None), &dy) - dot(&w, &weight_grad(cpu, &g, &x, &dy));
            prop_assert!(difference.abs() <= bound, "{}: {difference:e} above {bound:e}", cpu.isa());
        }
    }

    #[test]
    fn integers_are_exact(g in direct_geometry(), seed: u64) {
        exact(&g, seed);
    }

    #[test]
    fn fused_epilogues_are_exact_on_integers(g in geometry(), seed: u64) {
        let mut random = Random(seed);
        let w = random.integers(g.w_len());
        exact_epilogues(&g, &w, &mut random, |cpu| PackedConv2d::direct(cpu, &g, &w));
    }

    #[test]
    fn gradients_are_adjoint_to_forward(g in direct_geometry(), seed: u64) {
        let mut random = Random(seed);
        let (x, w, dy) = (random.integers(g.x_len()), random.integers(g.w_len()), random.integers(g.y_len()));
        for cpu in &*CPUS {
            let product = dot(&forward(cpu, &g, &x, &w, None), &dy);
            prop_assert_eq!(product, dot(&x, &input_grad(cpu, &g, &dy, &w)), "{} dx", cpu.isa());
            prop_assert_eq!(product, dot(&w, &weight_grad(cpu, &g, &x, &dy)), "{} dw", cpu.isa());
        }
    }

    #[test]
    fn masked_equals_dense_with_zeroed_filters(g in direct_geometry(), seed: u64, with_bias: bool, all_dead: bool) {
        let mut random = Random(seed);
        let (x, w, bias) = (random.integers(g.x_len()), random.integers(g.w_len()), random.integers(g.o));
        let live = if all_dead { vec![false; g.o] } else { random.flags(g.o) };
        let bias = with_bias.then_some(&bias[..]);
        for cpu in &*CPUS {
            let dense = forward(cpu, &g, &x, &without(&w, &live), bias);
            prop_assert_eq!(masked(cpu, &g, &x, &w, bias, &live), dense, "{}", cpu.isa());
        }
    }

    #[test]
    fn compact_equals_dense(g in direct_geometry(), seed: u64) {
        compact(&Conv2d { groups: 1, ..g }, seed);
    }

    #[test]
    fn results_do_not_depend_on_the_thread_count(g in geometry(), seed: u64) {
        same_bits(&g, seed);
    }
}

/// Asserts that the weight gradient stays within the bound of Winograd's algorithm.
fn bounded_weight_grad(g: &Conv2d, seed: u64) {
    let mut random = Random(seed);
    let (x, dy) = (random.reals(g.x_len()), random.reals(g.y_len()));
    let (dw, sums) = oracle(|x, dy, dw| reference::conv2d_weight_grad(g, x, dy, dw), &x, &dy, g.w_len());
    for cpu in &*CPUS {
        let got = weight_grad(cpu, g, &x, &dy);
        assert_bounded(&format!("{} dw of {g:?}", cpu.isa()), 8.0, g.y_len() / g.o, &got, &dw, &sums);
    }
}

/// Asserts that the forward pass and the gradients of integers equal the reference exactly.
fn exact(g: &Conv2d, seed: u64) {
    let mut random = Random(seed);
    let (x, w, dy) = (random.integers(g.x_len()), random.integers(g.w_len()), random.integers(g.y_len()));
    let bias = random.integers(g.o);
    let (mut y, mut dx, mut dw) = (vec![0.0; g.y_len()], vec![0.0; g.x_len()], vec![0.0; g.w_len()]);
    reference::conv2d_forward(g, &x, &w, Some(&bias), &mut y);
    reference::conv2d_input_grad(g, &dy, &w, &mut dx);
    reference::conv2d_weight_grad(g, &x, &dy, &mut dw);
    for cpu in &*CPUS {
        assert_eq!(forward(cpu, g, &x, &w, Some(&bias)), y, "{} y of {g:?}", cpu.isa());
        assert_eq!(input_grad(cpu, g, &dy, &w), dx, "{} dx of {g:?}", cpu.isa());
        assert_eq!(weight_grad(cpu, g, &x, &dy), dw, "{} dw of {g:?}", cpu.isa());
    }
}

/// Asserts that a compact convolution equals the dense one if the dead inputs are constant, the carrier's weights are
/// the sum of their contributions, and dead filters are zero.
fn compact(g: &Conv2d, seed: u64) {
    let mut random = Random(seed);
    let (live_in, live_out) = (random.flags(g.c), random.flags(g.o));
    let (bias, residual, constants) =
        (random.integers(g.o), random.integers(g.y_len()), random.integers(g.c));
    let mut x = random.integers(g.x_len());
    for (i, x) in x.iter_mut().enumerate().filter(|(i, _)| !live_in[i % g.c]) {
        *x = constants[i % g.c];
    }
    let w = without(&random.integers(g.w_len()), &live_out);
    let positions =
        |flags: &[bool]| (0..flags.len() as u32).filter(|&i| flags[i as usize]).collect::<Vec<_>>();
    let index = CompactIndex { inputs: positions(&live_in), outputs: positions(&live_out), carrier: true };
    let mut inner = Vec::new();
    for filter in w.chunks_exact(g.w_len() / g.o).zip(&live_out).filter(|(_, live)| **live).map(|(f, _)| f) {
        for tap in filter.chunks_exact(g.c) {
            inner.extend(tap.iter().zip(&live_in).filter(|(_, live)| **live).map(|(w, _)| w));
            inner.push((0..g.c).filter(|&c| !live_in[c]).map(|c| tap[c] * constants[c]).sum());
        }
    }
    let epilogue = Epilogue { bias: Some(&bias), residual: Some(&residual), activation: Activation::Relu };
    for cpu in &*CPUS {
        let mut want = vec![f32::NAN; g.y_len()];
        cpu::conv2d_forward_packed(cpu, g, &x, &PackedConv2d::direct(cpu, g, &w), &epilogue, &mut want);
        let packing = Packing::By(Algorithm::Direct);
        let packed = PackedConv2d::compact(cpu, g, &index, &inner, &bias, packing);
        let mut y = vec![f32::NAN; g.y_len()];
        cpu::conv2d_forward_packed(cpu, g, &x, &packed, &epilogue, &mut y);
        assert_eq!(y, want, "{} of {g:?}", cpu.isa());
    }
}

/// Asserts that one, two and three threads compute the same bits, including the gradients.
fn same_bits(g: &Conv2d, seed: u64) {
    let mut random = Random(seed);
    let (x, w, dy) = (random.reals(g.x_len()), random.reals(g.w_len()), random.reals(g.y_len()));
    for cpu in &*CPUS {
        let all = |threads| {
            let cpu = cpu.clone().threads(threads);
            (forward(&cpu, g, &x, &w, None), input_grad(&cpu, g, &dy, &w), weight_grad(&cpu, g, &x, &dy))
        };
        let one = all(1);
        assert_eq!(one, all(2), "{} with two threads", cpu.isa());
        assert_eq!(one, all(3), "{} with three threads", cpu.isa());
    }
}

#[test]
fn large_shapes_are_exact() {
    for g in large_geometries() {
        exact(&g, 1);
    }
}

#[test]
fn large_shapes_compact() {
    for g in large_geometries().iter().filter(|g| g.groups == 1) {
        compact(g, 2);
    }
}

#[test]
fn large_shapes_do_not_depend_on_the_thread_count() {
    for g in large_geometries() {
        same_bits(&g, 3);
    }
}

#[test]
fn packed_weights_serve_any_image_and_batch() {
    let mut random = Random(4);
    for (small, algorithm) in [
        (Conv2d::square([1, 4, 5, 3], 20, 3, 1, 1), "gemm"),
        (Conv2d::square([1, 16, 16, 64], 64, 3, 1, 1), "winograd"),
    ] {
        let g = Conv2d { n: 2, h: 9, w: 7, ..small };
        let (x, w) = (random.reals(g.x_len()), random.reals(g.w_len()));
        let (want, sums) = oracle(|x, w, y| reference::conv2d_forward(&g, x, w, None, y), &x, &w, g.y_len());
        for cpu in &*CPUS {
            let packed = PackedConv2d::new(cpu, &small, &w);
            assert!(packed.kernel().starts_with(algorithm), "{}", packed.kernel());
            let mut y = vec![f32::NAN; g.y_len()];
            cpu::conv2d_forward_packed(cpu, &g, &x, &packed, &Epilogue::default(), &mut y);
            assert_bounded(packed.kernel(), 8.0, 9 * g.c, &y, &want, &sums);
        }
    }
}

#[test]
fn a_nan_passes_through_relu() {
    let g = Conv2d::square([1, 1, 1, 1], 1, 1, 1, 0);
    let epilogue = Epilogue { activation: Activation::Relu6, ..Default::default() };
    for cpu in &*CPUS {
        let mut y = [0.0];
        cpu::conv2d_forward_packed(
            cpu,
            &g,
            &[f32::NAN],
            &PackedConv2d::new(cpu, &g, &[1.0]),
            &epilogue,
            &mut y,
        );
        assert!(y[0].is_nan(), "{}", cpu.isa());
    }
}
