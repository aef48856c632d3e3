//! A plan computes what its graph does, whatever it fuses and wherever it places the values.

use crate::support::{Random, error, evaluate, images, random_graph};
use lopper_engine::layer::{Activation, BatchNorm, Conv2d, Linear, Pool, PoolKind, Window};
use lopper_engine::plan::Plan;
use lopper_engine::{Device, Graph, Layer, Param, Tensor};
use proptest::prelude::*;
use std::sync::LazyLock;

static DEVICE: LazyLock<Device> = LazyLock::new(Device::cpu);

fn plan(graph: &Graph, images: &Tensor) -> Plan {
    Plan::new(graph, images.shape().try_into().unwrap(), &DEVICE).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_plan_computes_what_the_reference_does(seed in any::<u64>(), n in prop::sample::select(vec![1usize, 3])) {
        let graph = random_graph(seed);
        let x = images(&graph, n, seed);
        let mut plan = plan(&graph, &x);
        let expected = evaluate(&graph, &x);
        let first = plan.run(x.data()).unwrap().to_vec();
        prop_assert!(error(&first, &expected) < 2e-5, "{:?} and {:?}", first, expected.last());
        // The arena keeps nothing of the first run that the second would read.
        plan.run(&vec![1e3; x.len()]).unwrap();
        prop_assert_eq!(&first, plan.run(x.data()).unwrap(), "a second run gives the same bits");
        prop_assert_eq!(plan.output_shape(), [n, 4]);
    }

    #[test]
    fn a_plan_agrees_with_the_graph(seed in any::<u64>()) {
        let graph = random_graph(seed);
        let x = images(&graph, 2, seed);
        let logits = graph.logits(&DEVICE, x.clone()).unwrap();
        let mut plan = plan(&graph, &x);
        let nodes = evaluate(&graph, &x);
        let largest = nodes.iter().flatten().fold(1.0, |max: f64, v| max.max(v.abs()));
        let planned = Tensor::from_slice(logits.shape(), plan.run(x.data()).unwrap()).unwrap();
        prop_assert!(f64::from(planned.max_difference(&logits).unwrap()) < 2e-5 * largest);
    }

    #[test]
    fn threads_do_not_change_a_bit(seed in any::<u64>()) {
        let graph = random_graph(seed);
        let x = images(&graph, 2, seed);
        let shape = x.shape().try_into().unwrap();
        let run = |threads| {
            let device = Device::open("cpu", Some(threads)).unwrap();
            Plan::new(&graph, shape, &device).unwrap().run(x.data()).unwrap().to_vec()
        };
        prop_assert_eq!(run(1), run(3));
    }

    /// Exactly one step computes every live node, and the costs match the graph's unless work is skipped.
    #[test]
    fn steps_account_for_every_node(seed in any::<u64>()) {
        let graph = random_graph(seed);
        let x = images(&graph, 3, seed);
        let plan = plan(&graph, &x);
        let names: Vec<&str> =
            plan.steps().iter().flat_map(|s| std::iter::once(&s.name).chain(&s.fused)).map(String::as_str).collect();
        let mut live = vec![false; graph.nodes().len()];
        live[graph.output()] = true;
        for (id, node) in graph.nodes().iter().enumerate().rev() {
            node.inputs.iter().for_each(|&i| live[i] |= live[id]);
            let free = matches!(node.layer, Layer::Input { .. } | Layer::Dropout { .. } | Layer::Flatten);
            // A concatenation of many parts takes several steps.
            let many = node.inputs.len() > 16;
            let times = names.iter().filter(|&&n| n == node.name).count();
            prop_assert!(many || times == usize::from(live[id] && !free), "`{}`", node.name);
        }
        let costs = graph.costs(graph.info.input).unwrap();
        for (node, cost) in graph.nodes().iter().zip(costs) {
            if let Some(step) = plan.steps().iter().find(|s| s.name == node.name) {
                let whole = 3 * cost.macs;
                let cut = step.channels.is_some();
                let pools = step.kind == "linear" && step.fused.first().is_some_and(|f| f.contains("pool"));
                prop_assert!(step.macs < whole || (step.macs == whole && (!cut || whole == 0)), "`{}`", node.name);
                prop_assert!(step.macs == whole || cut || pools, "`{}`", node.name);
            }
        }
        prop_assert!(plan.memory().arena > 0 && plan.memory().weights > 0);
        // Lanes without a pixel take memory, too.
        let lanes = plan.steps().iter().any(|s| s.why.as_ref().is_some_and(|why| why.ends_with("writes lanes")));
        prop_assert!(lanes || plan.memory().arena <= plan.steps().iter().map(|s| s.shape.iter().product::<usize>() * 4 + 60).sum());
    }
}

