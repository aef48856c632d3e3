//! A plan of a masked network computes live channels only: it is the plan of the pruned network, and computes what the
//! dense network with the same zeros does.

use crate::support::masks::{random_plan, sparse};
use crate::support::random_graph::values::randomize;
use crate::support::random_graph::{RandomNet, networks, relative_difference};
use lopper_compress::prune::{Constants, PrunePlan, prune};
use lopper_engine::plan::{Parts, Plan, PlanOptions, Step};
use lopper_engine::{Device, Graph, Layer, Tensor};
use lopper_models::builder::{Builder, Conv};
use lopper_models::init;
use proptest::prelude::*;
use std::sync::LazyLock;

static DEVICE: LazyLock<Device> = LazyLock::new(Device::cpu);

/// Bound relative to the largest logit: see `equivalence`.
const BOUND: f32 = 1e-4;

const STRICT: PlanOptions = PlanOptions {
    direct: false,
    strict: true,
    parts: Parts::Fastest,
    linear: lopper_kernels::params::Dtype::F32,
};

fn plan(graph: &Graph, images: &Tensor, options: PlanOptions) -> Plan {
    Plan::with(graph, images.shape().try_into().unwrap(), &DEVICE, options).unwrap()
}

fn run(graph: &Graph, images: &Tensor, options: PlanOptions) -> Tensor {
    let mut plan = plan(graph, images, options);
    let shape = plan.output_shape().to_vec();
    Tensor::from_slice(&shape, plan.run(images.data()).unwrap()).unwrap()
}

/// `graph` without masks: its zeros are weights like others.
fn dense(graph: &Graph) -> Graph {
    let mut dense = graph.clone();
    dense.params_mut().for_each(|(_, param)| param.set_mask(None).unwrap());
    dense
}

/// `graph` with its dead channels removed.
fn pruned(graph: &Graph) -> Graph {
    prune(graph, &PrunePlan::dead(graph).unwrap(), Constants::Exact).unwrap().graph
}

/// A random network without scales of zero, which pruning removes and a mask must drop.
fn without_zero_scales(net: &RandomNet) -> Graph {
    let mut graph = net.graph();
    for id in 1..graph.nodes().len() {
        if let Layer::BatchNorm(bn) = graph.layer_mut(id) {
            bn.weight.update(|gamma| gamma.iter_mut().filter(|g| **g == 0.0).for_each(|g| *g = 0.25));
        }
    }
    graph
}

/// Masks single weights of every layer but the last, whole columns among them.
fn mask_columns(graph: &mut Graph, seed: u64) {
    let last = graph.nodes().iter().rposition(|node| !node.layer.params().is_empty());
    for id in 1..last.unwrap_or(1) {
        let name = graph.nodes()[id].name.clone();
        let (Layer::Conv2d(_) | Layer::Linear(_)) = &graph.nodes()[id].layer else { continue };
        let (_, weight) = graph.layer_mut(id).params_mut().into_iter().next().unwrap();
        let shape = weight.value().shape().to_vec();
        let depth = *shape.last().unwrap();
        let column = init::uniform(seed, &format!("{name}.columns"), &[depth], 1.0);
        let single = init::uniform(seed, &name, &shape, 1.0);
        let old = weight.mask().cloned().unwrap_or_else(|| Tensor::full(&shape, 1.0));
        let keeps = |i: usize| column.data()[i % depth] > -0.4 && single.data()[i] > -0.8;
        let mask = Tensor::from_fn(&shape, |i| if keeps(i) { old.data()[i] } else { 0.0 });
        weight.set_mask(Some(mask)).unwrap();
    }
}

