//! Uses a model file: the three most probable classes of pictures.
//!
//! ```sh
//! cargo run --release --example predict -- model.safetensors photo.jpg
//! cargo run --release --example predict              # trains a small network first
//! ```

use lopper::models::data::fashion_mnist;
use lopper::prelude::*;
use std::path::Path;

/// Prints the three most probable classes of the image files `images`.
fn predict(model: &Path, images: &[String]) -> Result<()> {
    // The file says how pictures are resized, cropped and normalized.
    let classifier = Classifier::new(file::load(model)?)?;
    let pictures = images.iter().map(|path| classifier.read(path)).collect::<Result<Vec<_>>>()?;
    let predictions = classifier.predict(&pictures, &Device::cpu())?;
    images.iter().zip(&predictions).for_each(|(name, guesses)| print(name, guesses));
    Ok(())
}

fn print(name: &str, guesses: &[Guess]) {
    let top: Vec<String> =
        guesses.iter().take(3).map(|g| format!("{} {:.1} %", g.class, 100.0 * g.probability)).collect();
    println!("{name}: {}", top.join(", "));
}

/// Trains a network on the built-in images, stores it, and classifies some of them from the file.
fn demonstrate() -> Result<()> {
    let device = Device::cpu();
    let mut data = DataConfig { limit: Some(60), ..DataConfig::new(DataName::FashionMnist) }.open(1)?;
    let options = BuildOptions::new(data.classes.clone(), data.val.image_shape());
    let mut graph = build("vgg8_bn", &BuildOptions { width: 0.25, ..options })?;
    data.record(&mut graph.info);
    let mut optimizer = Optimizer::new(OptimizerConfig::adamw(0.01));
    Trainer::new(&device, &mut optimizer, &mut CrossEntropy::default()).epochs(6).learning_rate(5e-3).fit(
        &mut graph,
        &mut data.train,
        None,
    )?;
    let directory =
        tempfile::tempdir().map_err(|e| Error::invalid(format!("no temporary directory: {e}")))?;
    let path = directory.path().join("clothes.safetensors");
    file::save(&graph, &path)?;

    let classifier = Classifier::new(file::load(&path)?)?;
    let [_, test] = fashion_mnist::open()?;
    let pictures = (0..5).map(|i| Ok(test.image(i)?.into_owned())).collect::<Result<Vec<_>>>()?;
    let predictions = classifier.predict(&pictures, &device)?;
    for (i, guesses) in predictions.iter().enumerate() {
        print(&format!("{} ({})", test.name(i), test.classes()[test.label(i) as usize]), guesses);
        let all: f64 = guesses.iter().map(|guess| guess.probability).sum();
        assert!((all - 1.0).abs() < 1e-6 && guesses.is_sorted_by(|a, b| a.probability >= b.probability));
    }
    Ok(())
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.split_first() {
        Some((model, images)) => predict(Path::new(model), images),
        None => demonstrate(),
    }
}

#[test]
fn it_runs() {
    demonstrate().unwrap();
}
