//! Applying steps to an image.

use super::check::{check, sides};
use super::geometric::uniform;
use super::mix::Mixing;
use super::step::{ColorJitter, RandomErasing, Range, ResizeStep, Side, Step};
use crate::data::pixels::{Padding, Region, Resizer, color, crop, half_to_even, shorter};
use crate::data::random::Generator;
use image::{RgbImage, imageops};
use lopper_engine::Result;
use lopper_engine::data::Mixed;
use lopper_engine::info::Filter;
use rand::RngExt;
use rand::seq::SliceRandom;

/// An image may be this many times as long as wide; the ends of longer ones are cut off before they are resized by the
/// shorter side.
const LONGEST_RATIO: u32 = 64;

/// A list of steps, checked for images of one size.
#[derive(Clone, Debug, PartialEq)]
pub struct Steps {
    steps: Vec<Step>,
    size: usize,
    sets_size: bool,
}

impl Steps {
    /// Checks `steps`, which are to give squares of `size` pixels.
    ///
    /// # Errors
    /// [`Error::Invalid`](lopper_engine::Error::Invalid), with the step and the option, if an option is out of range or
    /// the result has another size.
    pub fn new(steps: Vec<Step>, size: usize) -> Result<Self> {
        let sets_size = check(&steps, size)?;
        Ok(Self { steps, size, sets_size })
    }

    /// The same steps without those that mix the images of a batch.
    pub fn unmixed(&self) -> Self {
        let single = |step: &&Step| !matches!(step, Step::Mixup(_) | Step::Cutmix(_));
        Self { steps: self.steps.iter().filter(single).cloned().collect(), ..*self }
    }

    /// Whether a step sets the size. If not, images must have it before the first step.
    pub fn set_size(&self) -> bool {
        self.sets_size
    }

    /// Applies the steps that work on bytes.
    pub fn apply(&self, mut image: RgbImage, rng: &mut Generator, resizer: &mut Resizer) -> RgbImage {
        for step in &self.steps {
            image = self.step(step, image, rng, resizer);
        }
        image
    }

    /// Applies the steps that work on normalized values, `[size, size, 3]`.
    pub fn erase(&self, values: &mut [f32], rng: &mut Generator) {
        for step in &self.steps {
            if let Step::RandomErasing(erasing) = step {
                erasing.apply(values, self.size, rng);
            }
        }
    }

    /// Mixes the images of a batch, `[N, size, size, 3]`, if there is a step for it.
    pub fn mix(&self, images: &mut [f32], labels: &[u32], rng: &mut Generator) -> Option<Mixed> {
        let mixing = |step: &Step| match *step {
            Step::Mixup(mix) => Some(Mixing::Blend(mix)),
            Step::Cutmix(mix) => Some(Mixing::Paste(mix)),
            _ => None,
        };
        let choices: Vec<Mixing> = self.steps.iter().filter_map(mixing).collect();
        let chosen = (!choices.is_empty()).then(|| choices[rng.random_range(0..choices.len())]);
        chosen.map(|mixing| mixing.apply(images, labels, self.size, rng))
    }

    fn step(&self, step: &Step, image: RgbImage, rng: &mut Generator, resizer: &mut Resizer) -> RgbImage {
        let chance = |rng: &mut Generator, p: f64| rng.random_bool(p);
        match step {
            Step::Resize(s) => self.resize(s, &image, resizer),
            Step::CenterCrop(s) => center(&image, sides(s.size, self.size)),
            Step::RandomCrop(s) => s.apply(&image, self.size, rng),
            Step::RandomResizedCrop(s) => {
                let [height, width] = sides(s.size, self.size).map(|side| side as u32);
                let part = s.part(&image, rng);
                let whole = Region::whole(part.width(), part.height());
                resized(&part, whole, [width, height], (s.filter, s.antialias), resizer)
            }
            Step::RandomHorizontalFlip(s) if chance(rng, s.p) => imageops::flip_horizontal(&image),
            Step::RandomVerticalFlip(s) if chance(rng, s.p) => imageops::flip_vertical(&image),
            Step::RandomRotation(s) => s.apply(&image, rng),
            Step::RandomAffine(s) => s.apply(&image, rng),
            Step::RandomPerspective(s) if chance(rng, s.p) => s.apply(&image, rng),
            Step::RandomZoom(s) if chance(rng, s.p) => s.apply(&image, rng),
            Step::ColorJitter(s) => s.apply(image, rng),
            Step::Fastai(s) => s.apply(image, rng),
            _ => image,
        }
    }