/// The steps without their notes, which say what was left out.
fn described(plan: &Plan) -> Vec<Step> {
    plan.steps().iter().map(|step| Step { channels: None, ..step.clone() }).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_masked_plan_equals_the_dense_plan_of_its_zeros(net in networks(), seed: u64, columns: bool, strict: bool) {
        let mut masked = sparse(&net.graph(), &random_plan(&net.graph(), seed));
        if columns {
            mask_columns(&mut masked, seed);
        }
        let images = net.images(3);
        let options = if strict { STRICT } else { PlanOptions::default() };
        let [live, whole] = [&masked, &dense(&masked)].map(|graph| run(graph, &images, options));
        let difference = relative_difference(&live, &whole);
        prop_assert!(difference <= BOUND, "{difference}");
    }

    /// The same widths, kernels, products and bytes, and the same bits.
    #[test]
    fn a_masked_network_is_planned_like_the_pruned_one(net in networks(), seed: u64, columns: bool) {
        let graph = without_zero_scales(&net);
        let mut masked = sparse(&graph, &random_plan(&graph, seed));
        if columns {
            mask_columns(&mut masked, seed);
        }
        let (images, pruned) = (net.images(2), pruned(&masked));
        let options = PlanOptions::default();
        prop_assert_eq!(described(&plan(&masked, &images, options)), described(&plan(&pruned, &images, options)));
        let [live, cut] = [&masked, &pruned].map(|graph| run(graph, &images, options));
        prop_assert!(live.same_bits(&cut));
    }

    /// Zeros that no mask drops are weights: the plan computes all channels.
    #[test]
    fn zeros_without_a_mask_are_computed(net in networks(), seed: u64) {
        let dense = dense(&sparse(&net.graph(), &random_plan(&net.graph(), seed)));
        let [h, w, c] = net.image;
        let plan = Plan::new(&dense, [1, h, w, c], &DEVICE).unwrap();
        prop_assert!(plan.steps().iter().all(|step| step.channels.is_none()));
        prop_assert_eq!(
            plan.steps().iter().map(|step| step.macs).sum::<u64>(),
            Plan::new(&net.graph(), [1, h, w, c], &DEVICE).unwrap().steps().iter().map(|step| step.macs).sum::<u64>()
        );
    }
}

/// conv ─ bn ─ relu, twice, and a residual sum over both; then a third conv. Filters of `masked` layers are dead if `dead`
/// of their index is true.
fn network(masked: &[&str], dead: fn(usize) -> bool) -> Graph {
    let mut net = Builder::new([8, 8, 3], Some(1));
    net.conv("a", Conv::same(8, 3)).batch_norm("a_bn").relu("a_relu");
    let first = net.at();
    net.conv("b", Conv::same(8, 3)).batch_norm("b_bn").relu("b_relu");
    net.conv("c", Conv::same(8, 3)).add("sum", first).conv("out", Conv::same(4, 3));
    let mut graph = net.finish().unwrap();
    randomize(&mut graph, 3);
    graph.info.input = [8, 8, 3];
    for name in masked {
        let weight = graph.param_mut(&format!("{name}.weight")).unwrap();
        let (shape, size) = (weight.value().shape().to_vec(), weight.value().len() / weight.value().dim(0));
        let mask = Tensor::from_fn(&shape, |i| f32::from(!dead(i / size)));
        weight.set_mask(Some(mask)).unwrap();
    }
    graph
}

fn images() -> Tensor {
    init::normal(0, "images", &[2, 8, 8, 3], 1.0)
}

fn step<'a>(plan: &'a Plan, name: &str) -> &'a Step {
    plan.steps().iter().find(|step| step.name == name).unwrap()
}

#[test]
fn layers_and_networks_that_are_all_dead_are_planned() {
    for masked in [&["b"][..], &["a", "c"], &["a", "b", "c"], &["a", "b", "c", "out"]] {
        let graph = network(masked, |_| true);
        let [live, whole] = [&graph, &dense(&graph)].map(|g| run(g, &images(), PlanOptions::default()));
        let difference = relative_difference(&live, &whole);
        assert!(difference <= BOUND, "{masked:?}: {difference}");
        let plan = plan(&graph, &images(), PlanOptions::default());
        assert_eq!(
            described(&plan),
            described(&self::plan(&pruned(&graph), &images(), PlanOptions::default()))
        );
        assert_eq!(step(&plan, "out").channels.is_some(), masked != ["b"], "{masked:?}");
    }
}

