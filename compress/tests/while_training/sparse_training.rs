//! Sparse training: the number of live weights, what dies and grows, and that nothing depends on threads or
//! interruptions.

use crate::support::*;
use lopper_compress::sparse_training::*;
use lopper_engine::train::{
    Callback, Checkpoint, CrossEntropy, Flow, Keeper, Optimizer, OptimizerConfig, Schedule, Step, Trainer,
};
use lopper_engine::{Device, Graph, Result};
use std::collections::BTreeMap;

const SGD: OptimizerConfig = OptimizerConfig::Sgd { momentum: 0.9, nesterov: true, weight_decay: 1e-4 };

fn config(method: Method) -> SparseTrainConfig {
    SparseTrainConfig { method, every: 2, fraction: 0.5, ..SparseTrainConfig::new(0.6) }
}

/// The masks of a network, by layer.
fn masks(graph: &Graph) -> BTreeMap<String, Vec<f32>> {
    graph.params().filter_map(|(path, param)| Some((path, param.mask()?.data().to_vec()))).collect()
}

fn kept(mask: &[f32]) -> usize {
    mask.iter().filter(|&&m| m == 1.0).count()
}

/// Checks after each step that masked weights are zero, live weights are counted as `counts` says, and what grew starts at
/// zero. It stands behind the trainer in the list of callbacks.
#[derive(Default)]
struct Witness {
    /// The number of live weights of all layers, by step.
    live: Vec<usize>,
    masks: BTreeMap<String, Vec<f32>>,
    moved: usize,
}

impl Callback for Witness {
    fn before_step(&mut self, step: &mut Step) -> Result<()> {
        let now = masks(step.graph);
        for (path, mask) in &now {
            let param = step.graph.param(path)?;
            for (i, (&w, &m)) in param.value().data().iter().zip(mask).enumerate() {
                assert!(m == 1.0 || w.to_bits() == 0, "{path}: a masked weight is {w}");
                let grown = self.masks.get(path).is_some_and(|before| before[i] == 0.0 && m == 1.0);
                assert!(!grown || w.to_bits() == 0, "{path}: what grows starts at {w}");
                self.moved += usize::from(grown);
            }
            let gradient = step.gradients[path].data();
            assert!(
                gradient.iter().zip(mask).all(|(&g, &m)| m == 1.0 || g == 0.0),
                "{path}: a hidden gradient"
            );
        }
        self.masks = now;
        Ok(())
    }

    fn after_step(&mut self, step: &mut Step) -> Result<Flow> {
        for (path, param) in step.graph.params() {
            let Some(mask) = param.mask() else { continue };
            let zero = |(&w, &m): (&f32, &f32)| m == 1.0 || w.to_bits() == 0;
            assert!(param.value().data().iter().zip(mask.data()).all(zero), "{path}");
        }
        self.live.push(masks(step.graph).values().map(|mask| kept(mask)).sum());
        Ok(Flow::Continue)
    }
}

/// Trains for three epochs of four steps.
fn run(
    config: &SparseTrainConfig,
    device: &Device,
    from: Option<Checkpoint>,
    keeper: Option<&mut dyn Keeper>,
) -> Result<(Graph, SparseTrainer, Witness)> {
    let mut graph = small_net(3);
    graph.info.input = [4, 4, 2];
    graph.info.classes = ["a", "b", "c"].map(String::from).to_vec();
    let (mut sparse, mut witness) = (SparseTrainer::new(config.clone())?, Witness::default());
    let mut cover = Cover(&mut witness);
    let trainer = Trainer {
        device,
        optimizer: &mut Optimizer::new(SGD),
        schedule: Schedule::Constant,
        learning_rate: 0.05,
        epochs: 3,
        seed: 7,
        objective: &mut CrossEntropy::default(),
        callbacks: vec![&mut sparse, &mut cover],
        reduce: None,
    };
    trainer.fit_kept(&mut graph, &mut Toy::new(4, 3), None, from, keeper)?;
    Ok((graph, sparse, witness))
}

/// A witness whose memory is no part of the training's state.
struct Cover<'a>(&'a mut Witness);

impl Callback for Cover<'_> {
    fn before_step(&mut self, step: &mut Step) -> Result<()> {
        self.0.before_step(step)
    }

    fn after_step(&mut self, step: &mut Step) -> Result<Flow> {
        self.0.after_step(step)
    }
}

/// The methods whose groups grow from zero.
const METHODS: [Method; 4] = [Method::Static, Method::Set, Method::Rigl, Method::Gradual];

