//! Criteria against Torch-Pruning's values (`fixtures/torch_pruning/make.py`).

use lopper_compress::criteria::*;
use lopper_compress::{Context, Granularity, SparsifyConfig};
use lopper_engine::layer::{BatchNorm, Conv2d};
use lopper_engine::{Graph, Layer, Param, ParamGradients, Tensor};
use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Clone, Deserialize)]
struct Fixture {
    /// `[6, 3, 3, 3]`.
    a: Vec<f32>,
    /// `[6, 1, 1, 3]`.
    b: Vec<f32>,
    /// Of the loss by `a`.
    gradient: Vec<f32>,
    gamma: Vec<f32>,
    importance: BTreeMap<String, Vec<f64>>,
}

fn fixture() -> Fixture {
    serde_json::from_str(include_str!("../fixtures/torch_pruning/values.json")).unwrap()
}

fn conv(kernel: usize, weight: &[f32]) -> Layer {
    Layer::Conv2d(Conv2d {
        weight: Param::new(Tensor::from_slice(&[6, kernel, kernel, 3], weight).unwrap()),
        bias: None,
        stride: [1; 2],
        padding: [kernel / 2; 2],
        extra_padding: [0; 2],
        dilation: [1; 2],
        groups: 1,
    })
}

/// The convolutions a and b, summed, and behind a batch norm of `gamma` that only a reads.
fn network(fixture: &Fixture) -> Graph {
    let mut graph = Graph::new(3);
    let a = graph.push("a", conv(3, &fixture.a), &[0]).unwrap();
    let gamma = Param::new(Tensor::from_slice(&[6], &fixture.gamma).unwrap());
    let norm = Layer::BatchNorm(BatchNorm { weight: gamma, ..BatchNorm::new(6) });
    let norm = graph.push("norm", norm, &[a]).unwrap();
    let b = graph.push("b", conv(1, &fixture.b), &[0]).unwrap();
    graph.push("sum", Layer::Add, &[norm, b]).unwrap();
    graph
}

/// The scores of the filters of `layer`, given the gradient if the criterion needs it.
fn scores(fixture: &Fixture, criterion: impl Into<Criterion>, layer: &str) -> Vec<f64> {
    let (graph, criterion) = (network(fixture), criterion.into());
    let config = SparsifyConfig {
        criterion: criterion.clone(),
        granularity: Granularity::FILTER,
        include: vec![layer.into()],
        context: Context::Local,
        ..SparsifyConfig::new(0.5)
    };
    let sites = config.sites(&graph).unwrap();
    let gradient = Tensor::from_slice(&[6, 3, 3, 3], &fixture.gradient).unwrap();
    let gradients = ParamGradients::from([("a.weight".to_string(), gradient)]);
    let mut evidence = Evidence::start(&criterion, &graph, &sites);
    evidence.observe(&criterion, &graph, &sites, &gradients).unwrap();
    let scores = Scoring::new(&criterion).evidence(Some(&evidence)).scores(&graph, &sites[0]).unwrap();
    scores.into_iter().map(f64::from).collect()
}

#[track_caller]
fn assert_close(found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() <= 1e-5 * expected.abs().max(1.0), "{found}, expected {expected}");
    }
}

#[test]
fn criteria_of_single_layers_agree() {
    let fixture = fixture();
    let expected = |name: &str| fixture.importance[name].clone();
    // Torch-Pruning takes the distances of squared weights, the paper those of the weights.
    let squared = Fixture { a: fixture.a.iter().map(|w| w * w).collect(), ..fixture.clone() };
    assert_close(&scores(&squared, GeometricMedian, "a"), &expected("fpgm"));
    assert_close(&scores(&fixture, Lamp, "a"), &expected("lamp"));
    assert_close(&scores(&fixture, Taylor, "a"), &expected("taylor"));
    assert_close(&scores(&fixture, TaylorAbs, "a"), &expected("taylor_abs"));
    assert_close(&scores(&fixture, BatchNormGamma, "a"), &expected("batch_norm"));
    // Optimal brain damage halves the sum.
    let twice: Vec<f64> = scores(&fixture, Obd, "a").into_iter().map(|score| 2.0 * score).collect();
    assert_close(&twice, &expected("hessian"));
}

/// Torch-Pruning leaves out the root, which keeps the order.
#[test]
fn norms_agree_up_to_the_root() {
    let fixture = fixture();
    let first = |p: usize| fixture.importance[&format!("magnitude p{p} first")].clone();
    assert_close(&scores(&fixture, L1Magnitude, "a"), &first(1));
    assert_close(&scores(&fixture, LpMagnitude::new(1.0).unwrap(), "a"), &first(1));
    for norm in [scores(&fixture, L2Magnitude, "a"), scores(&fixture, LpMagnitude::new(2.0).unwrap(), "a")] {
        assert_close(&norm.into_iter().map(|norm| norm * norm).collect::<Vec<_>>(), &first(2));
    }
}

#[test]
fn couplings_agree() {
    let fixture = fixture();
    let [a, b] = ["a", "b"].map(|layer| scores(&fixture, L1Magnitude, layer));
    for (coupling, name) in Coupling::ALL.iter().map(|coupling| (*coupling, coupling.to_string())) {
        let found: Vec<f64> = a.iter().zip(&b).map(|(&a, &b)| coupling.of([a, b])).collect();
        assert_close(&found, &fixture.importance[&format!("magnitude p1 {name}")]);
    }
}

/// Torch-Pruning's `standarization` is the range, and its `gaussian` divides by the deviation of a sample of n scores.
#[test]
fn normalizations_agree() {
    let fixture = fixture();
    let plain = scores(&fixture, L1Magnitude, "a");
    for (normalization, name, factor) in [
        (Normalization::Sum, "sum", 1.0),
        (Normalization::Mean, "mean", 1.0),
        (Normalization::Max, "max", 1.0),
        (Normalization::MinMax, "standarization", 1.0),
        (Normalization::Standardized, "gaussian", (5.0_f64 / 6.0).sqrt()),
        (Normalization::Lamp, "lamp", 1.0),
    ] {
        let mut found: Vec<f32> = plain.iter().map(|&score| score as f32).collect();
        normalization.apply(&mut found);
        let found: Vec<f64> = found.into_iter().map(|score| factor * f64::from(score)).collect();
        assert_close(&found, &fixture.importance[&format!("normalizer {name}")]);
    }
}
