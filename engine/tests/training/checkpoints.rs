//! A training that is stopped, written to a file, read and gone on with ends with the bits of one that was not.

use crate::support::colors::{ADAM, Colors, SGD};
use lopper_engine::data::Batches;
use lopper_engine::train::{
    Callback, Checkpoint, CrossEntropy, EpochMetrics, Flow, Keeper, Optimizer, OptimizerConfig, Progress,
    Schedule, State, Step, Trainer, Why, Wish,
};
use lopper_engine::{Device, Error, Graph, Result, Tensor};
use std::path::{Path, PathBuf};

const EPOCHS: usize = 3;
const BATCHES: usize = 4;

fn network() -> Graph {
    let mut graph = crate::support::colors::network();
    graph.info.input = [6, 6, 3];
    graph
}

/// Masks weight after weight of `conv2.weight`, the next one where its own count of steps says.
#[derive(Default)]
struct Nibbler(Vec<f64>);

impl Callback for Nibbler {
    fn after_step(&mut self, step: &mut Step) -> Result<Flow> {
        self.0.push(f64::from(step.loss) / 3.0);
        let (dropped, param) = (self.0.len() * 7, step.graph.param_mut("conv2.weight")?);
        let mask = Tensor::from_fn(param.value().shape(), |i| f32::from(i >= dropped));
        param.set_mask(Some(mask))?;
        Ok(Flow::Continue)
    }

    fn state(&self) -> State {
        State { value: self.0.len().into(), arrays: [("losses".to_string(), self.0.clone())].into() }
    }

    fn restore(&mut self, mut state: State) -> Result<()> {
        self.0 = state.arrays.remove("losses").unwrap();
        assert_eq!(state.value, self.0.len());
        Ok(())
    }
}

/// Writes every checkpoint to the same file, asks for one after each step, and stops after some.
struct Stopper {
    path: PathBuf,
    after: Option<usize>,
    kept: Vec<Why>,
}

impl Keeper for Stopper {
    fn wish(&mut self, progress: Progress) -> Wish {
        if self.after == Some(progress.step) { Wish::Stop } else { Wish::Keep }
    }

    fn keep(&mut self, checkpoint: Checkpoint, why: Why) -> Result<()> {
        self.kept.push(why);
        checkpoint.write(&self.path)?;
        assert_eq!(checkpoint.size()?, std::fs::metadata(&self.path).unwrap().len());
        Ok(())
    }
}

struct Trained {
    graph: Graph,
    history: Result<Vec<EpochMetrics>>,
    losses: Vec<f64>,
}

fn train(
    device: &Device,
    config: OptimizerConfig,
    data: &mut dyn Batches,
    from: Option<Checkpoint>,
    keeper: Option<&mut dyn Keeper>,
) -> Trained {
    let (mut graph, mut nibbler) = (network(), Nibbler::default());
    let trainer = Trainer {
        device,
        optimizer: &mut Optimizer::new(config),
        schedule: Schedule::one_cycle(),
        learning_rate: 0.02,
        epochs: EPOCHS,
        seed: 5,
        objective: &mut CrossEntropy { smoothing: 0.1 },
        callbacks: vec![&mut nibbler],
        reduce: None,
    };
    let history = trainer.fit_kept(&mut graph, data, Some(&mut Colors::new(2)), from, keeper);
    Trained { graph, history, losses: nibbler.0 }
}

#[track_caller]
fn assert_same(a: &Trained, b: &Trained) {
    let [x, y] = [a, b].map(|t| {
        let history = t.history.as_ref().unwrap();
        history
            .iter()
            .map(|m| (m.epoch, m.train_loss, m.val_loss, m.val, m.learning_rate))
            .collect::<Vec<_>>()
    });
    assert_eq!((x, &a.losses), (y, &b.losses));
    for ((path, a), (_, b)) in a.graph.params().zip(b.graph.params()) {
        assert!(a.value().same_bits(b.value()), "{path}");
        assert_eq!(a.mask().map(Tensor::data), b.mask().map(Tensor::data), "{path}");
    }
    for ((path, a), (_, b)) in a.graph.buffers().zip(b.graph.buffers()) {
        assert!(a.same_bits(b), "{path}");
    }
}

fn stopped_anywhere_ends_alike(device: &Device, stops: impl Iterator<Item = usize>) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("checkpoint");
    for (config, stop) in stops.flat_map(|stop| [(SGD, stop), (ADAM, stop)]) {
        let whole = train(device, config, &mut Colors::new(BATCHES), None, None);
        let mut keeper = Stopper { path: path.clone(), after: Some(stop), kept: Vec::new() };
        let part = train(device, config, &mut Colors::new(BATCHES), None, Some(&mut keeper));
        assert!(matches!(part.history, Err(Error::Stopped)), "{:?}", part.history);
        assert_eq!(keeper.kept.last(), Some(&Why::Stopping));
        let checkpoint = Checkpoint::read(&path).unwrap();
        assert_eq!(checkpoint.position.epoch, stop / BATCHES);
        keeper.after = None;
        let rest = train(device, config, &mut Colors::new(BATCHES), Some(checkpoint), Some(&mut keeper));
        assert_same(&whole, &rest);
        // The last one of the whole training is kept before its last validation.
        let last = Checkpoint::read(&path).unwrap();
        assert_eq!((last.position.epoch, last.position.batch), (EPOCHS - 1, BATCHES));
        assert_same(&whole, &train(device, config, &mut Colors::new(BATCHES), Some(last), None));
    }
}

