//! `lopper predict MODEL IMAGE…`.

use super::{Common, image_side};
use crate::images::fit;
use crate::progress::note;
use clap::Args;
use lopper_engine::{Device, Error, Result, Tensor, file, memory};
use lopper_models::data::{DataConfig, DataName, is_image};
use lopper_models::{Classifier, Guess};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Most images that are computed at once.
const BATCH: usize = 32;

/// Classify images.
#[derive(Args)]
pub struct Predict {
    /// A model file
    model: PathBuf,
    /// Image files, or folders of them
    #[arg(required = true)]
    images: Vec<PathBuf>,
    /// Number of classes to list, the most probable first
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    top: u32,
    /// Side of the square images in pixels [default: the network's]
    #[arg(long, value_parser = image_side)]
    size: Option<usize>,
}

#[derive(Serialize)]
struct Predictions {
    images: Vec<Prediction>,
}

/// The classes of an image, or the reason why there are none.
#[derive(Serialize)]
struct Prediction {
    image: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    classes: Vec<Class>,
}

#[derive(Serialize)]
struct Class {
    class: String,
    probability: f64,
}

impl Predict {
    pub fn run(&self, common: &Common) -> Result<()> {
        let graph = file::load(&self.model)?;
        let device = common.device()?;
        // For the note on a model that does not say how images are prepared.
        fit(&mut DataConfig::new(DataName::Folder), &graph);
        let classifier = Classifier::sized(graph, self.size)?;
        let mut found = Predictions { images: Vec::new() };
        for paths in self.files()?.chunks(BATCH) {
            found.images.extend(self.predict(paths, &classifier, &device)?);
        }
        let text = found.text();
        if common.json || !text.is_empty() {
            common.print(&found, || text)?;
        }
        let unread: Vec<&String> = found.images.iter().filter_map(|image| image.error.as_ref()).collect();
        match unread.len() {
            0 => Ok(()),
            count => {
                unread.iter().for_each(note);
                Err(Error::invalid(format!("{count} of {} images cannot be read", found.images.len())))
            }
        }
    }

    /// The image files: those given, and those in folders that are given, in the order of their names.
    fn files(&self) -> Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for path in &self.images {
            if !path.is_dir() {
                files.push(path.clone());
                continue;
            }
            let failed = |e: std::io::Error| Error::file(path, format!("this folder cannot be read: {e}"));
            let mut inside = Vec::new();
            for entry in std::fs::read_dir(path).map_err(failed)? {
                inside.push(entry.map_err(failed)?.path());
            }
            inside.retain(|file| is_image(file) && !is_hidden(file) && !file.is_dir());
            if inside.is_empty() {
                return Err(Error::file(path, "no images in this folder; folders in it are not looked into"));
            }
            inside.sort();
            files.extend(inside);
        }
        Ok(files)
    }

    /// Classifies the images at `paths`, which are prepared as soon as they are decoded: photos are large.
    fn predict(
        &self,
        paths: &[PathBuf],
        classifier: &Classifier,
        device: &Device,
    ) -> Result<Vec<Prediction>> {
        let side = classifier.size();
        memory::require("the images to classify", memory::bytes_of::<f32>([paths.len(), side, side, 3]))?;
        let (mut inputs, mut errors) = (Vec::new(), Vec::new());
        for path in paths {
            let read = classifier.read(path).map(|image| inputs.extend(classifier.prepare(&image)));
            errors.push(read.err().map(|e| e.to_string()));
        }
        let read = errors.iter().filter(|error| error.is_none()).count();
        let guesses = classifier.classify(Tensor::from_vec(&[read, side, side, 3], inputs)?, device)?;
        let mut guesses = guesses.into_iter();
        let class = |Guess { class, probability }: Guess| Class { class, probability };
        let prediction = |(path, error): (&PathBuf, Option<String>)| {
            let guesses = if error.is_some() { Vec::new() } else { guesses.next().unwrap_or_default() };
            let classes = guesses.into_iter().take(self.top as usize).map(class).collect();
            Prediction { image: path.display().to_string(), error, classes }
        };
        Ok(paths.iter().zip(errors).map(prediction).collect())
    }
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

impl Predictions {
    fn text(&self) -> String {
        let mut text = String::new();
        for Prediction { image, error, classes } in &self.images {
            if error.is_some() {
                continue; // it is named on standard error
            }
            let list: Vec<String> = classes
                .iter()
                .map(|Class { class, probability }| format!("{class} {:.2} %", 100.0 * probability))
                .collect();
            text += &format!("{image}: {}\n", list.join(", "));
        }
        text
    }
}
