//! Linear layers in every layout of their weight: the results are those of the reference, and the memory is what the
//! footprint states.

use crate::support::{CPUS, Random, assert_bounded, finish, magnitude, wide};
use lopper_kernels::cpu::{self, Cpu, Epilogue, Footprint, LinearLayout, PackedLinear};
use lopper_kernels::params::{ACTIVATIONS, Dtype};
use lopper_kernels::pattern::Pattern;
use lopper_kernels::reference;
use lopper_kernels::shapes::Linear;
use proptest::prelude::*;

const LAYOUTS: [LinearLayout; 3] = [LinearLayout::Panels, LinearLayout::Bits, LinearLayout::Lists];
const DTYPES: [Dtype; 2] = [Dtype::F32, Dtype::Bf16];

/// Which weights of a layer are zero.
#[derive(Debug, Clone, Copy)]
enum Zeros {
    /// Each weight with this probability, in eighths.
    Weights(u64),
    /// All but n of m consecutive weights.
    NofM(usize, usize),
    /// Whole rows and whole columns.
    RowsAndColumns,
    /// All but one weight.
    AllButOne,
    All,
}

fn zeros() -> impl Strategy<Value = Zeros> {
    prop_oneof![
        4 => (0..=8u64).prop_map(Zeros::Weights),
        2 => prop_oneof![Just((2, 4)), Just((1, 4)), Just((4, 8))].prop_map(|(n, m)| Zeros::NofM(n, m)),
        1 => Just(Zeros::RowsAndColumns),
        1 => Just(Zeros::AllButOne),
        1 => Just(Zeros::All),
    ]
}

/// Sets weights of `w` `[O, I]` to zero.
fn set_zeros(zeros: Zeros, w: &mut [f32], inputs: usize, random: &mut Random) {
    let (rows, columns) = (random.flags(w.len() / inputs), random.flags(inputs));
    let live = random.bits() as usize % w.len();
    for (i, value) in w.iter_mut().enumerate() {
        let (row, column, bits) = (i / inputs, i % inputs, random.bits());
        let keep = match zeros {
            Zeros::Weights(eighths) => bits % 8 >= eighths,
            Zeros::NofM(n, m) => (column + row) % m < n,
            Zeros::RowsAndColumns => rows[row] && columns[column],
            Zeros::AllButOne => i == live,
            Zeros::All => false,
        };
        if !keep {
            *value = 0.0;
        }
    }
}

/// Rounds to bf16 and back.
fn rounded(values: &[f32]) -> Vec<f32> {
    values.iter().map(|&v| half::bf16::from_f32(v).to_f32()).collect()
}

fn forward(cpu: &Cpu, g: &Linear, x: &[f32], w: &PackedLinear, epilogue: &Epilogue) -> Vec<f32> {
    let mut y = vec![f32::NAN; g.n * g.outputs];
    cpu::linear_forward_packed(cpu, g, x, w, epilogue, &mut y);
    y
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Integers are exact with every epilogue.
    #[test]
    fn layouts_are_exact_on_integers(
        n in 1..=9usize, inputs in 1..=200usize, outputs in 1..=150usize, zeros in zeros(), seed: u64,
    ) {
        let (g, mut random) = (Linear { n, inputs, outputs }, Random(seed));
        let (x, mut w) = (random.integers(n * inputs), random.integers(outputs * inputs));
        let (bias, residual) = (random.integers(outputs), random.integers(n * outputs));
        set_zeros(zeros, &mut w, inputs, &mut random);
        let pattern = Pattern::of(&w, [outputs, 1, inputs]);
        let activation = ACTIVATIONS[seed as usize % ACTIVATIONS.len()];
        let mut want = vec![0.0; n * outputs];
        reference::linear_forward(&g, &x, &w, Some(&bias), &mut want);
        finish(Some(&residual), activation, &mut want);
        let epilogue = Epilogue { bias: Some(&bias), residual: Some(&residual), activation };
        for (cpu, layout, dtype) in each() {
            let packed = PackedLinear::laid_out(cpu, &g, &w, &pattern, dtype, layout);
            prop_assert_eq!(&forward(cpu, &g, &x, &packed, &epilogue), &want, "{}", packed.kernel());
            prop_assert!(packed.products(&g) <= g.macs());
        }
    }

    /// Reals stay within the bound of a direct sum, and each row has the same bits in any batch.
    #[test]
    fn layouts_stay_within_the_bound(
        n in 1..=9usize, inputs in 1..=200usize, outputs in 1..=150usize, zeros in zeros(), seed: u64,
    ) {
        let (g, mut random) = (Linear { n, inputs, outputs }, Random(seed));
        let (x, mut w) = (random.reals(n * inputs), rounded(&random.reals(outputs * inputs)));
        set_zeros(zeros, &mut w, inputs, &mut random);
        let pattern = Pattern::of(&w, [outputs, 1, inputs]);
        let product = |of: fn(&[f32]) -> Vec<f64>| {
            let mut y = vec![0.0; n * outputs];
            reference::linear_forward(&g, &of(&x), &of(&w), None, &mut y);
            y
        };
        let (want, sums) = (product(wide), product(magnitude));
        for (cpu, layout, dtype) in each() {
            let packed = PackedLinear::laid_out(cpu, &g, &w, &pattern, dtype, layout);
            let y = forward(cpu, &g, &x, &packed, &Epilogue::default());
            assert_bounded(packed.kernel(), 2.0, inputs, &y, &want, &sums);
            let alone = forward(cpu, &Linear { n: 1, ..g }, &x[(n - 1) * inputs..], &packed, &Epilogue::default());
            if layout != LinearLayout::Panels {
                prop_assert_eq!(&alone[..], &y[(n - 1) * outputs..], "{}", packed.kernel());
            }
        }
    }

    /// A packed weight takes the bytes that its footprint states, whichever layout is chosen.
    #[test]
    fn a_footprint_is_never_too_small(
        n in 1..=9usize, inputs in 1..=200usize, outputs in 1..=150usize, zeros in zeros(), seed: u64,
    ) {
        let (g, mut random) = (Linear { n, inputs, outputs }, Random(seed));
        let mut w = random.reals(outputs * inputs);
        set_zeros(zeros, &mut w, inputs, &mut random);
        let pattern = Pattern::of(&w, [outputs, 1, inputs]);
        for (cpu, _, dtype) in each() {
            let packed = PackedLinear::masked(cpu, &g, &w, &pattern, dtype);
            let footprint = Footprint::linear(cpu, &g, &pattern, dtype);
            prop_assert!(footprint.packed >= packed.bytes() as u64, "{}", packed.kernel());
        }
    }
}

