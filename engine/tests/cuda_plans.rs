//! On the emulator, a GPU plan computes what its graph does, in every precision, and leaves nothing allocated.

mod support;

use lopper_engine::layer::{Activation, CompactConv2d, Conv2d, FixedWindow, Linear, Pool, Window};
use lopper_engine::plan::{Plan, PlanOptions};
use lopper_engine::{Device, Graph, Layer, Param, Tensor};
use lopper_kernels::cuda::{Dtype, emulator};
use proptest::prelude::*;
use std::sync::{Mutex, MutexGuard, PoisonError};
use support::{Random, cuda_on_cpu, error, evaluate, images, random_graph};

/// Returns CUDA on the CPU, for one test at a time because tests check its memory; `None` if unavailable.
fn gpu() -> Option<(MutexGuard<'static, ()>, Device)> {
    static ALONE: Mutex<()> = Mutex::new(());
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    Some((alone, cuda_on_cpu()?))
}

fn in_precision(gpu: &Device, precision: Dtype) -> Device {
    gpu.clone().with_precision(precision).unwrap()
}

fn plan(graph: &Graph, images: &Tensor, device: &Device) -> Plan {
    Plan::new(graph, images.shape().try_into().unwrap(), device).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_plan_computes_what_the_reference_does(seed in any::<u64>(), n in 1usize..3) {
        let Some((_alone, gpu)) = gpu() else { return Ok(()) };
        let graph = random_graph(seed);
        let x = images(&graph, n, seed);
        let mut plan = plan(&graph, &x, &gpu);
        let expected = evaluate(&graph, &x);
        let first = plan.run(x.data()).unwrap().to_vec();
        prop_assert!(error(&first, &expected) < 2e-5, "{:?} and {:?}", first, expected.last());
        // The arena keeps nothing of the first run that the second would read.
        plan.run(&vec![1e3; x.len()]).unwrap();
        prop_assert_eq!(&first, plan.run(x.data()).unwrap(), "a replay gives the same bits");
        prop_assert_eq!(plan.output_shape(), [n, 4]);
    }

    /// The network is split into steps as on the CPU; kernels and their bytes are specific to the device.
    #[test]
    fn steps_are_those_of_the_cpu(seed in any::<u64>()) {
        let Some((_alone, gpu)) = gpu() else { return Ok(()) };
        let graph = random_graph(seed);
        let x = images(&graph, 1, seed);
        let steps = |device: &Device| -> Vec<_> {
            let plan = plan(&graph, &x, device);
            let steps = plan.steps().iter();
            steps.map(|s| (s.name.clone(), s.kind, s.fused.clone(), s.macs, s.shape.clone(), s.channels.clone())).collect()
        };
        prop_assert_eq!(steps(&gpu), steps(&Device::cpu()));
    }
}

/// Errors match the roundings: of a product's factors and, in 16 bits, of every value. Smaller errors would mean that
/// another precision ran.
#[test]
fn errors_of_other_precisions_match_their_digits() {
    let Some((_alone, gpu)) = gpu() else { return };
    for (precision, expected) in
        [(Dtype::Tf32, 2e-5..2e-3), (Dtype::Bf16, 1e-3..2e-2), (Dtype::F16, 1e-4..4e-3)]
    {
        let mut largest: f64 = 0.0;
        for seed in 0..12 {
            let graph = random_graph(seed);
            let x = images(&graph, 2, seed);
            let mut plan = plan(&graph, &x, &in_precision(&gpu, precision));
            let first = plan.run(x.data()).unwrap().to_vec();
            largest = largest.max(error(&first, &evaluate(&graph, &x)));
            plan.run(&vec![1.0; x.len()]).unwrap();
            assert_eq!(first, plan.run(x.data()).unwrap(), "a replay gives the same bits");
        }
        assert!(expected.contains(&largest), "{}: {largest}", precision.name());
    }
}

fn conv(weight: Tensor, groups: usize) -> Conv2d {
    Conv2d {
        weight: Param::new(weight),
        bias: None,
        stride: [1; 2],
        padding: [1; 2],
        extra_padding: [0; 2],
        dilation: [1; 2],
        groups,
    }
}

/// Compact, pooled, widened, concatenated, summed: all operations without a dense product.
fn without_products() -> Graph {
    let mut graph = Graph::new(6);
    let compact = CompactConv2d {
        conv: conv(Random(3).tensor(&[2, 3, 3, 4]), 1),
        inputs: vec![0, 2, 5],
        outputs: vec![1, 4],
        in_width: 6,
        carrier: true,
        fill: Random(4).tensor(&[6]).data().to_vec(),
    };
    let compact = graph.push("compact", Layer::CompactConv2d(compact), &[0]).unwrap();
    let sum = graph.push("sum", Layer::Add, &[compact, 0]).unwrap();
    let relu = graph.push("relu", Layer::Activation(Activation::Relu6), &[sum]).unwrap();
    let pooled = graph.push("pooled", Layer::Pool(Pool::max(FixedWindow::square(2, 2, 0))), &[relu]).unwrap();
    let shortcut = Layer::PadShortcut { stride: 2, before: 1, after: 2 };
    let wide = graph.push("wide", shortcut, &[relu]).unwrap();
    let all = graph.push("all", Layer::Concat, &[pooled, wide, pooled]).unwrap();
    let thrice = graph.push("thrice", Layer::Add, &[all, all, all]).unwrap();
    graph.push("mean", Layer::Pool(Pool::average(Window::Adaptive([2, 1]))), &[thrice]).unwrap();
    graph.info.input = [6, 6, 6];
    graph
}

