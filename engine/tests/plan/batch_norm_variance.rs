//! Batch norm of channels whose running variance is zero, subnormal or huge: a plan gives the bits that the graph gives
//! in eval mode, and both what the formula gives in double precision.

use lopper_engine::layer::{Activation, BatchNorm};
use lopper_engine::plan::Plan;
use lopper_engine::{Device, Graph, Layer, Param, Tensor};
use lopper_kernels::{reference, shapes};
use proptest::prelude::*;

fn variance() -> impl Strategy<Value = f32> {
    prop_oneof![
        Just(0.0f32),
        Just(f32::from_bits(1)),
        Just(1e-40f32),
        Just(f32::MIN_POSITIVE),
        Just(1e-20f32),
        Just(1.0f32),
        Just(3e38f32),
        0f32..2.0,
    ]
}

fn epsilon() -> impl Strategy<Value = f32> {
    prop_oneof![
        Just(0.0f32),
        Just(f32::from_bits(1)),
        Just(1e-40f32),
        Just(1e-12f32),
        Just(1e-5f32),
        Just(1e-3f32)
    ]
}

fn channel() -> impl Strategy<Value = [f32; 4]> {
    let gamma = prop_oneof![Just(0.0f32), Just(1e-40f32), -2f32..2.0];
    let mean = prop_oneof![Just(0.0f32), Just(1000.0f32), -2f32..2.0];
    (gamma, -2f32..2.0, mean, variance()).prop_map(|(gamma, beta, mean, var)| [gamma, beta, mean, var])
}

/// Bits, of which all NaN are one.
fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| if v.is_nan() { f32::NAN.to_bits() } else { v.to_bits() }).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn plan_and_graph_agree_with_the_formula(
        channels in prop::collection::vec(channel(), 1..40),
        eps in epsilon(),
        relu: bool,
        offsets in prop::collection::vec(prop_oneof![Just(0.0f32), -2f32..2.0], 6),
    ) {
        let c = channels.len();
        let column = |i: usize| Tensor::from_fn(&[c], |ch| channels[ch][i]);
        let mut bn = BatchNorm::new(c);
        bn.weight = Param::new(column(0));
        bn.bias = Param::new(column(1));
        (bn.running_mean, bn.running_var, bn.eps) = (column(2), column(3), eps);
        let mut graph = Graph::new(c);
        graph.push("bn", Layer::BatchNorm(bn), &[0]).unwrap();
        if relu {
            graph.push("relu", Layer::Activation(Activation::Relu), &[1]).unwrap();
        }
        graph.info.input = [2, 3, c];
        // At the mean and around it.
        let x = Tensor::from_fn(&[1, 2, 3, c], |i| channels[i % c][2] + offsets[i / c]);

        let device = Device::open("cpu", Some(2)).unwrap();
        let mut plan = Plan::new(&graph, [1, 2, 3, c], &device).unwrap();
        let planned = plan.run(x.data()).unwrap().to_vec();
        let evaluated = graph.logits(&device, x.clone()).unwrap();
        prop_assert_eq!(bits(&planned), bits(evaluated.data()));

        let wide = |x: &[f32]| x.iter().map(|&x| f64::from(x)).collect::<Vec<_>>();
        let [gamma, beta, mean, var] = [0, 1, 2, 3].map(|i| wide(column(i).data()));
        let mut want = vec![0.0; x.len()];
        let g = shapes::BatchNorm { rows: 6, c, eps };
        reference::batch_norm_forward_eval(&g, &wide(x.data()), [&mean, &var], [&gamma, &beta], &mut want);
        for (i, (&got, want)) in planned.iter().zip(want).enumerate() {
            let factor = gamma[i % c] / (var[i % c] + f64::from(eps)).sqrt();
            let want = if relu && want <= 0.0 { 0.0 } else { want };
            // A factor that single precision does not hold is infinite, or zero where subnormals are flushed.
            if factor.is_nan() || factor.abs() > f64::from(f32::MAX) || want.is_nan() {
                prop_assert!(!got.is_finite() || (relu && got == 0.0), "element {i}: {got}, factor {factor:e}");
                continue;
            }
            // Flushing takes at most the least normal number from a factor and from a result.
            let flushed = f64::from(f32::MIN_POSITIVE) * (1.0 + 2.0);
            let error = (f64::from(got) - want).abs();
            let bound = 4.0 * f64::from(f32::EPSILON) * (want.abs() + beta[i % c].abs() + 1e-30) + flushed;
            prop_assert!(error <= bound, "element {i}: {got}, not {want:e}, factor {factor:e}");
        }
    }
}
