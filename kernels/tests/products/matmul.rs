//! Compares matrix products and linear layers with the reference, on every instruction set.

use crate::support::{CPUS, Random, assert_bounded, finish, magnitude, wide};
use lopper_kernels::cpu::{self, Epilogue, PackedLinear};
use lopper_kernels::params::{ACTIVATIONS, Activation, Dtype, Trans};
use lopper_kernels::pattern::Pattern;
use lopper_kernels::reference;
use lopper_kernels::shapes::{Linear, Matmul};
use proptest::prelude::*;

const TRANSPOSES: [Trans; 2] = [Trans::No, Trans::Yes];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn gemm_stays_within_the_bound(m in 1..=70usize, n in 1..=120usize, k in 1..=90usize, seed: u64) {
        let mut random = Random(seed);
        let (a, b) = (random.reals(m * k), random.reals(k * n));
        for (ta, tb) in TRANSPOSES.into_iter().flat_map(|ta| TRANSPOSES.map(|tb| (ta, tb))) {
        let g = Matmul::new([ta, tb], [m, n, k]);
            let (mut want, mut sums) = (vec![0.0; m * n], vec![0.0; m * n]);
            reference::gemm(&g, &wide(&a), &wide(&b), false, &mut want);
            reference::gemm(&g, &magnitude(&a), &magnitude(&b), false, &mut sums);
            for cpu in &*CPUS {
                let mut c = vec![f32::NAN; m * n];
                cpu::gemm(cpu, &g, &a, &b, false, &mut c);
                assert_bounded(&format!("{} {ta:?} {tb:?}", cpu.isa()), 2.0, k, &c, &want, &sums);
            }
        }
    }

    #[test]
    fn integer_products_are_exact_and_accumulate(m in 1..=40usize, n in 1..=60usize, k in 0..=40usize, seed: u64) {
        exact(m, n, k, seed);
    }

    #[test]
    fn gemv_is_exact_on_integers(m in 1..=300usize, n in 1..=300usize, seed: u64) {
        let mut random = Random(seed);
        let a = random.integers(m * n);
        for ta in TRANSPOSES {
            let (inputs, outputs) = if ta == Trans::No { (n, m) } else { (m, n) };
            let x = random.integers(inputs);
            let mut want = vec![0.0; outputs];
            reference::gemv(ta, m, n, &a, &x, &mut want);
            for cpu in &*CPUS {
                let mut y = vec![f32::NAN; outputs];
                cpu::gemv(cpu, ta, m, n, &a, &x, &mut y);
                prop_assert_eq!(&y, &want, "{} {:?}", cpu.isa(), ta);
            }
        }
    }

    /// Storing a weight as bf16 only rounds it: the results are bit-identical to those of the rounded weight.
    #[test]
    fn bf16_weights_are_rounded_weights(n in 1..=20usize, inputs in 1..=130usize, outputs in 1..=130usize, seed: u64) {
        let g = Linear { n, inputs, outputs };
        let mut random = Random(seed);
        let (x, w, bias) = (random.reals(n * inputs), random.reals(outputs * inputs), random.reals(outputs));
        let rounded: Vec<f32> = w.iter().map(|&w| half::bf16::from_f32(w).to_f32()).collect();
        let epilogue = Epilogue { bias: Some(&bias), residual: None, activation: Activation::Relu };
        for cpu in &*CPUS {
            let run = |packed: PackedLinear| {
                let mut y = vec![f32::NAN; n * outputs];
                cpu::linear_forward_packed(cpu, &g, &x, &packed, &epilogue, &mut y);
                (y, packed.bytes())
            };
            let (halves, half_bytes) = run(PackedLinear::stored(cpu, &g, &w, Dtype::Bf16));
            let (whole, bytes) = run(PackedLinear::new(cpu, &g, &rounded));
            prop_assert_eq!(halves, whole, "{}", cpu.isa());
            prop_assert_eq!(2 * half_bytes, bytes);
        }
    }

    /// Rows of zeros are not computed if that saves time: the bits are those of the dense layer, for either storage type.
    #[test]
    fn dead_rows_are_skipped(n in 1..=20usize, inputs in 1..=300usize, outputs in 1..=130usize, seed: u64) {
        let g = Linear { n, inputs, outputs };
        let mut random = Random(seed);
        let (x, residual, mut bias) =
            (random.reals(n * inputs), random.reals(n * outputs), random.reals(outputs));
        bias[0] = -0.0;
        let live = random.flags(outputs);
        let mut w = random.reals(outputs * inputs);
        for (row, _) in w.chunks_exact_mut(inputs).zip(&live).filter(|(_, live)| !**live) {
            row.fill(0.0);
        }
        let pattern = Pattern::of(&w, [outputs, 1, inputs]);
        prop_assert_eq!(pattern.filters().len(), live.iter().filter(|live| **live).count());
        let ends = [
            Epilogue { bias: Some(&bias), ..Default::default() },
            Epilogue { residual: Some(&residual), activation: Activation::Relu, ..Default::default() },
        ];
        for (cpu, storage, end) in CPUS.iter().flat_map(|cpu| {
            [Dtype::F32, Dtype::Bf16].into_iter().flat_map(move |storage| ends.map(|end| (cpu, storage, end)))
        }) {
            let run = |packed: &PackedLinear| {
                let mut y = vec![f32::NAN; n * outputs];
                cpu::linear_forward_packed(cpu, &g, &x, packed, &end, &mut y);
                y.into_iter().map(f32::to_bits).collect::<Vec<u32>>()
            };
            let masked = PackedLinear::masked(cpu, &g, &w, &pattern, storage);
            prop_assert_eq!(run(&masked), run(&PackedLinear::stored(cpu, &g, &w, storage)), "{}", cpu.isa());
            // A short reduction takes less time than scattering its results among dead rows.
            let [skipped, all] = [pattern.filters().len(), outputs].map(|rows| (n * inputs * rows) as u64);
            let pays = outputs - pattern.filters().len() >= 32 && inputs > 10 * outputs.div_ceil(8);
            prop_assert!(masked.products(&g) == skipped || masked.products(&g) == all && !pays);
        }
    }

    #[test]
    fn linear_layers_are_exact_on_integers(n in 1..=20usize, inputs in 1..=130usize, outputs in 1..=130usize, seed: u64) {
        linear(&Linear { n, inputs, outputs }, seed);
    }
}