    fn resize(&self, step: &ResizeStep, image: &RgbImage, resizer: &mut Resizer) -> RgbImage {
        let (mut width, mut height) = image.dimensions();
        let target = match step.size {
            Some(Side::One(side)) => {
                width = width.min(height.saturating_mul(LONGEST_RATIO));
                height = height.min(width.saturating_mul(LONGEST_RATIO));
                shorter(width, height, side as u64)
            }
            other => {
                let [height, width] = sides(other, self.size).map(|side| side as u32);
                [width, height]
            }
        };
        let region = Region::centered(image.width(), image.height(), width.into(), height.into());
        resized(image, region, target, (step.filter, step.antialias), resizer)
    }
}

fn resized(
    image: &RgbImage,
    region: Region,
    [width, height]: [u32; 2],
    filter: (Filter, bool),
    resizer: &mut Resizer,
) -> RgbImage {
    if image.dimensions() == (width, height) && region == Region::whole(width, height) {
        return image.clone();
    }
    let mut pixels = Vec::new();
    resizer.resize(image, region, [width, height], filter, &mut pixels);
    RgbImage::from_raw(width, height, pixels).expect("resized to this size")
}

/// The centered part of `image` of height and width `sides`, padded with black if the image is too small.
fn center(image: &RgbImage, sides: [usize; 2]) -> RgbImage {
    let [height, width] = sides.map(|side| side as u32);
    let start = |length: u32, wanted: u32| match length.checked_sub(wanted) {
        Some(more) => i64::from(half_to_even(more)),
        None => -i64::from((wanted - length) / 2),
    };
    let corner = [start(image.width(), width), start(image.height(), height)];
    crop(image, corner, [width, height], Padding::Constant, [0; 3])
}

impl ColorJitter {
    fn apply(&self, mut image: RgbImage, rng: &mut Generator) -> RgbImage {
        type Change = fn(&mut RgbImage, f32);
        let mut changes: [(Range, Change, f64, f64); 4] = [
            (self.brightness, color::brightness, 1.0, 0.0),
            (self.contrast, color::contrast, 1.0, 0.0),
            (self.saturation, color::saturation, 1.0, 0.0),
            (self.hue, color::hue, 0.0, -0.5),
        ];
        changes.shuffle(rng);
        for (range, change, middle, least) in changes {
            let ends = range.ends(middle, least);
            if ends != [middle; 2] {
                change(&mut image, uniform(rng, ends) as f32);
            }
        }
        image
    }
}

impl RandomErasing {
    /// As in torchvision, after ten boxes that do not fit nothing is erased.
    fn apply(&self, values: &mut [f32], size: usize, rng: &mut Generator) {
        if !rng.random_bool(self.p) {
            return;
        }
        for _ in 0..10 {
            let area = (size * size) as f64 * uniform(rng, self.scale);
            let ratio = uniform(rng, self.ratio.map(f64::ln)).exp();
            let [h, w] = [area * ratio, area / ratio].map(|square| square.sqrt().round() as usize);
            if h < size && w < size {
                let (top, left) = (rng.random_range(0..=size - h), rng.random_range(0..=size - w));
                let rows = values.chunks_exact_mut(size * 3).skip(top).take(h);
                rows.for_each(|row| row[left * 3..(left + w) * 3].fill(self.value));
                return;
            }
        }
    }
}
