//! Regularization: each penalty's gradient by differences of its formula in f64, and what it does to a training.

use crate::support::*;
use lopper_compress::regularize::{Penalty, RegularizeConfig, Regularizer};
use lopper_engine::train::{
    Callback, Checkpoint, CrossEntropy, Keeper, Optimizer, OptimizerConfig, Progress, Schedule, Step, Trainer,
};
use lopper_engine::{Device, Graph, ParamGradients, Result, Tensor};

const SGD: OptimizerConfig = OptimizerConfig::Sgd { momentum: 0.9, nesterov: false, weight_decay: 0.0 };

fn net() -> Graph {
    let mut graph = small_net(3);
    graph.info.input = [4, 4, 2];
    graph.info.classes = ["a", "b", "c"].map(String::from).to_vec();
    for bn in ["body.bn1", "body.bn2"] {
        let param = graph.param_mut(&format!("{bn}.weight")).unwrap();
        param.update(|gamma| gamma.iter_mut().enumerate().for_each(|(i, g)| *g = 0.5 + 0.1 * i as f32));
    }
    graph
}

/// What the callback adds to gradients of zero in `step` of ten.
fn added(config: RegularizeConfig, graph: &mut Graph, step: usize) -> ParamGradients {
    let mut gradients: ParamGradients =
        graph.params().map(|(path, p)| (path, Tensor::zeros(p.value().shape()))).collect();
    let mut regularizer = Regularizer::new(config).unwrap();
    regularizer.on_begin(graph).unwrap();
    let progress = Progress { epoch: 0, epochs: 1, step, steps: 10 };
    let mut step = Step { graph, gradients: &mut gradients, progress, loss: 0.0, rates: 0.1.into() };
    regularizer.before_step(&mut step).unwrap();
    gradients
}

fn values(graph: &Graph, path: &str) -> Vec<f64> {
    graph.param(path).unwrap().value().data().iter().map(|&w| f64::from(w)).collect()
}

/// Compares the gradient of `path` with slopes of `penalty`, a function of that parameter in f64.
fn check(gradients: &ParamGradients, graph: &Graph, path: &str, penalty: impl Fn(&[f64]) -> f64) {
    let at = values(graph, path);
    for (i, &found) in gradients[path].data().iter().enumerate() {
        let moved = |by: f64| {
            let mut w = at.clone();
            w[i] += by;
            penalty(&w)
        };
        let slope = (moved(1e-5) - moved(-1e-5)) / 2e-5;
        assert!(
            (f64::from(found) - slope).abs() < 1e-5 * (1.0 + slope.abs()),
            "{path}, {i}: {found}, {slope}"
        );
    }
    assert!(gradients[path].data().iter().any(|&g| g != 0.0), "{path}");
}

fn norm(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|x| x * x).sum::<f64>().sqrt()
}

#[test]
fn gradients_are_slopes_of_the_formulas() {
    let mut graph = net();
    let l1 = added(RegularizeConfig::new(Penalty::L1, 0.3), &mut graph, 0);
    check(&l1, &graph, "fc1.weight", |w| 0.3 * w.iter().map(|w| w.abs()).sum::<f64>());
    assert!(
        l1["fc1.bias"].data().iter().chain(l1["fc2.weight"].data()).all(|&g| g == 0.0),
        "the output layer"
    );
    let l2 = added(RegularizeConfig::new(Penalty::L2, 0.3), &mut graph, 0);
    check(&l2, &graph, "body.conv1.weight", |w| 0.15 * w.iter().map(|w| w * w).sum::<f64>());
    let granularity = |name: &str| RegularizeConfig {
        granularity: name.parse().unwrap(),
        ..RegularizeConfig::new(Penalty::GroupLasso, 0.3)
    };
    let filters = added(granularity("filter"), &mut graph, 0);
    check(&filters, &graph, "body.conv1.weight", |w| {
        0.3 * w.chunks(18).map(|filter| 18f64.sqrt() * norm(filter.iter().copied())).sum::<f64>()
    });
    let columns = added(granularity("column"), &mut graph, 0);
    check(&columns, &graph, "fc1.weight", |w| {
        (0..8).map(|c| 0.3 * 10f64.sqrt() * norm(w.iter().skip(c).step_by(8).copied())).sum::<f64>()
    });
    // 6 filters of 18 weights, and 10 filters of 8: the smaller matrix of products.
    let orthogonal = added(RegularizeConfig::new(Penalty::Orthogonality, 0.3), &mut graph, 0);
    let apart = |rows: Vec<Vec<f64>>| {
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let entry = |i: usize, j: usize| dot(&rows[i], &rows[j]) - f64::from(u8::from(i == j));
        let n = rows.len();
        0.15 * (0..n * n).map(|at| entry(at / n, at % n).powi(2)).sum::<f64>()
    };
    check(&orthogonal, &graph, "body.conv1.weight", |w| apart(w.chunks(18).map(<[f64]>::to_vec).collect()));
    check(&orthogonal, &graph, "fc1.weight", |w| {
        apart((0..8).map(|c| w.iter().skip(c).step_by(8).copied().collect()).collect())
    });
}

