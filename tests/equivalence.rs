//! Every rewrite that claims to keep the function does, on random networks: folded equals unfolded, pruned equals
//! masked.

mod support;

use compress::channels::{ChannelFlow, is_depthwise};
use compress::prune::{Constants, PrunePlan, UnitScores, mask, prune};
use compress::sparsify::{Context, Criterion};
use engine::{Device, Graph, Layer, Tensor};
use proptest::prelude::*;
use support::random_graph::{RandomNet, networks, relative_difference};

/// As a share of the largest logit: rounding errors of a few layers, each of at most a few hundred products.
const BOUND: f32 = 1e-4;

/// How far the logits of two graphs are apart on a few images.
fn difference(net: &RandomNet, before: &Graph, after: &Graph) -> f32 {
    let device = Device::cpu();
    let logits = |graph: &Graph| graph.logits(&device, net.images(3)).unwrap();
    relative_difference(&logits(before), &logits(after))
}

/// A plan that removes a random half of all units.
fn random_plan(graph: &Graph, seed: u64) -> PrunePlan {
    let scores = UnitScores::new(graph, Criterion::Random, seed, None, |_| true).unwrap();
    PrunePlan::lowest(graph, &scores, Context::Global, 0.5).unwrap()
}

/// The graph with the filters of the units that `plan` removes masked, as sparsification leaves them: biases, batch
/// norms and depthwise filters live on.
fn sparse(graph: &Graph, plan: &PrunePlan) -> Graph {
    let mut sparse = graph.clone();
    let flow = ChannelFlow::new(graph).unwrap();
    let mut dead = vec![false; flow.unit_count()];
    for group in &plan.groups {
        let first = flow.units(graph.id(&group.layers[0]).unwrap());
        let found = flow
            .groups()
            .iter()
            .find(|g| {
                g.frozen.is_none()
                    && g.layers.len() == group.layers.len()
                    && g.layers.iter().zip(&group.layers).all(|(&id, name)| graph.nodes()[id].name == *name)
            })
            .unwrap();
        for unit in found.units.iter().filter(|u| !group.keep.contains(&u.channel)) {
            assert_eq!(first[unit.channel], unit.id);
            dead[unit.id] = true;
        }
    }
    for (id, node) in graph.nodes().iter().enumerate() {
        let weight = match &node.layer {
            Layer::Conv2d(conv) if !is_depthwise(conv) => &conv.weight,
            Layer::Linear(linear) => &linear.weight,
            _ => continue,
        };
        let shape = weight.value().shape().to_vec();
        let filter: usize = shape[1..].iter().product();
        let mask = Tensor::from_fn(&shape, |i| f32::from(!dead[flow.units(id)[i / filter]]));
        sparse.param_mut(&format!("{}.weight", node.name)).unwrap().set_mask(Some(mask)).unwrap();
    }
    sparse
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn folded_equals_unfolded(net in networks()) {
        let graph = net.graph();
        let folded = compress::fold(&graph).unwrap();
        let difference = difference(&net, &graph, &folded.graph);
        prop_assert!(difference <= BOUND, "{difference}\n{}", folded.report);
    }

    #[test]
    fn pruned_equals_masked(net in networks(), seed: u64) {
        let graph = net.graph();
        let plan = random_plan(&graph, seed);
        let masked = mask(&graph, &plan).unwrap().graph;
        let pruned = prune(&graph, &plan, Constants::Drop).unwrap();
        let (kept, all) = plan.counts();
        prop_assert!(kept < all || all == plan.groups.len());
        let difference = difference(&net, &masked, &pruned.graph);
        prop_assert!(difference <= BOUND, "{difference}\n{plan}{}", pruned.report);
    }

    #[test]
    fn exact_pruning_of_dead_channels_keeps_the_function(net in networks(), seed: u64) {
        let sparse = sparse(&net.graph(), &random_plan(&net.graph(), seed));
        let plan = PrunePlan::dead(&sparse).unwrap();
        let pruned = prune(&sparse, &plan, Constants::Exact).unwrap();
        let difference = difference(&net, &sparse, &pruned.graph);
        prop_assert!(difference <= BOUND, "{difference}\n{plan}{}", pruned.report);
    }
}

#[test]
fn random_networks_meet_every_hard_case_of_pruning() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut met = String::new();
    for seed in 0..64 {
        let net = networks().new_tree(&mut runner).unwrap().current();
        let sparse = sparse(&net.graph(), &random_plan(&net.graph(), seed));
        let plan = PrunePlan::dead(&sparse).unwrap();
        met += &prune(&sparse, &plan, Constants::Exact).unwrap().report.to_string();
    }
    for case in ["zero removed", "constant removed", "kept as carrier", "does not read constants", "go into its bias",
        "go into the mean", "go through a carrier", "tied to the network's output", "tied to the image"] {
        println!("{case}: {}", met.matches(case).count());
        assert!(met.contains(case), "never met: {case}");
    }
}