/// Every combination of instruction set, layout and type.
fn each() -> impl Iterator<Item = (&'static Cpu, LinearLayout, Dtype)> {
    let layouts = || LAYOUTS.into_iter().flat_map(|layout| DTYPES.map(|dtype| (layout, dtype)));
    CPUS.iter().flat_map(move |cpu| layouts().map(move |(layout, dtype)| (cpu, layout, dtype)))
}

/// Inputs that take several chunks, and outputs that take several tasks: exact, with the same bits on any number of
/// threads.
#[test]
fn long_rows_are_exact_on_any_number_of_threads() {
    let (g, mut random) = (Linear { n: 3, inputs: 9001, outputs: 131 }, Random(1));
    let (x, mut w) = (random.integers(g.n * g.inputs), random.integers(g.outputs * g.inputs));
    set_zeros(Zeros::Weights(7), &mut w, g.inputs, &mut random);
    let pattern = Pattern::of(&w, [g.outputs, 1, g.inputs]);
    let mut want = vec![0.0; g.n * g.outputs];
    reference::linear_forward(&g, &x, &w, None, &mut want);
    let reals = random.reals(x.len());
    for (cpu, layout, dtype) in each() {
        let packed = PackedLinear::laid_out(cpu, &g, &w, &pattern, dtype, layout);
        assert_eq!(forward(cpu, &g, &x, &packed, &Epilogue::default()), want, "{}", packed.kernel());
        let alone = cpu.clone().threads(1);
        let [one, two] = [&alone, cpu].map(|cpu| forward(cpu, &g, &reals, &packed, &Epilogue::default()));
        assert_eq!(one, two, "{}", packed.kernel());
    }
}

/// N:M weights take two bits per nonzero weight of 2:4 in addition to their values.
#[test]
fn n_of_m_weights_are_stored_compactly() {
    let g = Linear { n: 1, inputs: 1024, outputs: 64 };
    let mut w = Random(2).reals(g.inputs * g.outputs);
    set_zeros(Zeros::NofM(2, 4), &mut w, g.inputs, &mut Random(3));
    let pattern = Pattern::of(&w, [g.outputs, 1, g.inputs]);
    assert_eq!(pattern.to_string(), "2:4");
    for (dtype, values) in DTYPES.into_iter().zip([4, 2]) {
        let packed = PackedLinear::laid_out(&CPUS[0], &g, &w, &pattern, dtype, LinearLayout::Bits);
        let weights = g.inputs * g.outputs;
        let (least, lists) = (weights / 2 * values + weights / 8, 64 * (g.outputs + 1));
        assert!((least..least + lists).contains(&packed.bytes()), "{} of {weights} weights", packed.bytes());
    }
}
