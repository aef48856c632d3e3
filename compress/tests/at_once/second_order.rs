//! Criteria of second order and those that survey the network, against closed forms in f64.

use crate::support::{Chain, Toy, linear};
use lopper_compress::criteria::*;
use lopper_compress::{Context, Granularity, SparsifyConfig, sparsify};
use lopper_engine::{Device, Graph, Layer};

const CLASSES: usize = 3;
const INPUTS: usize = 32;

/// Softmax regression: `flatten → fc`, without bias, so that everything about its loss is known.
fn regression() -> Graph {
    let mut graph =
        Chain::new(2).then("flatten", Layer::Flatten).then("fc", linear(CLASSES, INPUTS, 4)).graph;
    graph.info.input = [4, 4, 2];
    graph
}

fn of_rows(criterion: &Criterion) -> SparsifyConfig {
    SparsifyConfig {
        criterion: criterion.clone(),
        granularity: Granularity::ROW,
        include: vec!["fc".into()],
        context: Context::Local,
        ..SparsifyConfig::new(0.3)
    }
}

/// The scores of the rows of `fc` by evidence of `batches` batches.
fn scores(graph: &Graph, criterion: &Criterion, batches: usize) -> Vec<f32> {
    let sites = of_rows(criterion).sites(graph).unwrap();
    let mut data = Toy::new(batches, CLASSES);
    let device = Device::cpu();
    let evidence = Evidence::measure(criterion, graph, &sites, &mut data, batches, &device).unwrap();
    Scoring::new(criterion).evidence(Some(&evidence)).scores(graph, &sites[0]).unwrap()
}

/// Of a batch, in f64: for each image its inputs and its probabilities, and the weight `[CLASSES, INPUTS]`.
struct Softmax {
    images: Vec<(Vec<f64>, Vec<f64>, usize)>,
    weight: Vec<f64>,
}

impl Softmax {
    fn new(graph: &Graph, index: usize) -> Self {
        let weight: Vec<f64> =
            graph.param("fc.weight").unwrap().value().data().iter().map(|&w| w.into()).collect();
        let batch = Toy::new(index + 1, CLASSES).batch(index);
        let image = |(image, &label): (&[f32], &u32)| {
            let x: Vec<f64> = image.iter().map(|&x| x.into()).collect();
            let logit = |o: usize| (0..INPUTS).map(|i| weight[o * INPUTS + i] * x[i]).sum::<f64>().exp();
            let powers: Vec<f64> = (0..CLASSES).map(logit).collect();
            let total: f64 = powers.iter().sum();
            (x, powers.into_iter().map(|power| power / total).collect(), label as usize)
        };
        let images = batch.images.data().chunks(INPUTS).zip(&batch.labels).map(image).collect();
        Self { images, weight }
    }

    fn mean(&self, term: impl Fn(&[f64], &[f64], usize) -> f64) -> f64 {
        self.images.iter().map(|(x, p, label)| term(x, p, *label)).sum::<f64>() / self.images.len() as f64
    }

    /// ∂L/∂w: (p − y) xᵀ.
    fn gradient(&self) -> Vec<f64> {
        let at = |k: usize| {
            let (o, i) = (k / INPUTS, k % INPUTS);
            self.mean(|x, p, label| (p[o] - f64::from(u8::from(o == label))) * x[i])
        };
        (0..CLASSES * INPUTS).map(at).collect()
    }

    /// H v: (diag(p) − p pᵀ) (V x) xᵀ.
    fn hessian_times(&self, v: &[f64]) -> Vec<f64> {
        let at = |k: usize| {
            let (o, i) = (k / INPUTS, k % INPUTS);
            self.mean(|x, p, _| {
                let moved = |o: usize| (0..INPUTS).map(|i| v[o * INPUTS + i] * x[i]).sum::<f64>();
                let mean: f64 = (0..CLASSES).map(|o| p[o] * moved(o)).sum();
                p[o] * (moved(o) - mean) * x[i]
            })
        };
        (0..CLASSES * INPUTS).map(at).collect()
    }

    /// The diagonal of H: p (1 − p) x².
    fn diagonal(&self) -> Vec<f64> {
        let at =
            |k: usize| self.mean(|x, p, _| p[k / INPUTS] * (1.0 - p[k / INPUTS]) * x[k % INPUTS].powi(2));
        (0..CLASSES * INPUTS).map(at).collect()
    }

    fn rows(&self, term: impl Fn(f64, usize) -> f64) -> Vec<f64> {
        let row = |o: usize| (o * INPUTS..(o + 1) * INPUTS).map(|k| term(self.weight[k], k)).sum();
        (0..CLASSES).map(row).collect()
    }
}