#[test]
fn invariants_hold_at_every_step() {
    for method in METHODS {
        for densities in [Densities::Uniform, Densities::ErdosRenyi, Densities::Erk, Densities::Global] {
            let config = SparseTrainConfig { densities, ..config(method) };
            if densities == Densities::Global && method != Method::Gradual {
                let message = SparseTrainer::new(config).unwrap_err().to_string();
                assert!(message.contains("expected the method gradual"), "{message}");
                continue;
            }
            let (graph, sparse, witness) = run(&config, &Device::cpu(), None, None).unwrap();
            let all: usize = masks(&graph).values().map(Vec::len).sum();
            let (first, last) = (witness.live[0], *witness.live.last().unwrap());
            // Each of the four layers rounds once.
            assert!((last as f64 - 0.4 * all as f64).abs() <= 2.0, "{method}: {last} of {all}");
            match method {
                Method::Gradual => {
                    assert!(
                        first > last && witness.live.windows(2).all(|pair| pair[0] >= pair[1]),
                        "{method}"
                    );
                }
                _ => assert!(witness.live.iter().all(|&live| live == first), "{method}: {:?}", witness.live),
            }
            // Twelve steps; every second moves masks before 75 %, and the ninth reaches the final sparsity.
            let steps: Vec<usize> = sparse.updates().iter().map(|update| update.step).collect();
            let expected: &[usize] = match method {
                Method::Static => &[],
                Method::Gradual => &[1, 3, 5, 7, 8],
                _ => &[1, 3, 5, 7],
            };
            assert_eq!(steps, expected, "{method}");
            assert_eq!(witness.moved > 0, method != Method::Static, "{method}");
            let grown: usize = sparse.updates().iter().map(|update| update.grown).sum();
            assert_eq!(witness.moved, grown, "{method}");
        }
    }
}

#[test]
fn interruptions_and_threads_change_no_bit() {
    for &method in Method::ALL {
        let config = config(method);
        let (whole, updates, _) = run(&config, &Device::cpu(), None, None).unwrap();
        let (other, ..) = run(&config, &Device::open("cpu", Some(3)).unwrap(), None, None).unwrap();
        assert!(same_bits(&whole, &other) && masks(&whole) == masks(&other), "{method}: threads");
        for step in 0..12 {
            let mut stopper = StopAfter(step, None);
            assert!(run(&config, &Device::cpu(), None, Some(&mut stopper)).is_err());
            let place = tempfile::tempdir().unwrap();
            let path = place.path().join("c.safetensors");
            stopper.1.unwrap().write(&path).unwrap();
            let checkpoint = Checkpoint::read(&path).unwrap();
            let (rest, again, _) = run(&config, &Device::cpu(), Some(checkpoint), None).unwrap();
            assert!(same_bits(&whole, &rest) && masks(&whole) == masks(&rest), "{method}, step {step}");
            assert_eq!(updates.updates(), again.updates());
        }
    }
}

/// RigL's rule on one layer, from the gradient itself: the dead weights with the largest |gradient| grow.
#[test]
fn what_grows_has_the_largest_gradients() {
    struct Rule(usize);
    impl Callback for Rule {
        fn before_step(&mut self, step: &mut Step) -> Result<()> {
            if step.progress.step % 2 == 1 && step.progress.step < 9 {
                let gradient = &step.gradients["fc1.weight"];
                let mask = step.graph.param("fc1.weight")?.mask().unwrap();
                let nonzero =
                    gradient.data().iter().zip(mask.data()).filter(|(g, m)| **m == 0.0 && **g != 0.0);
                // It stands before the trainer: the gradients of masked weights are there in these steps.
                self.0 += usize::from(nonzero.count() > 0);
            }
            Ok(())
        }
    }
    let config = SparseTrainConfig { include: vec!["fc1".into()], ..config(Method::Rigl) };
    let (mut sparse, mut rule, mut graph) = (SparseTrainer::new(config).unwrap(), Rule(0), small_net(3));
    let callbacks: Vec<&mut dyn Callback> = vec![&mut rule, &mut sparse];
    train(&mut graph, &mut Optimizer::new(SGD), 3, &mut CrossEntropy::default(), callbacks).unwrap();
    assert_eq!(rule.0, 4, "dense gradients in the four steps that move masks");
}