fn conv(c: usize, o: usize, seed: u64) -> Layer {
    let weight = Param::new(Random(seed).tensor(&[o, 3, 3, c]));
    Layer::Conv2d(Conv2d {
        weight,
        bias: None,
        stride: [1; 2],
        padding: [1; 2],
        extra_padding: [0; 2],
        dilation: [1; 2],
        groups: 1,
    })
}

/// Builds conv → BN → ReLU → conv → BN → + → ReLU, the block of a ResNet.
fn residual_block() -> Graph {
    let mut graph = Graph::new(8);
    let bn = || Layer::BatchNorm(BatchNorm::new(8));
    let mut x = 0;
    for (name, layer) in [
        ("conv1", conv(8, 8, 1)),
        ("bn1", bn()),
        ("relu1", Layer::Activation(Activation::Relu)),
        ("conv2", conv(8, 8, 2)),
        ("bn2", bn()),
    ] {
        x = graph.push(name, layer, &[x]).unwrap();
    }
    let sum = graph.push("add", Layer::Add, &[x, 0]).unwrap();
    graph.push("relu2", Layer::Activation(Activation::Relu), &[sum]).unwrap();
    graph.info.input = [6, 6, 8];
    graph
}

#[test]
fn residual_blocks_are_fused() {
    let mut graph = residual_block();
    let listing = |graph: &Graph| -> Vec<(String, Vec<String>)> {
        let plan = Plan::new(graph, [1, 6, 6, 8], &DEVICE).unwrap();
        plan.steps().iter().map(|s| (s.name.clone(), s.fused.clone())).collect()
    };
    let step = |name: &str, fused: &[&str]| {
        (name.to_string(), fused.iter().map(|s| s.to_string()).collect::<Vec<_>>())
    };
    assert_eq!(
        listing(&graph),
        [step("conv1", &[]), step("bn1", &["relu1"]), step("conv2", &[]), step("bn2", &["add", "relu2"])]
    );
    for bn in ["bn2", "bn1"] {
        graph.bypass(graph.id(bn).unwrap()).unwrap();
    }
    assert_eq!(listing(&graph), [step("conv1", &["relu1"]), step("conv2", &["add", "relu2"])]);
}

/// VGG's end: a pool to 7×7, flatten, a linear layer. The windows of these pools have one, two or four pixels, so that
/// every sum of small integers is exact in any order.
#[test]
fn a_pool_that_enlarges_is_folded_into_the_linear_layer() {
    for (map, folds) in [([4, 4], true), ([7, 7], true), ([2, 7], true), ([14, 14], false)] {
        let mut graph = Graph::new(3);
        let pool = graph.push("pool", Layer::Pool(Pool::average(Window::Adaptive([7, 7]))), &[0]).unwrap();
        let flat = graph.push("flat", Layer::Flatten, &[pool]).unwrap();
        let weight = Param::new(Tensor::from_fn(&[5, 7 * 7 * 3], |i| ((i * 37 % 11) * 16) as f32 - 80.0));
        let fc = graph.push("fc", Layer::Linear(Linear { weight, bias: None }), &[flat]).unwrap();
        graph.push("relu", Layer::Activation(Activation::Relu), &[fc]).unwrap();
        let x = Tensor::from_fn(&[2, map[0], map[1], 3], |i| (i * 29 % 13) as f32 - 6.0);
        let mut plan = plan(&graph, &x);
        assert_eq!(plan.run(x.data()).unwrap(), graph.logits(&DEVICE, x.clone()).unwrap().data(), "{map:?}");
        let fused = &plan.steps().last().unwrap().fused;
        assert_eq!(fused.contains(&"pool".to_string()), folds, "{map:?}");
        let inputs = if folds { map[0] * map[1] * 3 } else { 7 * 7 * 3 };
        assert_eq!(plan.steps().last().unwrap().macs, (2 * 5 * inputs) as u64);
    }
}

