//! Products with a gate.

use crate::support::{check_exact, check_within, filled, narrow, random, widen};
use lopper_kernels::cpu;
use lopper_kernels::reference;
use lopper_kernels::shapes::Gate;
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn gate_and_its_gradient(n in 1usize..5, pixels in 1usize..200, c in prop_oneof![1usize..40, 100usize..300]) {
        let g = Gate { n, pixels, c };
        let (x, gate, dy) =
            (narrow(&random(1, g.x_len())), narrow(&random(2, g.gate_len())), narrow(&random(3, g.x_len())));
        let y = filled(g.x_len(), |y| reference::gate_forward(&g, &x, &gate, y));
        check_exact(|cpu| filled(g.x_len(), |y| cpu::gate_forward(cpu, &g, &x, &gate, y)), &y);
        let want = filled(g.gate_len(), |dgate| reference::gate_grad(&g, &widen(&x), &widen(&dy), dgate));
        // Each product is below 1, so a partial sum of random signs is below a few √P, of which each step rounds.
        let bound = vec![f64::from(f32::EPSILON) * (pixels as f64).max(8.0); want.len()];
        check_within(|cpu| filled(g.gate_len(), |dgate| cpu::gate_grad(cpu, &g, &x, &dy, dgate)), &want, &bound);
    }
}
