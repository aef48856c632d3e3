//! Strict plans and devices: direct kernels only, and images that are finite.

use crate::support::Random;
use lopper_engine::layer::Conv2d;
use lopper_engine::plan::{Plan, PlanOptions};
use lopper_engine::{Device, Graph, Layer, Param, Tensor};

/// A convolution that Winograd's algorithm computes fastest.
fn network() -> Graph {
    let mut graph = Graph::new(64);
    let weight = Param::new(Random(1).tensor(&[64, 3, 3, 64]));
    let conv = Conv2d {
        weight,
        bias: None,
        stride: [1; 2],
        padding: [1; 2],
        extra_padding: [0; 2],
        dilation: [1; 2],
        groups: 1,
    };
    graph.push("conv", Layer::Conv2d(conv), &[0]).unwrap();
    graph.info.input = [28, 28, 64];
    graph
}

const SHAPE: [usize; 4] = [1, 28, 28, 64];

fn kernel(plan: &Plan) -> &'static str {
    plan.steps()[0].kernel
}

#[test]
fn a_strict_plan_computes_directly_and_refuses_what_is_not_finite() {
    let (graph, device) = (network(), Device::cpu());
    let strict = PlanOptions { strict: true, ..Default::default() };
    let mut plans = [
        Plan::with(&graph, SHAPE, &device, strict).unwrap(),
        Plan::new(&graph, SHAPE, &Device::cpu().strict().unwrap()).unwrap(),
    ];
    let mut fast = Plan::new(&graph, SHAPE, &device).unwrap();
    assert!(kernel(&fast).starts_with("winograd"), "{}", kernel(&fast));
    let mut images = Random(2).tensor(&SHAPE).data().to_vec();
    for plan in &mut plans {
        assert!(kernel(plan).starts_with("gemm"), "{}", kernel(plan));
        plan.run(&images).unwrap();
    }
    // Large, yet finite: the sum of such values is not.
    images[7] = f32::MAX;
    images[8] = f32::MAX;
    for plan in &mut plans {
        plan.run(&images).unwrap();
    }
    for bad in [f32::INFINITY, f32::NEG_INFINITY, f32::NAN] {
        images[1234] = bad;
        for plan in &mut plans {
            let error = plan.run(&images).unwrap_err().to_string();
            assert!(error.contains("strict") && error.contains("value 1234"), "{error}");
            assert!(plan.run_timed(&images).is_err());
        }
        fast.run(&images).unwrap();
    }
}

#[test]
fn a_strict_device_checks_the_images_of_a_graph() {
    let (graph, device) = (network(), Device::cpu().strict().unwrap());
    let mut images = Random(3).tensor(&SHAPE);
    let plan = Plan::new(&graph, SHAPE, &device).unwrap().run(images.data()).unwrap().to_vec();
    let logits = graph.logits(&device, images.clone()).unwrap();
    assert_eq!(logits.data(), plan, "direct kernels give the same bits, packed for one call or for many");
    images.data_mut()[5] = f32::NAN;
    let error = graph.logits(&device, images.clone()).unwrap_err().to_string();
    assert!(error.contains("value 5"), "{error}");
    graph.logits(&Device::cpu(), images).unwrap();
}

/// An infinite pixel reaches the outputs that read it and, in a plan that is not strict, more.
#[test]
fn winograd_spreads_an_infinity_in_a_plan_that_is_not_strict() {
    let graph = network();
    let mut images = Random(4).tensor(&SHAPE);
    images.data_mut()[(14 * 28 + 14) * 64] = f32::INFINITY;
    let spoiled = |options: PlanOptions| {
        let mut plan = Plan::with(&graph, SHAPE, &Device::cpu(), options).unwrap();
        plan.run(images.data()).unwrap().iter().filter(|y| !y.is_finite()).count()
    };
    assert_eq!(spoiled(PlanOptions { direct: true, ..Default::default() }), 9 * 64);
    assert!(spoiled(PlanOptions::default()) > 9 * 64);
}

/// The extremes of a tensor are finite, and an empty sum is.
#[test]
fn tensors_of_zeros_are_finite() {
    let graph = network();
    let mut plan =
        Plan::with(&graph, SHAPE, &Device::cpu(), PlanOptions { strict: true, ..Default::default() })
            .unwrap();
    let zeros = Tensor::zeros(&SHAPE);
    assert!(plan.run(zeros.data()).unwrap().iter().all(|&y| y == 0.0));
}