#[test]
fn a_training_stopped_after_any_step_ends_with_the_same_bits() {
    stopped_anywhere_ends_alike(&Device::cpu(), 0..EPOCHS * BATCHES);
}

#[test]
fn a_training_on_cuda_keeps_what_is_on_the_device() {
    let Some(device) = crate::support::cuda_on_cpu() else { return };
    stopped_anywhere_ends_alike(&device, [5].into_iter());
}

#[test]
fn a_batch_that_cannot_be_read_ends_the_training_behind_a_checkpoint() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("checkpoint");
    let mut keeper = Stopper { path: path.clone(), after: None, kept: Vec::new() };
    let mut broken = Colors { unreadable: Some(2), ..Colors::new(BATCHES) };
    let part = train(&Device::cpu(), ADAM, &mut broken, None, Some(&mut keeper));
    assert_eq!(part.history.unwrap_err().to_string(), "broken.jpg: is not an image");
    assert_eq!(keeper.kept, [Why::Asked, Why::Asked, Why::BadData]);
    let whole = train(&Device::cpu(), ADAM, &mut Colors::new(BATCHES), None, None);
    let checkpoint = Checkpoint::read(&path).unwrap();
    assert_same(&whole, &train(&Device::cpu(), ADAM, &mut Colors::new(BATCHES), Some(checkpoint), None));
}

#[test]
fn the_checkpoint_of_another_training_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("checkpoint");
    let mut keeper = Stopper { path: path.clone(), after: Some(6), kept: Vec::new() };
    train(&Device::cpu(), ADAM, &mut Colors::new(BATCHES), None, Some(&mut keeper));
    let read = || Checkpoint::read(&path).unwrap();
    for (trained, word) in [
        (train(&Device::cpu(), SGD, &mut Colors::new(BATCHES), Some(read()), None), "expected 1 moments"),
        (train(&Device::cpu(), ADAM, &mut Colors::new(2), Some(read()), None), "epochs of 2 batches"),
    ] {
        let message = trained.history.unwrap_err().to_string();
        assert!(message.contains(word), "{message}");
    }
}

#[test]
fn a_weight_that_is_no_number_ends_the_training_and_is_not_kept() {
    struct Poison;
    impl Callback for Poison {
        fn after_step(&mut self, step: &mut Step) -> Result<Flow> {
            if step.progress.step == BATCHES + 1 {
                step.graph.param_mut("fc.weight")?.update(|w| w[0] = f32::INFINITY);
            }
            Ok(Flow::Continue)
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("checkpoint");
    let mut keeper = Stopper { path: path.clone(), after: None, kept: Vec::new() };
    let mut poison = Poison;
    let trainer = Trainer {
        device: &Device::cpu(),
        optimizer: &mut Optimizer::new(SGD),
        schedule: Schedule::Constant,
        learning_rate: 0.02,
        epochs: EPOCHS,
        seed: 5,
        objective: &mut CrossEntropy { smoothing: 0.0 },
        callbacks: vec![&mut poison],
        reduce: None,
    };
    let error = trainer.fit_kept(&mut network(), &mut Colors::new(BATCHES), None, None, Some(&mut keeper));
    let error = error.unwrap_err();
    assert!(matches!(error, Error::NotFinite { epoch: 2, step: 2, .. }), "{error}");
    assert!(error.to_string().contains("fc.weight"), "{error}");
    assert_eq!(Checkpoint::read(&path).unwrap().position.batch, 1, "the one before it");
}

/// Cut anywhere, or with any byte changed, it is read as a checkpoint or refused by its name: it never panics.
#[test]
fn a_damaged_checkpoint_is_an_error_that_names_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("checkpoint");
    let mut keeper = Stopper { path: path.clone(), after: Some(5), kept: Vec::new() };
    train(&Device::cpu(), ADAM, &mut Colors::new(BATCHES), None, Some(&mut keeper));
    let (whole, damaged) = (std::fs::read(&path).unwrap(), directory.path().join("damaged"));
    let read = |bytes: &[u8]| {
        std::fs::write(&damaged, bytes).unwrap();
        Checkpoint::read(&damaged)
    };
    for len in (0..whole.len()).step_by(97).chain([whole.len() - 1]) {
        named(read(&whole[..len]), &damaged);
    }
    let header = 8 + u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    let mut refused = 0;
    for at in (0..header).step_by(5) {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 + (at % 7) as u8;
        if let Err(error) = read(&bytes) {
            assert!(error.to_string().contains("damaged"), "{error}");
            refused += 1;
        }
    }
    assert!(refused > header / 20, "{refused} of {}", header / 5);
    // A model is no checkpoint, and a checkpoint no model.
    lopper_engine::file::save(&network(), &damaged).unwrap();
    named(Checkpoint::read(&damaged), &damaged);
    assert!(lopper_engine::file::load(&path).unwrap_err().to_string().contains("not a lopper model"));
}

#[track_caller]
fn named(read: Result<Checkpoint>, path: &Path) {
    let message = read.unwrap_err().to_string();
    assert!(message.contains(path.to_str().unwrap()), "{message}");
}
