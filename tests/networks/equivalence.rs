//! Every rewrite that claims to preserve the function does so on random networks: folded equals unfolded, pruned equals
//! masked, compact equals dense, factorized at full rank equals the original.

use crate::support::masks::{random_plan, sparse};
use crate::support::random_graph::{RandomNet, networks, relative_difference};
use lopper_compress::ConvSplit::{Auto, Channel, Spatial, Tucker};
use lopper_compress::prune::{Constants, PrunePlan, mask, prune};
use lopper_compress::{CompactConfig, FactorizeConfig, compact, factorize};
use lopper_engine::channels::{ChannelFlow, Group, State, states};
use lopper_engine::{Device, Graph, Layer, Node};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

/// Bound relative to the largest logit: the rounding errors of a few layers, each with at most a few hundred products.
const BOUND: f32 = 1e-4;

/// Returns the relative difference between the logits of two graphs on a few images.
fn difference(net: &RandomNet, before: &Graph, after: &Graph) -> f32 {
    let device = Device::cpu();
    let logits = |graph: &Graph| graph.logits(&device, net.images(3)).unwrap();
    relative_difference(&logits(before), &logits(after))
}

/// Returns whether a channel that is zero before the node's activation, if it has one, is zero after it.
fn keeps_zero(node: &Node) -> bool {
    !matches!(node.layer, Layer::Activation(activation) if activation.apply(0f32) != 0.0)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn folded_equals_unfolded(net in networks()) {
        let graph = net.graph();
        let folded = lopper_compress::fold(&graph).unwrap();
        let difference = difference(&net, &graph, &folded.graph);
        prop_assert!(difference <= BOUND, "{difference}\n{}", folded.report);
    }

    #[test]
    fn pruned_equals_masked(net in networks(), seed: u64) {
        let graph = net.graph();
        prop_assume!(graph.nodes().iter().all(keeps_zero));
        let plan = random_plan(&graph, seed);
        let masked = mask(&graph, &plan).unwrap().graph;
        let pruned = prune(&graph, &plan, Constants::Drop).unwrap();
        let (kept, all) = plan.counts();
        prop_assert!(kept < all || all == plan.groups.len());
        let difference = difference(&net, &masked, &pruned.graph);
        prop_assert!(difference <= BOUND, "{difference}\n{plan}{}", pruned.report);
    }

    /// Live channels are masked and then removed exactly, whatever the layers behind them make of zero.
    #[test]
    fn exactly_pruned_equals_masked(net in networks(), seed: u64) {
        let mut graph = net.graph();
        for (_, param) in graph.params_mut() {
            param.update(|values| values.iter_mut().filter(|v| **v == 0.0).for_each(|v| *v = 0.5));
        }
        let plan = random_plan(&graph, seed);
        let flow = ChannelFlow::new(&graph).unwrap();
        let (states, free) = (states(&graph, &flow).unwrap(), |group: &&Group| group.frozen.is_none());
        let mut units = flow.groups().iter().filter(free).flat_map(|group| &group.units);
        // What is constant before keeps its value if it is pruned exactly, but not if it is masked.
        prop_assume!(units.all(|unit| states[unit.id] == State::Live));
        let masked = mask(&graph, &plan).unwrap().graph;
        let pruned = prune(&graph, &plan, Constants::Exact).unwrap();
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

    #[test]
    fn compact_equals_masked(net in networks(), seed: u64) {
        let sparse = sparse(&net.graph(), &random_plan(&net.graph(), seed));
        let compact = compact(&sparse, &CompactConfig::default()).unwrap();
        let difference = difference(&net, &sparse, &compact.graph);
        prop_assert!(difference <= BOUND, "{difference}\n{}", compact.report);
    }

    #[test]
    fn factorized_at_full_rank_equals_the_original(
        net in networks(),
        conv in prop::sample::select(vec![None, Some(Spatial), Some(Channel), Some(Tucker), Some(Auto)]),
    ) {
        let graph = net.graph();
        let full = FactorizeConfig { fraction: Some(0.0), force: true, conv, ..FactorizeConfig::default() };
        let factorized = factorize(&graph, &full).unwrap();
        let whole = |node: &&Node| matches!(&node.layer, Layer::Conv2d(conv) if conv.groups == 1);
        let convs = conv.map_or(0, |_| graph.nodes().iter().filter(whole).count());
        prop_assert_eq!(factorized.report.changed_count(), convs + net.head.hidden.len() + 1);
        let difference = difference(&net, &graph, &factorized.graph);
        prop_assert!(difference <= BOUND, "{difference}\n{}", factorized.report);
    }

    /// Chains rewrites as a user does: prune dead channels, fold, compact the rest.
    #[test]
    fn rewrites_compose(net in networks(), seed: u64) {
        let sparse = sparse(&net.graph(), &random_plan(&net.graph(), seed));
        let plan = PrunePlan::dead(&sparse).unwrap();
        let pruned = prune(&sparse, &plan, Constants::Exact).unwrap().graph;
        let folded = lopper_compress::fold(&pruned).unwrap().graph;
        let compact = compact(&folded, &CompactConfig::default()).unwrap().graph;
        compact.check().unwrap();
        let difference = difference(&net, &sparse, &compact);
        prop_assert!(difference <= BOUND, "{difference}\n{plan}");
    }
}

#[test]
fn random_networks_meet_every_hard_case() {
    let mut runner = TestRunner::deterministic();
    let (mut reports, mut changed) = (String::new(), 0);
    for seed in 0..128 {
        let net = networks().new_tree(&mut runner).unwrap().current();
        let sparse = sparse(&net.graph(), &random_plan(&net.graph(), seed));
        let plan = PrunePlan::dead(&sparse).unwrap();
        reports += &prune(&sparse, &plan, Constants::Exact).unwrap().report.to_string();
        let dropped = prune(&sparse, &plan, Constants::Drop).unwrap();
        changed += usize::from(difference(&net, &sparse, &dropped.graph) > BOUND);
        reports += &compact(&sparse, &CompactConfig::default()).unwrap().report.to_string();
        reports += &lopper_compress::fold(&sparse).unwrap().report.to_string();
    }
    for case in [
        "zero removed",
        "constant removed",
        "dead kept as carrier",
        "does not read constants from them",
        "constants go into its bias",
        "constants go into the mean of the batch norm",
        "constants go through a carrier",
        "tied to the network's output",
        "tied to the image",
        "inputs and a carrier",
        "inputs\n",
        "has another reader",
        "is relu6; `",
        "pads its input with 0",
    ] {
        assert!(reports.contains(case), "never met: {case}");
    }
    assert!(changed > 8, "dropping constants must change what a network computes: {changed} of 128");
}
