//! Pruning to a target, and the limits that keep layers from being gutted.

use crate::support::clock::Distorted;
use crate::support::random_graph::{networks, relative_difference, values::randomize};
use lopper_compress::Context;
use lopper_compress::criteria::{Criterion, LargeFinal, Normalization, Random};
use lopper_compress::prune::{
    Amount, ByLayer, Constants, PruneConfig, PrunePlan, PruneStage, RoundTo, Target, mask, prune,
};
use lopper_compress::techniques::Technique;
use lopper_engine::{Device, Graph, Layer};
use lopper_models::{Options, build, init, numbered_classes};
use proptest::prelude::*;

fn network(name: &str, size: usize) -> Graph {
    let options = Options { seed: Some(3), ..Options::new(numbered_classes(10), [size, size, 3]) };
    build(name, &options).unwrap()
}

fn with_target(target: Target) -> PruneConfig {
    PruneConfig {
        criterion: Some(LargeFinal.into()),
        constants: Constants::Drop,
        target: Some(target),
        ..PruneConfig::default()
    }
}

fn share(share: f64) -> Option<Amount> {
    Some(Amount::Share(share))
}

fn macs(graph: &Graph) -> f64 {
    graph.costs(graph.info.input).unwrap().iter().map(|cost| cost.macs).sum::<u64>() as f64
}

/// The shares of channels that stay, by group.
fn shares(graph: &Graph, config: &PruneConfig) -> Vec<f64> {
    let plan = config.plan(graph, None).unwrap();
    plan.groups.iter().map(|group| group.keep.len() as f64 / group.units as f64).collect()
}

/// Weights at initialization shrink with the fan-in, as those of trained networks do: unscaled, the wide layers of a ResNet
/// lose nearly all their filters, and the narrow ones none.
#[test]
fn a_global_ranking_does_not_gut_a_layer() {
    let graph = network("resnet8", 32);
    let config = |normalization: Option<Normalization>| PruneConfig {
        criterion: Some(LargeFinal.into()),
        fraction: Some(0.5),
        normalization,
        ..PruneConfig::default()
    };
    let least = |config: &PruneConfig| shares(&graph, config).into_iter().fold(1.0, f64::min);
    let unscaled = config(Some(Normalization::None));
    assert!(least(&unscaled) < 0.05, "{:?}", shares(&graph, &unscaled));
    let report = unscaled.apply(&graph, None).unwrap().report.to_string();
    assert!(report.contains("warning: only 1 of"), "{report}");
    let scaled = config(None);
    assert!(least(&scaled) > 0.25, "{:?}", shares(&graph, &scaled));
    assert!(!scaled.apply(&graph, None).unwrap().report.to_string().contains("warning"));
    let lamp = config(Some(Normalization::Lamp));
    assert!(scaled.plan(&graph, None).unwrap() == lamp.plan(&graph, None).unwrap(), "the default is LAMP's");
    assert!(least(&config(Some(Normalization::Mean))) > 0.25);

    let limited = PruneConfig { max_fraction: Some(ByLayer::All(0.8)), ..config(Some(Normalization::None)) };
    assert!(least(&limited) >= 0.2, "{:?}", shares(&graph, &limited));
    let counted = PruneConfig {
        min_channels: Some(ByLayer::Patterns([("layer2.0.conv1".to_string(), 24)].into())),
        ..config(Some(Normalization::None))
    };
    let plan = counted.plan(&graph, None).unwrap();
    let group = plan.groups.iter().find(|group| group.layers == ["layer2.0.conv1"]).unwrap();
    assert_eq!(group.keep.len(), 24);
    let isomorphic = PruneConfig { isomorphic: true, ..config(None) };
    assert!(least(&isomorphic) > 0.25, "{:?}", shares(&graph, &isomorphic));
}

/// Of 64 channels, 0.49 leaves 33: a panel of filters for a single one.
#[test]
fn widths_are_rounded_to_those_that_pay() {
    let graph = network("resnet18", 32);
    let widths = |round_to: Option<RoundTo>| {
        let config = PruneConfig {
            criterion: Some(Random.into()),
            fraction: Some(0.49),
            context: Context::Local,
            round_to,
            ..PruneConfig::default()
        };
        let plan = config.plan(&graph, None).unwrap();
        let mut widths: Vec<usize> = plan.groups.iter().map(|group| group.keep.len()).collect();
        widths.sort_unstable();
        widths.dedup();
        widths
    };
    assert_eq!(widths(None), [33, 65, 131, 261]);
    assert_eq!(widths(Some(RoundTo::Multiple(16))), [32, 64, 128, 256]);
    let panel = 8;
    let paying = widths(Some(RoundTo::Plan));
    assert!(paying.iter().all(|width| width % panel == 0), "{paying:?}");
}

