//! Layer normalization, whole and with constants that are not part of a row.

use crate::support::{check_close, filled, narrow, on_each_isa, random, widen};
use lopper_kernels::cpu::{self, Cpu};
use lopper_kernels::reference;
use lopper_kernels::shapes::LayerNorm;
use proptest::prelude::*;

const EPS: f32 = 1e-3;

/// Layer norms of rows, a third of them with constants besides.
fn norms() -> impl Strategy<Value = LayerNorm> {
    let constants = prop_oneof![
        2 => Just(Vec::new()),
        1 => prop::collection::vec(-3.0f64..3.0, 1..5),
    ];
    (1usize..60, prop_oneof![1usize..70, 200usize..900], constants).prop_map(|(rows, c, constants)| {
        LayerNorm {
            width: c + constants.len(),
            sum: constants.iter().sum(),
            squares: constants.iter().map(|v| v * v).sum(),
            ..LayerNorm::whole(rows, c, EPS)
        }
    })
}

/// `dx`, `dgamma` and `dbeta`.
fn gradients(cpu: &Cpu, g: &LayerNorm, x: &[f32], gamma: &[f32], dy: &[f32]) -> [Vec<f32>; 3] {
    let [mut dx, mut dgamma, mut dbeta] = [g.len(), g.c, g.c].map(|len| vec![f32::NAN; len]);
    cpu::layer_norm_backward(cpu, g, x, gamma, dy, &mut dx, [&mut dgamma, &mut dbeta]);
    [dx, dgamma, dbeta]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn layer_norm_and_its_gradients(g in norms(), shift in prop_oneof![Just(0.0), -50.0f64..50.0]) {
        let x = narrow(&random(1, g.len()).iter().map(|x| x + shift).collect::<Vec<_>>());
        let [gamma, beta, dy] = [(2, g.c), (3, g.c), (4, g.len())].map(|(seed, len)| narrow(&random(seed, len)));
        let [wide_x, wide_gamma, wide_beta, wide_dy] = [&x, &gamma, &beta, &dy].map(|v| widen(v));
        let y = filled(g.len(), |y| reference::layer_norm_forward(&g, &wide_x, [&wide_gamma, &wide_beta], y));
        // A mean of `shift` is rounded at that size, and a row that is nearly constant divides by √ε.
        let growth = (1.0 + shift.abs()) / f64::from(EPS).sqrt();
        check_close(
            |cpu| filled(g.len(), |y| cpu::layer_norm_forward(cpu, &g, &x, [&gamma, &beta], y)),
            &y,
            1e-6 * growth,
        );
        let (mut dx, mut dgamma, mut dbeta) = (vec![0.0; g.len()], vec![0.0; g.c], vec![0.0; g.c]);
        reference::layer_norm_backward(&g, &wide_x, &wide_gamma, &wide_dy, &mut dx, [&mut dgamma, &mut dbeta]);
        let part = |part: usize| {
            let (x, gamma, dy) = (&x, &gamma, &dy);
            move |cpu: &Cpu| gradients(cpu, &g, x, gamma, dy)[part].clone()
        };
        let rows = (g.rows as f64).sqrt();
        check_close(part(0), &dx, 4e-6 * growth / f64::from(EPS).sqrt());
        check_close(part(1), &dgamma, 2e-6 * growth * rows);
        check_close(part(2), &dbeta, 1e-6 * rows);
    }
}

/// A constant that is not part of the row counts as if it were: the statistics are those of the longer row.
#[test]
fn constants_count_like_channels() {
    let (rows, c, constants) = (5, 7, [1.5f32, 1.5, -0.25]);
    let x = narrow(&random(1, rows * c));
    let longer: Vec<f32> = x.chunks(c).flat_map(|row| row.iter().copied().chain(constants)).collect();
    let [gamma, beta] = [2, 3].map(|seed| narrow(&random(seed, c + constants.len())));
    let whole = LayerNorm::whole(rows, c + constants.len(), EPS);
    let wide: Vec<f64> = constants.iter().map(|&v| v.into()).collect();
    let g = LayerNorm { c, sum: wide.iter().sum(), squares: wide.iter().map(|v| v * v).sum(), ..whole };
    for (isa, y) in on_each_isa(|cpu| {
        filled(g.len(), |y| cpu::layer_norm_forward(cpu, &g, &x, [&gamma[..c], &beta[..c]], y))
    }) {
        let all = filled(whole.len(), |y| {
            cpu::layer_norm_forward(&Cpu::detect(), &whole, &longer, [&gamma, &beta], y);
        });
        for (row, all) in y.chunks(c).zip(all.chunks(whole.c)) {
            for (a, b) in row.iter().zip(all) {
                assert!((a - b).abs() <= 4.0 * f32::EPSILON * (1.0 + b.abs()), "{isa}: {a}, expected {b}");
            }
        }
    }
}
