//! Plans of a user's own: channels by index, cuts that are proposed one by one, and scores layer by layer.

use crate::support::random_graph::{relative_difference, values::randomize};
use lopper_compress::criteria::{Coupling, Criterion, L1Magnitude, Scoring};
use lopper_compress::prune::{Constants, GroupScores, Proposals, PrunePlan, UnitScores, mask, prune};
use lopper_compress::{Context, PruneConfig};
use lopper_engine::channels::ChannelFlow;
use lopper_engine::{Device, Graph, Tensor};
use lopper_models::{Options, build, init, numbered_classes};
use proptest::prelude::*;

fn network(name: &str) -> Graph {
    let options = Options { seed: None, ..Options::new(numbered_classes(10), [32, 32, 3]) };
    let mut graph = build(name, &options).unwrap();
    randomize(&mut graph, 5);
    graph
}

fn logits(graph: &Graph) -> Tensor {
    graph.logits(&Device::cpu(), init::normal(0, "images", &[2, 32, 32, 3], 1.0)).unwrap()
}

fn config(fraction: f64) -> PruneConfig {
    PruneConfig {
        criterion: Some(L1Magnitude.into()),
        fraction: Some(fraction),
        context: Context::Local,
        ..PruneConfig::default()
    }
}

#[track_caller]
fn refused(plan: lopper_engine::Result<PrunePlan>, words: &str) {
    let message = plan.unwrap_err().to_string();
    assert!(message.contains(words), "{message}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is named goes, with all that is coupled with it and nothing else.
    #[test]
    fn channels_go_by_index(picked in prop::collection::vec(any::<bool>(), 64), by_input in any::<bool>()) {
        let graph = network("cifar_resnet20");
        let flow = ChannelFlow::new(&graph).unwrap();
        let layers = ["layer1.0.conv1", "layer2.1.conv2", "layer3.0.conv1", "conv1"];
        let readers = ["layer1.0.conv2", "layer2.2.conv1", "layer3.0.conv2", "layer1.0.conv1"];
        for (layer, reader) in layers.into_iter().zip(readers) {
            let node = graph.id(layer).unwrap();
            let width = flow.units(node).len();
            let channels: Vec<usize> = (1..width).filter(|&channel| picked[channel]).collect();
            let plan = match by_input {
                true => PrunePlan::without_inputs(&graph, reader, &channels),
                false => PrunePlan::without_outputs(&graph, layer, &channels),
            };
            let plan = plan.unwrap();
            let pruned = prune(&graph, &plan, Constants::Drop).unwrap().graph;
            let left = pruned.param(&format!("{layer}.weight")).unwrap().value().dim(0);
            prop_assert_eq!(left, width - channels.len());
            prop_assert!(plan.groups.len() <= 2, "a padded shortcut makes two groups of a stage");
            let masked = mask(&graph, &plan).unwrap().graph;
            prop_assert!(relative_difference(&logits(&masked), &logits(&pruned)) < 1e-4);
        }
    }
}

#[test]
fn channels_that_cannot_go_are_refused() {
    let graph = network("cifar_resnet20");
    refused(PrunePlan::without_outputs(&graph, "conv1", &[16]), "output channels 0 to 15, found 16");
    refused(PrunePlan::without_outputs(&graph, "nowhere", &[0]), "nowhere");
    refused(PrunePlan::without_inputs(&graph, "conv1", &[0]), "tied to the image");
    refused(PrunePlan::without_outputs(&graph, "linear", &[0]), "tied to the network's output");
    refused(PrunePlan::without_inputs(&graph, "layer1.0.conv2", &[99]), "input channels 0 to 15, found 99");
    let all: Vec<usize> = (0..16).collect();
    refused(PrunePlan::without_outputs(&graph, "layer1.0.conv1", &all), "no channel of layer1.0.conv1 would");
    let sum = graph.nodes().iter().find(|node| node.inputs.len() == 2).unwrap();
    refused(PrunePlan::without_inputs(&graph, &sum.name, &[0]), "has 2 inputs");
    let other = PrunePlan::without_outputs(&network("resnet18"), "conv1", &[0]).unwrap();
    let own = PrunePlan::without_outputs(&graph, "conv1", &[0]).unwrap();
    assert_ne!(own.groups[0].layers, other.groups[0].layers);
    let wider =
        PrunePlan { groups: vec![lopper_compress::prune::GroupPlan { units: 99, ..own.groups[0].clone() }] };
    refused(own.and(&wider), "16 channels in one plan and 99 in the other");
}

/// Accepted cuts make the same network as the plan without the others, and savings add up.
#[test]
fn proposals_add_up_to_a_plan() {
    let graph = network("cifar_resnet20");
    let plan = config(0.25).plan(&graph, None).unwrap();
    let mut proposals = Proposals::new(&graph, &plan, Constants::Drop).unwrap();
    assert_eq!(proposals.total(), plan.groups.len());
    let (mut costs, mut kept) = (Vec::new(), Vec::new());
    while let Some(proposal) = proposals.next() {
        let proposal = proposal.unwrap();
        assert_eq!(proposal.cut, plan.groups[proposal.index]);
        let [before, after] = proposal.costs;
        assert!(after.macs < before.macs && after.params < before.params);
        if proposal.index % 3 != 1 {
            costs.push(proposal.costs);
            kept.push(proposal.cut.clone());
            proposals.accept(proposal);
        }
    }
    let accepted = proposals.into_plan();
    assert_eq!(accepted, PrunePlan { groups: kept });
    assert!(costs.windows(2).all(|pair| pair[0][1] == pair[1][0]), "each starts where the last one ended");
    let pruned = prune(&graph, &accepted, Constants::Drop).unwrap().graph;
    let [first, last] = [costs[0][0], costs[costs.len() - 1][1]];
    assert_eq!([first.params, last.params], [graph.param_count(), pruned.param_count()]);

    let mut rest = Proposals::new(&graph, &plan, Constants::Drop).unwrap();
    assert!(rest.next().is_some(), "the first one is left");
    rest.accept_rest();
    assert!(rest.next().is_none());
    assert_eq!(rest.into_plan().groups, plan.groups[1..]);

    let mut foreign = plan.clone();
    foreign.groups[0].units += 1;
    assert!(Proposals::new(&graph, &foreign, Constants::Drop).is_err());
}

/// What is joined follows from what is apart, by every coupling.
#[test]
fn joined_scores_follow_from_those_of_layers() {
    let graph = network("cifar_resnet20");
    let criterion = Criterion::from(L1Magnitude);
    for &coupling in Coupling::ALL {
        let scoring = Scoring::new(&criterion).coupling(coupling);
        let groups = GroupScores::of(&graph, &scoring, |_| true).unwrap();
        assert!(groups.iter().any(|group| group.apart.len() > 3), "a stage's sum has many layers");
        for group in &groups {
            for (channel, &joined) in group.joined.iter().enumerate() {
                let apart = group.apart.iter().filter_map(|layer| layer.scores[channel]).map(f64::from);
                let expected = coupling.of(apart);
                let error = (f64::from(joined) - expected).abs();
                assert!(error <= 1e-5 * expected.abs(), "{coupling}: {joined}, expected {expected}");
            }
        }
        // A plan by these scores keeps the highest ones.
        let scores = UnitScores::new(&graph, &scoring, |_| true).unwrap();
        let plan = PrunePlan::lowest(&graph, &scores, Context::Local, 0.5).unwrap();
        for (group, cut) in groups.iter().zip(&plan.groups) {
            assert_eq!(group.layers, cut.layers);
            let of = |stays: bool| {
                let all = group.channels.iter().zip(&group.joined);
                all.filter(move |(channel, _)| cut.keep.contains(channel) == stays).map(|(_, &score)| score)
            };
            let (least, most) = (of(true).fold(f32::INFINITY, f32::min), of(false).fold(f32::MIN, f32::max));
            assert!(least >= most, "{:?}", group.layers);
        }
    }
    assert!(PruneConfig::default().scores(&graph, None).unwrap_err().to_string().contains("expected one"));
}
