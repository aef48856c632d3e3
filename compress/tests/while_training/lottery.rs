//! Lottery tickets: masks of a trained network over the weights of the start.

use crate::support::*;
use lopper_compress::lottery::{LotteryConfig, rewind, ticket};
use lopper_compress::techniques::Technique;
use lopper_engine::train::{CrossEntropy, Optimizer, OptimizerConfig};
use lopper_engine::{Graph, Tensor};

fn trained() -> Graph {
    let mut graph = small_net(3);
    let mut optimizer = Optimizer::new(OptimizerConfig::sgd(0.0));
    train(&mut graph, &mut optimizer, 2, &mut CrossEntropy::default(), vec![]).unwrap();
    graph
}

/// The masked share of the weights of all masked layers.
fn masked(graph: &Graph) -> f64 {
    let masks: Vec<&Tensor> = graph.params().filter_map(|(_, param)| param.mask()).collect();
    let all: usize = masks.iter().map(|mask| mask.len()).sum();
    let kept: f32 = masks.iter().flat_map(|mask| mask.data()).sum();
    1.0 - f64::from(kept) / all as f64
}

#[test]
fn a_ticket_has_the_masks_of_the_end_and_the_weights_of_the_start() {
    let (start, end) = (small_net(3), trained());
    let config = LotteryConfig { include: vec!["fc1".into()], ..LotteryConfig::new(0.25, "start") };
    let found = ticket(&end, &config, &start, None).unwrap().graph;
    // The quarter of |w| at the end that is lowest.
    let trained = end.param("fc1.weight").unwrap().value().data();
    let mut order: Vec<usize> = (0..trained.len()).collect();
    order.sort_by(|&a, &b| trained[a].abs().total_cmp(&trained[b].abs()));
    let weight = found.param("fc1.weight").unwrap();
    for (rank, &i) in order.iter().enumerate() {
        let kept = rank >= trained.len() / 4;
        assert_eq!(weight.mask().unwrap().data()[i] == 1.0, kept, "{i}");
        let expected = if kept { start.param("fc1.weight").unwrap().value().data()[i] } else { 0.0 };
        assert_eq!(weight.value().data()[i], expected);
    }
    // Everything else is the start's, batch statistics included.
    let unmasked = rewind(&end, &start).unwrap();
    assert!(same_bits(&unmasked, &start) && !same_bits(&end, &start));
}

/// After n rounds, `1 − (1 − fraction)ⁿ` are masked, and nothing that was masked returns.
#[test]
fn rounds_take_a_fraction_of_what_is_left() {
    let start = small_net(3);
    let config = LotteryConfig::new(0.2, "start");
    let mut graph = start.clone();
    let mut before: Option<Graph> = None;
    for round in 1..=4 {
        let mut optimizer = Optimizer::new(OptimizerConfig::sgd(0.0));
        train(&mut graph, &mut optimizer, 1, &mut CrossEntropy::default(), vec![]).unwrap();
        graph = ticket(&graph, &config, &start, None).unwrap().graph;
        let expected = 1.0 - 0.8_f64.powi(round);
        assert!((masked(&graph) - expected).abs() < 0.01, "round {round}: {}", masked(&graph));
        if let Some(before) = before {
            for (path, param) in before.params() {
                let Some(mask) = param.mask() else { continue };
                let now = graph.param(&path).unwrap().mask().unwrap();
                assert!(mask.data().iter().zip(now.data()).all(|(then, now)| now <= then), "{path}");
            }
        }
        before = Some(graph.clone());
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let refused = |config: LotteryConfig| config.check().unwrap_err().to_string();
    assert!(
        refused(LotteryConfig::new(1.0, "s")).contains("fraction: expected a fraction in [0, 1), found 1")
    );
    let quota = LotteryConfig { granularity: "2:4".parse().unwrap(), ..LotteryConfig::new(0.5, "s") };
    assert!(refused(quota).contains("N:M"));
    let narrow = Chain::new(2).then("fc1", linear(9, 8, 1)).graph;
    assert!(rewind(&trained(), &narrow).unwrap_err().to_string().contains("parameters"));
    let (a, b) =
        (Chain::new(2).then("fc", linear(9, 8, 1)).graph, Chain::new(2).then("fc", linear(9, 7, 1)).graph);
    let error = rewind(&a, &b).unwrap_err().to_string();
    assert!(error.contains("fc.weight: expected the shape [9, 8]") && error.contains("[9, 7]"), "{error}");
    let other = Chain::new(2).then("other", linear(9, 8, 1)).graph;
    assert!(rewind(&a, &other).unwrap_err().to_string().contains("fc"));
    let error = LotteryConfig::new(0.5, "early").apply(&trained(), None).unwrap_err().to_string();
    assert!(error.contains("`early` is not known"), "{error}");
}
