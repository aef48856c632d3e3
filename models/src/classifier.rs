//! Classifying images with a network: from a picture to the names of the most probable classes.

use crate::data::{
    DataConfig, DataName, RgbImage, Scratch, Transform, decode_file, decode_upright, generator,
};
use lopper_engine::train::metrics::softmax;
use lopper_engine::{Device, Error, Graph, Result, Tensor, memory};
use std::path::Path;

/// A network with the way from a picture to its input, as its model file states it.
///
/// ```no_run
/// use lopper_engine::{Device, file};
/// use lopper_models::Classifier;
///
/// let classifier = Classifier::new(file::load("model.safetensors")?)?;
/// let image = classifier.read("photo.jpg")?;
/// let predictions = classifier.predict(&[image], &Device::cpu())?;
/// for guess in predictions[0].iter().take(3) {
///     println!("{:5.1} %  {}", 100.0 * guess.probability, guess.class);
/// }
/// # Ok::<(), lopper_engine::Error>(())
/// ```
pub struct Classifier {
    graph: Graph,
    transform: Transform,
    orient: bool,
}

/// A class, and the probability that a network gives it.
#[derive(Clone, Debug, PartialEq)]
pub struct Guess {
    /// The name of the class.
    pub class: String,
    /// Its probability by softmax.
    pub probability: f64,
}

impl Classifier {
    /// Classifies by `graph`, at the size that it was made for.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the network does not name each of its classes, or states an impossible preparation.
    pub fn new(graph: Graph) -> Result<Self> {
        Self::sized(graph, None)
    }

    /// [`Classifier::new`], with images of `size` pixels if given.
    ///
    /// # Errors
    /// Those of [`Classifier::new`], and if the network cannot take images of this size.
    pub fn sized(graph: Graph, size: Option<usize>) -> Result<Self> {
        let mut config = DataConfig { size, ..DataConfig::new(DataName::Folder) };
        config.fit(&graph.info);
        let (orient, transform) = (config.preparation().orient, config.eval_transform()?);
        let shapes = graph.shapes([1, transform.size, transform.size, 3])?;
        let (logits, names): (usize, usize) =
            (shapes[graph.output()].iter().product(), graph.info.classes.len());
        if names != logits {
            return Err(Error::invalid(format!(
                "the network has {logits} logits, but names {names} classes"
            )));
        }
        Ok(Self { graph, transform, orient })
    }

    /// The side of the images that the network reads, in pixels.
    pub fn size(&self) -> usize {
        self.transform.size
    }

    /// Decodes the image file `path`, turned upright if the network's images were.
    ///
    /// # Errors
    /// [`Error::File`] if it cannot be decoded.
    pub fn read(&self, path: impl AsRef<Path>) -> Result<RgbImage> {
        if self.orient { decode_upright(path.as_ref()) } else { decode_file(path.as_ref()) }
    }

    /// The network's input for `image`, normalized, `[S, S, 3]` for a size of S pixels.
    pub fn prepare(&self, image: &RgbImage) -> Vec<f32> {
        let mut input = vec![0.0; self.size() * self.size() * 3];
        // The transform of an evaluation draws no random numbers.
        self.transform.apply(image, &mut generator(0, 0, 0), &mut Scratch::default(), &mut input);
        input
    }

    /// The classes of each of `images`, the most probable first. They are computed as one batch.
    ///
    /// # Errors
    /// [`Error::Memory`] if the batch does not fit into memory.
    pub fn predict(&self, images: &[RgbImage], device: &Device) -> Result<Vec<Vec<Guess>>> {
        let shape = [images.len(), self.size(), self.size(), 3];
        memory::require("the images to classify", memory::bytes_of::<f32>(shape))?;
        let inputs = images.iter().flat_map(|image| self.prepare(image)).collect();
        self.classify(Tensor::from_vec(&shape, inputs)?, device)
    }

    /// The classes of each of the prepared images `inputs` `[N, S, S, 3]`, the most probable first. Of equally probable
    /// classes, the first one comes first.
    ///
    /// # Errors
    /// [`Error::Memory`] if the batch does not fit into memory.
    pub fn classify(&self, inputs: Tensor, device: &Device) -> Result<Vec<Vec<Guess>>> {
        let &[n, h, w, c] = inputs.shape() else {
            let found = inputs.shape();
            return Err(Error::invalid(format!("expected prepared images [N, S, S, 3], found {found:?}")));
        };
        if n == 0 {
            return Ok(Vec::new());
        }
        self.graph.require_inference([n, h, w, c], device)?;
        let logits = self.graph.logits(device, inputs)?;
        let guesses = |row: &[f32]| {
            let mut guesses: Vec<Guess> = softmax(row)
                .zip(&self.graph.info.classes)
                .map(|(probability, class)| Guess { class: class.clone(), probability })
                .collect();
            // Stable: the first of equal ones stays first.
            guesses.sort_by(|a, b| b.probability.total_cmp(&a.probability));
            guesses
        };
        Ok(logits.data().chunks_exact(logits.len() / n).map(guesses).collect())
    }
}
