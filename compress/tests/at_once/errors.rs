//! Errors of compression name the option, the layer, what was expected and found, and what to set.

use crate::support::small_net;
use lopper_compress::criteria::Scoring;
use lopper_compress::distill::{DistillConfig, Distillation, Hint};
use lopper_compress::prune::{GroupPlan, UnitScores};
use lopper_compress::sparsify::SparsitySchedule;
use lopper_compress::{
    CompactConfig, Criterion, FactorizeConfig, Granularity, PruneConfig, PrunePlan, SparsifyConfig, compact,
    factorize, prune, sparsify,
};
use lopper_engine::train::CrossEntropy;
use lopper_engine::{Graph, Result};

fn network() -> Graph {
    let mut graph = small_net(3);
    graph.info.input = [4, 4, 2];
    graph
}

#[track_caller]
fn refused<T>(result: Result<T>, words: &[&str]) {
    let error = result.err().expect("an error").to_string();
    for word in words {
        assert!(error.contains(word), "expected `{word}` in: {error}");
    }
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| name.to_string()).collect()
}

#[test]
fn of_sparsification() {
    let graph = network();
    let run = |config: SparsifyConfig| sparsify(&graph, &config, None);
    let half = || SparsifyConfig::new(0.5);
    refused(run(SparsifyConfig::new(1.5)), &["sparsity", "[0, 1]", "1.5"]);
    refused(run(SparsifyConfig { sparsity: None, ..half() }), &["filters", "found none", "set sparsity"]);
    refused(run(SparsifyConfig { every: 0, ..half() }), &["every", "at least 1", "found 0"]);
    refused(run(SparsifyConfig { start: 0.7, end: 0.2, ..half() }), &["start ≤ end", "start 0.7", "end 0.2"]);
    let granularity = Granularity::BLOCK;
    refused(run(SparsifyConfig { granularity, ..half() }), &["block size", "block:4"]);
    let gamma: Criterion = "batch_norm_gamma".parse().unwrap();
    refused(
        run(SparsifyConfig { criterion: gamma, granularity: Granularity::ROW, ..half() }),
        &["batch_norm_gamma", "expected granularity filter", "found row"],
    );
    refused(
        run(SparsifyConfig { include: names(&["head"]), ..half() }),
        &["sparsify include", "`head`", "name one", "`body.conv1`"],
    );
    refused(
        run(SparsifyConfig { exclude: names(&["body", "fc1"]), ..half() }),
        &["no layer is left", "granularity filter", "`body.conv1`: excluded", "and 2 more", "include"],
    );
    let taylor = SparsifyConfig { criterion: "taylor".parse().unwrap(), ..half() };
    refused(run(taylor), &["criterion taylor", "`body.conv1`", "6 groups", "measure the evidence"]);
    let beyond = SparsitySchedule::custom("beyond", |x| 2.0 * x);
    let config = SparsifyConfig { schedule: beyond, ..half() };
    refused(config.sparsity_at(0.75), &["schedule", "beyond", "[0, 1]", "found 1.5"]);
    refused("l3".parse::<Criterion>(), &["criterion", "large_final (or l1)", "found `l3`"]);
}

#[test]
fn of_pruning() {
    let graph = network();
    let plan = |config: PruneConfig| config.plan(&graph, None);
    let random: Option<Criterion> = Some("random".parse().unwrap());
    refused(
        plan(PruneConfig { fraction: Some(0.5), ..PruneConfig::default() }),
        &["fraction", "expected a criterion", "found none"],
    );
    refused(
        plan(PruneConfig { criterion: random.clone(), ..PruneConfig::default() }),
        &["criterion random", "expected a fraction", "found none"],
    );
    refused(
        plan(PruneConfig { criterion: random, fraction: Some(-1.0), ..PruneConfig::default() }),
        &["fraction", "[0, 1]", "found -1"],
    );
    refused(
        plan(PruneConfig { exclude: names(&["conv9"]), ..PruneConfig::default() }),
        &["prune exclude", "`conv9`", "name one", "`input`"],
    );
    let group = |layer: &str, units, keep: &[usize]| PrunePlan {
        groups: vec![GroupPlan { layers: names(&[layer]), units, keep: keep.to_vec() }],
    };
    let run = |plan: PrunePlan| prune(&graph, &plan, Default::default());
    refused(run(group("body.conv2", 9, &[0])), &["body.conv2", "made for 9", "found 8", "plan again"]);
    refused(run(group("body.conv2", 8, &[])), &["body.conv2", "keep", "at least one", "found none"]);
    refused(run(group("body.conv2", 8, &[8])), &["body.conv2", "keep", "found 8"]);
    refused(run(group("fc2", 3, &[0])), &["fc2", "the network's output", "leave the layer out"]);
    let scoring = &"l1".parse().unwrap();
    let scores = UnitScores::new(&graph, &Scoring::new(scoring), |_| true).unwrap();
    let highest = |layer: &str, count| {
        PrunePlan::highest(&graph, &scores, &[(layer.to_string(), count)].into_iter().collect())
    };
    refused(highest("body.conv2", 9), &["`body.conv2`", "1 to 8", "found 9"]);
    refused(highest("pool", 1), &["`pool`", "name a convolution or linear layer"]);
    let other = UnitScores::new(&small(), &Scoring::new(scoring), |_| true).unwrap();
    let wrong = PrunePlan::lowest(&graph, &other, Default::default(), 0.5);
    refused(wrong, &["different network", "from the network to prune"]);
}

/// The network after one pruning: of the same groups, with fewer channels.
fn small() -> Graph {
    let config =
        PruneConfig { criterion: Some("l1".parse().unwrap()), fraction: Some(0.5), ..PruneConfig::default() };
    config.apply(&network(), None).unwrap().graph
}

#[test]
fn of_the_other_techniques() {
    let graph = network();
    let split = |fraction, energy| {
        factorize(&graph, &FactorizeConfig { fraction, energy, ..FactorizeConfig::default() })
    };
    refused(split(None, None), &["`fraction`", "`energy`", "found none"]);
    refused(split(Some(0.5), Some(0.5)), &["`target_macs`", "found `fraction` and `energy`"]);
    refused(split(Some(1.0), None), &["fraction", "[0, 1)", "found 1"]);
    refused(split(None, Some(2.0)), &["energy", "[0, 1]", "found 2"]);
    let mut infinite = graph.clone();
    infinite.param_mut("fc1.weight").unwrap().update(|w| w[3] = f32::INFINITY);
    let force = FactorizeConfig { fraction: Some(0.5), force: true, ..FactorizeConfig::default() };
    refused(factorize(&infinite, &force), &["layer `fc1`", "finite weights", "found inf"]);
    refused(
        compact(&graph, &CompactConfig { min_saving: 2.0, ..CompactConfig::default() }),
        &["min_saving", "[0, 1]", "found 2"],
    );
    let learn = |config: DistillConfig, teacher: Graph| {
        Distillation::new(config, CrossEntropy::default(), &graph, teacher, [4, 4, 2])
    };
    refused(
        learn(DistillConfig { temperature: 0.0, ..DistillConfig::default() }, graph.clone()),
        &["temperature", "above 0", "found 0"],
    );
    refused(learn(DistillConfig::default(), small_net(4)), &["[1, 3]", "[1, 4]", "same classes", "teacher"]);
    let hints = vec![Hint { adapter: Some(false), ..Hint::new("fc1", "fc2") }];
    refused(
        learn(DistillConfig { hints, ..DistillConfig::default() }, graph.clone()),
        &["hint fc1 ← fc2", "[1, 10]", "[1, 3]", "choose layers"],
    );
}
