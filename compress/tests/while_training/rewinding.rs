//! Rewinding inside one training: what lives returns to early weights whenever sparsity grows.

use crate::support::*;
use lopper_compress::granularity::Granularity;
use lopper_compress::sparsify::*;
use lopper_engine::train::{Callback, CrossEntropy, Flow, Optimizer, OptimizerConfig, Step};
use lopper_engine::{Graph, Result};
use std::collections::BTreeMap;

const SGD: OptimizerConfig = OptimizerConfig::Sgd { momentum: 0.9, nesterov: false, weight_decay: 1e-3 };

/// The weights of the network by path.
fn weights(graph: &Graph) -> BTreeMap<String, Vec<f32>> {
    let params = graph.params().map(|(path, param)| (path, param.value().data().to_vec()));
    params.chain(graph.buffers().map(|(path, buffer)| (path, buffer.data().to_vec()))).collect()
}

/// Records the network before each step and behind it, and how many weights are masked then.
#[derive(Default)]
struct Recorder(Vec<[BTreeMap<String, Vec<f32>>; 2]>, Vec<usize>);

impl Callback for Recorder {
    fn before_step(&mut self, step: &mut Step) -> Result<()> {
        self.0.push([weights(step.graph), BTreeMap::new()]);
        Ok(())
    }

    fn after_step(&mut self, step: &mut Step) -> Result<Flow> {
        self.0.last_mut().unwrap()[1] = weights(step.graph);
        let masked = |(_, param): (String, &lopper_engine::Param)| {
            param.mask().map_or(0, |mask| mask.data().iter().filter(|&&m| m == 0.0).count())
        };
        self.1.push(step.graph.params().map(masked).sum());
        Ok(Flow::Continue)
    }
}

/// Whenever sparsity grows, the live weights and the running statistics are those before step 2 again.
#[test]
fn weights_return_when_sparsity_grows() {
    for reset_end in [false, true] {
        let config = SparsifyConfig {
            granularity: Granularity::WEIGHT,
            schedule: SparsitySchedule::Iterative { steps: 2 },
            every: 2,
            end: 0.8,
            rewind: Some(2),
            reset_end,
            ..SparsifyConfig::new(0.5)
        };
        let (mut graph, mut recorder) = (small_net(3), Recorder::default());
        let mut sparsifier = Sparsifier::new(config).unwrap();
        let callbacks: Vec<&mut dyn Callback> = vec![&mut sparsifier, &mut recorder];
        let mut optimizer = Optimizer::new(SGD);
        train(&mut graph, &mut optimizer, 3, &mut CrossEntropy::default(), callbacks).unwrap();
        let early = &recorder.0[2][0];
        let returned = |now: &BTreeMap<String, Vec<f32>>| {
            now.iter().all(|(path, values)| values.iter().zip(&early[path]).all(|(a, b)| a == b || *a == 0.0))
        };
        let grew: Vec<usize> = (0..12)
            .filter(|&step| recorder.1[step] > if step > 0 { recorder.1[step - 1] } else { 0 })
            .collect();
        assert!(grew.len() == 2, "{:?}", recorder.1);
        for step in 0..12 {
            // Before step 2 there is nothing to return to.
            assert_eq!(returned(&recorder.0[step][1]), grew.contains(&step) && step >= 2, "step {step}");
        }
        assert_eq!(returned(&weights(&graph)), reset_end);
        assert!(weights(&graph)["body.conv1.weight"].contains(&0.0), "the ticket has its mask");
    }
    let bad = |config: SparsifyConfig| Sparsifier::new(config).unwrap_err().to_string();
    let reset = SparsifyConfig { reset_end: true, ..SparsifyConfig::new(0.5) };
    assert!(bad(reset).contains("expected rewind beside it"));
}
