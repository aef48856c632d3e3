//! Moving averages, the best epoch, and steps of several batches: by their definitions, and resumed after any step.

use crate::support::colors::{ADAM, Colors, SGD, assert_same_bits, network};
use lopper_engine::train::{
    Best, Callback, Checkpoint, CrossEntropy, EarlyStopping, EpochMetrics, Flow, Keeper, Monitor,
    MovingAverage, Optimizer, Progress, Schedule, Step, Trainer, Why, Wish,
};
use lopper_engine::{Device, Error, Graph, Result};
use std::path::PathBuf;

const EPOCHS: usize = 4;
const BATCHES: usize = 5;
const DECAY: f64 = 0.9;

fn start() -> Graph {
    let mut graph = network();
    graph.info.input = [6, 6, 3];
    graph
}

/// Records the network after every step and those that were validated.
#[derive(Default)]
struct Recorder {
    steps: Vec<Graph>,
    validated: Vec<(Graph, EpochMetrics)>,
}

impl Callback for Recorder {
    fn after_step(&mut self, step: &mut Step) -> Result<Flow> {
        self.steps.push(step.graph.clone());
        Ok(Flow::Continue)
    }

    fn on_evaluated(&mut self, network: &Graph, epoch: &EpochMetrics) -> Result<Flow> {
        self.validated.push((network.clone(), epoch.clone()));
        Ok(Flow::Continue)
    }
}

/// Writes every checkpoint to the same file, and stops after a step.
struct Stopper {
    path: PathBuf,
    after: Option<usize>,
}

impl Keeper for Stopper {
    fn wish(&mut self, progress: Progress) -> Wish {
        if self.after == Some(progress.step) { Wish::Stop } else { Wish::Keep }
    }

    fn keep(&mut self, checkpoint: Checkpoint, _: Why) -> Result<()> {
        checkpoint.write(&self.path)
    }
}

#[derive(Clone, Copy)]
struct Options {
    average: bool,
    best: Option<(Monitor, Option<EarlyStopping>)>,
    accumulate: usize,
}

fn train(
    options: Options,
    recorder: &mut Recorder,
    from: Option<Checkpoint>,
    keeper: Option<&mut dyn Keeper>,
) -> (Graph, Result<Vec<EpochMetrics>>, Option<usize>) {
    let mut graph = start();
    let mut average = options.average.then(|| MovingAverage::new(DECAY).unwrap());
    let mut best = options.best.map(|(monitor, stopping)| Best::new(monitor, stopping, true));
    let mut callbacks: Vec<&mut dyn Callback> = vec![recorder];
    callbacks.extend(average.as_mut().map(|c| c as &mut dyn Callback));
    callbacks.extend(best.as_mut().map(|c| c as &mut dyn Callback));
    let trainer = Trainer {
        device: &Device::cpu(),
        optimizer: &mut Optimizer::new(ADAM).accumulating(options.accumulate),
        schedule: Schedule::WarmRestarts { cycles: 2, growth: 1.0, end: 0.1 },
        learning_rate: 0.05,
        epochs: EPOCHS,
        seed: 5,
        objective: &mut CrossEntropy { smoothing: 0.0 },
        callbacks,
        reduce: None,
    };
    let history =
        trainer.fit_kept(&mut graph, &mut Colors::new(BATCHES), Some(&mut Colors::new(2)), from, keeper);
    (graph, history, best.and_then(|best| best.epoch()))
}

#[test]
fn the_average_follows_its_definition() {
    let mut recorder = Recorder::default();
    let options = Options { average: true, best: None, accumulate: 1 };
    let (graph, history, _) = train(options, &mut recorder, None, None);
    assert_eq!(recorder.steps.len(), EPOCHS * BATCHES);
    let values = |graph: &Graph| -> Vec<f64> {
        let params = graph.params().flat_map(|(_, p)| p.value().data().to_vec()).collect::<Vec<f32>>();
        let buffers = graph.buffers().flat_map(|(_, b)| b.data().to_vec());
        params.into_iter().chain(buffers).map(f64::from).collect()
    };
    let mut expected = values(&start());
    for (t, weights) in (1..).zip(&recorder.steps) {
        let decay = DECAY.min((1.0 + f64::from(t)) / (10.0 + f64::from(t)));
        expected.iter_mut().zip(values(weights)).for_each(|(e, w)| *e = decay * *e + (1.0 - decay) * w);
    }
    let found = values(&graph);
    assert!(found.iter().zip(&expected).all(|(f, e)| (f - e).abs() < 1e-5), "{found:?}");
    // The average is what was validated, and not what is trained.
    let (validated, last) = recorder.validated.last().unwrap();
    assert_same_bits(validated, &graph);
    assert_eq!(last.val, history.unwrap().last().unwrap().val);
    let weight = |graph: &Graph| graph.param("fc.weight").unwrap().value().clone();
    assert!(!weight(recorder.steps.last().unwrap()).same_bits(&weight(&graph)));
}

