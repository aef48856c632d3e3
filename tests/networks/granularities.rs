//! From a granularity to a plan: sparsification at every granularity gives masks that kernels recognize as that
//! structure, that model files keep, and that a plan computes like the dense network of the same weights.

use crate::support::random_graph::{relative_difference, values::randomize};
use lopper_compress::granularity::GRANULARITIES;
use lopper_compress::{Context, Granularity, SparsifyConfig, sparsify};
use lopper_engine::layer::{Activation, Conv2d, Linear, Pool, Window};
use lopper_engine::plan::Plan;
use lopper_engine::{Device, Graph, Layer, Param, Tensor, file};
use lopper_kernels::pattern::{Pattern, Structure};
use lopper_models::init;

const INPUT: [usize; 4] = [2, 9, 10, 32];

/// `conv3 → relu → conv1 → relu → grouped → relu → pool → flatten → fc → relu → out`. The widths 38, 70 and 47 are no
/// multiples of a block, and 38 is no multiple of the M of N:M.
fn network() -> Graph {
    let zeros = |shape: &[usize]| Param::new(Tensor::zeros(shape));
    let conv = |o: usize, k: usize, c: usize, groups: usize| {
        let (weight, bias) = (zeros(&[o, k, k, c / groups]), Some(zeros(&[o])));
        Layer::Conv2d(Conv2d {
            weight,
            bias,
            stride: [1; 2],
            padding: [k / 2; 2],
            extra_padding: [0; 2],
            dilation: [1; 2],
            groups,
        })
    };
    let convs =
        [("conv3", conv(38, 3, 32, 1)), ("conv1", conv(64, 1, 38, 1)), ("grouped", conv(70, 3, 64, 2))];
    let linear = |outputs: usize, inputs: usize| {
        Layer::Linear(Linear { weight: zeros(&[outputs, inputs]), bias: None })
    };
    let (fc, out) = (linear(47, 280), linear(5, 47));
    let mut graph = Graph::new(INPUT[3]);
    graph.info.input = [INPUT[1], INPUT[2], INPUT[3]];
    let relu = || Layer::Activation(Activation::Relu);
    let mut last = 0;
    let mut then = |name: &str, layer| last = graph.push(name, layer, &[last]).unwrap();
    for (name, layer) in convs {
        then(name, layer);
        then(&format!("{name}.relu"), relu());
    }
    then("pool", Layer::Pool(Pool::average(Window::Adaptive([2, 2]))));
    then("flatten", Layer::Flatten);
    then("fc", fc);
    then("fc.relu", relu());
    then("out", out);
    randomize(&mut graph, 7);
    graph
}

/// The masks of convolutions and linear layers by name, with the shape that patterns see.
fn masks(graph: &Graph) -> Vec<(String, &Tensor, [usize; 3])> {
    let masked = graph.params().filter_map(|(path, param)| {
        let shape = match *param.value().shape() {
            [o, kh, kw, c] => [o, kh * kw, c],
            [o, inputs] => [o, 1, inputs],
            _ => return None,
        };
        Some((path.strip_suffix(".weight")?.to_string(), param.mask()?, shape))
    });
    masked.collect()
}

fn patterns(graph: &Graph) -> Vec<(String, Pattern)> {
    masks(graph).into_iter().map(|(name, mask, shape)| (name, Pattern::of(mask.data(), shape))).collect()
}

/// The granularities that divide a weight along its axes, and have no kernels of their own.
const DIVISIONS: [&str; 12] = [
    "channel",
    "kernel_row",
    "kernel_column",
    "horizontal_slice",
    "vertical_slice",
    "shared_weight",
    "shared_channel",
    "shared_row",
    "shared_column",
    "shared_horizontal_slice",
    "shared_vertical_slice",
    "shared_kernel",
];

/// Every granularity of the table with blocks that kernels are made for, and some N:M. A layer is never dropped as a whole.
fn granularities() -> Vec<Granularity> {
    let blocks = |granularity: &Granularity| match granularity.check() {
        Ok(()) => vec![*granularity],
        Err(_) => [2, 4, 8, 16].map(|size| granularity.block(size)).to_vec(),
    };
    let ratios = ["1:2", "2:4", "1:4", "3:8", "5:16", "1:32"].map(|text| text.parse().unwrap());
    let divided = GRANULARITIES.iter().filter(|granularity| **granularity != Granularity::LAYER);
    divided.flat_map(blocks).chain(ratios).collect()
}

