//! Loading of batches from a data set, decoded and augmented by background threads.
//!
//! ```text
//!   epoch, seed ──► order of the samples, cut into batches 0 1 2 3 4 5 …
//!                     worker 0: 0 2 4 …  ──► channel ─┐
//!                     worker 1: 1 3 5 …  ──► channel ─┴► taken in turn: 0 1 2 3 4 5 …
//! ```
//!
//! Each worker produces whole batches, and the reader takes one from each worker in turn, so batches need no sorting
//! and errors arrive in order. Every sample has a separate generator, so the batches have the same bits for any number
//! of workers. The bounded channels provide the prefetching.

use super::random::generator;
use super::subset::Subset;
use super::{Dataset, Scratch, Transform, thumbnail};
use lopper_engine::data::{Batch, Batches, Numbered};
use lopper_engine::train::State;
use lopper_engine::{Error, Result, Tensor, memory};
use rand::seq::SliceRandom;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// Number of batches that may wait for the reader, over all workers.
const PREFETCH: usize = 4;
/// The index of the generator that shuffles an epoch; no sample has this index.
const SHUFFLE: u64 = u64::MAX;
/// The index of the generator that mixes the first batch of an epoch; those of later batches are below it.
const MIX: u64 = u64::MAX - 1;

/// Options of a loader.
#[derive(Clone, Debug)]
pub struct LoaderOptions {
    /// Images per batch.
    pub batch: usize,
    /// Whether each epoch has a different order.
    pub shuffle: bool,
    /// Whether to drop the last batch if it is not full.
    pub drop_last: bool,
    /// Number of background threads; with 0, the reader decodes.
    pub workers: usize,
    /// The seed for order and augmentation.
    pub seed: u64,
    /// Whether to skip and record images that cannot be decoded, rather than return an error.
    pub skip_bad_images: bool,
}

/// A data set as batches of transformed images.
#[derive(Clone)]
pub struct Loader {
    data: Arc<dyn Dataset>,
    transform: Arc<Transform>,
    options: LoaderOptions,
    skipped: Arc<Mutex<BTreeMap<usize, String>>>,
    /// Why no image is read, if some are known not to be decodable.
    refused: Option<String>,
}

impl Loader {
    /// Creates a loader for `data` that applies `transform` to each image.
    ///
    /// # Errors
    /// [`Error::Invalid`] if `batch` is 0. If no batch can be filled, the error comes from the first epoch, since the
    /// training images of a data set may never be requested.
    pub fn new(data: Arc<dyn Dataset>, transform: Transform, options: LoaderOptions) -> Result<Self> {
        if options.batch == 0 {
            return Err(Error::invalid("batch: expected at least 1 image, found 0"));
        }
        Ok(Self { data, transform: Arc::new(transform), options, skipped: Arc::default(), refused: None })
    }

    /// Makes known which images cannot be decoded: the errors by position, each with the file. They are skipped; or, if bad
    /// images are not to be skipped, every epoch begins with an error that names them, rather than fail in its middle.
    pub fn knowing(mut self, undecodable: BTreeMap<usize, String>) -> Self {
        if self.options.skip_bad_images {
            self.skipped.lock().unwrap_or_else(PoisonError::into_inner).extend(undecodable);
        } else if let Some(first) = undecodable.values().next() {
            let others = match undecodable.len() - 1 {
                0 => String::new(),
                1 => ", and another image cannot be decoded".into(),
                more => format!(", and {more} other images cannot be decoded"),
            };
            self.refused = Some(format!("{first}{others} (--skip-bad-images)"));
        }
        self
    }

    /// Returns an error that names the images that are known not to be decodable, unless bad images are skipped.
    ///
    /// # Errors
    /// [`Error::Invalid`], with the first of them and the number of the others.
    pub fn require_readable(&self) -> Result<()> {
        self.refused.as_ref().map_or(Ok(()), |refused| Err(Error::invalid(refused)))
    }