/// Asserts that all transposes, with and without accumulation, equal the reference.
fn exact(m: usize, n: usize, k: usize, seed: u64) {
    let mut random = Random(seed);
    let (a, b, start) = (random.integers(m * k), random.integers(k * n), random.integers(m * n));
    for (ta, tb) in TRANSPOSES.into_iter().flat_map(|ta| TRANSPOSES.map(|tb| (ta, tb))) {
        let g = Matmul::new([ta, tb], [m, n, k]);
        for accumulate in [false, true] {
            let mut want = start.clone();
            reference::gemm(&g, &a, &b, accumulate, &mut want);
            for cpu in &*CPUS {
                let mut c = start.clone();
                cpu::gemm(cpu, &g, &a, &b, accumulate, &mut c);
                assert_eq!(c, want, "{} {ta:?} {tb:?} {m}×{n}×{k}", cpu.isa());
            }
        }
    }
}

/// Asserts that forward, packed forward with a fused epilogue, and both gradients equal the reference.
fn linear(g: &Linear, seed: u64) {
    let mut random = Random(seed);
    let (x, w) = (random.integers(g.n * g.inputs), random.integers(g.outputs * g.inputs));
    let (bias, dy) = (random.integers(g.outputs), random.integers(g.n * g.outputs));
    let (mut y, mut dx, mut dw) = (vec![0.0; dy.len()], vec![0.0; x.len()], vec![0.0; w.len()]);
    reference::linear_forward(g, &x, &w, Some(&bias), &mut y);
    reference::linear_input_grad(g, &dy, &w, &mut dx);
    reference::linear_weight_grad(g, &x, &dy, &mut dw);
    for cpu in &*CPUS {
        let mut got = vec![f32::NAN; y.len()];
        cpu::linear_forward(cpu, g, &x, &w, Some(&bias), &mut got);
        assert_eq!(got, y, "{} forward", cpu.isa());
        let packed = PackedLinear::new(cpu, g, &w);
        for &activation in ACTIVATIONS {
            let mut want = y.clone();
            finish(None, activation, &mut want);
            let epilogue = Epilogue { bias: Some(&bias), activation, ..Default::default() };
            cpu::linear_forward_packed(cpu, g, &x, &packed, &epilogue, &mut got);
            assert_eq!(got, want, "{} packed, {}", cpu.isa(), activation.name());
        }
        let mut got = vec![f32::NAN; x.len()];
        cpu::linear_input_grad(cpu, g, &dy, &w, &mut got);
        assert_eq!(got, dx, "{} dx", cpu.isa());
        let mut got = vec![f32::NAN; w.len()];
        cpu::linear_weight_grad(cpu, g, &x, &dy, &mut got);
        assert_eq!(got, dw, "{} dw", cpu.isa());
    }
}

#[test]
fn long_reductions_and_many_rows_are_exact() {
    exact(530, 50, 7, 1);
    exact(9, 50, 1100, 2);
    linear(&Linear { n: 1, inputs: 6000, outputs: 70 }, 3);
    linear(&Linear { n: 3, inputs: 600, outputs: 1100 }, 4);
}
