//! Building an architecture by name.

use super::architecture::Architecture;
use super::head::fastai;
use super::options::{Head, Options};
use super::pretraining::Pretraining;
use super::table::ARCHITECTURES;
use crate::builder::Builder;
use lopper_engine::{About, Error, Graph, Result};

/// Returns the name of every architecture that [`build`] supports.
pub fn names() -> impl Iterator<Item = &'static str> {
    ARCHITECTURES.iter().map(|&(name, _)| name)
}

/// The idea of the architecture `name` in a line, and its paper. Returns an error if the name is unknown.
pub fn about(name: &str) -> Result<About> {
    find(name).map(Architecture::about)
}

/// Builds the architecture `name` with initial weights. Image channels are not normalized (mean 0, deviation 1 in
/// [`Graph::info`]) until the caller sets the statistics of the data. Returns an error if the name is unknown, an
/// option is out of range, or the image is too small for the layers that halve it.
pub fn build(name: &str, options: &Options) -> Result<Graph> {
    options.check()?;
    let architecture = find(name)?;
    let mut net = Builder::new(options.input, options.seed);
    architecture.body(&mut net, options);
    match options.head {
        Head::Own => architecture.classifier(&mut net, options),
        Head::Fastai => fastai(&mut net, options.classes.len()),
    }
    let mut graph = net.finish()?;
    let channels = options.input[2];
    graph.info = lopper_engine::Info {
        arch: name.into(),
        input: options.input,
        classes: options.classes.clone(),
        mean: vec![0.0; channels],
        std: vec![1.0; channels],
        ..lopper_engine::Info::default()
    };
    Ok(graph)
}

/// What the published weights of the architecture `name` expect of their images. Returns an error if the name is
/// unknown.
pub fn pretraining(name: &str) -> Result<Pretraining> {
    find(name).map(Architecture::pretraining)
}

/// The name, in the architecture `arch`, of the tensor that another repository calls `theirs`. `None` if it has the
/// same name, or the architecture is unknown.
pub fn our_name(arch: &str, theirs: &str) -> Option<String> {
    find(arch).ok()?.our_name(theirs)
}

/// What the tensor `ours` of the architecture `arch` is called where that is published, by torchvision if it has the network,
/// and its number of axes there, if it differs by axes of one element at the end. `None` if it is published as it is, or the
/// architecture is unknown.
pub fn published(arch: &str, ours: &str) -> Option<(String, Option<usize>)> {
    find(arch).ok()?.published(ours)
}

/// Whether the tensor that published weights of the architecture `arch` call `theirs` belongs to a part that only
/// training uses, which the network here does not have, such as an auxiliary classifier.
pub fn is_auxiliary(arch: &str, theirs: &str) -> bool {
    find(arch).is_ok_and(|found| found.is_auxiliary(theirs))
}

fn find(name: &str) -> Result<&'static dyn Architecture> {
    if let Some((_, found)) = ARCHITECTURES.iter().find(|(known, _)| *known == name) {
        return Ok(*found);
    }
    let mut near: Vec<&str> = names().collect();
    near.sort_by_key(|known| strsim::damerau_levenshtein(known, name));
    near.truncate(3);
    Err(Error::invalid(format!("unknown architecture `{name}`: did you mean {}?", near.join(", "))))
}