#[test]
fn masked_weights_stay_zero_in_the_average() {
    /// Masks half of a weight after the third step.
    struct Mask(usize);
    impl Callback for Mask {
        fn after_step(&mut self, step: &mut Step) -> Result<Flow> {
            self.0 += 1;
            if self.0 == 3 {
                let param = step.graph.param_mut("fc.weight")?;
                let mask = lopper_engine::Tensor::from_fn(param.value().shape(), |i| (i % 2) as f32);
                param.set_mask(Some(mask))?;
            }
            Ok(Flow::Continue)
        }
    }
    let (mut graph, mut mask, mut average) = (start(), Mask(0), MovingAverage::new(0.99).unwrap());
    let trainer = Trainer {
        device: &Device::cpu(),
        optimizer: &mut Optimizer::new(SGD),
        schedule: Schedule::Constant,
        learning_rate: 0.05,
        epochs: 1,
        seed: 5,
        objective: &mut CrossEntropy { smoothing: 0.0 },
        callbacks: vec![&mut mask, &mut average],
        reduce: None,
    };
    trainer.fit(&mut graph, &mut Colors::new(BATCHES), None).unwrap();
    let weight = graph.param("fc.weight").unwrap();
    assert!(weight.value().data().iter().enumerate().all(|(i, &w)| (w == 0.0) == (i % 2 == 0)));
    let kept = average.network().unwrap().param("fc.weight").unwrap().value();
    assert!(kept.same_bits(weight.value()));
}

#[test]
fn the_best_epoch_is_kept() {
    for average in [false, true] {
        for monitor in [Monitor::Top1, Monitor::Loss, Monitor::MacroF1, Monitor::WeightedF1] {
            let mut recorder = Recorder::default();
            let options = Options { average, best: Some((monitor, None)), accumulate: 1 };
            let (graph, history, best) = train(options, &mut recorder, None, None);
            let history = history.unwrap();
            let score = |m: &EpochMetrics| match monitor {
                Monitor::Top1 => m.val.unwrap().top1(),
                Monitor::Loss => -m.val_loss.unwrap(),
                Monitor::MacroF1 => m.macro_f1.unwrap(),
                Monitor::WeightedF1 => m.weighted_f1.unwrap(),
            };
            let largest = history.iter().map(score).fold(f64::NEG_INFINITY, f64::max);
            let expected = history.iter().position(|m| score(m) == largest).unwrap();
            assert_eq!(best, Some(expected));
            assert_same_bits(&graph, &recorder.validated[expected].0);
        }
    }
}

#[test]
fn a_training_without_improvement_stops_early() {
    // No gain is large enough.
    let stopping = EarlyStopping { patience: 2, min_delta: 1e9 };
    let options = Options { average: false, best: Some((Monitor::Top1, Some(stopping))), accumulate: 1 };
    let mut recorder = Recorder::default();
    let (graph, history, best) = train(options, &mut recorder, None, None);
    assert_eq!((history.unwrap().len(), best), (3, Some(0)));
    assert_same_bits(&graph, &recorder.validated[0].0);
}

#[test]
fn a_training_stopped_after_any_step_ends_with_the_same_bits() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("checkpoint");
    let stopping = EarlyStopping { patience: 2, min_delta: 0.0 };
    for accumulate in [1, 2] {
        let options = Options { average: true, best: Some((Monitor::Loss, Some(stopping))), accumulate };
        let (whole, history, best) = train(options, &mut Recorder::default(), None, None);
        let history = history.unwrap();
        let steps = history.len() * BATCHES.div_ceil(accumulate);
        for stop in 0..steps {
            let mut keeper = Stopper { path: path.clone(), after: Some(stop) };
            let part = train(options, &mut Recorder::default(), None, Some(&mut keeper));
            assert!(matches!(part.1, Err(Error::Stopped)), "{:?}", part.1);
            let from = Checkpoint::read(&path).unwrap();
            let (graph, resumed, found) = train(options, &mut Recorder::default(), Some(from), None);
            assert_same_bits(&whole, &graph);
            assert_eq!(found, best);
            let metrics = |m: &EpochMetrics| (m.train_loss, m.val_loss, m.val, m.learning_rate);
            let resumed = resumed.unwrap();
            assert_eq!(
                resumed.iter().map(metrics).collect::<Vec<_>>(),
                history.iter().map(metrics).collect::<Vec<_>>()
            );
        }
    }
}

#[test]
fn a_damaged_state_is_refused() {
    let mut average = MovingAverage::new(0.5).unwrap();
    average.on_begin(&mut start()).unwrap();
    let mut state = average.state();
    state.arrays.remove("fc.bias");
    let message = average.clone().restore(state).unwrap_err().to_string();
    assert!(message.contains("values of fc.bias"), "{message}");
    let mut best = Best::new(Monitor::Top1, None, true);
    best.on_begin(&mut start()).unwrap();
    let message = best.restore(average.state()).unwrap_err().to_string();
    assert!(message.contains("the state of the best epoch is damaged"), "{message}");
    assert!(MovingAverage::new(1.0).is_err() && MovingAverage::new(f64::NAN).is_err());
}
