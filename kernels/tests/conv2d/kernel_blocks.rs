//! Winograd's algorithms with kernels of zeros that blocks of filters share.

use super::*;
use lopper_kernels::cpu::Footprint;

/// A weight of `g` whose kernels are zero, for whole blocks of filters, in about `zeros` of eight cases; with `dead`,
/// some blocks are zero altogether.
fn weight(g: &Conv2d, block: usize, zeros: u64, dead: bool, random: &mut Random) -> Vec<f32> {
    let mut w = random.reals(g.w_len());
    let blocks = g.o.div_ceil(block);
    let (lost, kernels): (Vec<bool>, Vec<u64>) =
        (random.flags(blocks), (0..blocks * g.c).map(|_| random.bits() % 8).collect());
    for (i, weight) in w.iter_mut().enumerate() {
        let (filter, channel) = (i / (9 * g.c), i % g.c);
        let kernel = filter / block * g.c + channel;
        if kernels[kernel] < zeros || (dead && lost[filter / block]) {
            *weight = 0.0;
        }
    }
    w
}

/// Asserts that masked convolution stays within the bounds of both algorithms, and that its products, memory and
/// footprint are consistent.
fn bounded(g: &Conv2d, w: &[f32], random: &mut Random) {
    let (x, bias, residual) = (random.reals(g.x_len()), random.reals(g.o), random.reals(g.y_len()));
    let epilogue = Epilogue { bias: Some(&bias), residual: Some(&residual), activation: Activation::Relu };
    let (_, mut sums) = oracle(|x, w, y| reference::conv2d_forward(g, x, w, None, y), &x, w, g.y_len());
    // The error is relative to the largest sum of magnitudes in a tile, and the epilogue rounds, too.
    for o in 0..g.o {
        let largest = sums.iter().skip(o).step_by(g.o).copied().fold(0.0, f64::max);
        for (sum, residual) in sums.iter_mut().zip(&residual).skip(o).step_by(g.o) {
            *sum = largest + f64::from(bias[o].abs() + residual.abs());
        }
    }
    let mut want = vec![0.0; g.y_len()];
    reference::conv2d_forward(g, &wide(&x), &wide(w), Some(&wide(&bias)), &mut want);
    reference::conv2d_epilogue(Some(&wide(&residual)), Activation::Relu, &mut want);
    let pattern = Pattern::of(w, g.filters_shape());
    for cpu in &*CPUS {
        for (algorithm, bound) in [(Algorithm::Winograd2, 4.0), (Algorithm::Winograd4, 8.0)] {
            let packing = Packing::By(algorithm);
            let packed = PackedConv2d::masked(cpu, g, w, &pattern, packing);
            let run = |cpu: &Cpu| {
                let mut got = vec![f32::NAN; g.y_len()];
                cpu::conv2d_forward_packed(cpu, g, &x, &packed, &epilogue, &mut got);
                got
            };
            let got = run(cpu);
            assert_bounded(packed.kernel(), bound, 9 * g.c, &got, &want, &sums);
            assert_eq!(got, run(&cpu.clone().threads(1)), "{} on one thread", packed.kernel());
            let filters_only = Pattern::of_same_filters(&pattern, g.filters_shape());
            let multiplied = PackedConv2d::masked(cpu, g, w, &filters_only, packing).products(g);
            assert!(packed.products(g) <= multiplied, "{}", packed.kernel());
            let footprint = Footprint::new(cpu, g, &pattern, packing);
            assert!(footprint.packed >= packed.bytes() as u64, "{}", packed.kernel());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn kernels_of_zeros_change_no_result(
        g in winograd_geometry(), block in prop_oneof![Just(8usize), Just(16), 1..=20usize], zeros in 0..=8u64,
        dead: bool, seed: u64,
    ) {
        let mut random = Random(seed);
        let w = weight(&g, block, zeros, dead, &mut random);
        bounded(&g, &w, &mut random);
    }
}

/// Many channels, whose filters are too large for a task; filters of a single kernel; a single live weight.
#[test]
fn extreme_lists_change_no_result() {
    let mut random = Random(3);
    let large = Conv2d::square([258, 3, 3, 181], 163, 3, 1, 1);
    let w = weight(&large, 16, 4, true, &mut random);
    bounded(&large, &w, &mut random);
    let g = Conv2d::square([2, 9, 10, 20], 40, 3, 1, 1);
    let mut one_kernel = vec![0.0; g.w_len()];
    one_kernel.chunks_exact_mut(9 * g.c).enumerate().for_each(|(o, filter)| filter[o % g.c] = 1.5);
    bounded(&g, &one_kernel, &mut random);
    let mut one_weight = vec![0.0; g.w_len()];
    one_weight[g.w_len() / 2] = -2.0;
    bounded(&g, &one_weight, &mut random);
}

/// Blocks of 16 filters with half of their kernels zero are multiplied by lists on every instruction set, and the
/// reason says so.
#[test]
fn shared_kernels_of_zeros_are_skipped() {
    let g = Conv2d::square([4, 16, 16, 128], 128, 3, 1, 1);
    let w = weight(&g, 16, 4, false, &mut Random(5));
    let pattern = Pattern::of(&w, g.filters_shape());
    for cpu in &*CPUS {
        let packed = PackedConv2d::masked(cpu, &g, &w, &pattern, Packing::By(Algorithm::Winograd4));
        let dense = PackedConv2d::with(cpu, &g, &w, Packing::By(Algorithm::Winograd4));
        assert!(packed.kernel().starts_with("winograd4_lists"), "{}", packed.kernel());
        let share = packed.products(&g) as f64 / dense.products(&g) as f64;
        assert!((0.4..0.6).contains(&share), "{share} of the products");
        assert!(packed.bytes() * 10 < dense.bytes() * 7);
        assert!(packed.choice().to_string().contains("lists of channels skip by whole kernels"));
    }
}

/// Zeros that leave every kernel alive change neither the kernel nor its products.
#[test]
fn scattered_zeros_are_not_listed() {
    let g = Conv2d::square([1, 9, 9, 16], 8, 3, 1, 1);
    let w: Vec<f32> = (0..g.w_len()).map(|i| f32::from(i % 3 != 0)).collect();
    let pattern = Pattern::of(&w, g.filters_shape());
    for cpu in &*CPUS {
        let packing = Packing::By(Algorithm::Winograd4);
        let [masked, dense] = [&pattern, &Pattern::dense(g.filters_shape())]
            .map(|pattern| PackedConv2d::masked(cpu, &g, &w, pattern, packing));
        assert_eq!((masked.kernel(), masked.products(&g)), (dense.kernel(), dense.products(&g)));
        assert!(masked.choice().zeros_note().unwrap().contains("which no kernel skips"));
    }
}