fn at_half(granularity: Granularity) -> SparsifyConfig {
    let sparsity = granularity.quota().is_none().then_some(0.5);
    SparsifyConfig { sparsity, granularity, context: Context::Local, ..SparsifyConfig::new(0.5) }
}

/// Asserts that `pattern` is what `granularity` makes of a layer of random weights.
#[track_caller]
fn assert_structure(granularity: Granularity, name: &str, pattern: &Pattern) {
    let text = granularity.to_string();
    let what = format!("{text}, {name}: {pattern}");
    let [filters, taps, inputs] = pattern.shape();
    if let Some(quota) = granularity.quota() {
        assert_eq!(pattern.structure(), Structure::NofM { n: quota.n, m: quota.m }, "{what}");
        assert_eq!(pattern.density(), quota.n as f64 / quota.m as f64, "{what}");
        return;
    }
    match text.split_once(':') {
        Some(("block" | "kernel_block", size)) => {
            assert_eq!(pattern.structure(), Structure::Blocks { filters: size.parse().unwrap() }, "{what}");
        }
        Some(("input_channel_block", _)) => assert_eq!(pattern.structure(), Structure::Weights, "{what}"),
        _ => match granularity.name() {
            "filter" | "row" => {
                assert_eq!(
                    (pattern.filters().len(), pattern.inputs().len()),
                    (filters / 2, inputs),
                    "{what}"
                );
                assert_eq!(pattern.structure(), Structure::Dense, "{what}");
            }
            "column" => {
                assert_eq!(
                    (pattern.filters().len(), pattern.inputs().len()),
                    (filters, inputs / 2),
                    "{what}"
                );
                assert_eq!(pattern.structure(), Structure::Dense, "{what}");
            }
            _ => assert_eq!(pattern.structure(), Structure::Weights, "{what}"),
        },
    }
    if granularity.name().starts_with("kernel") {
        for filter in 0..filters {
            let kernel = |channel| (0..taps).map(move |tap| pattern.is_live(filter, tap * inputs + channel));
            assert!((0..inputs).all(|c| kernel(c).all(|live| live == pattern.is_live(filter, c))), "{what}");
        }
    }
    let error = (pattern.density() - 0.5).abs();
    assert!(error < 0.05, "{what}: density {}", pattern.density());
}

/// Asserts that the masks of `sparse` drop whole groups of `granularity`, as many as half of them, rounded.
#[track_caller]
fn assert_whole_groups(granularity: Granularity, sparse: &Graph) {
    for (name, mask, _) in masks(sparse) {
        let groups = granularity.groups(&sparse.nodes()[sparse.id(&name).unwrap()].layer).unwrap();
        let (dead, live) = (groups.all(|i| mask.data()[i] == 0.0), groups.all(|i| mask.data()[i] == 1.0));
        assert!(
            dead.iter().zip(&live).all(|(dead, live)| dead != live),
            "{granularity}, {name}: parts of groups"
        );
        let count = dead.iter().filter(|&&dead| dead).count();
        assert_eq!(count, (0.5 * dead.len() as f64).round() as usize, "{granularity}, {name}");
    }
}