/// A group of zeros has the subgradient zero.
#[test]
fn a_group_of_zeros_stays() {
    let mut graph = net();
    graph.param_mut("body.conv1.weight").unwrap().update(|w| w[..18].fill(0.0));
    for penalty in [Penalty::L1, Penalty::GroupLasso] {
        let gradients = added(RegularizeConfig::new(penalty, 1.0), &mut graph, 0);
        assert!(gradients["body.conv1.weight"].data()[..18].iter().all(|&g| g == 0.0), "{penalty}");
    }
}

/// DepGraph's formula on the unit of `body.conv2`: its filters, γ of `body.bn2` and the columns of `fc1` together.
#[test]
fn coupled_channels_are_pulled_together() {
    let mut graph = net();
    let config = RegularizeConfig { alpha: 3.0, ..RegularizeConfig::new(Penalty::GroupNorm, 0.5) };
    let found = added(config, &mut graph, 0);
    let (conv, gamma, fc) = (
        values(&graph, "body.conv2.weight"),
        values(&graph, "body.bn2.weight"),
        values(&graph, "fc1.weight"),
    );
    let norms: Vec<f64> = (0..8)
        .map(|u| {
            let column = fc.iter().skip(u).step_by(8);
            norm(conv[u * 6..][..6].iter().chain([&gamma[u]]).chain(column).copied())
        })
        .collect();
    let (low, high) =
        (norms.iter().copied().fold(f64::MAX, f64::min), norms.iter().copied().fold(0.0, f64::max));
    let pull = |u: usize| 0.5 * 2f64.powf(3.0 * (high - norms[u]) / (high - low));
    for u in 0..8 {
        let g = f64::from(found["body.bn2.weight"].data()[u]);
        assert!((g - pull(u) * gamma[u]).abs() < 1e-5, "γ {u}: {g}");
    }
    // A weight of the linear layer belongs to two units: that of its output, in the group of `fc1`, and that of its input.
    let (rows, out) = (values(&graph, "fc1.weight"), values(&graph, "fc2.weight"));
    let outs: Vec<f64> = (0..10)
        .map(|o| norm(rows[o * 8..][..8].iter().chain(out.iter().skip(o).step_by(10)).copied()))
        .collect();
    let (out_low, out_high) =
        (outs.iter().copied().fold(f64::MAX, f64::min), outs.iter().copied().fold(0.0, f64::max));
    for (i, &g) in found["fc1.weight"].data().iter().enumerate() {
        let (o, u) = (i / 8, i % 8);
        let expected = (pull(u) + 0.5 * 2f64.powf(3.0 * (out_high - outs[o]) / (out_high - out_low))) * fc[i];
        assert!((f64::from(g) - expected).abs() < 1e-4 * (1.0 + expected.abs()), "{i}: {g}, {expected}");
    }
    assert!(found["body.conv1.bias"].data().iter().all(|&g| g == 0.0));
}

/// ρ = weight + δ·⌊step / every⌋, up to the ceiling, on the half of the filters with the lowest mean |w|.
#[test]
fn growing_pulls_what_it_chose_ever_stronger() {
    let config = RegularizeConfig {
        weight: None,
        delta: 0.1,
        every: 2,
        ceiling: 0.35,
        include: vec!["body.conv1".into()],
        ..RegularizeConfig::new(Penalty::Growing, 0.0)
    };
    let mut graph = net();
    let w = values(&graph, "body.conv1.weight");
    let mut means: Vec<(f64, usize)> =
        w.chunks(18).map(|f| f.iter().map(|w| w.abs()).sum::<f64>()).zip(0..).collect();
    means.sort_by(|a, b| a.0.total_cmp(&b.0));
    let chosen: Vec<usize> = means[..3].iter().map(|(_, filter)| *filter).collect();
    for (step, strength) in [(0, 0.0), (1, 0.0), (2, 0.1), (5, 0.2), (6, 0.3), (9, 0.35)] {
        let found = added(config.clone(), &mut graph, step);
        for (i, &g) in found["body.conv1.weight"].data().iter().enumerate() {
            let expected = if chosen.contains(&(i / 18)) { strength * w[i] } else { 0.0 };
            assert!((f64::from(g) - expected).abs() < 1e-6, "step {step}, {i}: {g}, {expected}");
        }
    }
}

