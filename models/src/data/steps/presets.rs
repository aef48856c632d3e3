//! Lists of steps that fastai has functions for.

use super::step::{Fastai, RandomCrop, ResizeStep, Side, Step};

/// The names of all presets.
pub const PRESETS: [&str; 3] = ["none", "get_transforms", "aug_transforms"];

/// Returns the steps of the preset `name` for images of `size`, or `None` if there is no such preset.
///
/// `get_transforms` is fastai 1's: the shorter side is resized to `size`, and the crop, at a random position, comes last.
/// fastai resizes and warps in one interpolation, this in two, of which the first averages over all pixels.
/// `aug_transforms` is fastai 2's: it starts from images that are prepared as those to score. `none` only prepares them.
pub fn preset(name: &str, size: usize) -> Option<Vec<Step>> {
    match name {
        "none" => Some(Vec::new()),
        "get_transforms" => Some(vec![
            Step::Resize(ResizeStep { size: Some(Side::One(size)), ..ResizeStep::default() }),
            Step::Fastai(Fastai { version: 1, ..Fastai::default() }),
            Step::RandomCrop(RandomCrop { size: Some(Side::One(size)), ..RandomCrop::default() }),
        ]),
        "aug_transforms" => Some(vec![Step::Fastai(Fastai::default())]),
        _ => None,
    }
}
