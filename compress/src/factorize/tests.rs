//! Splits of single layers against the definition: exact at full rank, and as far off as the tails say.

use super::*;
use crate::criteria::Evidence;
use crate::testing::{bn, conv, linear};
use lopper_engine::layer::Conv2d;
use lopper_engine::rewrite::{Outcome, Rewrite};
use lopper_engine::{Device, Graph, Layer, Tensor};
use proptest::prelude::*;

/// A convolution of an odd shape on an odd image.
#[derive(Clone, Debug)]
struct Case {
    image: [usize; 3],
    outputs: usize,
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 2],
    extra: [usize; 2],
    dilation: [usize; 2],
}

fn cases() -> impl Strategy<Value = Case> {
    let pair = |low: usize, high: usize| prop::array::uniform2(low..=high);
    let image = (6usize..=11, 6usize..=11, 1usize..=5).prop_map(|(h, w, c)| [h, w, c]);
    let shape = (image, 1usize..=6, pair(1, 4), pair(1, 3), pair(0, 2), pair(0, 1), pair(1, 2));
    shape.prop_map(|(image, outputs, kernel, stride, padding, extra, dilation)| {
        let dilation = [0, 1].map(|axis| if kernel[axis] == 4 { 1 } else { dilation[axis] });
        Case { image, outputs, kernel, stride, padding, extra, dilation }
    })
}

impl Case {
    fn graph(&self, bias: bool, norm: bool) -> Graph {
        let [kh, kw] = self.kernel;
        let Layer::Conv2d(square) = conv(self.outputs, 1, kh * kw * self.image[2], 1) else { unreachable!() };
        let weight = square.weight.value().reshape(&[self.outputs, kh, kw, self.image[2]]).unwrap();
        let Layer::BatchNorm(values) = bn(self.outputs) else { unreachable!() };
        let layer = Layer::Conv2d(Conv2d {
            weight: lopper_engine::Param::new(weight),
            bias: bias.then_some(values.bias),
            stride: self.stride,
            padding: self.padding,
            extra_padding: self.extra,
            dilation: self.dilation,
            groups: 1,
        });
        let mut graph = Graph::new(self.image[2]);
        graph.info.input = self.image;
        let at = graph.push("conv", layer, &[0]).unwrap();
        if norm {
            graph.push("norm", bn(self.outputs), &[at]).unwrap();
        }
        graph
    }

    fn images(&self) -> Tensor {
        let [h, w, c] = self.image;
        Tensor::from_fn(&[2, h, w, c], |i| ((i * 37 + 11) % 101) as f32 / 50.0 - 1.0)
    }

    /// The largest difference of the outputs relative to the largest output.
    fn gap(&self, before: &Graph, after: &Graph) -> f64 {
        let device = Device::cpu().strict().unwrap();
        let [a, b] = [before, after].map(|graph| graph.logits(&device, self.images()).unwrap());
        let largest = a.data().iter().fold(0.0f32, |largest, y| largest.max(y.abs()));
        f64::from(a.max_difference(&b).unwrap() / largest.max(1e-6))
    }
}

fn full(conv: ConvSplit) -> FactorizeConfig {
    FactorizeConfig { fraction: Some(0.0), conv: Some(conv), force: true, ..FactorizeConfig::default() }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_convolution_at_full_rank_keeps_its_function(case in cases(), bias: bool, norm: bool) {
        let graph = case.graph(bias, norm);
        for way in [ConvSplit::Spatial, ConvSplit::Channel, ConvSplit::Tucker, ConvSplit::Auto] {
            let split = factorize(&graph, &full(way)).unwrap();
            prop_assert_eq!(split.report.changed_count(), 1, "{}", split.report);
            prop_assert_eq!(
                split.graph.shapes([1, case.image[0], case.image[1], case.image[2]]).unwrap().last().cloned(),
                graph.shapes([1, case.image[0], case.image[1], case.image[2]]).unwrap().last().cloned()
            );
            let gap = case.gap(&graph, &split.graph);
            prop_assert!(gap < 1e-4, "{way}: {gap}\n{}", split.report);
        }
    }

    #[test]
    fn the_layers_of_every_way_compute_the_same_as_the_weight_that_they_make(case in cases()) {
        // Of rank 1, all factors matter at every border.
        for way in [ConvSplit::Spatial, ConvSplit::Channel, ConvSplit::Tucker, ConvSplit::Cp] {
            let graph = case.graph(true, false);
            let config = FactorizeConfig { fraction: Some(0.99), ..full(way) };
            let split = factorize(&graph, &config).unwrap();
            let mut dense = graph.clone();
            dense.param_mut("conv.weight").unwrap().set_value(composed(&split.graph, &graph)).unwrap();
            let gap = case.gap(&dense, &split.graph);
            prop_assert!(gap < 1e-4, "{way}: {gap}");
        }
    }

    #[test]
    fn the_error_in_the_report_is_that_of_the_weight(case in cases(), fraction in 0.0..0.99) {
        let graph = case.graph(false, false);
        let whole = graph.param("conv.weight").unwrap().value().clone();
        for way in [ConvSplit::Spatial, ConvSplit::Channel, ConvSplit::Tucker, ConvSplit::Cp] {
            let config = FactorizeConfig { fraction: Some(fraction), ..full(way) };
            let split = factorize(&graph, &config).unwrap();
            let error = distance(&whole, &composed(&split.graph, &graph));
            let said = said_error(&split);
            prop_assert!((error - said).abs() < 2e-4, "{way}: {error}, said {said}");
        }
    }
}

