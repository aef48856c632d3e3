//! Network slimming: the penalty's subgradient, what it does to scales, and the threshold across the network.

use crate::support::*;
use lopper_compress::Context;
use lopper_compress::criteria::BatchNormGamma;
use lopper_compress::prune::{Constants, PruneConfig};
use lopper_compress::slim::{Gammas, SlimConfig, Slimmer};
use lopper_engine::layer::{Activation, BatchNorm, Layer};
use lopper_engine::train::{Callback, CrossEntropy, Flow, Optimizer, OptimizerConfig, Progress, Step};
use lopper_engine::{Graph, Param, ParamGradients, Result, Tensor};

fn scales(graph: &Graph, layer: &str) -> Vec<f32> {
    graph.param(&format!("{layer}.weight")).unwrap().value().data().to_vec()
}

fn set(graph: &mut Graph, layer: &str, gamma: &[f32]) {
    graph.param_mut(&format!("{layer}.weight")).unwrap().update(|w| w.copy_from_slice(gamma));
}

/// The gradients of the scales after the callback, if they were 0.25 before.
fn penalized(config: SlimConfig, graph: &mut Graph) -> [Vec<f32>; 2] {
    let norms = ["body.bn1.weight", "body.bn2.weight"];
    let mut gradients: ParamGradients =
        graph.params().map(|(path, p)| (path, Tensor::full(p.value().shape(), 0.25))).collect();
    let progress = Progress { epoch: 0, epochs: 1, step: 0, steps: 1 };
    let mut step = Step { graph, gradients: &mut gradients, progress, loss: 0.0, rates: 0.1.into() };
    Slimmer::new(config).unwrap().before_step(&mut step).unwrap();
    for (path, gradient) in &gradients {
        assert!(norms.contains(&path.as_str()) || gradient.data().iter().all(|&g| g == 0.25), "{path}");
    }
    norms.map(|path| gradients[path].data().to_vec())
}

#[test]
fn the_penalty_adds_its_weight_times_the_sign() {
    let mut graph = small_net(3);
    set(&mut graph, "body.bn1", &[2.0, -1e-30, 0.0, -0.0, -3.0, 1e-3]);
    let [first, second] = penalized(SlimConfig::new(0.5), &mut graph);
    assert_eq!(first, [0.75, -0.25, 0.25, 0.25, -0.25, 0.75], "the sign of 0 is 0, as in torch.sign");
    assert_eq!(second, [0.75; 8], "scales start at 1");
    let only = SlimConfig { include: vec!["body.bn2".into()], ..SlimConfig::new(0.5) };
    assert_eq!(penalized(only, &mut graph), [vec![0.25; 6], vec![0.75; 8]]);
    let but = SlimConfig { exclude: vec!["body.bn2".into()], ..SlimConfig::new(0.5) };
    assert_eq!(penalized(but, &mut graph)[1], [0.25; 8]);
}

#[test]
fn what_cannot_be_slimmed_is_refused() {
    for l1 in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e39] {
        let message = Slimmer::new(SlimConfig::new(l1)).unwrap_err().to_string();
        assert!(message.starts_with("slim l1: expected above 0"), "{message}");
    }
    let begin = |config: SlimConfig, mut graph: Graph| {
        Slimmer::new(config).unwrap().on_begin(&mut graph).unwrap_err().to_string()
    };
    let none = Chain::new(2).then("conv", conv(4, 2, 3, 1, 1)).graph;
    assert!(begin(SlimConfig::new(1.0), none).contains("no batch norm"));
    let unknown = SlimConfig { include: vec!["body.conv1".into()], ..SlimConfig::new(1.0) };
    assert!(begin(unknown, small_net(3)).contains("no batch norm called `body.conv1`"));
}

/// A frozen scale has no gradient and stays as it is.
#[test]
fn frozen_scales_are_left_alone() {
    let mut graph = small_net(3);
    graph.param_mut("body.bn1.weight").unwrap().trainable = false;
    let mut slimmer = Slimmer::new(SlimConfig::new(2.0)).unwrap();
    let mut optimizer =
        Optimizer::new(OptimizerConfig::Sgd { momentum: 0.0, nesterov: false, weight_decay: 0.0 });
    train(&mut graph, &mut optimizer, 1, &mut CrossEntropy::default(), vec![&mut slimmer]).unwrap();
    assert_eq!(scales(&graph, "body.bn1"), [1.0; 6]);
    assert!(scales(&graph, "body.bn2").iter().all(|&gamma| gamma < 1.0));
}