#[test]
fn the_arena_of_a_deep_chain_holds_two_layers() {
    let mut graph = Graph::new(8);
    let mut x = 0;
    for i in 0..20 {
        x = graph.push(format!("conv{i}"), conv(8, 8, i), &[x]).unwrap();
    }
    let plan = Plan::new(&graph, [2, 6, 6, 8], &DEVICE).unwrap();
    assert_eq!(plan.memory().arena, 2 * 4 * (2 * 6 * 6 * 8));
}

#[test]
fn dead_filters_do_no_work() {
    let mut graph = residual_block();
    let half = Tensor::from_fn(&[8, 3, 3, 8], |i| f32::from(i < 4 * 9 * 8));
    graph.param_mut("conv1.weight").unwrap().set_mask(Some(half)).unwrap();
    let whole = 6 * 6 * 8 * 8 * 9;
    let plan = Plan::new(&graph, [1, 6, 6, 8], &DEVICE).unwrap();
    let [producer, _, reader, _] = plan.steps() else { panic!("four steps") };
    assert_eq!([(producer.kind, producer.macs), (reader.kind, reader.macs)], [("conv2d", whole / 2); 2]);
    assert_eq!((producer.shape.as_slice(), reader.shape.as_slice()), (&[1, 6, 6, 4][..], &[1, 6, 6, 8][..]));
    // A channel that the sum with the image needs stays, so its filter is masked.
    let half = graph.param("conv1.weight").unwrap().mask().cloned();
    graph.param_mut("conv1.weight").unwrap().set_mask(None).unwrap();
    graph.param_mut("conv2.weight").unwrap().set_mask(half).unwrap();
    let plan = Plan::new(&graph, [1, 6, 6, 8], &DEVICE).unwrap();
    let [dense, _, masked, _] = plan.steps() else { panic!("four steps") };
    assert_eq!(
        [(dense.kind, dense.macs), (masked.kind, masked.macs)],
        [("conv2d", whole), ("masked conv2d", whole / 2)]
    );
}

/// A masked linear layer computes only its live rows, with or without a pool in its weight, and gives the bits of the
/// same weights without a mask.
#[test]
fn dead_rows_of_linear_layers_do_no_work() {
    for pooled in [false, true] {
        let mut graph = Graph::new(3);
        let mut x = 0;
        if pooled {
            x = graph.push("pool", Layer::Pool(Pool::average(Window::Adaptive([7, 7]))), &[x]).unwrap();
        }
        x = graph.push("flat", Layer::Flatten, &[x]).unwrap();
        let inputs = if pooled { 7 * 7 * 3 } else { 4 * 4 * 3 };
        let mut weight = Param::new(Random(1).tensor(&[60, inputs]));
        let every_third = Tensor::from_fn(&[60, inputs], |i| f32::from(i / inputs % 3 == 0));
        weight.set_mask(Some(every_third)).unwrap();
        let bias = Some(Param::new(Random(2).tensor(&[60])));
        graph.push("fc", Layer::Linear(Linear { weight, bias }), &[x]).unwrap();
        let mut dense = graph.clone();
        dense.param_mut("fc.weight").unwrap().set_mask(None).unwrap();
        let images = Random(3).tensor(&[2, 4, 4, 3]);
        let [mut masked, mut dense] = [graph, dense].map(|graph| plan(&graph, &images));
        let [step, whole] = [&masked, &dense].map(|plan| plan.steps().last().unwrap().clone());
        assert_eq!((step.kind, whole.kind, whole.why), ("masked linear", "linear", None));
        assert_eq!([3 * step.macs, 3 * step.products], [whole.macs, whole.products]);
        assert!(masked.memory().weights < dense.memory().weights);
        assert_eq!(masked.run(images.data()).unwrap(), dense.run(images.data()).unwrap(), "pooled: {pooled}");
    }
}