#[test]
fn sixteen_bits_halve_the_arena_and_round_every_value() {
    let Some((_alone, gpu)) = gpu() else { return };
    let graph = without_products();
    let x = images(&graph, 1, 1);
    let expected = evaluate(&graph, &x);
    let arena = plan(&graph, &x, &gpu).memory().arena;
    for (precision, tolerance) in [(Dtype::Bf16, 2e-2), (Dtype::F16, 2e-3)] {
        let mut plan = plan(&graph, &x, &in_precision(&gpu, precision));
        let error = error(plan.run(x.data()).unwrap(), &expected);
        assert!((1e-6..tolerance).contains(&error), "{}: {error}", precision.name());
        assert!(plan.memory().arena < arena * 3 / 5, "{} of {arena}", plan.memory().arena);
    }
}

#[test]
fn a_replay_allocates_nothing_and_a_dropped_plan_holds_nothing() {
    let Some((_alone, gpu)) = gpu() else { return };
    let before = emulator::allocated();
    let graph = random_graph(11);
    let x = images(&graph, 1, 11);
    let mut plan = plan(&graph, &x, &gpu);
    let (held, memory) = (emulator::allocated() - before, plan.memory());
    plan.run(x.data()).unwrap();
    assert_eq!(emulator::allocated() - before, held);
    assert!(memory.weights + memory.arena + memory.scratch <= held, "{memory:?} of {held}");
    drop(plan);
    assert_eq!(emulator::allocated(), before);
}

#[test]
fn running_out_of_memory_names_the_step_and_frees_everything() {
    let Some((_alone, gpu)) = gpu() else { return };
    let mut graph = Graph::new(4);
    let small = graph.push("small", Layer::Conv2d(conv(Tensor::zeros(&[4, 3, 3, 4]), 1)), &[0]).unwrap();
    let large = Layer::Conv2d(conv(Tensor::zeros(&[512, 3, 3, 4]), 1));
    graph.push("large", large, &[small]).unwrap();
    let before = emulator::allocated();
    let message = |free: usize| {
        emulator::set_capacity(before + free);
        let plan = Plan::new(&graph, [1, 2, 2, 4], &gpu);
        emulator::set_capacity(8 << 30);
        plan.err().unwrap().to_string()
    };
    // The arena has 2·2·512 floats and 16 more, the weight of the second convolution 512·9·4.
    let [nothing, arena] = [message(1000), message(20_000)];
    assert!(nothing.starts_with("plan of [1, 2, 2, 4]: out of memory on"), "{nothing}");
    assert!(arena.starts_with("layer `large`: conv2d of [1, 2, 2, 4]: out of memory on"), "{arena}");
    assert_eq!(emulator::allocated(), before);
}

#[test]
fn a_lost_device_is_an_error_of_the_plan() {
    let Some((_alone, gpu)) = gpu() else { return };
    let before = emulator::allocated();
    let graph = without_products();
    let mut plan = Plan::new(&graph, [1, 6, 6, 6], &gpu).unwrap();
    emulator::lose_device_after(0);
    let message = plan.run(&[0.0; 216]).unwrap_err().to_string();
    emulator::recover();
    assert!(message.starts_with("plan of [1, 6, 6, 6]: ") && message.contains("lost"), "{message}");
    drop(plan);
    assert_eq!(emulator::allocated(), before);
}

#[test]
fn timed_runs_compute_the_same() {
    let Some((_alone, gpu)) = gpu() else { return };
    let graph = random_graph(7);
    let x = images(&graph, 1, 7);
    let mut plan = plan(&graph, &x, &gpu);
    let expected = plan.run(x.data()).unwrap().to_vec();
    assert_eq!(plan.run_timed(&vec![0.5; x.len()]).unwrap().len(), plan.steps().len());
    assert_eq!(expected, plan.run(x.data()).unwrap());
}