/// A network that has masks starts from them.
#[test]
fn masks_that_are_there_are_where_it_starts() {
    let config = SparseTrainConfig { include: vec!["fc1".into()], ..config(Method::Static) };
    let mut graph = small_net(3);
    let mask = lopper_engine::Tensor::from_fn(&[10, 8], |i| f32::from(i % 3 == 0));
    graph.param_mut("fc1.weight").unwrap().set_mask(Some(mask.clone())).unwrap();
    let mut sparse = SparseTrainer::new(config).unwrap();
    train(&mut graph, &mut Optimizer::new(SGD), 1, &mut CrossEntropy::default(), vec![&mut sparse]).unwrap();
    assert!(graph.param("fc1.weight").unwrap().mask().unwrap().same_bits(&mask));
}

#[test]
fn other_seeds_draw_other_masks() {
    let drawn = |seed| {
        let mut graph = small_net(3);
        let config = SparseTrainConfig { seed, ..config(Method::Static) };
        SparseTrainer::new(config).unwrap().on_begin(&mut graph).unwrap();
        masks(&graph)
    };
    assert!(drawn(1) == drawn(1) && drawn(1) != drawn(2));
    // Filters live or do not as a whole.
    let mut graph = small_net(3);
    let config = SparseTrainConfig { granularity: "filter".parse().unwrap(), ..config(Method::Static) };
    SparseTrainer::new(config).unwrap().on_begin(&mut graph).unwrap();
    let mask = masks(&graph)["body.conv1.weight"].clone();
    assert!(mask.chunks(18).all(|filter| filter.iter().all(|&m| m == filter[0])));
}

#[test]
fn options_are_checked() {
    let refused = |text: &str| {
        let config = toml::from_str::<SparseTrainConfig>(text).map_err(|e| e.to_string());
        config.and_then(|config| config.check().map_err(|e| e.to_string())).unwrap_err()
    };
    for (text, words) in [
        ("sparsity = 1.0", "sparsity: expected a fraction in [0, 1), found 1"),
        ("sparsity = 0.5\nfraction = 0", "fraction: expected more than 0"),
        ("sparsity = 0.5\nevery = 0", "every: expected at least 1 step"),
        ("sparsity = 0.5\nend = 1.5", "end: expected more than 0"),
        ("sparsity = 0.5\ninitial_sparsity = 0.2", "rigl has one sparsity throughout"),
        ("sparsity = 0.5\nmethod = \"gradual\"\ninitial_sparsity = 0.7", "at most the final 0.5, found 0.7"),
        (
            "sparsity = 0.5\nbackward_sparsity = 0.2",
            "rigl trains what runs forward, and no more: expected top_kast",
        ),
        (
            "sparsity = 0.5\nmethod = \"top_kast\"\nbackward_sparsity = 0.7",
            "at most the final 0.5, found 0.7",
        ),
        ("sparsity = 0.5\nmethod = \"top_kast\"\nexploration_penalty = -1", "expected at least 0, found -1"),
        ("sparsity = 0.5\nexploration_penalty = 1", "rigl has nothing to hold back: expected top_kast"),
        ("sparsity = 0.5\ngranularity = \"2:4\"", "N:M"),
        ("sparsity = 0.5\nmethod = \"magic\"", "magic"),
        ("sparsity = 0.5\nfractoin = 0.1", "fractoin"),
        ("method = \"set\"", "sparsity"),
    ] {
        let error = refused(text);
        assert!(error.contains(words), "{text}: {error}");
    }
    let config = SparseTrainConfig { include: vec!["nowhere".into()], ..config(Method::Rigl) };
    let error = SparseTrainer::new(config).unwrap().on_begin(&mut small_net(3)).unwrap_err().to_string();
    assert!(error.contains("nowhere"), "{error}");
}

/// f(t) = α/2 (1 + cos(πt / T_end)) and the cubic of gradual pruning, at hand-computed times.
#[test]
fn decay_and_sparsity_follow_their_formulas() {
    let rigl = SparseTrainConfig { fraction: 0.3, end: 0.75, ..SparseTrainConfig::new(0.9) };
    for (time, expected) in [(0.0, 0.3), (0.375, 0.15), (0.25, 0.225), (0.75, 0.0), (1.0, 0.0)] {
        assert!((rigl.moved_at(time) - expected).abs() < 1e-12, "{time}");
    }
    let gradual =
        SparseTrainConfig { method: Method::Gradual, initial_sparsity: Some(0.1), end: 0.5, ..rigl };
    for (time, expected) in [(0.0, 0.1), (0.25, 0.9 - 0.8 / 8.0), (0.5, 0.9), (1.0, 0.9)] {
        assert!((gradual.sparsity_at(time) - expected).abs() < 1e-12, "{time}");
    }
}
