//! Group normalization; instance normalization is the case of one channel a group.

use crate::support::{check_close, check_exact, filled, narrow, on_each_isa, random, widen};
use lopper_kernels::cpu::{self, Cpu};
use lopper_kernels::reference;
use lopper_kernels::shapes::GroupNorm;
use proptest::prelude::*;

const EPS: f32 = 1e-3;

/// Group norms of a few images, some of more pixels than a block has.
fn norms() -> impl Strategy<Value = GroupNorm> {
    let depth = prop_oneof![Just(1usize), 2usize..9, Just(16)];
    (1usize..4, prop_oneof![1usize..60, 250usize..800], 1usize..9, depth)
        .prop_map(|(n, pixels, groups, depth)| GroupNorm { n, pixels, c: groups * depth, groups, eps: EPS })
}

/// `dx`, `dgamma` and `dbeta`.
fn gradients(cpu: &Cpu, g: &GroupNorm, x: &[f32], gamma: &[f32], dy: &[f32]) -> [Vec<f32>; 3] {
    let [mut dx, mut dgamma, mut dbeta] = [g.len(), g.c, g.c].map(|len| vec![f32::NAN; len]);
    cpu::group_norm_backward(cpu, g, x, gamma, dy, &mut dx, [&mut dgamma, &mut dbeta]);
    [dx, dgamma, dbeta]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn group_norm_and_its_gradients(g in norms(), shift in prop_oneof![Just(0.0), -50.0f64..50.0]) {
        let x = narrow(&random(1, g.len()).iter().map(|x| x + shift).collect::<Vec<_>>());
        let [gamma, beta, dy] = [(2, g.c), (3, g.c), (4, g.len())].map(|(seed, len)| narrow(&random(seed, len)));
        let [wide_x, wide_gamma, wide_beta, wide_dy] = [&x, &gamma, &beta, &dy].map(|v| widen(v));
        let y = filled(g.len(), |y| reference::group_norm_forward(&g, &wide_x, [&wide_gamma, &wide_beta], y));
        // A group that is nearly constant divides by √ε. The mean is subtracted with all of its digits.
        let growth = 1.0 / f64::from(EPS).sqrt();
        check_close(
            |cpu| filled(g.len(), |y| cpu::group_norm_forward(cpu, &g, &x, [&gamma, &beta], y)),
            &y,
            1e-6 * growth,
        );
        let (mut dx, mut dgamma, mut dbeta) = (vec![0.0; g.len()], vec![0.0; g.c], vec![0.0; g.c]);
        reference::group_norm_backward(&g, &wide_x, &wide_gamma, &wide_dy, &mut dx, [&mut dgamma, &mut dbeta]);
        let part = |part: usize| {
            let (x, gamma, dy) = (&x, &gamma, &dy);
            move |cpu: &Cpu| gradients(cpu, &g, x, gamma, dy)[part].clone()
        };
        let rows = ((g.n * g.pixels) as f64).sqrt();
        check_close(part(0), &dx, 4e-6 * growth / f64::from(EPS).sqrt());
        check_close(part(1), &dgamma, 2e-6 * growth * rows);
        check_close(part(2), &dbeta, 1e-6 * rows);
    }

    /// The bits of an image do not depend on the others.
    #[test]
    fn each_image_is_normalized_alone(g in norms(), image in any::<prop::sample::Index>()) {
        let (image, x) = (image.index(g.n), narrow(&random(1, g.len())));
        let [gamma, beta] = [2, 3].map(|seed| narrow(&random(seed, g.c)));
        let one = GroupNorm { n: 1, ..g };
        let part = image * one.len()..(image + 1) * one.len();
        let results = on_each_isa(|cpu| {
            let all = filled(g.len(), |y| cpu::group_norm_forward(cpu, &g, &x, [&gamma, &beta], y));
            let alone = filled(one.len(), |y| {
                cpu::group_norm_forward(cpu, &one, &x[part.clone()], [&gamma, &beta], y);
            });
            [&all[part.clone()], &alone].concat()
        });
        for (isa, found) in results {
            let (of_all, alone) = found.split_at(one.len());
            prop_assert_eq!(of_all, alone, "{}", isa);
        }
    }
}

/// By hand: two pixels of two groups of two channels. The first group holds 1, 3, 5 and 7: mean 4, variance 5.
#[test]
fn two_groups_by_hand() {
    let g = GroupNorm { n: 1, pixels: 2, c: 4, groups: 2, eps: 4.0 };
    let x = [1.0, 3.0, 2.0, 2.0, 5.0, 7.0, 2.0, 2.0];
    // √(5 + 4) = 3; a constant group becomes β.
    let y = [-3.0, -1.0, 0.5, -2.0, 1.0, 3.0, 0.5, -2.0];
    let (gamma, beta) = ([3.0, 3.0, 1.0, 1.0], [0.0, 0.0, 0.5, -2.0]);
    let got = |cpu: &Cpu| filled(8, |y| cpu::group_norm_forward(cpu, &g, &x, [&gamma, &beta], y));
    check_close(got, &y.map(|y: f32| f64::from(y)), 1e-6);
}

/// The variance of a channel that is constant is zero, whatever the constant, so that it becomes β to the last bit.
#[test]
fn constant_channels_become_their_shift() {
    let g = GroupNorm { n: 2, pixels: 777, c: 5, groups: 5, eps: 1e-12 };
    let constants = [0.1, -3.3e7, 1e-30, 0.0, 123.456];
    let x: Vec<f32> = constants.iter().copied().cycle().take(g.len()).collect();
    let (gamma, beta) = ([2.0; 5], [0.1, -0.2, 3.0, 0.0, 7.7]);
    let want: Vec<f32> = beta.iter().copied().cycle().take(g.len()).collect();
    check_exact(|cpu| filled(g.len(), |y| cpu::group_norm_forward(cpu, &g, &x, [&gamma, &beta], y)), &want);
}