#[test]
fn the_weight_follows_its_schedule() {
    let config = RegularizeConfig {
        schedule: Some("linear".parse().unwrap()),
        start: 0.2,
        end: 0.6,
        ..RegularizeConfig::new(Penalty::L1, 0.5)
    };
    let mut graph = net();
    for (step, expected) in [(0, 0.0), (2, 0.0), (4, 0.25), (6, 0.5), (9, 0.5)] {
        let found = added(config.clone(), &mut graph, step)["fc1.weight"].data()[0].abs();
        assert!((found - expected).abs() < 1e-6, "step {step}: {found}");
    }
}

fn run(
    config: &RegularizeConfig,
    threads: usize,
    from: Option<Checkpoint>,
    keeper: Option<&mut dyn Keeper>,
) -> Result<Graph> {
    let (mut graph, mut regularizer) = (net(), Regularizer::new(config.clone())?);
    let trainer = Trainer {
        device: &Device::open("cpu", Some(threads)).unwrap(),
        optimizer: &mut Optimizer::new(SGD),
        schedule: Schedule::Constant,
        learning_rate: 0.02,
        epochs: 2,
        seed: 7,
        objective: &mut CrossEntropy::default(),
        callbacks: vec![&mut regularizer],
        reduce: None,
    };
    trainer.fit_kept(&mut graph, &mut Toy::new(4, 3), None, from, keeper)?;
    Ok(graph)
}

#[test]
fn interruptions_and_threads_change_no_bit() {
    for &penalty in Penalty::ALL {
        let config = RegularizeConfig { delta: 0.05, every: 1, ..RegularizeConfig::new(penalty, 0.01) };
        let whole = run(&config, 2, None, None).unwrap();
        assert!(same_bits(&whole, &run(&config, 1, None, None).unwrap()), "{penalty}: threads");
        for step in [0, 3, 5] {
            let mut stopper = StopAfter(step, None);
            assert!(run(&config, 2, None, Some(&mut stopper)).is_err());
            let rest = run(&config, 2, stopper.1, None).unwrap();
            assert!(same_bits(&whole, &rest), "{penalty}, step {step}");
        }
    }
}

/// Every penalty does what it is for.
#[test]
fn penalties_make_small_what_they_pull() {
    let mass = |config: &RegularizeConfig| {
        let graph = run(config, 2, None, None).unwrap();
        values(&graph, "body.conv1.weight").iter().map(|w| w.abs()).sum::<f64>()
    };
    let tiny = |penalty| mass(&RegularizeConfig { delta: 1e-12, ..RegularizeConfig::new(penalty, 1e-9) });
    for penalty in [Penalty::L1, Penalty::L2, Penalty::GroupLasso, Penalty::Growing, Penalty::GroupNorm] {
        let strong = RegularizeConfig { delta: 0.5, every: 1, ..RegularizeConfig::new(penalty, 0.3) };
        assert!(mass(&strong) < 0.95 * tiny(penalty), "{penalty}");
    }
}

#[test]
fn options_are_checked() {
    let refused = |text: &str| {
        let config = toml::from_str::<RegularizeConfig>(text).map_err(|e| e.to_string());
        config.and_then(|config| config.check().map_err(|e| e.to_string())).unwrap_err()
    };
    for (text, words) in [
        ("penalty = \"l1\"", "weight: expected the weight of l1, found none"),
        ("penalty = \"l1\"\nweight = 0", "weight: expected above 0"),
        ("penalty = \"l1\"\nweight = 1\nstart = 0.5", "expected a schedule beside them"),
        ("penalty = \"growing\"\nschedule = \"linear\"", "growing has one of its own"),
        ("penalty = \"growing\"\nsparsity = 1", "sparsity: expected more than 0"),
        ("penalty = \"growing\"\nevery = 0", "every: expected at least 1 step"),
        ("penalty = \"group_lasso\"\nweight = 1\ngranularity = \"2:4\"", "N:M"),
        ("penalty = \"group_norm\"\nweight = 1\nalpha = 100", "alpha: expected 0 to 60"),
        ("penalty = \"l3\"\nweight = 1", "l3"),
        ("penalty = \"l1\"\nwieght = 1", "wieght"),
    ] {
        let error = refused(text);
        assert!(error.contains(words), "{text}: {error}");
    }
    for penalty in [Penalty::L1, Penalty::GroupNorm] {
        let config =
            RegularizeConfig { include: vec!["nowhere".into()], ..RegularizeConfig::new(penalty, 1.0) };
        let error = Regularizer::new(config).unwrap().on_begin(&mut net()).unwrap_err().to_string();
        assert!(error.contains("nowhere") && error.contains("regularize"), "{error}");
    }
}
