//! Checks of steps before the first image is read: numbers in range, and a size at the end.

use super::step::{Fastai, Range, ResizeStep, Side, Step};
use lopper_engine::info::{Filter, Preparation, Resize};
use lopper_engine::{Error, Result};

/// The largest side of an intermediate image.
const MAX_SIDE: usize = 4096;

impl Range {
    /// The ends of the range about `middle`; a half-width does not reach below `least`.
    pub(super) fn ends(self, middle: f64, least: f64) -> [f64; 2] {
        match self {
            Self::Half(half) => [(middle - half).max(least), middle + half],
            Self::Ends(ends) => ends,
        }
    }
}

impl Side {
    /// Height and width.
    pub(super) fn both(self) -> [usize; 2] {
        match self {
            Self::One(side) => [side; 2],
            Self::Both(both) => both,
        }
    }
}

/// The height and width that `side` names, by default `size`.
pub fn sides(side: Option<Side>, size: usize) -> [usize; 2] {
    side.unwrap_or(Side::One(size)).both()
}

/// Checks `steps` for images of `size`. Returns whether one of them sets the size, or else the images have to be prepared
/// first.
///
/// # Errors
/// [`Error::Invalid`], with the step and the option, if a number is out of range, or if the images that result are not
/// squares of `size`.
pub fn check(steps: &[Step], size: usize) -> Result<bool> {
    let mut found: Option<Option<[usize; 2]>> = None;
    for step in steps {
        check_step(step).map_err(|e| Error::invalid(format!("augment.{}: {e}", name(step))))?;
        match step {
            Step::Resize(ResizeStep { size: Some(Side::One(_)), .. }) => found = Some(None),
            Step::Resize(resize) => found = Some(Some(sides(resize.size, size))),
            Step::CenterCrop(crop) => found = Some(Some(sides(crop.size, size))),
            Step::RandomCrop(crop) => found = Some(Some(sides(crop.size, size))),
            Step::RandomResizedCrop(crop) => found = Some(Some(sides(crop.size, size))),
            _ => {}
        }
    }
    match found {
        None => Ok(false),
        Some(Some(sides)) if sides == [size; 2] => Ok(true),
        Some(Some([height, width])) => Err(Error::invalid(format!(
            "augment: the steps give images of {height}×{width} pixels, and the data set's size is {size}"
        ))),
        Some(None) => Err(Error::invalid(
            "augment: after `resize` by the shorter side, images have different sizes: add a crop, for instance random_crop",
        )),
    }
}

/// The name of `step` in a recipe.
fn name(step: &Step) -> &'static str {
    match step {
        Step::Resize(_) => "resize",
        Step::CenterCrop(_) => "center_crop",
        Step::RandomCrop(_) => "random_crop",
        Step::RandomResizedCrop(_) => "random_resized_crop",
        Step::RandomHorizontalFlip(_) => "random_horizontal_flip",
        Step::RandomVerticalFlip(_) => "random_vertical_flip",
        Step::RandomRotation(_) => "random_rotation",
        Step::RandomAffine(_) => "random_affine",
        Step::RandomPerspective(_) => "random_perspective",
        Step::RandomZoom(_) => "random_zoom",
        Step::ColorJitter(_) => "color_jitter",
        Step::RandomErasing(_) => "random_erasing",
        Step::Fastai(_) => "fastai",
        Step::Mixup(_) => "mixup",
        Step::Cutmix(_) => "cutmix",
    }
}