#[test]
fn scales_shrink_while_training() {
    struct Steps(usize);
    impl Callback for Steps {
        fn after_step(&mut self, _: &mut Step) -> Result<Flow> {
            self.0 += 1;
            Ok(Flow::Continue)
        }
    }
    let run = |l1: Option<f64>| {
        let (mut graph, mut steps) = (small_net(3), Steps(0));
        let mut slimmer = l1.map(|l1| Slimmer::new(SlimConfig::new(l1)).unwrap());
        let mut optimizer =
            Optimizer::new(OptimizerConfig::Sgd { momentum: 0.0, nesterov: false, weight_decay: 0.0 });
        let mut callbacks: Vec<&mut dyn Callback> = vec![&mut steps];
        callbacks.extend(slimmer.as_mut().map(|slimmer| slimmer as &mut dyn Callback));
        train(&mut graph, &mut optimizer, 6, &mut CrossEntropy::default(), callbacks).unwrap();
        assert_eq!(steps.0, 24);
        let gammas = Gammas::measure(&graph, &SlimConfig::new(1.0)).unwrap();
        (gammas.all().magnitudes.iter().sum::<f32>(), gammas.to_string())
    };
    let ((plain, _), (slim, text)) = (run(None), run(Some(0.2)));
    // 24 steps of 0.05 · 0.2 pull each scale by up to 0.24.
    assert!(slim < plain - 1.0, "{slim} {plain}");
    assert!(text.contains("body.bn1") && text.contains("all             14"), "{text}");
}

#[test]
fn the_distribution_of_scales_is_counted() {
    let mut graph = small_net(3);
    set(&mut graph, "body.bn1", &[0.0, -0.01, 0.02, 0.5, -1.0, 0.25]);
    set(&mut graph, "body.bn2", &[-2.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0]);
    let gammas = Gammas::measure(&graph, &SlimConfig::new(1.0)).unwrap();
    assert_eq!(gammas.layers[0].magnitudes, [0.0, 0.01, 0.02, 0.25, 0.5, 1.0]);
    assert_eq!(gammas.layers[0].below(0.02), 2.0 / 6.0);
    let all = gammas.all();
    assert_eq!((all.quantile(0.0), all.quantile(1.0), all.magnitudes.len()), (0.0, 2.0, 14));
    // Below 1e-2 of 2: two of the first layer, and three of the second.
    let text = gammas.to_string();
    let last = text.lines().last().unwrap();
    assert!(
        text.lines().next().unwrap().ends_with("below 0.020") && last.ends_with("2.0000      35.71 %"),
        "{text}"
    );
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
}

/// The paper removes the channels whose |γ| is below a percentile of all |γ|, whichever layers they are in.
#[test]
fn pruning_by_scales_thresholds_the_whole_network() {
    let norm = |gamma: &[f32]| {
        let mut bn = BatchNorm::new(gamma.len());
        bn.weight = Param::new(Tensor::from_slice(&[gamma.len()], gamma).unwrap());
        Layer::BatchNorm(bn)
    };
    let gammas: [&[f32]; 3] =
        [&[0.9, -0.04, 0.3, 0.2], &[0.01, 0.02, -0.03, 0.05, 0.015], &[1.5, -1.4, 0.06, 0.07, 1.3, 1.2]];
    let mut chain = Chain::new(2);
    let mut inputs = 2;
    for (i, gamma) in gammas.iter().enumerate() {
        chain = chain
            .then(&format!("conv{i}"), conv(gamma.len(), inputs, 3, 1, i as u64))
            .then(&format!("bn{i}"), norm(gamma))
            .then(&format!("relu{i}"), Layer::Activation(Activation::Relu));
        inputs = gamma.len();
    }
    let mut graph = chain.then("flatten", Layer::Flatten).then("fc", linear(3, inputs * 16, 9)).graph;
    graph.info.input = [4, 4, 2];
    let mut all: Vec<f32> = gammas.concat().iter().map(|gamma| gamma.abs()).collect();
    all.sort_by(f32::total_cmp);
    for removed in 0..all.len() {
        let config = PruneConfig {
            criterion: Some(BatchNormGamma.into()),
            fraction: Some(removed as f64 / all.len() as f64),
            context: Context::Global,
            constants: Constants::Drop,
            ..PruneConfig::default()
        };
        let plan = config.plan(&graph, None).unwrap();
        // The best channel of a layer stays; those next in order go instead.
        let mut order: Vec<(usize, usize)> =
            gammas.iter().enumerate().flat_map(|(l, g)| (0..g.len()).map(move |c| (l, c))).collect();
        order.sort_by(|&(l, c), &(m, d)| gammas[l][c].abs().total_cmp(&gammas[m][d].abs()));
        let best = |l: usize| gammas[l].iter().fold(0.0f32, |best, gamma| best.max(gamma.abs()));
        let gone: Vec<(usize, usize)> =
            order.into_iter().filter(|&(l, c)| gammas[l][c].abs() < best(l)).take(removed).collect();
        for (l, group) in plan.groups.iter().enumerate() {
            let expected: Vec<usize> = (0..gammas[l].len()).filter(|&c| !gone.contains(&(l, c))).collect();
            assert_eq!(group.keep, expected, "{removed} of layer {l}");
        }
        // While no layer's best is in the way, that is the percentile's threshold.
        let threshold = all[removed];
        if (0..3).all(|l| best(l) >= threshold) {
            for (l, group) in plan.groups.iter().enumerate() {
                assert!(group.keep.iter().all(|&c| gammas[l][c].abs() >= threshold), "{removed}");
            }
        }
    }
}