#[test]
fn a_latency_is_reached_although_the_estimate_is_wrong() {
    for (name, size) in [("resnet18", 64), ("mobilenet_v2", 64), ("vgg8_bn", 32)] {
        let graph = network(name, size);
        for (power, of) in [(1.0, 0.5), (1.15, 0.6), (0.85, 0.5)] {
            let clock = Distorted::new(1, power);
            let config = PruneConfig {
                clock: Distorted::new(1, power).attached(),
                ..with_target(Target { latency: share(of), batch: Some(2), ..Target::default() })
            };
            let stage = PruneStage { prune: Some(config), ..PruneStage::default() };
            let rewrite = stage.apply(&graph, None).unwrap().rewrite;
            let found = clock.time(&rewrite.graph, 2) / clock.time(&graph, 2);
            assert!(
                (found / of - 1.0).abs() <= 0.05,
                "{name}: {found} of {of} at {power}: {}",
                rewrite.report
            );
            assert!(rewrite.report.to_string().contains("asked for"), "{}", rewrite.report);
        }
    }
}

#[test]
fn an_impossible_latency_says_what_is_possible() {
    let graph = network("resnet8", 32);
    let config = PruneConfig {
        clock: Distorted::new(1, 1.0).attached(),
        ..with_target(Target { latency: share(0.001), ..Target::default() })
    };
    let error = config.apply(&graph, None).unwrap_err().to_string();
    assert!(error.contains("cannot be reached") && error.contains("is the least"), "{error}");
    let whole = PruneConfig { target: Some(Target { latency: share(1.5), ..Target::default() }), ..config };
    let plan = whole.plan(&graph, None).unwrap();
    assert!(plan.groups.iter().all(|group| group.keep.len() == group.units), "nothing needs to go");
}

