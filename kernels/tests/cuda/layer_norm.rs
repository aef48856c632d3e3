//! Layer norm and slopes of channels, forward and backward, against the reference in double precision.

use crate::support::device;
use crate::values::{FLOATS, check_close, epsilon, filled, get, put, random};
use lopper_kernels::cuda;
use lopper_kernels::params::Dtype;
use lopper_kernels::reference;
use lopper_kernels::shapes::LayerNorm;
use proptest::prelude::*;

const EPS: f32 = 0.1;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn layer_norm_and_its_gradients(
        rows in 1usize..40,
        c in prop_oneof![1usize..20, Just(8), Just(32), Just(264)],
        removed in 0usize..3,
        dtype in 0usize..3,
    ) {
        let Some(gpu) = device() else { return Ok(()) };
        let (dtype, constant) = (FLOATS[dtype], 0.75);
        let g = LayerNorm {
            width: c + removed,
            sum: removed as f64 * constant,
            squares: removed as f64 * constant * constant,
            ..LayerNorm::whole(rows, c, EPS)
        };
        let (x, dy, gamma, beta) = (random(1, g.len()), random(2, g.len()), random(3, c), random(4, c));
        let [on_x, on_dy] = [&x, &dy].map(|v| put(gpu, dtype, v));
        let [on_gamma, on_beta] = [&gamma, &beta].map(|v| put(gpu, Dtype::F32, v));
        let mut y = vec![0.0; g.len()];
        reference::layer_norm_forward(&g, &x, [&gamma, &beta], &mut y);
        let affine = [&on_gamma, &on_beta];
        let got = filled(gpu, dtype, g.len(), |y| cuda::layer_norm_forward(gpu, &g, &on_x, affine, y).unwrap());
        check_close("y", &got, &y, epsilon(dtype) + 1e-5);
        let (mut dx, mut dgamma, mut dbeta) = (vec![0.0; g.len()], vec![0.0; c], vec![0.0; c]);
        reference::layer_norm_backward(&g, &x, &gamma, &dy, &mut dx, [&mut dgamma, &mut dbeta]);
        let kinds = [(dtype, g.len()), (Dtype::F32, c), (Dtype::F32, c)];
        let mut on = kinds.map(|(dtype, len)| gpu.buffer(dtype, len).unwrap());
        let [on_dx, on_dgamma, on_dbeta] = &mut on;
        cuda::layer_norm_backward(gpu, &g, &on_x, &on_gamma, &on_dy, on_dx, [on_dgamma, on_dbeta]).unwrap();
        check_close("dx", &get(gpu, &on[0]), &dx, epsilon(dtype) + 5e-5);
        check_close("dgamma", &get(gpu, &on[1]), &dgamma, 1e-5 * rows as f64);
        check_close("dbeta", &get(gpu, &on[2]), &dbeta, 1e-6 * rows as f64);
    }

    #[test]
    fn slopes_of_channels(
        rows in 1usize..40,
        c in prop_oneof![1usize..20, Just(8), Just(32)],
        dtype in 0usize..3,
    ) {
        let Some(gpu) = device() else { return Ok(()) };
        let dtype = FLOATS[dtype];
        let (x, dy, slope) = (random(1, rows * c), random(2, rows * c), random(3, c));
        let [on_x, on_dy, on_slope] = [(dtype, &x), (dtype, &dy), (Dtype::F32, &slope)].map(|(t, v)| put(gpu, t, v));
        let mut y = vec![0.0; rows * c];
        reference::prelu_forward(c, &x, &slope, &mut y);
        let got = filled(gpu, dtype, rows * c, |y| cuda::prelu_forward(gpu, c, &on_x, &on_slope, y).unwrap());
        check_close("y", &got, &y, epsilon(dtype));
        let (mut dx, mut dslope) = (vec![0.0; rows * c], vec![0.0; c]);
        reference::prelu_backward(c, &x, &slope, &dy, &mut dx, &mut dslope);
        let (mut got_dx, mut got_slope) =
            (gpu.buffer(dtype, rows * c).unwrap(), gpu.buffer(Dtype::F32, c).unwrap());
        cuda::prelu_backward(gpu, c, &on_x, &on_slope, &on_dy, &mut got_dx, &mut got_slope).unwrap();
        check_close("dx", &get(gpu, &got_dx), &dx, epsilon(dtype));
        check_close("dslope", &get(gpu, &got_slope), &dslope, 1e-6 * rows as f64);
    }
}