#[test]
fn kernels_recognize_every_granularity_and_files_keep_it() {
    let dense = network();
    let directory = tempfile::tempdir().unwrap();
    for granularity in granularities() {
        let rewrite = sparsify(&dense, &at_half(granularity), None).unwrap();
        let sparse = rewrite.graph;
        let found = patterns(&sparse);
        let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
        let expected: &[&str] = match (granularity.name(), granularity.quota()) {
            (_, Some(quota)) if 280 % quota.m != 0 => &["conv3", "grouped"],
            // Those of `conv1`, 38, are no multiple of M, except of 2.
            (_, Some(quota)) if quota.m > 2 => &["conv3", "grouped", "fc"],
            ("row" | "column", _) => &["fc"],
            ("shared_weight", _) => &["conv3", "conv1", "grouped", "fc"],
            // A pointwise convolution is a single one of these groups, which stays.
            ("shared_channel" | "shared_horizontal_slice" | "shared_vertical_slice", _) => {
                &["conv3", "grouped"]
            }
            (name, _) if DIVISIONS.contains(&name) => &["conv3", "conv1", "grouped"],
            ("filter" | "kernel" | "input_channel_block", _) => &["conv3", "conv1", "grouped"],
            _ => &["conv3", "conv1", "grouped", "fc"],
        };
        assert_eq!(names, expected, "{granularity}");
        match DIVISIONS.contains(&granularity.name()) {
            true => assert_whole_groups(granularity, &sparse),
            false => found.iter().for_each(|(name, pattern)| assert_structure(granularity, name, pattern)),
        }

        let path = directory.path().join(format!("{granularity}.safetensors").replace(':', "-"));
        file::save(&sparse, &path).unwrap();
        let loaded = file::load(&path).unwrap();
        assert_eq!(patterns(&loaded), found, "{granularity}");
        for ((name, mask, _), (_, again, _)) in masks(&sparse).into_iter().zip(masks(&loaded)) {
            assert!(mask.same_bits(again), "{granularity}: {name}");
        }
    }
}

/// A plan may skip what a mask drops, and must not compute anything else.
#[test]
fn a_plan_of_masks_equals_the_dense_plan_of_their_zeros() {
    let dense = network();
    let images = init::uniform(8, "images", &INPUT, 1.0);
    let run = |graph: &Graph| {
        let mut plan = Plan::new(graph, INPUT, &Device::cpu()).unwrap();
        let logits = plan.run(images.data()).unwrap().to_vec();
        Tensor::from_vec(plan.output_shape(), logits).unwrap()
    };
    for granularity in granularities() {
        let sparse = sparsify(&dense, &at_half(granularity), None).unwrap().graph;
        let mut zeros = sparse.clone();
        for (name, ..) in masks(&sparse) {
            zeros.param_mut(&format!("{name}.weight")).unwrap().set_mask(None).unwrap();
        }
        assert!(masks(&zeros).is_empty());
        let difference = relative_difference(&run(&sparse), &run(&zeros));
        assert!(difference <= 1e-5, "{granularity}: {difference}");
    }
}

#[test]
fn a_mask_of_another_shape_is_refused_with_both_shapes() {
    let mut graph = network();
    let mask = Tensor::full(&[38, 3, 32, 3], 1.0);
    let error = graph.param_mut("conv3.weight").unwrap().set_mask(Some(mask)).unwrap_err().to_string();
    assert!(error.contains("[38, 3, 32, 3]") && error.contains("[38, 3, 3, 32]"), "{error}");
}

#[test]
fn a_quota_needs_no_sparsity_and_refuses_another() {
    let config = |text: &str| -> lopper_engine::Result<f64> {
        let config: SparsifyConfig = toml::from_str(text).unwrap();
        config.check()?;
        config.final_sparsity()
    };
    assert_eq!(config("granularity = \"2:4\"").unwrap(), 0.5);
    assert_eq!(config("granularity = \"1:4\"\nsparsity = 0.75").unwrap(), 0.75);
    assert_eq!(config("granularity = \"1:3\"\nsparsity = 0.667").unwrap(), 2.0 / 3.0);
    let error = config("granularity = \"2:4\"\nsparsity = 0.6").unwrap_err().to_string();
    assert!(error.contains("granularity 2:4 drops 0.5 of the weights, found 0.6"), "{error}");
    let error = config("granularity = \"block:4\"").unwrap_err().to_string();
    assert!(error.contains("expected the fraction of blocks to drop, found none"), "{error}");
    for text in ["0:4", "4:4", "5:4", "2:33", "2:", "2:x", "99999999999999999999:4", "2:4:8"] {
        let error = text.parse::<Granularity>().unwrap_err().to_string();
        assert!(error.contains("expected N:M with 1 ≤ N < M ≤ 32, found"), "{text}: {error}");
    }
    for granularity in granularities() {
        assert_eq!(granularity.to_string().parse::<Granularity>().unwrap(), granularity);
    }
}

#[test]
fn layers_whose_inputs_are_no_multiple_are_skipped_and_said() {
    let report = sparsify(&network(), &at_half("2:4".parse().unwrap()), None).unwrap().report.to_string();
    assert!(report.contains("granularity 2:4: 38 inputs are no multiple of 4"), "{report}");
}