/// VGG's end: see the test of the same name in `plans.rs`.
#[test]
fn a_pool_that_enlarges_is_folded_into_the_linear_layer() {
    let Some((_alone, gpu)) = gpu() else { return };
    for map in [[4, 4], [7, 7], [2, 7]] {
        let mut graph = Graph::new(3);
        let pool = graph.push("pool", Layer::Pool(Pool::average(Window::Adaptive([7, 7]))), &[0]).unwrap();
        let flat = graph.push("flat", Layer::Flatten, &[pool]).unwrap();
        let weight = Param::new(Tensor::from_fn(&[5, 7 * 7 * 3], |i| ((i * 37 % 11) * 16) as f32 - 80.0));
        graph.push("fc", Layer::Linear(Linear { weight, bias: None }), &[flat]).unwrap();
        let x = Tensor::from_fn(&[2, map[0], map[1], 3], |i| (i * 29 % 13) as f32 - 6.0);
        let mut plan = plan(&graph, &x, &gpu);
        let expected = graph.logits(&Device::cpu(), x.clone()).unwrap();
        assert_eq!(plan.run(x.data()).unwrap(), expected.data(), "{map:?}");
        assert_eq!(plan.steps()[0].fused, ["pool"]);
    }
}

#[test]
fn a_network_may_compute_nothing() {
    let Some((_alone, gpu)) = gpu() else { return };
    let mut plan = Plan::new(&Graph::new(3), [2, 1, 2, 3], &in_precision(&gpu, Dtype::F16)).unwrap();
    assert_eq!(plan.run(&[7.0; 12]).unwrap(), [7.0; 12]);
}

#[test]
fn dead_filters_do_no_work() {
    let Some((_alone, gpu)) = gpu() else { return };
    let mut graph = Graph::new(8);
    let first = graph.push("first", Layer::Conv2d(conv(Random(1).tensor(&[8, 3, 3, 8]), 1)), &[0]).unwrap();
    graph.push("depthwise", Layer::Conv2d(conv(Random(2).tensor(&[8, 3, 3, 1]), 8)), &[first]).unwrap();
    for path in ["first.weight", "depthwise.weight"] {
        let param = graph.param_mut(path).unwrap();
        let half = Tensor::from_fn(param.value().shape(), |i| f32::from(i < param.value().len() / 2));
        param.set_mask(Some(half)).unwrap();
    }
    let plan = Plan::new(&graph, [1, 6, 6, 8], &gpu).unwrap();
    let [masked, depthwise] = plan.steps() else { panic!("two steps") };
    assert_eq!((masked.kind, masked.macs, masked.products), ("masked conv2d", 10_368, 10_368));
    assert_eq!((depthwise.kind, depthwise.kernel), ("grouped conv2d", "cuda depthwise"));
}

/// With many rows of the batch, a masked linear layer skips its dead rows; with few it is computed whole.
#[test]
fn dead_rows_of_linear_layers_do_no_work() {
    let Some((_alone, gpu)) = gpu() else { return };
    let (inputs, outputs) = (48, 10);
    let mut weight = Param::new(Random(1).tensor(&[outputs, inputs]));
    let mask = Tensor::from_fn(&[outputs, inputs], |i| f32::from(i / inputs % 3 == 0));
    weight.set_mask(Some(mask)).unwrap();
    let bias = Some(Param::new(Random(2).tensor(&[outputs])));
    let mut graph = Graph::new(inputs);
    let flat = graph.push("flat", Layer::Flatten, &[0]).unwrap();
    let fc = graph.push("fc", Layer::Linear(Linear { weight, bias }), &[flat]).unwrap();
    graph.push("relu", Layer::Activation(Activation::Relu), &[fc]).unwrap();
    for (rows, live) in [(4, outputs), (40, 4)] {
        let x = Random(3).tensor(&[rows, 1, 1, inputs]);
        let mut on_cpu = plan(&graph, &x, &Device::cpu());
        let want = on_cpu.run(x.data()).unwrap().to_vec();
        for precision in [Dtype::F32, Dtype::Bf16] {
            let mut plan = plan(&graph, &x, &in_precision(&gpu, precision));
            let step = &plan.steps()[0];
            assert_eq!((step.kind, step.products), ("masked linear", (rows * inputs * live) as u64));
            let got = plan.run(x.data()).unwrap();
            let limit = if precision == Dtype::F32 { 1e-6 } else { 2e-2 };
            for (got, want) in got.iter().zip(&want) {
                assert!((got - want).abs() <= limit * (1.0 + want.abs()), "{precision}: {got} for {want}");
            }
        }
    }
}

#[test]
fn errors_name_what_cannot_be_planned() {
    let Some((_alone, gpu)) = gpu() else { return };
    let graph = without_products();
    let message = |options| Plan::with(&graph, [1, 6, 6, 6], &gpu, options).err().unwrap().to_string();
    let direct = message(PlanOptions { direct: true, ..Default::default() });
    assert!(direct.starts_with("direct: "), "{direct}");
    let linear = message(PlanOptions { linear: Dtype::Bf16, ..Default::default() });
    assert!(linear.starts_with("linear weights as bf16: "), "{linear}");
    let mut plan = Plan::new(&graph, [1, 6, 6, 6], &gpu).unwrap();
    let images = plan.run(&[0.0; 5]).unwrap_err().to_string();
    assert!(images.contains("expected 216 values of [1, 6, 6, 6], found 5"), "{images}");
}
