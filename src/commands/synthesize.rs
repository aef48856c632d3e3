//! `lopper synthesize MODEL`.

use super::Common;
use crate::binding::computes;
use crate::digest;
use crate::output_file::refuse_existing;
use crate::progress::{alive, note};
use crate::signals;
use crate::synthesis::{Batch, Synthesized};
use crate::tables::put;
use clap::Args;
use lopper_compress::synthesize::{SynthesisConfig, Synthesizer, Terms};
use lopper_engine::train::Accuracy;
use lopper_engine::{Device, Error, Graph, Result, Tensor, atomic, file};
use lopper_models::data::{Normalize, RgbImage, picture, png};
use lopper_models::init;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

/// Make images from a trained network alone, to distill it without its data.
///
/// Noise becomes images by gradient descent: the network takes them for a class of choice, and the statistics of its batch
/// norms are those of its training.
#[derive(Args)]
pub struct Synthesize {
    /// A model file, with batch norms
    model: PathBuf,
    /// Directory for a folder of PNG files for each class, and synthesis.json
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Number of images, spread evenly over the classes
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    count: u32,
    /// Most images that are optimized together: the more, the better their statistics
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    batch: u32,
    /// Steps of Adam for each batch
    #[arg(long, default_value_t = 500)]
    steps: usize,
    /// Learning rate of the first step; it falls to 0
    #[arg(long, default_value_t = 0.1, value_name = "RATE")]
    learning_rate: f64,
    /// Weight of the distance from the statistics of batch norms
    #[arg(long, default_value_t = 10.0, value_name = "WEIGHT", value_parser = super::single)]
    statistics: f32,
    /// Weight of the total variation, which makes images smooth
    #[arg(long, default_value_t = 2.5e-5, value_name = "WEIGHT", value_parser = super::single)]
    total_variation: f32,
    /// Weight of the norm of the images
    #[arg(long, default_value_t = 3e-8, value_name = "WEIGHT", value_parser = super::single)]
    l2: f32,
    /// Most pixels by which images are shifted in each step
    #[arg(long, default_value_t = 2, value_name = "PIXELS")]
    jitter: usize,
    /// Start over, although the directory has images of an earlier call
    #[arg(long)]
    force: bool,
    /// Go on with the images of an earlier call in the directory
    #[arg(long, conflicts_with = "force")]
    resume: bool,
}

/// The network, and how its images are normalized.
struct Subject {
    graph: Graph,
    device: Device,
    normalize: Normalize,
    seed: u64,
}

impl Synthesize {
    pub fn run(&self, common: &Common) -> Result<()> {
        let subject = self.subject(common)?;
        let synthesizer = Synthesizer::new(self.config(), &subject.graph, &subject.device)?;
        let (_lock, mut state) = self.claim(self.planned(&subject)?)?;
        signals::listen()?;
        let sizes = Synthesized::sizes(state.planned, self.batch as usize);
        let begun = state.batches.len();
        for (number, &size) in sizes.iter().enumerate().skip(begun) {
            let begin = Instant::now();
            let first = state.images();
            let labels: Vec<u32> = (first..first + size).map(|k| state.label(k)).collect();
            let (pictures, terms) = self.pictures(&synthesizer, &subject, &labels, (number, sizes.len()))?;
            for (k, picture) in (first..).zip(&pictures) {
                let path = self.out.join(state.path(k));
                if let Some(folder) = path.parent() {
                    std::fs::create_dir_all(folder).map_err(|e| Error::file(folder, e))?;
                }
                put(&path, &png(picture)?)?;
            }
            let recognized = subject.recognized(&pictures, &labels)?;
            let seconds = begin.elapsed().as_secs_f64();
            note(format_args!(
                "batch {} of {}: {size} images, {recognized} of them recognized; cross entropy {:.3}, statistics {:.3} ({seconds:.1} s)",
                number + 1,
                sizes.len(),
                terms.task,
                terms.statistics
            ));
            state.batches.push(Batch { images: size, recognized, terms, seconds });
            state.write(&self.out)?;
        }
        state.write_table(&self.out)?;
        common.print(&state, || self.text(&state))
    }

    fn config(&self) -> SynthesisConfig {
        SynthesisConfig {
            steps: self.steps,
            learning_rate: self.learning_rate,
            statistics: self.statistics,
            total_variation: self.total_variation,
            l2: self.l2,
            jitter: self.jitter,
        }
    }

    fn subject(&self, common: &Common) -> Result<Subject> {
        let graph = file::load(&self.model)?;
        let info = &graph.info;
        let three = |values: &[f32]| <[f32; 3]>::try_from(values).ok();
        let normalization = three(&info.mean).zip(three(&info.std));
        let Some((mean, std)) = normalization.filter(|_| info.input[2] == 3) else {
            return Err(Error::file(
                &self.model,
                "expected a network of color images that states their mean and deviation",
            ));
        };
        let (normalize, device) = (Normalize::new(mean, std)?, common.device()?);
        Ok(Subject { graph, device, normalize, seed: common.seed.unwrap_or(0) })
    }