/// A linear layer with a pool folded into it skips the weights that no output of the pool brings to life.
#[test]
fn a_folded_pool_keeps_the_zeros_of_a_mask() {
    let mut graph = Graph::new(3);
    let pool = Layer::Pool(Pool::average(Window::Adaptive([4, 4])));
    let x = graph.push("pool", pool, &[0]).unwrap();
    let x = graph.push("flatten", Layer::Flatten, &[x]).unwrap();
    let mut weight = Param::new(Random(1).tensor(&[20, 48]));
    // In a map of 2×2, each pixel is read by four outputs of the pool; the first output channel lives at one of them.
    weight.set_mask(Some(Tensor::from_fn(&[20, 48], |i| f32::from(i % 48 == i / 48 % 3)))).unwrap();
    graph.push("fc", Layer::Linear(Linear { weight, bias: None }), &[x]).unwrap();
    let mut dense = graph.clone();
    dense.param_mut("fc.weight").unwrap().set_mask(None).unwrap();
    let images = Random(3).tensor(&[1, 2, 2, 3]);
    let [mut masked, mut dense] = [graph, dense].map(|graph| plan(&graph, &images));
    let step = masked.steps().last().unwrap();
    assert!(step.why.as_ref().is_some_and(|why| why.starts_with("of panels")), "{:?}", step.why);
    let (got, want) = (masked.run(images.data()).unwrap().to_vec(), dense.run(images.data()).unwrap());
    assert!(got.iter().zip(want).all(|(a, b)| (a - b).abs() <= 1e-6), "{got:?} {want:?}");
}

/// Zeros between live filters change nothing but the choice of the kernel and its reason: row lanes skip those of a
/// convolution if that pays, and bits or lists those of a linear layer with few rows.
#[test]
fn zeros_between_live_filters_are_reported() {
    let mut graph = Graph::new(8);
    let x = graph.push("conv", conv(8, 8, 1), &[0]).unwrap();
    let x = graph.push("flat", Layer::Flatten, &[x]).unwrap();
    let weight = Param::new(Random(2).tensor(&[4, 36 * 8]));
    graph.push("fc", Layer::Linear(Linear { weight, bias: None }), &[x]).unwrap();
    let images = Random(3).tensor(&[1, 6, 6, 8]);
    let before = plan(&graph, &images).steps().to_vec();
    for name in ["conv.weight", "fc.weight"] {
        let param = graph.param_mut(name).unwrap();
        let quarter = Tensor::from_fn(param.value().shape(), |i| f32::from(i % 4 == i / 8 % 4));
        param.set_mask(Some(quarter)).unwrap();
    }
    let note = "75 % of the weights are zero, which row lanes would skip more slowly (pattern: 1:4)";
    let masked = plan(&graph, &images).steps().to_vec();
    let [plain, why] = [&before, &masked].map(|steps| steps[0].why.as_ref().unwrap());
    assert!(plain.starts_with("of direct: ") && !plain.contains("row lanes"), "{plain}");
    assert!(why.starts_with("of direct: ") && why.contains("; row lanes "), "{why}");
    let skipped = masked[0].kernel.starts_with("row_lanes");
    assert_ne!(skipped, why.ends_with(note), "{why}");
    assert_eq!(masked[0].products < before[0].products, skipped);
    assert_eq!(before[1].why, None);
    assert!(masked[1].why.as_ref().unwrap().starts_with("of panels: bits"), "{:?}", masked[1].why);
    for (before, masked) in before.iter().zip(&masked) {
        assert_eq!((before.kind, before.macs), (masked.kind, masked.macs));
    }
}

/// Values between sparse convolutions of one geometry stay in lanes, through batch norms, activations and sums. The
/// plan still computes what the reference does, and the same bits for any number of threads.
#[test]
fn sparse_residual_blocks_stay_in_lanes() {
    for (n, side, folded) in [(2, 16, false), (2, 16, true), (3, 9, false), (20, 4, true)] {
        let (c, mut random) = (48, Random(n as u64));
        let mut graph = Graph::new(c);
        let mut x = 0;
        for block in 0..3 {
            let shortcut = x;
            for i in 0..2 {
                let mut layer = conv(c, c, 2 * block + i);
                let Layer::Conv2d(conv) = &mut layer else { unreachable!("a convolution") };
                let mask = Tensor::from_fn(conv.weight.value().shape(), |_| f32::from(random.chance(4)));
                conv.weight.set_mask(Some(mask)).unwrap();
                x = graph.push(format!("conv{block}{i}"), layer, &[x]).unwrap();
                if !folded {
                    let mut bn = BatchNorm::new(c);
                    bn.running_mean = random.tensor(&[c]);
                    x = graph.push(format!("bn{block}{i}"), Layer::BatchNorm(bn), &[x]).unwrap();
                }
                if i == 1 {
                    x = graph.push(format!("add{block}"), Layer::Add, &[x, shortcut]).unwrap();
                }
                let relu = Layer::Activation(if block == 1 { Activation::Silu } else { Activation::Relu });
                x = graph.push(format!("relu{block}{i}"), relu, &[x]).unwrap();
            }
        }
        graph
            .push("pool", Layer::Pool(Pool { kind: PoolKind::Average, window: Window::Global }), &[x])
            .unwrap();
        graph.info.input = [side, side, c];
        let images = random.tensor(&[n, side, side, c]);
        let mut planned = plan(&graph, &images);
        let why =
            |name: &str| planned.steps().iter().find(|step| step.name == name).unwrap().why.clone().unwrap();
        assert!(why("conv00").ends_with("; writes lanes"), "{}", why("conv00"));
        assert!(why("conv20").contains("writes lanes"), "{}", why("conv20"));
        if folded {
            // A convolution adds the channels-last images to its sums in lanes. The last sum is read by a pool.
            assert!(why("conv01").ends_with("; reads and writes lanes"), "{}", why("conv01"));
            assert!(why("conv10").ends_with("; reads and writes lanes"), "{}", why("conv10"));
            assert!(why("conv21").ends_with("; reads lanes"), "{}", why("conv21"));
        } else {
            // A batch norm adds what has the layout of its output.
            assert!(why("conv01").ends_with("; reads lanes"), "{}", why("conv01"));
        }
        let result = planned.run(images.data()).unwrap().to_vec();
        assert!(error(&result, &evaluate(&graph, &images)) < 2e-5);
        let device = Device::open("cpu", Some(3)).unwrap();
        let mut threads = Plan::new(&graph, [n, side, side, c], &device).unwrap();
        assert_eq!(result, threads.run(images.data()).unwrap());
    }
}

