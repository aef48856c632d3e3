//! Masks at once: what each granularity, criterion and context drops, and which layers are skipped.

use crate::support::*;
use lopper_compress::criteria::*;
use lopper_compress::granularity::Granularity;
use lopper_compress::sparsify::*;
use lopper_compress::{Context, Criterion};
use lopper_engine::layer::Layer;
use lopper_engine::rewrite::Outcome;
use lopper_engine::{Graph, Param, Tensor};
use std::collections::BTreeMap;

fn config(sparsity: f64, granularity: Granularity, context: Context) -> SparsifyConfig {
    SparsifyConfig { granularity, context, ..SparsifyConfig::new(sparsity) }
}

fn weight<'g>(graph: &'g Graph, layer: &str) -> &'g Param {
    graph.param(&format!("{layer}.weight")).unwrap()
}

/// A graph of one linear layer whose weight is `values`, then a classifier.
fn one_linear(outputs: usize, values: &[f32]) -> Graph {
    let inputs = values.len() / outputs;
    let mut graph =
        Chain::new(inputs).then("fc", linear(outputs, inputs, 0)).then("out", linear(2, outputs, 0)).graph;
    let value = Tensor::from_slice(&[outputs, inputs], values).unwrap();
    graph.param_mut("fc.weight").unwrap().set_value(value).unwrap();
    graph
}

#[test]
fn each_granularity_drops_its_own_shape() {
    // The mask of [O, KH, KW, C] = [2, 1, 2, 2] where the weight's size grows with its position.
    let mut graph = Graph::new(2);
    let (mut first, last) = (conv(2, 2, 1, 1, 0), conv(2, 2, 1, 1, 0));
    if let Layer::Conv2d(c) = &mut first {
        c.weight = Param::new(Tensor::from_fn(&[2, 1, 2, 2], |i| 1.0 + i as f32));
    }
    let a = graph.push("a", first, &[0]).unwrap();
    graph.push("b", last, &[a]).unwrap();
    let mask = |granularity| {
        let rewritten = sparsify(&graph, &config(0.5, granularity, Context::Local), None).unwrap();
        weight(&rewritten.graph, "a").mask().unwrap().data().to_vec()
    };
    assert_eq!(mask(Granularity::WEIGHT), [0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0]);
    assert_eq!(mask(Granularity::FILTER), [0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0]);

    // Kernels lie across: (o, c) owns positions o·4 + c and o·4 + c + 2.
    let values = [1.0, 9.0, 1.0, 9.0, 8.0, 2.0, 8.0, 2.0];
    graph
        .param_mut("a.weight")
        .unwrap()
        .set_value(Tensor::from_slice(&[2, 1, 2, 2], &values).unwrap())
        .unwrap();
    let rewritten = sparsify(&graph, &config(0.5, Granularity::KERNEL, Context::Local), None).unwrap();
    assert_eq!(
        weight(&rewritten.graph, "a").mask().unwrap().data(),
        [0.0, 1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 0.0]
    );
    assert_eq!(weight(&rewritten.graph, "a").value().data(), [0.0, 9.0, 0.0, 9.0, 8.0, 0.0, 8.0, 0.0]);
    assert!(weight(&graph, "a").mask().is_none(), "the input of a rewrite is untouched");

    let graph = one_linear(2, &[1.0, -5.0, 2.0, 3.0, -7.0, 4.0]);
    let value = |granularity| {
        let rewritten = sparsify(&graph, &config(0.34, granularity, Context::Local), None).unwrap();
        weight(&rewritten.graph, "fc").value().data().to_vec()
    };
    assert_eq!(value(Granularity::ROW), [0.0, 0.0, 0.0, 3.0, -7.0, 4.0]);
    assert_eq!(value(Granularity::COLUMN), [0.0, -5.0, 2.0, 0.0, -7.0, 4.0]);
    assert_eq!(value(Granularity::WEIGHT), [0.0, -5.0, 0.0, 3.0, -7.0, 4.0]);
}