/// The weight `[O, KH, KW, C]` that the factors of `split` make: the responses to single taps.
fn composed(split: &Graph, whole: &Graph) -> Tensor {
    let shape = whole.param("conv.weight").unwrap().value().shape().to_vec();
    let weights: Vec<Tensor> = (0..)
        .map_while(|i| split.param(&format!("conv.{i}.weight")).ok())
        .map(|param| param.value().clone())
        .collect();
    // For each factor: outputs, kernel, inputs; a depthwise one has one input.
    let mut sum: Vec<(Vec<f64>, [usize; 4])> = Vec::new();
    for weight in &weights {
        let &[o, kh, kw, c] = weight.shape() else { unreachable!() };
        let values: Vec<f64> = weight.data().iter().map(|&w| f64::from(w)).collect();
        sum.push((values, [o, kh, kw, c]));
    }
    let (mut values, mut at) = sum.remove(0);
    for (next, [o, kh, kw, c]) in sum {
        let [r, ah, aw, inputs] = at;
        let depthwise = c == 1 && r != 1;
        let (h, w) = (ah.max(kh), aw.max(kw));
        let mut made = vec![0.0; o * h * w * inputs];
        for (out, i, j, n) in (0..o * h * w * inputs)
            .map(|i| (i / (h * w * inputs), i / (w * inputs) % h, i / inputs % w, i % inputs))
        {
            let terms = if depthwise { out..out + 1 } else { 0..r };
            made[((out * h + i) * w + j) * inputs + n] = terms
                .map(|k| {
                    let earlier = values[((k * ah + i.min(ah - 1)) * aw + j.min(aw - 1)) * inputs + n];
                    let source = if depthwise { 0 } else { k };
                    earlier * next[((out * kh + i.min(kh - 1)) * kw + j.min(kw - 1)) * c + source]
                })
                .sum();
        }
        (values, at) = (made, [o, h, w, inputs]);
    }
    Tensor::from_vec(&shape, values.into_iter().map(|v| v as f32).collect()).unwrap()
}

fn distance(whole: &Tensor, other: &Tensor) -> f64 {
    let square = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    let mut gap = whole.data().iter().zip(other.data()).map(|(&a, &b)| f64::from(a) - f64::from(b));
    square(&mut gap) / square(&mut whole.data().iter().map(|&w| f64::from(w)))
}