#[test]
fn the_choice_does_not_depend_on_threads() {
    let graph = network("resnet18", 32);
    let plans = [1, 2, 3].map(|threads| {
        let config = PruneConfig {
            clock: Distorted::new(threads, 1.1).attached(),
            ..with_target(Target { latency: share(0.5), ..Target::default() })
        };
        config.plan(&graph, None).unwrap()
    });
    assert!(plans[0] == plans[1] && plans[1] == plans[2]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// What the target counts is at most what is asked for, or the error says what is; and removing is masking.
    #[test]
    fn counts_never_exceed_the_target(net in networks(), asked in 0.2..1.0f64, kind in 0..3usize, exact: bool) {
        let graph = net.graph();
        let target = match kind {
            0 => Target { macs: share(asked), ..Target::default() },
            1 => Target { params: share(asked), ..Target::default() },
            _ => Target { bytes: share(asked), ..Target::default() },
        };
        let constants = if exact { Constants::Exact } else { Constants::Drop };
        let config = PruneConfig { constants, ..with_target(target) };
        if config.sites(&graph).unwrap().is_empty() {
            return Ok(());
        }
        let count = |graph: &Graph| match kind {
            0 => macs(graph),
            1 => graph.param_count() as f64,
            _ => 4.0 * (graph.param_count() + graph.buffers().map(|(_, b)| b.len() as u64).sum::<u64>()) as f64,
        };
        match config.plan(&graph, None) {
            Ok(plan) => {
                let pruned = prune(&graph, &plan, constants).unwrap().graph;
                prop_assert!(count(&pruned) <= asked * count(&graph) * (1.0 + 1e-12));
                prop_assert!(plan.groups.iter().all(|group| group.keep.len() * 20 >= group.units));
                if !exact && graph.nodes().iter().all(|node| keeps_zero(&node.layer)) {
                    let logits = |graph: &Graph| graph.logits(&Device::cpu(), net.images(2)).unwrap();
                    let masked = mask(&graph, &plan).unwrap().graph;
                    prop_assert!(relative_difference(&logits(&masked), &logits(&pruned)) <= 1e-3);
                }
            }
            Err(error) => {
                let error = error.to_string();
                prop_assert!(error.contains("is the least") || error.contains("carry constants"), "{error}");
            }
        }
    }
}

/// Whether the layer maps a masked channel to zeros.
fn keeps_zero(layer: &Layer) -> bool {
    match layer {
        Layer::Activation(activation) => activation.apply(0.0f32) == 0.0,
        _ => true,
    }
}

#[test]
fn counts_come_close_to_the_target() {
    for name in ["resnet18", "mobilenet_v2", "vgg8_bn"] {
        let graph = network(name, 32);
        let config = with_target(Target { macs: share(0.5), ..Target::default() });
        let found = macs(&config.apply(&graph, None).unwrap().graph) / macs(&graph);
        assert!((0.48..=0.5).contains(&found), "{name}: {found}");
        let config = with_target(Target { params: share(0.3), ..Target::default() });
        let found =
            config.apply(&graph, None).unwrap().graph.param_count() as f64 / graph.param_count() as f64;
        assert!((0.28..=0.3).contains(&found), "{name}: {found}");
    }
}

#[test]
fn steps_without_training_score_anew_and_reach_the_same_counts() {
    let mut graph = network("resnet8", 32);
    randomize(&mut graph, 5);
    for amount in [
        PruneConfig { fraction: Some(0.5), ..with_target(Target::default()) },
        with_target(Target { macs: share(0.5), ..Target::default() }),
    ] {
        let target = amount.target.clone().filter(|target| target.macs.is_some());
        let at_once = PruneConfig { target, ..amount };
        let steps = PruneConfig { steps: Some(4), ..at_once.clone() };
        let stage = PruneStage { prune: Some(steps), ..PruneStage::default() };
        let rewrite = stage.apply(&graph, None).unwrap().rewrite;
        let once = at_once.apply(&graph, None).unwrap().graph;
        let channels = |graph: &Graph| -> usize {
            PrunePlan::dead(graph).unwrap().groups.iter().map(|group| group.units).sum()
        };
        match at_once.target {
            Some(_) => assert!(macs(&rewrite.graph) <= 0.5 * macs(&graph), "{}", rewrite.report),
            None => assert_eq!(channels(&rewrite.graph), channels(&once), "{}", rewrite.report),
        }
        assert!(rewrite.report.to_string().contains("after 4 cuts"), "{}", rewrite.report);
        let images = init::normal(0, "images", &[1, 32, 32, 3], 1.0);
        assert!(rewrite.graph.logits(&Device::cpu(), images).unwrap().data().iter().all(|x| x.is_finite()));
    }
}

#[test]
fn bad_options_are_named() {
    let graph = network("resnet8", 32);
    let l1 = "criterion = \"l1\"";
    for (text, complaint) in [
        (
            format!("{l1}\nfraction = 0.5\nmax_fraction = 1.5"),
            "max_fraction: expected a fraction in [0, 1], found 1.5",
        ),
        (
            format!("{l1}\nfraction = 0.5\nmin_channels = 0"),
            "min_channels: expected at least 1 channel, found 0",
        ),
        (format!("{l1}\nfraction = 0.5\nmin_channels = {{ nothing = 3 }}"), "`nothing` matches no layer"),
        (
            format!("{l1}\nfraction = 0.5\nmax_fraction = {{ \"layer*\" = 0.5, \"layer2.*\" = 0.6 }}"),
            "both match",
        ),
        (format!("{l1}\nwidth = 0.5\nisomorphic = true"), "isomorphic: expected a fraction"),
        ("round_to = 16".to_string(), "round_to: expected a criterion beside it"),
        ("normalization = \"mean\"".to_string(), "normalization: expected a criterion beside it"),
        (format!("{l1}\nfraction = 0.5\ntarget = {{ macs = 1e6 }}"), "only one of fraction and target"),
        (format!("{l1}\ntarget = {{}}"), "expected one of latency, macs, params and bytes, found none"),
        (format!("{l1}\ntarget = {{ macs = 1e6, params = 1e6 }}"), "params and bytes, found 2"),
        (format!("{l1}\ntarget = {{ macs = 1e6, batch = 2 }}"), "batch: expected a latency beside it"),
        (format!("{l1}\ntarget = {{ latency = \"1ms\" }}"), "of which machine?"),
        (format!("{l1}\ncontext = \"local\"\ntarget = {{ macs = \"0.5x\" }}"), "expected the global context"),
        (format!("{l1}\ntarget = {{ macs = \"0.5x\" }}\nschedule = \"linear\""), "expected steps beside it"),
        (format!("{l1}\nfraction = 0.5\nsteps = 0"), "steps: expected 1 to 1000 cuts, found 0"),
        (format!("{l1}\nfraction = 0.5\nsteps = 2\nschedule = \"linear\""), "expected only one of them"),
        (
            format!("{l1}\ntarget = {{ macs = 1000 }}"),
            "is the least, where every group keeps as few channels",
        ),
        (format!("{l1}\ntarget = {{ params = 10 }}"), "10 parameters cannot be reached"),
    ] {
        let config: PruneConfig = toml::from_str(&text).unwrap_or_else(|e| panic!("{text}: {e}"));
        let error = config.apply(&graph, None).unwrap_err().to_string();
        assert!(error.contains(complaint), "{text}: {error}");
    }
    for (text, complaint) in [
        ("round_to = \"planet\"", "a number of channels such as 16, or \"plan\""),
        ("round_to = 0", "found 0"),
        ("max_fraction = \"most\"", "a number, or a table of numbers by pattern of layers"),
        ("target = { macs = \"half\" }", "expected a share such as 0.5x"),
        ("target = { macs = -1 }", "found -1"),
        ("target = { flops = 1e6 }", "unknown field `flops`"),
        ("normalization = \"meen\"", "unknown variant `meen`"),
    ] {
        let error = toml::from_str::<PruneConfig>(text).unwrap_err().to_string();
        assert!(error.contains(complaint), "{text}: {error}");
    }
    let criterion: Criterion = Random.into();
    assert_eq!(Normalization::across_layers(&criterion), Normalization::Lamp);
}
