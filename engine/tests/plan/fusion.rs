//! Fused operations are bit-identical to separate ones; reused memory is bit-identical to fresh memory.

use crate::support::{Random, random_graph};
use lopper_engine::train::{CrossEntropy, Objective};
use lopper_engine::{Device, Graph, Layer, Mode, NodeId, ParamGradients, Tape, Tensor, data::Batch};
use proptest::prelude::*;

/// Results of a run: logits, gradients, and the running statistics of batch norms afterwards.
struct Outcome {
    logits: Tensor,
    gradients: ParamGradients,
    statistics: Vec<Tensor>,
}

impl Outcome {
    fn same_bits(&self, other: &Self) -> bool {
        let all = |o: &Self| -> Vec<Tensor> {
            [&o.logits].into_iter().chain(o.gradients.values()).chain(&o.statistics).cloned().collect()
        };
        self.gradients.keys().eq(other.gradients.keys())
            && all(self).iter().zip(&all(other)).all(|(a, b)| a.same_bits(b))
    }
}

/// Runs `graph` forward and backward on `images`, with `taps`.
fn run(device: &Device, graph: &Graph, mode: Mode, images: &Tensor, taps: &[NodeId]) -> Outcome {
    let mut graph = graph.clone();
    let mut tape = Tape::new(device).seed(3);
    let batch = Batch::new(images.clone(), (0..images.dim(0) as u32).map(|i| i % 4).collect());
    let pass = graph.forward(&mut tape, mode, images.clone(), taps).unwrap();
    for (&id, tap) in taps.iter().zip(&pass.taps) {
        assert_eq!(tap.shape(), graph.shapes(images.shape().try_into().unwrap()).unwrap()[id]);
    }
    let loss = CrossEntropy::default().loss(&mut tape, &pass, &batch).unwrap();
    let gradients = pass.gradients(tape.backward(&loss).unwrap());
    graph.commit(&pass).unwrap();
    let of_layer = |layer: &Layer| match layer {
        Layer::BatchNorm(bn) => vec![bn.running_mean.clone(), bn.running_var.clone()],
        _ => Vec::new(),
    };
    let statistics = graph.nodes().iter().flat_map(|n| of_layer(&n.layer)).collect();
    Outcome { logits: pass.output.value().clone(), gradients, statistics }
}

/// Returns a random trainable network with some frozen parameters, and images for it.
fn trainable(seed: u64) -> Option<(Graph, Tensor)> {
    let mut graph = random_graph(seed);
    if graph.nodes().iter().any(|n| matches!(n.layer, Layer::CompactConv2d(_))) {
        return None;
    }
    let mut random = Random(seed);
    graph.params_mut().for_each(|(_, param)| param.trainable = random.chance(70));
    let [h, w, c] = graph.info.input;
    Some((graph, random.tensor(&[5, h, w, c])))
}

proptest! {
    #![proptest_config(ProptestConfig { max_global_rejects: 4096, ..ProptestConfig::with_cases(100) })]

    /// A tap is a reader, so tapping every node prevents fusion.
    #[test]
    fn fused_operations_change_no_bit(seed in any::<u64>(), train in any::<bool>(), tapped in 0usize..100) {
        let Some((graph, images)) = trainable(seed) else { return Err(TestCaseError::reject("compact")) };
        let (device, mode) = (Device::cpu(), if train { Mode::Train } else { Mode::Eval });
        let every: Vec<NodeId> = (0..graph.nodes().len()).collect();
        let mut random = Random(seed);
        let some: Vec<NodeId> = every.iter().copied().filter(|_| random.chance(tapped)).collect();
        let apart = run(&device, &graph, mode, &images, &every);
        prop_assert!(run(&device, &graph, mode, &images, &[]).same_bits(&apart));
        prop_assert!(run(&device, &graph, mode, &images, &some).same_bits(&apart));
    }

    #[test]
    fn reused_memory_changes_no_bit(seed in any::<u64>()) {
        let Some((graph, images)) = trainable(seed) else { return Err(TestCaseError::reject("compact")) };
        let device = Device::cpu();
        let fresh = run(&device, &graph, Mode::Train, &images, &[]);
        // Every value and gradient that depends on the images becomes NaN, and the pool keeps its memory.
        run(&device, &graph, Mode::Train, &Tensor::full(images.shape(), f32::NAN), &[]);
        prop_assert!(run(&device, &graph, Mode::Train, &images, &[]).same_bits(&fresh));
    }
}
