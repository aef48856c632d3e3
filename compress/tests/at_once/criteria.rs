//! Criteria and granularities from outside the crate, in sparsification and in pruning, and what is refused of them.

use crate::support::*;
use lopper_compress::criteria::*;
use lopper_compress::granularity::{Extent, Granularity};
use lopper_compress::sparsify::*;
use lopper_compress::{Context, PruneConfig};
use lopper_engine::rewrite::Rewrite;
use lopper_engine::train::{CrossEntropy, Optimizer, OptimizerConfig};
use lopper_engine::{Device, Graph, Layer, Param, Result, Tensor};
use std::sync::{Arc, Mutex};

/// Movement from the initial weights: `Σ |w − w₀|`.
#[derive(Debug)]
struct Moved;

impl Score for Moved {
    fn name(&self) -> &str {
        "moved"
    }

    fn needs(&self) -> &[Need] {
        &[Need::InitialWeights]
    }

    fn score(&self, layer: &LayerView) -> Result<Vec<f32>> {
        let (now, before) = (layer.weight(), layer.initial_weight()?);
        let moved = Reduction::Sum.of(layer.groups(), |i| f64::from((now[i] - before[i]).abs()));
        Ok(moved.into_iter().map(|score| score as f32).collect())
    }
}

/// The mean absolute output of each channel: an activation for each filter.
#[derive(Debug)]
struct Loud;

impl Score for Loud {
    fn name(&self) -> &str {
        "loud"
    }

    fn needs(&self) -> &[Need] {
        &[Need::Activations]
    }

    fn observe(&self, step: &StepView) -> Result<Vec<f64>> {
        let output = step.activations()?;
        let channels = *output.shape().last().unwrap();
        let mut sums = vec![0.0; channels];
        for pixel in output.data().chunks_exact(channels) {
            sums.iter_mut().zip(pixel).for_each(|(sum, &y)| *sum += f64::from(y.abs()));
        }
        let pixels = (output.data().len() / channels) as f64;
        Ok(sums.into_iter().map(|sum| sum / pixels).collect())
    }

    fn score(&self, layer: &LayerView) -> Result<Vec<f32>> {
        Ok(layer.observed()?.iter().map(|&mean| mean as f32).collect())
    }
}

/// Second moments: `Σ w² · E[g²]`, the diagonal of the empirical Fisher information.
#[derive(Debug)]
struct Fisher;

impl Score for Fisher {
    fn name(&self) -> &str {
        "fisher"
    }

    fn needs(&self) -> &[Need] {
        &[Need::Gradients]
    }

    fn observe(&self, step: &StepView) -> Result<Vec<f64>> {
        let (weight, gradient) = (step.weight(), step.gradient()?);
        Ok(Reduction::Sum.of(step.groups(), |i| (f64::from(weight[i]) * f64::from(gradient[i])).powi(2)))
    }

    fn score(&self, layer: &LayerView) -> Result<Vec<f32>> {
        Ok(layer.observed()?.iter().map(|&term| term as f32).collect())
    }
}

/// Regrowth: the largest gradient, and of a dropped weight that tells whether it should return (Evci et al. 2020,
/// "Rigging the lottery"). Adds up the gradients of weights that are zero.
#[derive(Debug)]
struct Regrow(Need, Arc<Mutex<f64>>);

impl Score for Regrow {
    fn name(&self) -> &str {
        "regrow"
    }

    fn needs(&self) -> &[Need] {
        std::slice::from_ref(&self.0)
    }

    fn observe(&self, step: &StepView) -> Result<Vec<f64>> {
        let (weight, gradient) = (step.weight(), step.gradient()?);
        let dropped = weight.iter().zip(gradient).filter(|(w, _)| **w == 0.0);
        *self.1.lock().unwrap() += dropped.map(|(_, g)| f64::from(g.abs())).sum::<f64>();
        Ok(Reduction::Max.of(step.groups(), |i| f64::from(gradient[i].abs())))
    }