#[test]
fn measured_sparsity_is_the_one_asked_for() {
    let graph = small_net(3);
    for granularity in
        [Granularity::WEIGHT, Granularity::KERNEL, Granularity::FILTER, Granularity::ROW, Granularity::COLUMN]
    {
        for context in [Context::Local, Context::Global] {
            for criterion in [Criterion::from(LargeFinal), Random.into()] {
                for sparsity in [0.0, 0.25, 0.5, 0.8] {
                    let config = SparsifyConfig {
                        criterion: criterion.clone(),
                        ..config(sparsity, granularity, context)
                    };
                    let rewritten = sparsify(&graph, &config, None).unwrap();
                    let measured = Sparsity::measure(&rewritten.graph, &config).unwrap();
                    for layer in &measured.layers {
                        assert!(layer.zero_groups < layer.groups, "{layer:?} is empty");
                        let asked = sparsity * layer.groups as f64;
                        let off = (layer.zero_groups as f64 - asked).abs();
                        assert!(
                            context == Context::Global || off <= 0.5 || layer.zero_groups == layer.groups - 1
                        );
                    }
                    let (zero, all) =
                        measured.layers.iter().fold((0, 0), |(z, n), l| (z + l.zero_groups, n + l.groups));
                    if context == Context::Global {
                        assert_eq!(zero, (sparsity * all as f64).round() as usize, "{config:?}");
                    }
                    assert_eq!(measured.of_groups(), zero as f64 / all as f64);
                }
            }
        }
    }
}

/// VGG16's convolutions, 1×1: it is the filters that count.
#[test]
fn half_of_vgg16_is_2112_filters() {
    let widths = [64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512];
    let (mut chain, mut inputs) = (Chain::new(3), 3);
    for (i, &width) in widths.iter().enumerate() {
        let Layer::Conv2d(mut layer) = conv(width, inputs, 1, 1, i as u64) else { unreachable!() };
        // Deeper layers have smaller weights, as He initialization gives them.
        layer.weight.update(|w| w.iter_mut().for_each(|w| *w /= (inputs as f32).sqrt()));
        chain = chain.then(&format!("features.{i}"), Layer::Conv2d(layer));
        inputs = width;
    }
    let graph = chain.then("flatten", Layer::Flatten).then("classifier", linear(10, 512, 99)).graph;

    let config = config(0.5, Granularity::FILTER, Context::Global);
    let rewritten = sparsify(&graph, &config, None).unwrap();
    let measured = Sparsity::measure(&rewritten.graph, &config).unwrap();
    let (groups, zero) = measured.layers.iter().fold((0, 0), |(n, z), l| (n + l.groups, z + l.zero_groups));
    assert_eq!((groups, groups - zero), (4224, 2112));
    assert!(measured.layers.iter().all(|l| l.zero_groups < l.groups));
    assert!(weight(&rewritten.graph, "classifier").mask().is_none());
}

/// 20, 50 and 100 filters without 30 %: the published small network keeps 14, 35 and 70.
#[test]
fn local_sparsity_gives_the_published_filter_counts() {
    let graph = Chain::new(3)
        .then("conv1", conv(20, 3, 5, 1, 1))
        .then("conv2", conv(50, 20, 5, 1, 2))
        .then("conv3", conv(100, 50, 5, 1, 3))
        .then("fc", linear(10, 100, 4))
        .graph;
    let config = config(0.3, Granularity::FILTER, Context::Local);
    let measured = Sparsity::measure(&sparsify(&graph, &config, None).unwrap().graph, &config).unwrap();
    let kept: Vec<usize> = measured.layers.iter().map(|l| l.groups - l.zero_groups).collect();
    assert_eq!(kept, [14, 35, 70]);
}

#[test]
fn total_sparsity_leaves_a_group_in_each_layer() {
    let graph = small_net(3);
    for context in [Context::Local, Context::Global] {
        let config = config(1.0, Granularity::FILTER, context);
        let measured = Sparsity::measure(&sparsify(&graph, &config, None).unwrap().graph, &config).unwrap();
        assert!(measured.layers.iter().all(|l| l.zero_groups == l.groups - 1), "{measured}");
    }
}

#[test]
fn what_is_left_alone_is_said() {
    let mut graph = small_net(3);
    graph.param_mut("body.conv2.weight").unwrap().trainable = false;
    let rewrite = sparsify(&graph, &config(0.5, Granularity::FILTER, Context::Local), None).unwrap();
    let outcome = |layer: &str| match rewrite.report.nodes.iter().find(|(n, _)| n == layer).unwrap().1.clone()
    {
        Outcome::Changed(how) | Outcome::Skipped(how) => how,
    };
    assert_eq!(outcome("body.conv1"), "3 of 6 filters kept");
    assert!(outcome("body.depthwise").starts_with("depthwise"));
    assert_eq!(outcome("body.conv2"), "frozen");
    assert_eq!(outcome("fc1"), "granularity filter does not apply to a linear layer");
    assert_eq!(rewrite.report.changed_count(), 1);

    let rows = config(0.5, Granularity::ROW, Context::Local);
    let report = sparsify(&graph, &rows, None).unwrap().report.to_string();
    assert!(report.contains("5 of 10 rows kept"), "{report}");
    assert!(report.contains("it makes the network's output"), "{report}");
}