/// A filter of one branch of a sum is dead, but its channel is not: it stays, masked.
#[test]
fn half_dead_sums_stay_masked() {
    let graph = network(&["c"], |filter| filter % 2 == 0);
    let plan = plan(&graph, &images(), PlanOptions::default());
    let (branch, out) = (step(&plan, "c"), step(&plan, "out"));
    let channels = branch.channels.as_ref().unwrap();
    assert_eq!((branch.kind, channels.outputs, channels.all_outputs), ("masked conv2d", 4, 8));
    assert_eq!(channels.to_string(), "4 of 8 outputs (4 masked, whose channels stay)");
    assert_eq!((out.channels.as_ref(), out.kind), (None, "conv2d"));
}

#[test]
fn steps_say_what_was_left_out() {
    let mut graph = network(&["b"], |filter| filter < 4);
    // Constants: 0 and three numbers, which meet the padding of `c`.
    graph.param_mut("b_bn.bias").unwrap().update(|b| b[..4].copy_from_slice(&[-9.0, 1.0, 2.0, 3.0]));
    graph.param_mut("b_bn.weight").unwrap().update(|w| w[..4].fill(0.01));
    let plan = plan(&graph, &images(), PlanOptions::default());
    let of = |name: &str| step(&plan, name).channels.as_ref().map(ToString::to_string);
    let left_out = "1 zero, 2 constant, 1 kept as carrier";
    let masked = format!("4 of 8 outputs ({left_out}; 1 masked, whose channels stay)");
    assert_eq!(of("b"), Some(masked));
    assert_eq!(of("b_bn"), Some(format!("5 of 8 inputs, 5 of 8 outputs ({left_out})")));
    assert_eq!(of("c"), Some("5 of 8 inputs (constants go through a carrier)".into()));
    assert_eq!((of("a"), of("out")), (None, None));
}

/// 0·∞ is NaN. A plan that is not strict leaves out a filter that only masked weights read; a strict one computes it, so
/// that its infinity is seen.
#[test]
fn a_strict_plan_keeps_the_infinities_that_masked_weights_read() {
    let mut graph = network(&[], |_| false);
    let weight = graph.param_mut("c.weight").unwrap();
    let column = Tensor::from_fn(weight.value().shape(), |i| f32::from(i % 8 != 5));
    weight.set_mask(Some(column)).unwrap();
    graph.param_mut("b_bn.weight").unwrap().update(|gamma| gamma[5] = 3e38);
    let plain = run(&graph, &images(), PlanOptions::default());
    assert!(plain.data().iter().all(|y| y.is_finite()));
    let strict = run(&graph, &images(), STRICT);
    assert!(strict.data().iter().any(|y| y.is_nan()), "as in the dense network");
    let plan = plan(&graph, &images(), PlanOptions::default());
    assert_eq!(step(&plan, "b").channels.as_ref().unwrap().to_string(), "7 of 8 outputs (1 unread)");
}

#[test]
fn what_is_not_finite_stays() {
    for poison in [f32::INFINITY, f32::NAN] {
        for (path, at) in [("b_bn.bias", 0), ("c.weight", 0)] {
            let mut graph = network(&["b"], |filter| filter < 4);
            graph.param_mut("b_bn.bias").unwrap().update(|b| b[..4].copy_from_slice(&[-9.0, 1.0, 2.0, 3.0]));
            graph.param_mut(path).unwrap().update(|values| values[at] = poison);
            for options in [PlanOptions { direct: true, ..PlanOptions::default() }, STRICT] {
                let found = run(&graph, &images(), options);
                assert!(found.data().iter().any(|y| !y.is_finite()), "{path}: {poison}, {options:?}");
            }
        }
    }
}
