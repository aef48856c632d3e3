//! Images for networks: the options that a network implies, and the check that both fit.

use crate::progress::note;
use lopper_engine::data::Batches;
use lopper_engine::{Error, Graph, Result};
use lopper_models::data::{DataConfig, Loader, Splits, same_classes};
use std::path::Path;

/// Sets the options that are not given to those that `network` is made for: image size, normalization, preparation and
/// classes.
pub fn fit(config: &mut DataConfig, network: &Graph) {
    let info = &network.info;
    config.fit(info);
    if info.preparation.is_none() && config.resize.is_none() && config.center_fraction.is_none() {
        let assumed = config.preparation();
        note(format_args!(
            "the model does not say how images are prepared: {assumed} (--resize, --center-fraction)"
        ));
    }
}

/// A copy of `network` that fits images of any classes: for a new head.
pub fn without_classes(network: &Graph) -> Graph {
    let mut network = network.clone();
    network.info.classes.clear();
    network.info.folders.clear();
    network
}

/// Notes how `network`, whose head is new, was made for other images than those of `data`.
pub fn note_differences(network: &Graph, data: &Splits) {
    let info = &network.info;
    if info.mean != data.mean || info.std != data.std {
        note(format_args!(
            "the body was trained on images normalized by mean {:?} and std {:?}; these are normalized by {:?} and {:?}",
            info.mean, info.std, data.mean, data.std
        ));
    }
}

/// Opens the images of `config` and reports what was found on standard error.
pub fn open_images(config: &DataConfig, data: Option<&Path>, seed: u64) -> Result<Splits> {
    let splits = lopper_models::data::open(config, data, seed)?;
    note(&splits.summary);
    Ok(splits)
}

/// Opens the images of `config`, prepared for the network in the model file `path`, as [`open_images`] does.
///
/// # Errors
/// Those of opening. If only the network's classes do not fit the images, the error names `path`.
pub fn open_for(
    config: &mut DataConfig,
    data: Option<&Path>,
    seed: u64,
    (network, path): (&Graph, &str),
) -> Result<Splits> {
    let given = config.classes.clone();
    fit(config, network);
    open_images(config, data, seed).map_err(|error| {
        let own = DataConfig { classes: given, ..config.clone() };
        match lopper_models::data::open(&own, data, seed) {
            Ok(_) => Error::file(path, error),
            Err(_) => error,
        }
    })
}

/// What a network must have in common with the images that it is used on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    /// Classes and normalization: otherwise its accuracy is meaningless.
    Images,
    /// The classes: a teacher, whose images are converted.
    Classes,
    /// Nothing: its head is replaced.
    Nothing,
}

impl Fit {
    /// The fit of a network from which a stage starts, perhaps with a new head.
    pub fn of_start(new_head: bool) -> Self {
        if new_head { Self::Nothing } else { Self::Images }
    }
}

/// Returns an error if `graph` was made for other images than those of `data`, as far as `fit` matters. Numbered classes,
/// which imported weights have, match any classes.
pub fn check_fit(graph: &Graph, data: &Splits, fit: Fit) -> Result<()> {
    let info = &graph.info;
    let folders = info.class_folders();
    let numbered = || lopper_models::numbered_classes(data.folders.len());
    if fit != Fit::Nothing && !same_classes(folders, &data.folders) && folders != numbered() {
        return Err(Error::invalid(format!(
            "the network's classes ({}) are not those of the images ({})",
            folders.join(", "),
            data.folders.join(", ")
        )));
    }
    if fit == Fit::Images && (info.mean != data.mean || info.std != data.std) {
        return Err(Error::invalid(format!(
            "the network expects images normalized by mean {:?} and std {:?}; these are normalized by {:?} and {:?}",
            info.mean, info.std, data.mean, data.std
        )));
    }
    Ok(())
}

/// Notes if `teacher` was made for images that are normalized otherwise or have another size than those of `data`.
pub fn note_teacher(teacher: &Graph, data: &Splits) {
    let info = &teacher.info;
    if !info.mean.is_empty() && (info.mean != data.mean || info.std != data.std) {
        note(format_args!(
            "the teacher expects images normalized by mean {:?} and std {:?}: each batch is converted for it",
            info.mean, info.std
        ));
    }
    let [height, width, _] = data.val.image_shape();
    if info.input[..2] != [height, width] {
        let [own_height, own_width, _] = info.input;
        note(format_args!(
            "the teacher was made for images of {own_height}×{own_width} pixels and sees the student's, of {height}×{width}"
        ));
    }
}

/// Lists the images of `loaders` that were skipped because they could not be decoded.
pub fn report_skipped(loaders: &[&Loader]) {
    let skipped: Vec<String> = loaders.iter().flat_map(|loader| loader.skipped()).collect();
    if !skipped.is_empty() {
        let images = if skipped.len() == 1 { "image" } else { "images" };
        let list = skipped.join("\n  ");
        note(format_args!("skipped {} {images} that cannot be decoded:\n  {list}", skipped.len()));
    }
}
