//! Folding by hand examples, and against the unfolded network.

use super::fold;
use crate::testing::{bn, conv, linear};
use lopper_engine::layer::{Activation, BatchNorm, FixedWindow, Pool};
use lopper_engine::rewrite::{Outcome, Rewrite};
use lopper_engine::{Device, Graph, Layer, Param, Tensor};

fn outcomes(rewrite: &Rewrite) -> Vec<(&str, &str)> {
    let nodes = rewrite.report.nodes.iter();
    nodes
        .map(|(name, outcome)| match outcome {
            Outcome::Changed(text) | Outcome::Skipped(text) => (name.as_str(), text.as_str()),
        })
        .collect()
}

#[test]
fn each_filter_is_scaled_and_shifted_and_masked_ones_stay_zero() {
    let mut g = Graph::new(1);
    let a = g.push("a", conv(2, 1, 1, 1), &[0]).unwrap();
    let norm = g.push("bn", bn(2), &[a]).unwrap();
    g.param_mut("a.weight")
        .unwrap()
        .set_mask(Some(Tensor::from_vec(&[2, 1, 1, 1], vec![0.0, 1.0]).unwrap()))
        .unwrap();
    let Layer::BatchNorm(bn) = &g.nodes()[norm].layer else { unreachable!() };
    let (affine, w) = (bn.affine(), g.param("a.weight").unwrap().value().data()[1]);
    let folded = fold(&g).unwrap();
    assert_eq!(folded.graph.nodes().len(), 2);
    let (weight, bias) = (folded.graph.param("a.weight").unwrap(), folded.graph.param("a.bias").unwrap());
    assert_eq!(weight.value().data(), [0.0, affine[1].0 * w]);
    assert_eq!(weight.mask().unwrap().data(), [0.0, 1.0]);
    assert_eq!(bias.value().data(), [affine[0].1, affine[1].1]);
}

#[test]
fn the_report_explains_batch_norms_that_stay() {
    let mut g = Graph::new(2);
    let a = g.push("a", conv(2, 1, 2, 1), &[0]).unwrap();
    let shared = g.push("shared", bn(2), &[a]).unwrap();
    let sum = g.push("sum", Layer::Add, &[a, shared]).unwrap();
    let relu = g.push("relu", Layer::Activation(Activation::Relu), &[sum]).unwrap();
    let padded = g.push("padded", bn(2), &[relu]).unwrap();
    g.push("b", conv(2, 3, 2, 1), &[padded]).unwrap();
    let folded = fold(&g).unwrap();
    assert_eq!(
        outcomes(&folded),
        [
            ("shared", "`a`, which feeds it, has another reader; `sum`, which reads it, is add"),
            (
                "padded",
                "`relu`, which feeds it, is relu; `b`, which reads it, pads its input with 0, not with β − sμ"
            ),
        ]
    );
}

#[test]
fn a_batch_norm_folds_forward_through_dropout_and_flatten() {
    let mut g = Graph::new(2);
    let relu = g.push("relu", Layer::Activation(Activation::Relu), &[0]).unwrap();
    let norm = g.push("bn", bn(2), &[relu]).unwrap();
    let drop = g.push("drop", Layer::Dropout { p: 0.5 }, &[norm]).unwrap();
    let flat = g.push("flat", Layer::Flatten, &[drop]).unwrap();
    g.push("fc", linear(3, 8), &[flat]).unwrap();
    let Layer::BatchNorm(bn) = &g.nodes()[norm].layer else { unreachable!() };
    let (affine, before) = (bn.affine(), g.param("fc.weight").unwrap().value().data()[..8].to_vec());
    let folded = fold(&g).unwrap();
    assert_eq!(outcomes(&folded), [("bn", "into fc")]);
    let after = &folded.graph.param("fc.weight").unwrap().value().data()[..8];
    for (i, (w, v)) in before.iter().zip(after).enumerate() {
        assert!((w * affine[i % 2].0 - v).abs() <= 1e-6, "feature {i}");
    }
}

/// Folds everything in `graph` and asserts that the function stays, and that these batch norms go to these layers.
#[track_caller]
fn assert_folds(mut graph: Graph, image: [usize; 3], expected: &[(&str, &str)]) {
    graph.info.input = image;
    let folded = fold(&graph).unwrap();
    assert_eq!(outcomes(&folded), expected);
    let [h, w, c] = image;
    let images = Tensor::from_fn(&[2, h, w, c], |i| ((i * 29 + 7) % 83) as f32 / 41.0 - 1.0);
    let device = Device::cpu();
    let logits = |graph: &Graph| graph.logits(&device, images.clone()).unwrap();
    let (before, after) = (logits(&graph), logits(&folded.graph));
    let largest = before.data().iter().fold(1e-3f32, |largest, y| largest.max(y.abs()));
    let gap = before.max_difference(&after).unwrap() / largest;
    assert!(gap < 1e-5, "{gap}");
}

fn pool(pool: Pool) -> Layer {
    Layer::Pool(pool)
}