    fn score(&self, layer: &LayerView) -> Result<Vec<f32>> {
        Ok(layer.observed()?.iter().map(|&gradient| gradient as f32).collect())
    }
}

/// Gives the scores that it is made of, and remembers the layers that it was asked about.
#[derive(Debug)]
struct Fixed(Vec<f32>, Arc<Mutex<Vec<String>>>);

impl Score for Fixed {
    fn name(&self) -> &str {
        "fixed"
    }

    fn score(&self, layer: &LayerView) -> Result<Vec<f32>> {
        self.1.lock().unwrap().push(layer.name().to_string());
        Ok(self.0.clone())
    }
}

fn on_images(mut graph: Graph) -> Graph {
    graph.info.input = [4, 4, 2];
    graph
}

fn prune_conv1(graph: &Graph, criterion: &Criterion, evidence: Option<&Evidence>) -> Result<Rewrite> {
    let config = PruneConfig {
        criterion: Some(criterion.clone()),
        fraction: Some(0.5),
        include: vec!["body.conv1".into()],
        ..PruneConfig::default()
    };
    config.apply(graph, evidence)
}

fn sparsify_conv1(criterion: &Criterion) -> SparsifyConfig {
    let include = vec!["body.conv1".into()];
    SparsifyConfig { criterion: criterion.clone(), include, ..SparsifyConfig::new(0.5) }
}

/// The filters of a weight `[O, …]` that are zero.
fn zero_filters(weight: &Tensor) -> Vec<usize> {
    let filters = weight.data().chunks(weight.len() / weight.dim(0));
    filters.enumerate().filter(|(_, f)| f.iter().all(|&w| w == 0.0)).map(|(o, _)| o).collect()
}

/// `body.conv1` without the filters whose scores are lowest, by sparsification and by pruning.
#[test]
fn a_criterion_of_another_crate_sparsifies_and_prunes() {
    let graph = on_images(small_net(3));
    let asked = Arc::default();
    let criterion: Criterion = Fixed(vec![5.0, 1.0, 4.0, 0.0, 6.0, 2.0], Arc::clone(&asked)).into();
    let weight = graph.param("body.conv1.weight").unwrap().value();

    let sparse = sparsify(&graph, &sparsify_conv1(&criterion), None).unwrap().graph;
    assert_eq!(zero_filters(sparse.param("body.conv1.weight").unwrap().value()), [1, 3, 5]);

    let pruned = prune_conv1(&graph, &criterion, None).unwrap().graph;
    let kept = pruned.param("body.conv1.weight").unwrap().value();
    assert!(kept.same_bits(&weight.select(0, &[0, 2, 4])));
    assert_eq!(*asked.lock().unwrap(), ["body.conv1"; 2], "depthwise filters are not scored");
}

#[test]
fn scores_that_make_no_sense_are_refused() {
    let graph = on_images(small_net(3));
    for (scores, complaint) in [
        (vec![1.0; 5], "expected 6 scores for layer `body.conv1`, found 5"),
        (vec![1.0, 2.0, f32::NAN, 1.0, 1.0, 1.0], "scores a group NaN"),
        (vec![1.0, 2.0, f32::INFINITY, 1.0, 1.0, 1.0], "scores a group inf"),
    ] {
        let criterion: Criterion = Fixed(scores, Arc::default()).into();
        let sparse = sparsify(&graph, &sparsify_conv1(&criterion), None).unwrap_err().to_string();
        let pruned = prune_conv1(&graph, &criterion, None).unwrap_err().to_string();
        for error in [sparse, pruned] {
            assert!(error.contains("criterion fixed") && error.contains(complaint), "{error}");
        }
    }
    let criterion = Criterion::from(Moved);
    assert!("moved".parse::<Criterion>().is_err(), "recipes name the criteria of the table");
    let error = sparsify(&graph, &sparsify_conv1(&criterion), None).unwrap_err().to_string();
    assert!(error.contains("criterion moved: the initial weight of layer `body.conv1`"), "{error}");
}