    /// What there will be, without any image yet.
    fn planned(&self, subject: &Subject) -> Result<Synthesized> {
        let classes = subject.graph.info.class_folders().to_vec();
        Synthesized::check_classes(&classes)?;
        let options = serde_json::to_string(&self.config()).map_err(|e| Error::invalid(e.to_string()))?;
        let binding = BTreeMap::from([
            ("version of lopper".to_string(), env!("CARGO_PKG_VERSION").to_string()),
            ("device".into(), computes(&subject.device)),
            ("seed".into(), subject.seed.to_string()),
            ("model".into(), digest::of_file(&self.model)?),
            ("options".into(), options),
            ("count".into(), self.count.to_string()),
            ("batch".into(), self.batch.to_string()),
        ]);
        let (model, planned) = (self.model.display().to_string(), self.count as usize);
        Ok(Synthesized { model, binding, planned, classes, batches: Vec::new() })
    }

    /// Locks the directory, and goes on with what is there, replaces it, or begins, as the options say.
    fn claim(&self, planned: Synthesized) -> Result<(atomic::Lock, Synthesized)> {
        let path = self.out.join(Synthesized::FILE);
        refuse_existing(&path, self.force || self.resume)?;
        std::fs::create_dir_all(&self.out).map_err(|e| Error::file(&self.out, e))?;
        let busy = || Error::file(&self.out, "another command is writing here");
        let lock = atomic::lock(self.out.join(".lopper-lock"))?.ok_or_else(busy)?;
        refuse_existing(&path, self.force || self.resume)?;
        if path.exists() {
            let earlier = Synthesized::read(&self.out)?;
            if self.resume {
                planned.check_conditions(&earlier, &self.out)?;
                return Ok((lock, earlier));
            }
            earlier.remove(&self.out)?;
        }
        self.refuse_images(&planned)?;
        planned.write(&self.out)?;
        Ok((lock, planned))
    }

    /// An error if the directory has images in the folder of a class, which a data set would mix with the new ones.
    fn refuse_images(&self, planned: &Synthesized) -> Result<()> {
        for label in 0..planned.classes.len() {
            let folder = self.out.join(planned.folder(label));
            let failed = |e: std::io::Error| Error::file(&folder, format!("this folder cannot be read: {e}"));
            let inside = match std::fs::read_dir(&folder) {
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
                inside => inside.map_err(failed)?.next().transpose().map_err(failed)?,
            };
            if let Some(entry) = inside {
                return Err(Error::file(
                    entry.path(),
                    "is in the folder of a class, and was not synthesized here: expected another --out",
                ));
            }
        }
        Ok(())
    }

    /// The pictures of one batch, by its number and that of all batches, and the terms of their loss.
    fn pictures(
        &self,
        synthesizer: &Synthesizer,
        subject: &Subject,
        labels: &[u32],
        (number, batches): (usize, usize),
    ) -> Result<(Vec<RgbImage>, Terms)> {
        let info = &subject.graph.info;
        let [h, w, c] = info.input;
        // A batch is its own: it does not depend on those before it, so that an interruption changes no bit.
        let key = format!("batch {number}");
        let noise = init::normal(subject.seed, &key, &[labels.len(), h, w, c], 1.0);
        let seed = subject.seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(number as u64);
        let mut watch = |step: usize, terms: &Terms| {
            alive(|| {
                let (batch, at, all) = (number + 1, step + 1, self.steps);
                format!(
                    "batch {batch} of {batches}, step {at} of {all}: cross entropy {:.3}, statistics {:.3}",
                    terms.task, terms.statistics
                )
            });
            signals::check()
        };
        let made = synthesizer.images(labels, &noise, seed, &mut watch)?;
        made.images.fetch()?;
        let images = made.images.data().chunks_exact(h * w * c);
        let pictures = images.map(|image| picture(image, [h, w], &info.mean, &info.std));
        Ok((pictures.collect::<Result<_>>()?, made.terms))
    }

    fn text(&self, state: &Synthesized) -> String {
        let (images, classes, out) = (state.images(), state.classes.len(), self.out.display());
        let share = 100.0 * state.recognized() as f64 / images.max(1) as f64;
        format!(
            "wrote {images} images of {classes} classes to {out}; the network takes {share:.1} % of them for their class\n\
             next: lopper distill STUDENT --teacher {} --data {} --resize none --out FILE",
            self.model.display(),
            state.data(&self.out).display()
        )
    }
}

impl Subject {
    /// How many of `pictures` the network takes for the class of `labels`.
    fn recognized(&self, pictures: &[RgbImage], labels: &[u32]) -> Result<usize> {
        let [h, w, c] = self.graph.info.input;
        let pixels = pictures.iter().flat_map(|picture| picture.pixels());
        let values = pixels.flat_map(|pixel| self.normalize.pixel(pixel.0)).collect();
        let images = Tensor::from_vec(&[pictures.len(), h, w, c], values)?;
        Ok(Accuracy::of(&self.graph.logits(&self.device, images)?, labels).correct)
    }
}