#[test]
fn timed_runs_compute_the_same() {
    let graph = random_graph(7);
    let x = images(&graph, 1, 7);
    let mut plan = plan(&graph, &x);
    let expected = plan.run(x.data()).unwrap().to_vec();
    plan.run(&vec![0.5; x.len()]).unwrap();
    assert_eq!(plan.run_timed(x.data()).unwrap().len(), plan.steps().len());
    assert_eq!(expected, plan.run(x.data()).unwrap());
}

#[test]
fn memory_is_counted_while_another_plan_runs() {
    let graph = random_graph(7);
    let x = images(&graph, 1, 7);
    let (mut busy, other) = (plan(&graph, &x), plan(&graph, &x));
    std::thread::scope(|scope| {
        let running = scope.spawn(move || (0..500).for_each(|_| _ = busy.run(x.data()).unwrap()));
        while !running.is_finished() {
            assert!(other.memory().scratch < 1 << 30);
        }
        running.join().expect("every run succeeds");
    });
}

#[test]
fn a_network_may_compute_nothing() {
    let mut graph = Graph::new(3);
    let plan_of =
        |graph: &Graph| Plan::new(graph, [2, 1, 2, 3], &DEVICE).unwrap().run(&[7.0; 12]).unwrap().to_vec();
    assert_eq!(plan_of(&graph), [7.0; 12]);
    graph.push("flatten", Layer::Flatten, &[0]).unwrap();
    assert_eq!(plan_of(&graph), [7.0; 12]);
}

#[test]
fn errors_name_what_cannot_be_planned() {
    let graph = residual_block();
    let message = |graph: &Graph, input| Plan::new(graph, input, &DEVICE).err().unwrap().to_string();
    assert!(message(&graph, [1, 6, 6, 7]).contains("`input`: input: expected 8 channels"));
    assert!(message(&graph, [0, 6, 6, 8]).contains("plan: expected images"));
    let mut broken = graph.clone();
    broken.param_mut("bn1.bias").unwrap().replace(Tensor::zeros(&[7]), None).unwrap();
    assert!(
        message(&broken, [1, 6, 6, 8]).contains("`bn1`: batch norm: expected a bias of shape [8], found [7]")
    );
    let linear = Linear { weight: Param::new(Tensor::zeros(&[2, 9])), bias: None };
    let mut unfit = graph.clone();
    let flat = unfit.push("flatten", Layer::Flatten, &[graph.output()]).unwrap();
    unfit.push("fc", Layer::Linear(linear), &[flat]).unwrap();
    assert!(message(&unfit, [1, 6, 6, 8]).contains("`fc`: linear: expected [N, 9], found [1, 288]"));
    let mut plan = Plan::new(&graph, [1, 6, 6, 8], &DEVICE).unwrap();
    let message = plan.run(&[0.0; 5]).unwrap_err().to_string();
    assert!(message.contains("expected 288 values of [1, 6, 6, 8], found 5"), "{message}");
}