#[test]
fn activations_are_measured_on_images() {
    let graph = on_images(small_net(3));
    let criterion = Criterion::from(Loud);
    let config = sparsify_conv1(&criterion);
    let sites = config.sites(&graph).unwrap();
    let mut data = Toy::new(3, 3);
    let evidence = Evidence::measure(&criterion, &graph, &sites, &mut data, 3, &Device::cpu()).unwrap();
    let scores = Scoring::new(&criterion).evidence(Some(&evidence)).scores(&graph, &sites[0]).unwrap();
    // The same by hand: the first layer over the images of all batches.
    let mut expected = vec![0.0f64; 6];
    let mut first = Graph::new(2);
    first.push("conv1", graph.nodes()[1].layer.clone(), &[0]).unwrap();
    for batch in 0..3 {
        let output = first.logits(&Device::cpu(), data.batch(batch).images).unwrap();
        for (i, y) in output.data().iter().enumerate() {
            expected[i % 6] += f64::from(y.abs()) / (3 * 8 * 16) as f64;
        }
    }
    for (score, expected) in scores.iter().zip(&expected) {
        assert!((f64::from(*score) - expected).abs() < 1e-5, "{scores:?} {expected:?}");
    }
    assert!(prune_conv1(&graph, &criterion, Some(&evidence)).is_ok());
    let error = sparsify(&graph, &config, None).unwrap_err().to_string();
    assert!(error.contains("no activations of layer `body.conv1` were observed"), "{error}");
    assert!(Sparsifier::new(config).unwrap_err().to_string().contains("exposes no activations"));
}

#[test]
fn second_moments_are_means_of_squares() {
    let graph = small_net(3);
    let criterion = Criterion::from(Fisher);
    let sites = sparsify_conv1(&criterion).sites(&graph).unwrap();
    let weight = graph.param("body.conv1.weight").unwrap().value();
    let mut evidence = Evidence::default();
    for factor in [1.0f32, -3.0] {
        let gradient = Tensor::from_fn(weight.shape(), |i| factor * (i / 18) as f32);
        let gradients = [("body.conv1.weight".to_string(), gradient)].into();
        evidence.observe(&criterion, &graph, &sites, &gradients).unwrap();
    }
    let scores = Scoring::new(&criterion).evidence(Some(&evidence)).scores(&graph, &sites[0]).unwrap();
    for (o, filter) in weight.data().chunks(18).enumerate() {
        // g = o and −3·o, so E[g²] = 5·o².
        let expected = filter.iter().map(|&w| f64::from(w).powi(2) * 5.0 * (o * o) as f64).sum::<f64>();
        assert!((f64::from(scores[o]) - expected).abs() <= 1e-6 * expected, "{o}: {} {expected}", scores[o]);
    }
}

/// Of all criteria only this one sees where training began.
#[test]
fn initial_weights_are_those_at_the_beginning_of_the_training() {
    let start = small_net(3);
    let mut graph = start.clone();
    let config =
        SparsifyConfig { every: 100, schedule: SparsitySchedule::OneShot, ..sparsify_conv1(&Moved.into()) };
    let mut sparsifier = Sparsifier::new(config).unwrap();
    let sgd = OptimizerConfig::Sgd { momentum: 0.0, nesterov: false, weight_decay: 0.0 };
    let mut plain = start.clone();
    train(&mut plain, &mut Optimizer::new(sgd), 1, &mut CrossEntropy::default(), vec![]).unwrap();
    let callbacks: Vec<&mut dyn lopper_engine::train::Callback> = vec![&mut sparsifier];
    train(&mut graph, &mut Optimizer::new(sgd), 1, &mut CrossEntropy::default(), callbacks).unwrap();

    let of = |graph: &Graph| graph.param("body.conv1.weight").unwrap().value().clone();
    let (before, after) = (of(&start), of(&plain));
    let mut moved: Vec<(f64, usize)> = (0..6)
        .map(|o| {
            let pairs = before.data()[o * 18..][..18].iter().zip(&after.data()[o * 18..][..18]);
            (pairs.map(|(b, a)| f64::from((a - b).abs())).sum(), o)
        })
        .collect();
    moved.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut least: Vec<usize> = moved[..3].iter().map(|&(_, o)| o).collect();
    least.sort_unstable();
    assert_eq!(zero_filters(&of(&graph)), least);
}