    /// The errors of the images skipped so far, in data set order. Each message names the file.
    pub fn skipped(&self) -> Vec<String> {
        self.skipped.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// The names of the images of an epoch, in data set order, without those skipped so far.
    pub fn names(&self) -> Vec<String> {
        let skipped = self.skipped.lock().unwrap_or_else(PoisonError::into_inner);
        (0..self.data.len()).filter(|i| !skipped.contains_key(i)).map(|i| self.data.name(i)).collect()
    }

    /// Small JPEGs of the images at these `positions` among [`Self::names`], of at most `side` pixels a side. An image
    /// that cannot be decoded has none.
    pub fn thumbnails(&self, positions: &[usize], side: u32) -> Vec<Option<Vec<u8>>> {
        let skipped = self.skipped.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let kept: Vec<usize> = (0..self.data.len()).filter(|i| !skipped.contains_key(i)).collect();
        let small = |&position: &usize| {
            let image = self.data.image(*kept.get(position)?).ok()?;
            thumbnail::jpeg(&image, side)
        };
        positions.iter().map(small).collect()
    }

    /// Returns an error if an epoch has no batch.
    ///
    /// # Errors
    /// [`Error::Invalid`], with the number of images and that of a batch.
    pub fn require_batch(&self) -> Result<()> {
        let (batch, images) = (self.options.batch, self.data.len());
        if !Batches::is_empty(self) {
            return Ok(());
        }
        if images == 0 {
            let kind = if self.options.shuffle { "to train on" } else { "to score" };
            return Err(Error::invalid(format!("data: there are no images {kind}")));
        }
        Err(Error::invalid(format!(
            "batch: {images} images do not fill a batch of {batch}: use a smaller batch or more images"
        )))
    }

    /// Number of images of each class in the data set.
    pub fn class_counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.data.classes().len()];
        (0..self.data.len()).for_each(|i| counts[self.data.label(i) as usize] += 1);
        counts
    }

    /// A loader of the same images in the same order that transforms them like `other`: another view of each image in
    /// every epoch, if `other` augments them. Images are not mixed, as each is to be classified by itself.
    pub fn transformed_like(&self, other: &Self) -> Self {
        Self { transform: Arc::new(other.transform.unmixed()), ..self.clone() }
    }

    /// Checks that the batches in preparation, the waiting ones and the one being read fit in memory.
    fn require_batches(&self) -> Result<()> {
        let LoaderOptions { batch, workers, .. } = self.options;
        let (images, size) = (batch.min(self.data.len()), self.transform.size);
        let waiting = if workers == 0 { 0 } else { PREFETCH.div_ceil(workers) * workers };
        let batches = (waiting + workers + 2).min(self.len() + 1);
        let bytes = memory::bytes_of::<f32>([batches, images, size, size, 3]);
        let what = format_args!("batch: up to {batches} batches of {images} images of {size}×{size} pixels",);
        memory::require(what, bytes)
    }

    /// The label of each image in the data set.
    pub fn labels(&self) -> Vec<u32> {
        (0..self.data.len()).map(|i| self.data.label(i)).collect()
    }

    /// A loader of the images at these positions only, in that order.
    ///
    /// # Panics
    /// Panics if there is no image at a position.
    pub fn only(&self, positions: Vec<usize>) -> Self {
        let data = Arc::new(Subset::new(self.data.clone(), positions));
        Self { data, skipped: Arc::default(), ..self.clone() }
    }

    /// Passes to `feed` the bytes that identify the data set; see [`Dataset::identify`].
    pub fn identify(&self, feed: &mut dyn FnMut(&[u8])) {
        self.data.identify(feed);
    }

    fn job(&self, epoch: usize) -> Job {
        let mut order: Vec<usize> = (0..self.data.len()).collect();
        if self.options.shuffle {
            order.shuffle(&mut generator(self.options.seed, epoch as u64, SHUFFLE));
        }
        Job { loader: self.clone(), epoch: epoch as u64, order, stop: AtomicBool::new(false) }
    }
}

impl Batches for Loader {
    fn len(&self) -> usize {
        let LoaderOptions { batch, drop_last, .. } = self.options;
        if drop_last { self.data.len() / batch } else { self.data.len().div_ceil(batch) }
    }

    fn samples(&self) -> usize {
        self.data.len().min(self.len() * self.options.batch)
    }

    fn image_shape(&self) -> [usize; 3] {
        [self.transform.size, self.transform.size, 3]
    }

    fn classes(&self) -> &[String] {
        self.data.classes()
    }

    fn epoch(&mut self, epoch: usize) -> Result<Box<dyn Iterator<Item = Result<Batch>> + '_>> {
        Ok(Box::new(self.epoch_from(epoch, 0)?.map(|made| made.map(|(_, batch)| batch))))
    }

    fn epoch_from(&mut self, epoch: usize, first: usize) -> Result<Numbered<'_>> {
        self.require_batch()?;
        let (job, batches) = (self.job(epoch), self.len());
        if let Err(error) = self.require_readable() {
            return Ok(Box::new(std::iter::once(Err(error))));
        }
        self.require_batches()?;
        let numbers = first.min(batches)..batches;
        if self.options.workers == 0 || numbers.is_empty() {
            let (mut scratch, mut failed) = (Scratch::default(), false);
            let until_error = numbers.map_while(move |number| {
                let made = (!failed).then(|| job.batch(number, &mut scratch).transpose());
                failed = matches!(made, Some(Some(Err(_))));
                made.map(|made| made.map(|batch| batch.map(|batch| (number, batch))))
            });
            return Ok(Box::new(until_error.flatten()));
        }
        Ok(Box::new(Prefetched::start(job, self.options.workers.min(numbers.len()), numbers)?))
    }

    /// The skipped images.
    fn state(&self) -> State {
        let skipped = self.skipped.lock().unwrap_or_else(PoisonError::into_inner);
        match skipped.is_empty() {
            true => State::default(),
            false => State { value: serde_json::json!(*skipped), arrays: BTreeMap::new() },
        }
    }

    fn restore(&mut self, state: State) -> Result<()> {
        if state.is_empty() {
            return Ok(());
        }
        let skipped: BTreeMap<usize, String> = serde_json::from_value(state.value)
            .map_err(|e| Error::invalid(format!("checkpoint: the list of skipped images is damaged: {e}")))?;
        self.skipped.lock().unwrap_or_else(PoisonError::into_inner).extend(skipped);
        Ok(())
    }
}