#[test]
fn layers_are_chosen_by_name_or_module() {
    let graph = small_net(3);
    let masked = |include: &[&str], exclude: &[&str]| -> lopper_engine::Result<Vec<String>> {
        let own = |names: &[&str]| names.iter().map(|n| n.to_string()).collect();
        let config = SparsifyConfig {
            include: own(include),
            exclude: own(exclude),
            ..config(0.5, Granularity::WEIGHT, Context::Local)
        };
        let graph = sparsify(&graph, &config, None).map(|r| r.graph)?;
        let masked = graph.params().filter(|(_, p)| p.mask().is_some()).map(|(path, _)| path);
        Ok(masked.collect())
    };
    let body = ["body.conv1.weight", "body.depthwise.weight", "body.conv2.weight"];
    assert_eq!(masked(&["body"], &[]).unwrap(), body);
    assert_eq!(masked(&["body"], &["body.conv1"]).unwrap(), body[1..]);
    assert_eq!(masked(&[], &["body"]).unwrap(), ["fc1.weight"]);
    assert_eq!(masked(&["fc2"], &[]).unwrap(), ["fc2.weight"], "the output, asked for by name");
    for (include, exclude) in [(&["fc"][..], &[][..]), (&[], &["body.relu1"]), (&["bod"], &[])] {
        let error = masked(include, exclude).unwrap_err().to_string();
        assert!(error.contains("no convolution or linear layer called"), "{error}");
    }
}

#[test]
fn taylor_agrees_with_a_hand_example() {
    let graph = one_linear(2, &[1.0, 2.0, -1.0, 3.0]);
    let mut evidence = Evidence::default();
    let rows = SparsifyConfig { criterion: Taylor.into(), ..config(0.5, Granularity::ROW, Context::Local) };
    let sites = rows.sites(&graph).unwrap();
    for gradient in [[4.0, -1.0, 1.0, 2.0], [0.0, -3.0, 2.0, 0.0]] {
        let gradient = Tensor::from_slice(&[2, 2], &gradient).unwrap();
        let gradients = BTreeMap::from([("fc.weight".to_string(), gradient)]);
        evidence.observe(&rows.criterion, &graph, &sites, &gradients).unwrap();
    }
    // Row 0: |1·4 − 2·1| = 2 and |−2·3| = 6. Row 1: |−1 + 6| = 5 and |−2| = 2.
    let scoring = Scoring::new(&rows.criterion).evidence(Some(&evidence));
    assert_eq!(scoring.scores(&graph, &sites[0]).unwrap(), [4.0, 3.5]);
    let rewritten = sparsify(&graph, &rows, Some(&evidence)).unwrap();
    assert_eq!(weight(&rewritten.graph, "fc").value().data(), [1.0, 2.0, 0.0, 0.0]);

    let error = sparsify(&graph, &rows, None).unwrap_err().to_string();
    assert!(error.contains("no gradients of layer `fc`"), "{error}");
}

#[test]
fn batch_norm_gamma_judges_the_filter_that_it_scales() {
    let mut graph = small_net(3);
    for (path, gammas) in [
        ("body.bn1.weight", &[9.0, -0.5, 7.0, 0.25, 8.0, -6.0][..]),
        // Behind a ReLU: still one γ a filter.
        ("body.bn2.weight", &[1.0, 2.0, 3.0, 0.0, 5.0, 6.0, 7.0, 8.0]),
    ] {
        let gammas = Tensor::from_slice(&[gammas.len()], gammas).unwrap();
        graph.param_mut(path).unwrap().set_value(gammas).unwrap();
    }
    let slim = SparsifyConfig {
        criterion: BatchNormGamma.into(),
        ..config(3.0 / 14.0, Granularity::FILTER, Context::Global)
    };
    let rewritten = sparsify(&graph, &slim, None).unwrap().graph;
    let dead = |layer: &str| {
        let weight = weight(&rewritten, layer);
        let filters = weight.value().data().chunks(weight.value().len() / weight.value().dim(0));
        let zero = filters.enumerate().filter(|(_, f)| f.iter().all(|&w| w == 0.0));
        zero.map(|(i, _)| i).collect::<Vec<_>>()
    };
    assert_eq!((dead("body.conv1"), dead("body.conv2")), (vec![1, 3], vec![3]));
}

#[test]
fn random_is_fixed_by_its_seed() {
    let graph = small_net(3);
    let masked = |seed| {
        let config = SparsifyConfig {
            criterion: Random.into(),
            seed,
            ..config(0.5, Granularity::WEIGHT, Context::Global)
        };
        let graph = sparsify(&graph, &config, None).unwrap().graph;
        weight(&graph, "body.conv1").value().clone()
    };
    assert!(masked(1).same_bits(&masked(1)));
    assert!(!masked(1).same_bits(&masked(2)));
}

