//! Plans whose images stay in row lanes between layers.

mod support;

use lopper_engine::layer::{Activation, Conv2d, Pool, PoolKind, Window};
use lopper_engine::plan::{Plan, PlanOptions};
use lopper_engine::{Device, Graph, Layer, Param, Tensor};
use support::{Random, error, evaluate};

/// A convolution of `k`×`k` pixels, of which one in ten weights is kept, or all if it is depthwise.
fn conv(random: &mut Random, [c, o]: [usize; 2], k: usize, stride: usize, groups: usize) -> Layer {
    let mut weight = Param::new(random.tensor(&[o, k, k, c / groups]));
    if groups == 1 {
        let mask = Tensor::from_fn(weight.value().shape(), |_| f32::from(random.chance(10)));
        weight.set_mask(Some(mask)).unwrap();
    }
    let bias = Some(Param::new(random.tensor(&[o])));
    Layer::Conv2d(Conv2d {
        weight,
        bias,
        stride: [stride; 2],
        padding: [k / 2; 2],
        extra_padding: [0; 2],
        dilation: [1; 2],
        groups,
    })
}

/// Inverted residual blocks, the second with stride 2 and the others with a shortcut.
fn inverted_residuals(random: &mut Random, c: usize) -> Graph {
    let wide = 3 * c;
    let mut graph = Graph::new(c);
    let mut x = 0;
    for block in 0..3 {
        let (shortcut, stride) = (x, if block == 1 { 2 } else { 1 });
        for (name, layer, clamp) in [
            ("expand", conv(random, [c, wide], 1, 1, 1), true),
            ("depthwise", conv(random, [wide; 2], 3, stride, wide), true),
            ("project", conv(random, [wide, c], 1, 1, 1), false),
        ] {
            x = graph.push(format!("{name}{block}"), layer, &[x]).unwrap();
            if clamp {
                let relu6 = Layer::Activation(Activation::Relu6);
                x = graph.push(format!("{name}{block}.relu6"), relu6, &[x]).unwrap();
            }
        }
        if stride == 1 {
            x = graph.push(format!("add{block}"), Layer::Add, &[x, shortcut]).unwrap();
        }
    }
    let pool = Pool { kind: PoolKind::Average, window: Window::Global };
    graph.push("pool", Layer::Pool(pool), &[x]).unwrap();
    graph
}

/// Pointwise and depthwise convolutions stay in lanes, also where each of them alone would be faster without. The plan
/// still computes what the reference does, and the same bits for any number of threads.
#[test]
fn inverted_residual_blocks_stay_in_lanes() {
    for (n, side, halves) in [(2, 32, true), (1, 64, true), (5, 16, false), (4, 15, false)] {
        let (c, mut random) = (48, Random(side as u64));
        let mut graph = inverted_residuals(&mut random, c);
        graph.info.input = [side, side, c];
        let images = random.tensor(&[n, side, side, c]);
        let shape = [n, side, side, c];
        let planned = |threads: usize, options: PlanOptions| {
            let device = Device::open("cpu", Some(threads)).unwrap();
            let mut plan = Plan::with(&graph, shape, &device, options).unwrap();
            let result = plan.run(images.data()).unwrap().to_vec();
            (plan, result)
        };
        let (plan, result) = planned(1, PlanOptions::default());
        let why =
            |name: &str| plan.steps().iter().find(|step| step.name == name).unwrap().why.clone().unwrap();
        assert!(why("expand0").ends_with("; writes lanes"), "{}", why("expand0"));
        assert!(why("project0").ends_with("; reads and writes lanes"), "{}", why("project0"));
        // Wide rows stay in lanes when they are halved. Narrow ones would move to other groups, so a new chain begins
        // behind them, or none if the rest is too small.
        if halves {
            assert!(why("project1").ends_with("; reads and writes lanes"), "{side}: {}", why("project1"));
            assert!(why("project2").ends_with("; reads lanes"), "{}", why("project2"));
        } else {
            assert!(!why("project1").ends_with("reads and writes lanes"), "{side}: {}", why("project1"));
        }
        assert!(error(&result, &evaluate(&graph, &images)) < 2e-5);
        assert_eq!(result, planned(3, PlanOptions::default()).1);
        // A direct plan has no lanes.
        let (direct, result) = planned(1, PlanOptions { direct: true, ..PlanOptions::default() });
        assert!(direct.steps().iter().all(|step| !step.kernel.starts_with("row_lanes")));
        assert!(error(&result, &evaluate(&graph, &images)) < 2e-5);
    }
}