#[test]
fn grasp_multiplies_weights_with_the_hessian_of_the_gradient() {
    let graph = regression();
    let found = scores(&graph, &GraSP.into(), 1);
    let exact = Softmax::new(&graph, 0);
    let product = exact.hessian_times(&exact.gradient());
    let expected = exact.rows(|w, k| w * product[k]);
    let scale = expected.iter().fold(0.0f64, |largest, e| largest.max(e.abs()));
    for (found, expected) in found.iter().zip(&expected) {
        assert!((f64::from(*found) - expected).abs() < 0.01 * scale, "{found} and {expected}");
    }
}

#[test]
fn random_signs_find_the_diagonal_of_the_hessian() {
    let graph = regression();
    let batches = 64;
    let found = scores(&graph, &HessianDiagonal.into(), batches);
    let mut expected = vec![0.0; CLASSES];
    for batch in 0..batches {
        let exact = Softmax::new(&graph, batch);
        let diagonal = exact.diagonal();
        let rows = exact.rows(|w, k| 0.5 * w * w * diagonal[k]);
        expected.iter_mut().zip(rows).for_each(|(sum, row)| *sum += row / batches as f64);
    }
    for (found, expected) in found.iter().zip(&expected) {
        // The estimate of a row from 64 samples is off by a few percent.
        assert!((f64::from(*found) / expected - 1.0).abs() < 0.25, "{found} and {expected}");
    }
}

#[test]
fn curvature_is_refused_while_training() {
    for criterion in [Criterion::from(GraSP), HessianDiagonal.into()] {
        let message = lopper_compress::Sparsifier::new(of_rows(&criterion)).unwrap_err().to_string();
        assert!(message.contains("exposes no curvature"), "{message}");
    }
}

/// At 95 % sparsity, one round of synaptic flow empties all but one filter of a layer; a hundred rounds leave more.
#[test]
fn synaptic_flow_scores_again_in_between() {
    let mut graph = crate::support::small_net(3);
    graph.info.input = [4, 4, 2];
    let config = SparsifyConfig {
        criterion: SynFlow.into(),
        granularity: Granularity::WEIGHT,
        context: Context::Global,
        ..SparsifyConfig::new(0.8)
    };
    let kept = |graph: &Graph, name: &str| {
        let param = graph.param(name).unwrap();
        1.0 - param.masked_fraction()
    };
    let rounds = sparsify(&graph, &config, None).unwrap().graph;
    let sites = config.sites(&graph).unwrap();
    let once = Evidence::survey(&config.criterion, &graph, &sites).unwrap().unwrap();
    assert!(Scoring::new(&config.criterion).evidence(Some(&once)).scores(&graph, &sites[0]).is_ok());
    let images = Toy::new(1, 3).batch(0).images;
    // The flow is not cut: some logit still depends on the image.
    let device = Device::cpu();
    let [seen, black] = [images.clone(), lopper_engine::Tensor::zeros(images.shape())]
        .map(|images| rounds.logits(&device, images).unwrap());
    assert!(seen.max_difference(&black).unwrap() > 0.0);
    let shares: Vec<f64> =
        ["body.conv1.weight", "body.conv2.weight", "fc1.weight"].map(|n| kept(&rounds, n)).to_vec();
    assert!(shares.iter().all(|&share| share > 0.0), "{shares:?}");
}

/// The shares of a softmax always add up to one, so that no weight before it would matter.
#[test]
fn synaptic_flow_passes_a_softmax() {
    let graph = crate::support::small_net(3);
    let config = SparsifyConfig {
        criterion: SynFlow.into(),
        granularity: Granularity::WEIGHT,
        ..SparsifyConfig::new(0.8)
    };
    let scores = |mut graph: Graph| {
        graph.info.input = [4, 4, 2];
        let sites = config.sites(&graph).unwrap();
        let once = Evidence::survey(&config.criterion, &graph, &sites).unwrap().unwrap();
        let scoring = Scoring::new(&config.criterion);
        let of = |site| scoring.evidence(Some(&once)).scores(&graph, site).unwrap();
        of(&sites[0])
    };
    let mut behind = graph.clone();
    behind.push("softmax", Layer::Softmax { log: false }, &[graph.output()]).unwrap();
    let (without, with) = (scores(graph), scores(behind));
    assert!(without == with && without.iter().any(|&score| score > 0.0), "{without:?}, {with:?}");
}
