//! Products with a gate, and gathering of channels.

use crate::support::device;
use crate::values::{FLOATS, check_close, epsilon, filled, integers, narrow, put, random, round};
use lopper_kernels::cuda::{self, GatherList};
use lopper_kernels::reference;
use lopper_kernels::shapes::Gate;
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn gate_and_its_gradient(
        (n, pixels) in (1usize..4, 1usize..40),
        c in prop_oneof![1usize..20, Just(8), Just(32), Just(296)],
        dtype in 0usize..3,
    ) {
        let Some(gpu) = device() else { return Ok(()) };
        let (g, dtype) = (Gate { n, pixels, c }, FLOATS[dtype]);
        let (x, gate, dy) = (random(1, g.x_len()), random(2, g.gate_len()), integers(3, g.x_len()));
        let [on_x, on_gate, on_dy] = [&x, &gate, &dy].map(|v| put(gpu, dtype, v));
        let mut y = vec![0.0; g.x_len()];
        reference::gate_forward(&g, &x, &gate, &mut y);
        let got = filled(gpu, dtype, g.x_len(), |y| cuda::gate_forward(gpu, &g, &on_x, &on_gate, y).unwrap());
        let want: Vec<f64> = y.iter().map(|&y| round(dtype, y)).collect();
        assert_eq!(got, narrow(&want));
        let mut dgate = vec![0.0; g.gate_len()];
        reference::gate_grad(&g, &x, &dy, &mut dgate);
        let got =
            filled(gpu, dtype, g.gate_len(), |dgate| cuda::gate_grad(gpu, &g, &on_x, &on_dy, dgate).unwrap());
        check_close("dgate", &got, &dgate, epsilon(dtype) + 1e-6 * pixels as f64);
    }

    #[test]
    fn gathering_and_its_gradient(
        rows in 1usize..20,
        width in prop_oneof![1usize..30, Just(16), Just(32)],
        kind in 0usize..3,
        dtype in 0usize..3,
        seed in any::<u64>(),
    ) {
        let Some(gpu) = device() else { return Ok(()) };
        let dtype = FLOATS[dtype];
        let list: Vec<u32> = match kind {
            0 => integers(seed, 2 * width).iter().map(|x| (x + 4.0) as u32 % width as u32).collect(),
            // Two halves that change places, in units if they are wide.
            1 => (0..width as u32).map(|i| (i + width as u32 / 2) % width as u32).collect(),
            _ => (0..width as u32).map(|i| i % 2 * (width as u32 / 2) + i / 2).map(|i| i % width as u32).collect(),
        };
        let (x, dy) = (integers(1, rows * width), integers(2, rows * list.len()));
        let [on_x, on_dy] = [&x, &dy].map(|v| put(gpu, dtype, v));
        let gather = GatherList::new(gpu, width, &list, dtype).unwrap();
        let (mut y, mut dx) = (vec![0.0; dy.len()], vec![0.0; x.len()]);
        reference::gather_forward(width, &list, &x, &mut y);
        reference::gather_input_grad(width, &list, &dy, &mut dx);
        let got = filled(gpu, dtype, dy.len(), |y| cuda::gather_forward(gpu, &gather, &on_x, y).unwrap());
        assert_eq!(got, narrow(&y));
        let got = filled(gpu, dtype, x.len(), |dx| cuda::gather_input_grad(gpu, &gather, &on_dy, dx).unwrap());
        // Sums of a few small integers are exact in every type.
        assert_eq!(got, narrow(&dx));
    }
}
