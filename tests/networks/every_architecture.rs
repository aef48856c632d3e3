//! Every architecture under the rewrites, at a small width and size: pruning removes what a mask zeroes, folding keeps
//! the function, and a plan computes what the graph does.

use crate::support::random_graph::{relative_difference, values::randomize};
use lopper_compress::channels::ChannelFlow;
use lopper_compress::fold;
use lopper_compress::prune::{Constants, GroupPlan, PrunePlan, mask, prune};
use lopper_engine::plan::Plan;
use lopper_engine::{Device, Graph, Tensor};
use lopper_models::{Options, build, init, names, numbered_classes};

const BATCH: usize = 2;

/// The network with few channels, of which groups of a convolution have several, and random weights.
fn small(name: &str, seed: u64) -> Graph {
    let width = match name {
        _ if name.starts_with("cifar") || name.starts_with("resnext") || name == "small_net" => 0.5,
        _ if name.starts_with("regnet")
            && ["16gf", "32gf", "128gf"].iter().any(|end| name.ends_with(end)) =>
        {
            0.02
        }
        _ if name.starts_with("regnet") || name.starts_with("shufflenet") => 0.25,
        _ => 0.12,
    };
    let size = if name == "alexnet" { 64 } else { 40 };
    let options = Options { width, ..Options::new(numbered_classes(7), [size, size, 3]) };
    let mut graph = build(name, &options).unwrap_or_else(|e| panic!("{name}: {e}"));
    randomize(&mut graph, seed);
    graph
}

fn images(graph: &Graph) -> Tensor {
    let [h, w, c] = graph.info.input;
    init::normal(5, "images", &[BATCH, h, w, c], 1.0)
}

fn logits(graph: &Graph) -> Tensor {
    graph.logits(&Device::cpu(), images(graph)).unwrap()
}

fn planned(graph: &Graph) -> Tensor {
    let [h, w, c] = graph.info.input;
    let mut plan = Plan::new(graph, [BATCH, h, w, c], &Device::cpu()).unwrap();
    let logits = plan.run(images(graph).data()).unwrap();
    Tensor::from_slice(&[BATCH, logits.len() / BATCH], logits).unwrap()
}

/// A plan that keeps a random half of the units of every group, at least one.
fn halves(graph: &Graph, seed: u64) -> PrunePlan {
    let flow = ChannelFlow::new(graph).unwrap();
    let free = flow.groups().iter().filter(|group| group.frozen.is_none());
    let half = |(index, group): (usize, &lopper_compress::channels::Group)| {
        let draws = init::uniform(seed, &format!("group{index}"), &[group.units.len()], 1.0);
        let lives = |unit: &usize| draws.data()[*unit] > 0.0;
        let mut keep: Vec<usize> = (0..group.units.len()).filter(lives).collect();
        if keep.is_empty() {
            keep.push(seed as usize % group.units.len());
        }
        GroupPlan {
            layers: group.layer_names(graph),
            units: group.units.len(),
            keep: keep.into_iter().map(|unit| group.units[unit].channel).collect(),
        }
    };
    PrunePlan { groups: free.enumerate().map(half).collect() }
}

#[test]
fn pruning_any_architecture_removes_what_a_mask_zeroes() {
    for (seed, name) in (1..).zip(names()) {
        let graph = small(name, seed);
        let plan = halves(&graph, seed);
        assert!(!plan.groups.is_empty(), "{name}");
        let masked = mask(&graph, &plan).unwrap().graph;
        let pruned = prune(&graph, &plan, Constants::Drop).unwrap();
        let difference = relative_difference(&logits(&masked), &logits(&pruned.graph));
        assert!(difference <= 1e-4, "{name}: masked and pruned differ by {difference}\n{}", pruned.report);
        let (before, after) = (graph.param_count(), pruned.graph.param_count());
        assert!(after < before, "{name}: {before} parameters, {after} after pruning");

        let folded = fold(&pruned.graph).unwrap().graph;
        let difference = relative_difference(&logits(&pruned.graph), &logits(&folded));
        assert!(difference <= 1e-4, "{name}: folding changes the pruned network by {difference}");
        for (what, graph) in [("as built", &graph), ("masked", &masked), ("pruned and folded", &folded)] {
            let difference = relative_difference(&logits(graph), &planned(graph));
            assert!(difference <= 1e-4, "{name}, {what}: plan and graph differ by {difference}");
        }
    }
}

/// Nothing but the image and the classes keeps its channels.
#[test]
fn every_layer_of_every_architecture_can_be_pruned() {
    for name in names() {
        let graph = small(name, 0);
        let last = &graph.nodes()[lopper_models::last_layer(&graph).unwrap()].name;
        for group in ChannelFlow::new(&graph).unwrap().groups() {
            if let Some(why) = group.frozen {
                let layers = group.layer_names(&graph);
                assert!(layers.contains(last), "{name}: {why}: {layers:?}");
            }
        }
    }
}