#[test]
fn a_batch_norm_folds_backward_through_a_pool_of_means_and_dropout() {
    let mut g = Graph::new(3);
    let a = g.push("a", conv(5, 3, 3, 1), &[0]).unwrap();
    let mean = g.push("mean", pool(Pool::average(FixedWindow::square(2, 2, 0))), &[a]).unwrap();
    let drop = g.push("drop", Layer::Dropout { p: 0.5 }, &[mean]).unwrap();
    g.push("norm", bn(5), &[drop]).unwrap();
    assert_folds(g, [6, 6, 3], &[("norm", "into a")]);
}

#[test]
fn a_negative_scale_does_not_pass_a_pool_of_maxima() {
    let build = |positive: bool| {
        let mut g = Graph::new(3);
        let a = g.push("a", conv(5, 3, 3, 1), &[0]).unwrap();
        let max = g.push("max", pool(Pool::max(FixedWindow::square(3, 2, 1))), &[a]).unwrap();
        g.push("norm", bn(5), &[max]).unwrap();
        let gamma = g.param_mut("norm.weight").unwrap();
        gamma.update(|values| values.iter_mut().for_each(|v| *v = if positive { v.abs() } else { -v.abs() }));
        g
    };
    assert_folds(build(true), [7, 7, 3], &[("norm", "into a")]);
    let folded = fold(&build(false)).unwrap();
    assert_eq!(outcomes(&folded), [("norm", "`max`, which feeds it, is max pool; `norm` has 0 readers")]);
}

#[test]
fn a_batch_norm_behind_a_concatenation_goes_into_every_branch() {
    let mut g = Graph::new(3);
    let a = g.push("a", conv(2, 3, 3, 1), &[0]).unwrap();
    let b = g.push("b", conv(4, 1, 3, 1), &[0]).unwrap();
    let both = g.push("both", Layer::Concat, &[a, b]).unwrap();
    g.push("norm", bn(6), &[both]).unwrap();
    assert_folds(g.clone(), [5, 5, 3], &[("norm", "into a and b")]);
    // The image cannot absorb its part.
    let mut half = Graph::new(3);
    let a = half.push("a", conv(2, 3, 3, 1), &[0]).unwrap();
    let both = half.push("both", Layer::Concat, &[a, 0]).unwrap();
    half.push("norm", bn(5), &[both]).unwrap();
    assert_eq!(
        outcomes(&fold(&half).unwrap())[0].1,
        "`input`, which feeds it, is input; `norm` has 0 readers"
    );
}

#[test]
fn a_batch_norm_behind_a_sum_scales_both_addends_and_shifts_one() {
    let mut g = Graph::new(3);
    let a = g.push("a", conv(4, 3, 3, 1), &[0]).unwrap();
    let norm = g.push("a.norm", bn(4), &[a]).unwrap();
    let b = g.push("b", conv(4, 1, 3, 1), &[0]).unwrap();
    let sum = g.push("sum", Layer::Add, &[norm, b]).unwrap();
    g.push("norm", bn(4), &[sum]).unwrap();
    assert_folds(g, [5, 5, 3], &[("a.norm", "into a"), ("norm", "into a and b")]);
}

#[test]
fn a_batch_norm_folds_forward_into_all_its_readers_and_through_a_concatenation() {
    let mut g = Graph::new(3);
    let relu = g.push("relu", Layer::Activation(Activation::Relu), &[0]).unwrap();
    let norm = g.push("norm", bn(3), &[relu]).unwrap();
    let other = g.push("other", Layer::Activation(Activation::Relu), &[0]).unwrap();
    let both = g.push("both", Layer::Concat, &[other, norm]).unwrap();
    let a = g.push("a", conv(4, 1, 6, 1), &[both]).unwrap();
    let b = g.push("b", conv(4, 1, 3, 1), &[norm]).unwrap();
    g.push("sum", Layer::Add, &[a, b]).unwrap();
    assert_folds(g, [4, 4, 3], &[("norm", "into a and b")]);
}

#[test]
fn results_that_are_subnormal_become_zero_and_are_counted() {
    let mut g = Graph::new(1);
    let a = g.push("a", conv(3, 1, 1, 1), &[0]).unwrap();
    g.push("norm", BatchNorm::new(3).into_layer([1.0, 1e-39, 1.0], [0.5, 1e-39, -1e-39]), &[a]).unwrap();
    let folded = fold(&g).unwrap();
    assert_eq!(outcomes(&folded), [("norm", "into a, 1 subnormal weights and 2 biases set to zero")]);
    let values = |path: &str| folded.graph.param(path).unwrap().value().data().to_vec();
    assert!(values("a.weight")[0] != 0.0);
    assert_eq!((values("a.weight")[1], &values("a.bias")[1..]), (0.0, &[0.0, 0.0][..]));
}

trait IntoLayer {
    fn into_layer(self, gamma: [f32; 3], beta: [f32; 3]) -> Layer;
}

impl IntoLayer for BatchNorm {
    fn into_layer(self, gamma: [f32; 3], beta: [f32; 3]) -> Layer {
        let param = |values: [f32; 3]| Param::new(Tensor::from_slice(&[3], &values).unwrap());
        Layer::BatchNorm(BatchNorm { weight: param(gamma), bias: param(beta), ..self })
    }
}