/// The work of one epoch, shared by its workers.
struct Job {
    loader: Loader,
    epoch: u64,
    order: Vec<usize>,
    /// Set when the reader is gone.
    stop: AtomicBool,
}

impl Job {
    /// Batch `number` of the epoch, or `None` if all its images were skipped or the reader is gone.
    fn batch(&self, number: usize, scratch: &mut Scratch) -> Result<Option<Batch>> {
        let Loader { data, transform, options, skipped, .. } = &self.loader;
        let first = number * options.batch;
        let indices = &self.order[first..self.order.len().min(first + options.batch)];
        let pixels = transform.size * transform.size * 3;
        let mut images = Tensor::zeros(&[indices.len(), transform.size, transform.size, 3]);
        let mut labels = Vec::with_capacity(indices.len());
        for &index in indices {
            if self.stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            if skipped.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&index) {
                continue;
            }
            match data.image(index) {
                Ok(image) => {
                    let out = &mut images.data_mut()[labels.len() * pixels..][..pixels];
                    let mut rng = generator(options.seed, self.epoch, index as u64);
                    transform.apply(&image, &mut rng, scratch, out);
                    labels.push(data.label(index));
                }
                Err(error) if options.skip_bad_images => {
                    let mut skipped = skipped.lock().unwrap_or_else(PoisonError::into_inner);
                    skipped.insert(index, error.to_string());
                }
                Err(error) => return Err(error),
            }
        }
        if labels.is_empty() {
            return Ok(None);
        }
        if labels.len() < indices.len() {
            let shape = [labels.len(), transform.size, transform.size, 3];
            images = Tensor::from_slice(&shape, &images.data()[..labels.len() * pixels])?;
        }
        let mut rng = generator(options.seed, self.epoch, MIX - number as u64);
        let mixed = transform.mix(images.data_mut(), &labels, &mut rng);
        Ok(Some(Batch { images, labels, mixed }))
    }
}

type Made = Result<Option<Batch>>;

/// The batches of an epoch, as delivered by its workers. Dropping it stops the workers.
struct Prefetched {
    job: Arc<Job>,
    channels: Vec<Receiver<Made>>,
    workers: Vec<JoinHandle<()>>,
    /// Number of batches taken so far.
    taken: usize,
    /// The numbers of the epoch's batches.
    numbers: Range<usize>,
}

impl Prefetched {
    fn start(job: Job, workers: usize, numbers: Range<usize>) -> Result<Self> {
        let (channels, threads) = (Vec::new(), Vec::new());
        let mut epoch = Self { job: Arc::new(job), channels, workers: threads, taken: 0, numbers };
        for worker in 0..workers {
            let (sender, receiver) = sync_channel(PREFETCH.div_ceil(workers));
            let job = epoch.job.clone();
            let numbers = epoch.numbers.clone().skip(worker).step_by(workers);
            let work = move || Self::work(&job, numbers, &sender);
            let thread = std::thread::Builder::new().name(format!("data-{worker}")).spawn(work);
            epoch
                .workers
                .push(thread.map_err(|e| Error::invalid(format!("cannot start a data worker: {e}")))?);
            epoch.channels.push(receiver);
        }
        Ok(epoch)
    }

    fn work(job: &Job, numbers: impl Iterator<Item = usize>, sender: &SyncSender<Made>) {
        let mut scratch = Scratch::default();
        for number in numbers {
            if sender.send(job.batch(number, &mut scratch)).is_err() {
                return; // the reader is gone
            }
        }
    }
}

impl Iterator for Prefetched {
    type Item = Result<(usize, Batch)>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.taken < self.numbers.len() {
            let made = self.channels[self.taken % self.channels.len()].recv();
            let number = self.numbers.start + self.taken;
            self.taken += 1;
            // A worker disconnects before its last batch only if a decoder panics.
            match made.unwrap_or_else(|_| Err(Error::invalid("a data worker panicked"))) {
                Ok(Some(batch)) => return Some(Ok((number, batch))),
                Ok(None) => {}
                Err(error) => {
                    self.taken = self.numbers.len();
                    return Some(Err(error));
                }
            }
        }
        None
    }
}

impl Drop for Prefetched {
    fn drop(&mut self) {
        self.job.stop.store(true, Ordering::Relaxed);
        self.channels.clear(); // wakes workers that are waiting to send
        for worker in self.workers.drain(..) {
            let _ = worker.join(); // a panic has been reported as an error, or its batch is not needed
        }
    }
}
