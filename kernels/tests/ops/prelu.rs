//! The rectifier with a learned slope for each channel.

use crate::support::{check_exact, check_within, filled, narrow, random, widen};
use lopper_kernels::cpu;
use lopper_kernels::reference;
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn prelu_and_its_gradients(rows in 1usize..500, c in 1usize..70) {
        let [x, dy] = [1, 2].map(|seed| narrow(&random(seed, rows * c)));
        let slope = narrow(&random(3, c));
        let y = filled(x.len(), |y| reference::prelu_forward(c, &x, &slope, y));
        check_exact(|cpu| filled(x.len(), |y| cpu::prelu_forward(cpu, c, &x, &slope, y)), &y);
        let (mut dx, mut unused) = (vec![0.0; x.len()], vec![0.0; c]);
        reference::prelu_backward(c, &x, &slope, &dy, &mut dx, &mut unused);
        let gradient = |cpu: &cpu::Cpu, part: usize| {
            let (mut dx, mut dslope) = (vec![f32::NAN; x.len()], vec![f32::NAN; c]);
            cpu::prelu_backward(cpu, c, &x, &slope, &dy, &mut dx, &mut dslope);
            if part == 0 { dx } else { dslope }
        };
        check_exact(|cpu| gradient(cpu, 0), &dx);
        let (mut wide_dx, mut want) = (vec![0.0; x.len()], vec![0.0; c]);
        let [wide_x, wide_slope, wide_dy] = [&x, &slope, &dy].map(|v| widen(v));
        reference::prelu_backward(c, &wide_x, &wide_slope, &wide_dy, &mut wide_dx, &mut want);
        // As for gates: a partial sum is below a few √rows, of which each step rounds.
        let bound = vec![f64::from(f32::EPSILON) * (rows as f64).max(8.0); c];
        check_within(|cpu| gradient(cpu, 1), &want, &bound);
    }
}