fn check_step(step: &Step) -> Result<()> {
    match step {
        Step::Resize(s) => side(s.size).and(filter(s.filter, s.antialias)),
        Step::CenterCrop(s) => side(s.size),
        Step::RandomCrop(s) => side(s.size).and(side(Some(Side::One(s.padding.max(1))))),
        Step::RandomResizedCrop(s) => side(s.size)
            .and(filter(s.filter, s.antialias))
            .and(ordered("scale", s.scale, 1e-9, 1.0))
            .and(ordered("ratio", s.ratio, 1e-3, 1e3)),
        Step::RandomHorizontalFlip(s) | Step::RandomVerticalFlip(s) => probability("p", s.p),
        Step::RandomRotation(s) => {
            ordered("degrees", s.degrees.ends(0.0, -360.0), -360.0, 360.0).and(sampled(s.filter))
        }
        Step::RandomAffine(s) => ordered("degrees", s.degrees.ends(0.0, -360.0), -360.0, 360.0)
            .and(ordered("translate", [0.0, s.translate[0]], 0.0, 1.0))
            .and(ordered("translate", [0.0, s.translate[1]], 0.0, 1.0))
            .and(ordered("scale", s.scale, 1e-3, 1e3))
            .and(ordered("shear", s.shear.ends(0.0, -80.0), -80.0, 80.0))
            .and(ordered("shear_y", s.shear_y.ends(0.0, -80.0), -80.0, 80.0))
            .and(sampled(s.filter)),
        Step::RandomPerspective(s) => probability("p", s.p)
            .and(probability("distortion_scale", s.distortion_scale))
            .and(sampled(s.filter)),
        Step::RandomZoom(s) => probability("p", s.p).and(ordered("scale", s.scale, 1e-3, 1e3)),
        Step::ColorJitter(s) => ordered("brightness", s.brightness.ends(1.0, 0.0), 0.0, 1e3)
            .and(ordered("contrast", s.contrast.ends(1.0, 0.0), 0.0, 1e3))
            .and(ordered("saturation", s.saturation.ends(1.0, 0.0), 0.0, 1e3))
            .and(ordered("hue", s.hue.ends(0.0, -1.0), -0.5, 0.5)),
        Step::RandomErasing(s) => probability("p", s.p)
            .and(ordered("scale", s.scale, 1e-9, 1.0))
            .and(ordered("ratio", s.ratio, 1e-3, 1e3))
            .and(ordered("value", [s.value.into(); 2], -1e6, 1e6)),
        Step::Fastai(s) => check_fastai(s),
        Step::Mixup(s) | Step::Cutmix(s) => ordered("alpha", [s.alpha; 2], 0.01, 100.0),
    }
}

fn check_fastai(s: &Fastai) -> Result<()> {
    if !(1..=2).contains(&s.version) {
        return Err(Error::invalid(format!("version: expected 1 or 2, found {}", s.version)));
    }
    probability("p_affine", s.p_affine)
        .and(probability("p_lighting", s.p_lighting))
        .and(ordered("max_rotate", [0.0, s.max_rotate], 0.0, 360.0))
        .and(ordered("max_zoom", [s.min_zoom, s.max_zoom], 1e-2, 1e2))
        .and(ordered("max_lighting", [0.0, s.max_lighting], 0.0, 0.99))
        .and(ordered("max_warp", [0.0, s.max_warp], 0.0, 0.9))
}

fn ordered(option: &str, [low, high]: [f64; 2], least: f64, most: f64) -> Result<()> {
    match least <= low && low <= high && high <= most {
        true => Ok(()),
        false => Err(Error::invalid(format!(
            "{option}: expected {least} ≤ low ≤ high ≤ {most}, found {low:?} to {high:?}"
        ))),
    }
}

fn probability(option: &str, p: f64) -> Result<()> {
    match (0.0..=1.0).contains(&p) {
        true => Ok(()),
        false => Err(Error::invalid(format!("{option}: expected [0, 1], found {p:?}"))),
    }
}

fn side(side: Option<Side>) -> Result<()> {
    match side.map_or([1; 2], Side::both) {
        sides if sides.iter().all(|s| (1..=MAX_SIDE).contains(s)) => Ok(()),
        sides => {
            Err(Error::invalid(format!("size, padding: expected 1 to {MAX_SIDE} pixels, found {sides:?}")))
        }
    }
}

fn filter(filter: Filter, antialias: bool) -> Result<()> {
    Preparation { resize: Resize::Square, filter, antialias, orient: false }.check()
}

fn sampled(filter: Filter) -> Result<()> {
    match filter {
        Filter::Nearest | Filter::Bilinear => Ok(()),
        other => Err(Error::invalid(format!("filter: expected nearest or bilinear, found {other}"))),
    }
}
