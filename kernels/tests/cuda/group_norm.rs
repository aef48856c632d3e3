//! Group norm, forward and backward, against the reference in double precision.

use crate::support::device;
use crate::values::{FLOATS, check_close, epsilon, filled, get, put, random};
use lopper_kernels::cuda;
use lopper_kernels::params::Dtype;
use lopper_kernels::reference;
use lopper_kernels::shapes::GroupNorm;
use proptest::prelude::*;

const EPS: f32 = 0.1;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn group_norm_and_its_gradients(
        (n, pixels) in (1usize..4, prop_oneof![1usize..40, 250usize..400]),
        groups in 1usize..9,
        depth in prop_oneof![Just(1usize), 2usize..6, Just(8), Just(16)],
        dtype in 0usize..3,
    ) {
        let Some(gpu) = device() else { return Ok(()) };
        let dtype = FLOATS[dtype];
        let g = GroupNorm { n, pixels, c: groups * depth, groups, eps: EPS };
        let (x, dy, gamma, beta) = (random(1, g.len()), random(2, g.len()), random(3, g.c), random(4, g.c));
        let [on_x, on_dy] = [&x, &dy].map(|v| put(gpu, dtype, v));
        let [on_gamma, on_beta] = [&gamma, &beta].map(|v| put(gpu, Dtype::F32, v));
        let mut y = vec![0.0; g.len()];
        reference::group_norm_forward(&g, &x, [&gamma, &beta], &mut y);
        let affine = [&on_gamma, &on_beta];
        let got = filled(gpu, dtype, g.len(), |y| cuda::group_norm_forward(gpu, &g, &on_x, affine, y).unwrap());
        check_close("y", &got, &y, epsilon(dtype) + 1e-5);
        let (mut dx, mut dgamma, mut dbeta) = (vec![0.0; g.len()], vec![0.0; g.c], vec![0.0; g.c]);
        reference::group_norm_backward(&g, &x, &gamma, &dy, &mut dx, [&mut dgamma, &mut dbeta]);
        let kinds = [(dtype, g.len()), (Dtype::F32, g.c), (Dtype::F32, g.c)];
        let mut on = kinds.map(|(dtype, len)| gpu.buffer(dtype, len).unwrap());
        let [on_dx, on_dgamma, on_dbeta] = &mut on;
        cuda::group_norm_backward(gpu, &g, &on_x, &on_gamma, &on_dy, on_dx, [on_dgamma, on_dbeta]).unwrap();
        check_close("dx", &get(gpu, &on[0]), &dx, epsilon(dtype) + 5e-5);
        let rows = (n * pixels) as f64;
        check_close("dgamma", &get(gpu, &on[1]), &dgamma, 1e-5 * rows);
        check_close("dbeta", &get(gpu, &on[2]), &dbeta, 1e-6 * rows);
    }
}