/// The relative error that the report states.
fn said_error(split: &Rewrite) -> f64 {
    let Outcome::Changed(text) = &split.report.nodes[0].1 else { panic!("{}", split.report) };
    text.rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn a_batch_norm_weighs_the_error_like_the_folded_network() {
    let case = Case {
        image: [8, 8, 4],
        outputs: 6,
        kernel: [3, 3],
        stride: [1, 1],
        padding: [1, 1],
        extra: [0, 0],
        dilation: [1, 1],
    };
    let graph = case.graph(true, true);
    for way in [ConvSplit::Spatial, ConvSplit::Channel, ConvSplit::Tucker] {
        let config = FactorizeConfig { fraction: Some(0.5), ..full(way) };
        let first = factorize(&graph, &config).unwrap().graph;
        assert!(first.id("norm").is_ok(), "the batch norm stays behind the factors");
        let folded = crate::fold(&first).unwrap().graph;
        let other = factorize(&crate::fold(&graph).unwrap().graph, &config).unwrap().graph;
        let gap = case.gap(&folded, &other);
        assert!(gap < 1e-4, "{way}: {gap}");
        assert!(case.gap(&graph, &first) > 1e-3, "half the rank changes something");
    }
}

#[test]
fn what_cannot_be_split_says_why() {
    let mut graph = Graph::new(4);
    graph.info.input = [8, 8, 4];
    let grouped = graph.push("grouped", conv(8, 3, 4, 2), &[0]).unwrap();
    let strided = {
        let Layer::Conv2d(layer) = conv(8, 3, 8, 1) else { unreachable!() };
        Layer::Conv2d(Conv2d { stride: [1, 2], ..layer })
    };
    let strided = graph.push("strided", strided, &[grouped]).unwrap();
    graph.push("point", conv(8, 1, 8, 1), &[strided]).unwrap();
    let reasons = |config: FactorizeConfig| {
        let report = factorize(&graph, &config).unwrap().report;
        report
            .nodes
            .into_iter()
            .map(|(name, outcome)| match outcome {
                Outcome::Changed(text) => (name, format!("changed: {text}")),
                Outcome::Skipped(why) => (name, why),
            })
            .collect::<Vec<_>>()
    };
    let by = |conv: ConvSplit, fraction: f64| FactorizeConfig {
        fraction: Some(fraction),
        conv: Some(conv),
        ..FactorizeConfig::default()
    };
    let spatial = reasons(by(ConvSplit::Spatial, 0.6));
    assert_eq!(spatial[0].1, "its 2 groups of channels share no factors");
    // The first factor computes the columns that the stride of the second drops.
    assert_eq!(spatial[1].1, "spatial, rank 9 takes 20736 multiply-accumulates instead of 18432");
    let channel = reasons(by(ConvSplit::Channel, 0.5));
    assert!(
        channel[1].1.starts_with(
            "changed: channel, rank 4 of 8, 576 → 320 weights, 0.56 of the multiply-accumulates"
        ),
        "{channel:?}"
    );
    assert_eq!(channel[2].1, "channel, rank 4 takes 64 weights instead of 64");
    assert_eq!(reasons(by(ConvSplit::None, 0.5))[1].1, "convolutions stay whole");
    let linear_only = FactorizeConfig { fraction: Some(0.5), ..FactorizeConfig::default() };
    assert!(reasons(linear_only).is_empty(), "without `conv`, only linear layers are considered");
}

#[test]
fn a_bound_on_the_error_is_kept_by_every_way() {
    let case = Case {
        image: [9, 9, 6],
        outputs: 12,
        kernel: [3, 3],
        stride: [1, 1],
        padding: [1, 1],
        extra: [0, 0],
        dilation: [1, 1],
    };
    let graph = case.graph(true, false);
    let whole = graph.param("conv.weight").unwrap().value().clone();
    for way in [ConvSplit::Spatial, ConvSplit::Channel, ConvSplit::Tucker, ConvSplit::Cp, ConvSplit::Auto] {
        for bound in [0.8, 0.6] {
            let bounds = [(Some(bound), None), (None, Some(1.0 - bound * bound))];
            for (error, energy) in bounds {
                let config = FactorizeConfig { fraction: None, error, energy, ..full(way) };
                let split = factorize(&graph, &config).unwrap();
                let found = distance(&whole, &composed(&split.graph, &graph));
                assert!(found <= bound + 1e-4, "{way}: {found} above {bound}\n{}", split.report);
            }
        }
    }
}

#[test]
fn a_budget_is_kept_by_the_layers_together() {
    let mut graph = Graph::new(3);
    graph.info.input = [12, 12, 3];
    let mut at = 0;
    for (i, [o, k, c]) in [[16, 3, 3], [24, 3, 16], [24, 3, 24], [32, 1, 24]].into_iter().enumerate() {
        at = graph.push(format!("conv{i}"), conv(o, k, c, 1), &[at]).unwrap();
        at = graph.push(format!("norm{i}"), bn(o), &[at]).unwrap();
    }
    let macs =
        |graph: &Graph| graph.costs(graph.info.input).unwrap().iter().map(|cost| cost.macs).sum::<u64>();
    let before = macs(&graph);
    for way in [ConvSplit::Spatial, ConvSplit::Channel, ConvSplit::Auto] {
        for share in [0.4, 0.7] {
            let config =
                FactorizeConfig { target_macs: Some(share), conv: Some(way), ..FactorizeConfig::default() };
            let split = factorize(&graph, &config).unwrap();
            let found = macs(&split.graph) as f64 / before as f64;
            // One rank of the largest layer is a few percent here.
            assert!(found <= share && found > share - 0.06, "{way} {share}: {found}\n{}", split.report);
        }
    }
    let config = FactorizeConfig {
        target_macs: Some(0.01),
        conv: Some(ConvSplit::Spatial),
        ..FactorizeConfig::default()
    };
    let message = factorize(&graph, &config).unwrap_err().to_string();
    assert!(message.contains("target_macs") && message.contains("found 0.01"), "{message}");
    let mut unknown = graph.clone();
    unknown.info.input = [0; 3];
    assert!(factorize(&unknown, &config).unwrap_err().to_string().contains("how large its images are"));
}

#[test]
fn options_that_contradict_each_other_are_refused() {
    let refused = |config: FactorizeConfig, words: &str| {
        let message = config.check().unwrap_err().to_string();
        assert!(message.contains(words), "{message}");
    };
    let none = FactorizeConfig::default();
    refused(none.clone(), "found none");
    refused(FactorizeConfig { vbmf: true, error: Some(0.1), ..none.clone() }, "found `error` and `vbmf`");
    refused(
        FactorizeConfig { error: Some(1.5), ..none.clone() },
        "error: expected a share in [0, 1], found 1.5",
    );
    refused(FactorizeConfig { target_macs: Some(0.0), ..none.clone() }, "target_macs");
    refused(
        FactorizeConfig { target_macs: Some(0.5), conv: Some(ConvSplit::Tucker), ..none.clone() },
        "tucker has several",
    );
    refused(FactorizeConfig { vbmf: true, conv: Some(ConvSplit::Cp), ..none }, "cp has none of");
}

#[test]
fn metrics_need_images_and_change_the_norm() {
    let mut graph = Graph::new(1);
    let flat = graph.push("flat", Layer::Flatten, &[0]).unwrap();
    graph.push("fc", linear(6, 9), &[flat]).unwrap();
    let config = FactorizeConfig {
        fraction: Some(0.5),
        force: true,
        metric: Metric::Activations,
        ..FactorizeConfig::default()
    };
    let message = factorize(&graph, &config).unwrap_err().to_string();
    assert!(message.contains("metric activations") && message.contains("`fc`"), "{message}");
    assert_eq!(config.sites(&graph).unwrap().len(), 1);

    // Inputs of the standard deviation s: rank r minimizes ‖(W − Ŵ) diag(s)‖, so it beats plain SVD in that norm.
    let power: Vec<f64> = (0..9).map(|i| f64::from(i + 1).powi(2)).collect();
    let weight = graph.param("fc.weight").unwrap().value().clone();
    let by = |evidence: &Evidence| factorize_by(&graph, &config, evidence).unwrap().graph;
    let measured = by(&Evidence::of_means("fc", &power));
    let plain =
        factorize(&graph, &FactorizeConfig { metric: Metric::Plain, ..config.clone() }).unwrap().graph;
    let error = |graph: &Graph| {
        let (a, b) =
            (graph.param("fc.0.weight").unwrap().value(), graph.param("fc.1.weight").unwrap().value());
        let entry = |o: usize, i: usize| -> f64 {
            let made: f64 =
                (0..3).map(|r| f64::from(b.data()[o * 3 + r]) * f64::from(a.data()[r * 9 + i])).sum();
            (f64::from(weight.data()[o * 9 + i]) - made).powi(2) * power[i]
        };
        (0..54).map(|i| entry(i / 9, i % 9)).sum::<f64>()
    };
    assert!(error(&measured) < error(&plain) * 0.999, "{} and {}", error(&measured), error(&plain));
}

#[test]
fn layers_that_would_not_shrink_are_skipped_unless_forced() {
    let mut g = Graph::new(1);
    g.push("flat", Layer::Flatten, &[0]).unwrap();
    g.push("square", linear(8, 8), &[1]).unwrap();
    g.push("wide", linear(4, 8), &[2]).unwrap();
    let config = FactorizeConfig { fraction: Some(0.5), ..FactorizeConfig::default() };
    let once = factorize(&g, &config).unwrap();
    let why = "rank 4 takes 64 weights instead of 64".to_string();
    assert_eq!(once.report.nodes[0], ("square".into(), Outcome::Skipped(why)));
    assert_eq!(once.graph.param("wide.0.weight").unwrap().value().shape(), [2, 8]);
    assert_eq!(once.graph.nodes()[once.graph.output()].name, "wide.1");
    let forced = factorize(&g, &FactorizeConfig { force: true, ..config.clone() }).unwrap();
    assert_eq!(forced.report.changed_count(), 2);
    assert!(factorize(&g, &FactorizeConfig { energy: Some(0.5), ..config.clone() }).is_err());
    let unknown = FactorizeConfig { include: vec!["classifier".into()], ..config };
    assert!(factorize(&g, &unknown).unwrap_err().to_string().contains("`classifier`"));
}
