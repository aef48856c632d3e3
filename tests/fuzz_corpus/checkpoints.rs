//! Checkpoints of short trainings, one for each kind of state.

use lopper_compress::sparsify::{Sparsifier, SparsifyConfig};
use lopper_engine::train::{
    Checkpoint, CrossEntropy, Keeper, Optimizer, OptimizerConfig, Progress, Schedule, Trainer, Why, Wish,
};
use lopper_engine::{Device, Result};
use lopper_models::data::{DataConfig, DataName};

/// Stops after the second step and keeps its checkpoint as the bytes of a file.
#[derive(Default)]
struct Stop(Vec<u8>);

impl Keeper for Stop {
    fn wish(&mut self, progress: Progress) -> Wish {
        if progress.step == 1 { Wish::Stop } else { Wish::GoOn }
    }

    fn keep(&mut self, checkpoint: Checkpoint, _: Why) -> Result<()> {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        checkpoint.write(file.path())?;
        self.0 = std::fs::read(file.path()).expect("a written checkpoint");
        Ok(())
    }
}

/// The checkpoints by name.
pub fn seeds() -> Vec<(String, Vec<u8>)> {
    let sgd = OptimizerConfig::Sgd { momentum: 0.9, nesterov: false, weight_decay: 0.0 };
    let adam = OptimizerConfig::Adam { betas: [0.9, 0.999], eps: 1e-8, weight_decay: 0.0 };
    let kept = |name: &str, optimizer, criterion: &str| (name.to_string(), stopped(optimizer, criterion));
    vec![kept("sgd", sgd, "large_final"), kept("adam", adam, "taylor")]
}

fn stopped(optimizer: OptimizerConfig, criterion: &str) -> Vec<u8> {
    let data = DataConfig { limit: Some(2), batch: 8, ..DataConfig::new(DataName::FashionMnist) };
    let mut splits = lopper_models::data::open(&data, None, 0).expect("built-in data");
    let options = lopper_models::Options {
        width: 0.03,
        ..lopper_models::Options::new(splits.classes.clone(), [32, 32, 3])
    };
    let mut graph = lopper_models::build("vgg8_bn", &options).expect("a network of ours");
    let config =
        SparsifyConfig { criterion: criterion.parse().expect("a criterion"), ..SparsifyConfig::new(0.5) };
    let (mut sparsifier, mut stop) = (Sparsifier::new(config).expect("sound options"), Stop::default());
    let trainer = Trainer {
        device: &Device::cpu(),
        optimizer: &mut Optimizer::new(optimizer),
        schedule: Schedule::Constant,
        learning_rate: 0.01,
        epochs: 2,
        seed: 0,
        objective: &mut CrossEntropy::default(),
        callbacks: vec![&mut sparsifier],
        reduce: None,
    };
    let stopped = trainer.fit_kept(&mut graph, &mut splits.train, None, None, Some(&mut stop));
    assert!(stopped.is_err(), "the keeper stops the training");
    stop.0
}
