//! A loss of your own: the Brier score, and a callback that watches it.
//!
//! ```sh
//! cargo run --release --example custom_loss
//! ```

use lopper::prelude::*;

/// `Σ (pₖ − tₖ)²`, the mean over images, of the probabilities p and the targets t, 1 for the class and 0 otherwise (Brier
/// 1950). Unlike cross entropy, it is bounded, so a wrong label does little harm.
struct Brier;

impl Objective for Brier {
    fn loss(&mut self, tape: &mut Tape, pass: &Pass, batch: &Batch) -> Result<Var> {
        let logits = &pass.output;
        let &[n, k] = logits.shape() else {
            return Err(Error::invalid(format!("expected logits [N, K], found {:?}", logits.shape())));
        };
        let targets =
            Tensor::from_fn(&[n, k], |i| f32::from(u8::from(batch.labels[i / k] as usize == i % k)));
        let targets = tape.constant(targets);
        let probabilities = tape.softmax(logits)?;
        // The mean over images and classes, times the number of classes.
        let error = tape.mse(&probabilities, &targets)?;
        tape.scale(&error, k as f32)
    }
}

/// Stops once the loss of a step is below a limit.
struct GoodEnough {
    limit: f32,
}

impl Callback for GoodEnough {
    fn after_step(&mut self, step: &mut Step) -> Result<Flow> {
        Ok(if step.loss < self.limit { Flow::Stop } else { Flow::Continue })
    }
}

fn main() -> Result<()> {
    let device = Device::cpu();
    let mut data = DataConfig { limit: Some(60), ..DataConfig::new(DataName::FashionMnist) }.open(1)?;
    let options = BuildOptions::new(data.classes.clone(), data.val.image_shape());
    let mut graph = build("vgg8_bn", &BuildOptions { width: 0.25, ..options })?;
    let mut optimizer = Optimizer::new(OptimizerConfig::sgd(5e-4)).without_vector_decay();
    let mut stop = GoodEnough { limit: 0.3 };
    let epochs = Trainer::new(&device, &mut optimizer, &mut Brier)
        .epochs(6)
        .learning_rate(0.1)
        .callback(&mut stop)
        .fit(&mut graph, &mut data.train, Some(&mut data.val))?;
    for epoch in &epochs {
        println!("epoch {}: Brier score {:.3}", epoch.number(), epoch.train_loss);
    }
    // Guessing costs 1 − 1/K = 0.9.
    assert!(epochs.last().is_some_and(|epoch| epoch.train_loss < 0.8));
    let scores = score(&graph, &mut data.val, &device)?;
    println!(
        "top-1 {:.1} %, cross entropy {:.3}, expected calibration error {:.3}",
        100.0 * scores.top(1).top1(),
        scores.loss(),
        scores.calibration(10).error()
    );
    Ok(())
}

#[test]
fn it_runs() {
    main().unwrap();
}