#[test]
fn masks_of_two_granularities_add_up() {
    let graph = small_net(3);
    let weights = config(0.4, Granularity::WEIGHT, Context::Local);
    let once = sparsify(&graph, &weights, None).unwrap().graph;
    let filters = config(0.5, Granularity::FILTER, Context::Local);
    let twice = sparsify(&once, &filters, None).unwrap().graph;
    let (before, after) = (weight(&once, "body.conv1"), weight(&twice, "body.conv1"));
    let pairs = before.value().data().iter().zip(after.value().data());
    assert!(pairs.clone().all(|(&b, &a)| a == 0.0 || a == b), "nothing returns");
    assert!(after.masked_fraction() > 0.5 && before.masked_fraction() < 0.5);
    assert_eq!(Sparsity::measure(&twice, &filters).unwrap().of_groups(), 0.5);
}

#[test]
fn numbers_that_are_no_numbers_are_refused() {
    let mut graph = small_net(3);
    graph.param_mut("body.conv1.weight").unwrap().update(|w| w[0] = f32::NAN);
    let error = sparsify(&graph, &SparsifyConfig::new(0.5), None).unwrap_err().to_string();
    assert!(error.contains("body.conv1") && error.contains("NaN"), "{error}");
}

#[test]
fn sparsity_grows_within_its_window() {
    let at = |schedule, start, end, fraction| {
        SparsifyConfig { schedule, start, end, ..SparsifyConfig::new(0.5) }.sparsity_at(fraction).unwrap()
    };
    let linear = [0.1, 0.25, 0.5, 0.75, 1.0].map(|f| at(SparsitySchedule::Linear, 0.25, 0.75, f));
    assert_eq!(linear, [0.0, 0.0, 0.25, 0.5, 0.5]);
    assert_eq!([0.29, 0.3, 1.0].map(|f| at(SparsitySchedule::OneShot, 0.3, 1.0, f)), [0.0, 0.5, 0.5]);
    assert_eq!(
        [0.4, 0.5].map(|f| at(SparsitySchedule::Cosine, 0.5, 0.5, f)),
        [0.0, 0.5],
        "an empty window is a step"
    );
}

#[test]
fn options_read_as_recipes_write_them() {
    let read = |text: &str| toml::from_str::<SparsifyConfig>(text);
    let config = read(
        r#"
        sparsity = 0.5
        granularity = "kernel"
        context = "local"
        criterion = "taylor"
        schedule = { iterative = { steps = 3 } }
        end = 0.8
        exclude = ["layer1"]
        "#,
    )
    .unwrap();
    assert_eq!((config.granularity, config.context), (Granularity::KERNEL, Context::Local));
    assert_eq!((config.schedule.clone(), config.end), (SparsitySchedule::Iterative { steps: 3 }, 0.8));
    assert_eq!(read("sparsity = 0.5\nschedule = \"gradual\"").unwrap().schedule, SparsitySchedule::Gradual);
    assert_eq!(read("sparsity = 0.25").unwrap(), SparsifyConfig::new(0.25));
    assert!(read("sparsity = 0.5\nsparcity = 1").unwrap_err().to_string().contains("sparcity"));
    let error = read("granularity = \"kernel\"").unwrap().check().unwrap_err().to_string();
    assert!(error.contains("expected the fraction of kernels to drop, found none"), "{error}");

    for sparsity in [-0.1, 1.5, f64::NAN] {
        let error = SparsifyConfig::new(sparsity).check().unwrap_err().to_string();
        assert!(error.contains("expected a fraction in [0, 1]"), "{error}");
    }
    for (start, end) in [(-0.1, 1.0), (0.0, 1.1), (0.6, 0.5), (f64::NAN, 1.0), (0.0, f64::NAN)] {
        assert!(SparsifyConfig { start, end, ..config.clone() }.check().is_err(), "{start}..{end}");
    }
    let schedule = SparsitySchedule::Iterative { steps: 0 };
    assert!(SparsifyConfig { schedule, ..config.clone() }.check().is_err());
    let gamma = SparsifyConfig { criterion: BatchNormGamma.into(), ..config };
    assert!(
        gamma
            .check()
            .unwrap_err()
            .to_string()
            .contains("expected granularity filter beside it, found kernel")
    );

    assert_eq!("row".parse::<Granularity>().unwrap(), Granularity::ROW);
    assert_eq!(LargeFinal.name().parse::<Criterion>().unwrap(), LargeFinal.into());
    let error = "filters".parse::<Granularity>().unwrap_err().to_string();
    assert!(error.contains("filters") && error.contains("column"), "{error}");
}
