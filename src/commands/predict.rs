//! `lopper predict MODEL IMAGE…`.

use super::{Common, image_side};
use crate::images::fit;
use crate::progress::note;
use clap::Args;
use lopper_engine::train::metrics::softmax;
use lopper_engine::{Device, Error, Graph, Result, Tensor, file, memory};
use lopper_models::data::{DataConfig, DataName, Scratch, Transform, decode_file, decode_upright, generator};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Most images that are computed at once.
const BATCH: usize = 32;

/// Classify images.
#[derive(Args)]
pub struct Predict {
    /// A model file
    model: PathBuf,
    /// Image files
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

#[derive(Clone, Serialize)]
struct Class {
    class: String,
    probability: f64,
}

/// The way from a file to the network's input, as for the images of an evaluation.
struct Prepared {
    /// Whether images are turned upright.
    orient: bool,
    transform: Transform,
}

impl Predict {
    pub fn run(&self, common: &Common) -> Result<()> {
        let graph = file::load(&self.model)?;
        let device = common.device()?;
        let mut config = DataConfig { size: self.size, ..DataConfig::new(DataName::Folder) };
        fit(&mut config, &graph);
        let prepared = Prepared { orient: config.preparation().orient, transform: config.eval_transform()? };
        let mut found = Predictions { images: Vec::new() };
        for paths in self.images.chunks(BATCH) {
            found.images.extend(self.predict(paths, &graph, &prepared, &device)?);
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

    /// Classifies the images at `paths`.
    fn predict(
        &self,
        paths: &[PathBuf],
        graph: &Graph,
        Prepared { orient, transform }: &Prepared,
        device: &Device,
    ) -> Result<Vec<Prediction>> {
        let side = transform.size;
        let pixels = side * side * 3;
        memory::require("the images to classify", memory::bytes_of::<f32>([paths.len(), pixels]))?;
        let (mut scratch, mut values, mut read) = (Scratch::default(), Vec::new(), 0);
        let mut errors = Vec::new();
        for path in paths {
            let decoded = if *orient { decode_upright(path) } else { decode_file(path) };
            let decoded = decoded.map(|image| {
                values.resize((read + 1) * pixels, 0.0);
                // An evaluation draws no random numbers.
                let out = &mut values[read * pixels..];
                transform.apply(&image, &mut generator(0, 0, 0), &mut scratch, out);
                read += 1;
            });
            errors.push(decoded.err().map(|e| e.to_string()));
        }
        let mut rows = Vec::new();
        if read > 0 {
            let images = Tensor::from_vec(&[read, side, side, 3], values)?;
            graph.require_inference([read, side, side, 3], device)?;
            let logits = graph.logits(device, images)?;
            let classes = logits.len() / read;
            check_classes(graph, classes)?;
            rows = logits.data().chunks_exact(classes).map(|row| self.classes(row, graph)).collect();
        }
        let mut rows = rows.into_iter();
        let prediction = |(path, error): (&PathBuf, Option<String>)| {
            let classes = if error.is_some() { Vec::new() } else { rows.next().unwrap_or_default() };
            Prediction { image: shown(path), error, classes }
        };
        Ok(paths.iter().zip(errors).map(prediction).collect())
    }

    /// The most probable classes for `logits`, ties by class.
    fn classes(&self, logits: &[f32], graph: &Graph) -> Vec<Class> {
        let mut classes: Vec<(usize, f64)> = softmax(logits).enumerate().collect();
        // Stable: the first of equal ones stays first.
        classes.sort_by(|a, b| b.1.total_cmp(&a.1));
        classes.truncate(self.top as usize);
        let class =
            |(i, probability): (usize, f64)| Class { class: graph.info.classes[i].clone(), probability };
        classes.into_iter().map(class).collect()
    }
}

/// Returns an error unless the network names each of its `classes`.
fn check_classes(graph: &Graph, classes: usize) -> Result<()> {
    match graph.info.classes.len() {
        names if names == classes => Ok(()),
        names => Err(Error::invalid(format!("the network has {classes} logits, but names {names} classes"))),
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
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