/// A criterion that needs the gradients of all weights gets those of dropped ones, in training and without it; others
/// get zeros.
#[test]
fn dropped_weights_have_gradients_if_a_criterion_needs_them() {
    for granularity in [Granularity::WEIGHT, Granularity::FILTER] {
        for (need, expected) in [(Need::Gradients, true), (Need::LiveGradients, false)] {
            let seen = Arc::default();
            let criterion = Criterion::from(Regrow(need, Arc::clone(&seen)));
            let include = vec!["body.conv1".into(), "body.conv2".into()];
            let schedule = SparsitySchedule::OneShot;
            let config =
                SparsifyConfig { criterion, granularity, include, schedule, ..SparsifyConfig::new(0.5) };
            let mut graph = small_net(3);
            let mut sparsifier = Sparsifier::new(config.clone()).unwrap();
            let sgd = OptimizerConfig::Sgd { momentum: 0.0, nesterov: false, weight_decay: 0.0 };
            let callbacks: Vec<&mut dyn lopper_engine::train::Callback> = vec![&mut sparsifier];
            train(&mut graph, &mut Optimizer::new(sgd), 2, &mut CrossEntropy::default(), callbacks).unwrap();
            let in_training = std::mem::take(&mut *seen.lock().unwrap());
            assert_eq!(in_training > 0.0, expected, "{granularity} {need:?}: {in_training}");

            let (sites, mut data) = (config.sites(&graph).unwrap(), Toy::new(3, 3));
            Evidence::measure(&config.criterion, &graph, &sites, &mut data, 3, &Device::cpu()).unwrap();
            let measured = *seen.lock().unwrap();
            assert_eq!(measured > 0.0, expected, "{granularity} {need:?}: {measured}");
        }
    }
}

/// A layer on a smaller scale takes the whole cut, unless scores are normalized: then its scale does not matter.
#[test]
fn a_normalization_makes_layers_comparable() {
    let cut = |normalization: Normalization, scale: f32| {
        let mut graph = small_net(3);
        graph.param_mut("body.conv2.weight").unwrap().update(|w| w.iter_mut().for_each(|w| *w *= scale));
        let config = SparsifyConfig { normalization: Some(normalization), ..SparsifyConfig::new(0.5) };
        let measured = Sparsity::measure(&sparsify(&graph, &config, None).unwrap().graph, &config).unwrap();
        measured.layers.iter().map(|layer| layer.zero_groups).collect::<Vec<_>>()
    };
    let small = 1.0 / 1024.0;
    assert_eq!(cut(Normalization::None, small), [0, 7]);
    assert_ne!(cut(Normalization::Mean, small), [0, 7]);
    for normalization in [Normalization::Sum, Normalization::Mean, Normalization::Max, Normalization::L2] {
        assert_eq!(cut(normalization, small), cut(normalization, 1.0), "{normalization}");
    }
    let read = |text: &str| toml::from_str::<SparsifyConfig>(text).unwrap().normalization;
    assert_eq!(read("sparsity = 0.5\nnormalization = \"l2\""), Some(Normalization::L2));
}

#[test]
fn a_granularity_of_another_crate_divides_as_it_says() {
    let pairs = Granularity::new("filter_block").conv([Extent::Block, Extent::All, Extent::All]);
    let config =
        |granularity| SparsifyConfig { granularity, context: Context::Local, ..SparsifyConfig::new(0.5) };
    let graph = small_net(3);
    let sparse = sparsify(&graph, &config(pairs.block(2)), None).unwrap();
    // Two of conv1's three pairs (1.5, rounded up), two of conv2's four.
    for (layer, count) in [("body.conv1", 4), ("body.conv2", 4)] {
        let zero = zero_filters(sparse.graph.param(&format!("{layer}.weight")).unwrap().value());
        assert_eq!(zero.len(), count);
        assert!(zero.chunks(2).all(|pair| pair[0] % 2 == 0 && pair[1] == pair[0] + 1), "{zero:?}");
    }
    // conv1 has blocks of four and of two filters: one of the two goes as a whole.
    let uneven = sparsify(&graph, &config(pairs.block(4)), None).unwrap();
    let zero = zero_filters(uneven.graph.param("body.conv1.weight").unwrap().value());
    assert!(zero == [0, 1, 2, 3] || zero == [4, 5], "{zero:?}");
    let report = uneven.report.to_string();
    assert!(report.contains("1 of 2 filter_blocks kept"), "{report}");
    let error = sparsify(&graph, &config(pairs), None).unwrap_err().to_string();
    assert!(error.contains("expected a block size of at least 1"), "{error}");
}

#[test]
fn input_channel_blocks_agree_with_a_hand_example() {
    // One filter [1, 2, 1, 4], blocks of two channels at both positions: {1, 1, 9, 1} and {2, 2, 3, 1}.
    let Layer::Conv2d(mut first) = conv(1, 4, 1, 1, 0) else { unreachable!() };
    let weight = [1.0, 1.0, 2.0, 2.0, 9.0, 1.0, 3.0, 1.0];
    first.weight = Param::new(Tensor::from_slice(&[1, 2, 1, 4], &weight).unwrap());
    let graph = Chain::new(4).then("a", Layer::Conv2d(first)).then("b", conv(2, 1, 1, 1, 0)).graph;
    let blocks = |text: &str, criterion: Criterion| {
        let granularity = text.parse().unwrap();
        let config = SparsifyConfig { granularity, criterion, ..SparsifyConfig::new(0.5) };
        let rewrite = sparsify(&graph, &config, None).unwrap();
        (rewrite.graph.param("a.weight").unwrap().value().data().to_vec(), rewrite.report.to_string())
    };
    // Means of 3 and 2: the second block goes.
    let (weight, report) = blocks("input_channel_block:2", LargeFinal.into());
    assert_eq!(weight, [1.0, 1.0, 0.0, 0.0, 9.0, 1.0, 0.0, 0.0]);
    assert!(report.contains("1 of 2 input_channel_blocks kept"), "{report}");
    let (weight, _) = blocks("input_channel_block:4", LargeFinal.into());
    assert!(weight.iter().all(|&w| w != 0.0), "the last group of a layer stays");

    let config: SparsifyConfig =
        toml::from_str("sparsity = 0.5\ngranularity = \"input_channel_block:8\"").unwrap();
    assert_eq!(config.granularity, Granularity::INPUT_CHANNEL_BLOCK.block(8));
    assert!(toml::to_string(&config).unwrap().contains("\"input_channel_block:8\""));
    for text in ["input_channel_block", "input_channel_block:0", "input_channel_block:x"] {
        let error = text.parse::<Granularity>().unwrap_err().to_string();
        assert!(error.contains("expected a block size of at least 1"), "{error}");
    }
    assert!("filter:2".parse::<Granularity>().unwrap_err().to_string().contains("takes no block size"));
}

/// The tables of docs/criteria.md name every criterion and granularity.
#[test]
fn the_document_names_everything() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/criteria.md")).unwrap();
    let criteria = CRITERIA.iter().map(|criterion| criterion.name().to_string());
    let granularities = lopper_compress::granularity::GRANULARITIES.iter().map(|g| g.name().to_string());
    for name in criteria.chain(granularities) {
        let named = [format!("`{name}`"), format!("`{name}:")];
        assert!(named.iter().any(|form| text.contains(form)), "docs/criteria.md lacks {name}");
    }
}
