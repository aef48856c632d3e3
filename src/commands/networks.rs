//! Networks named on the command line.

use lopper_engine::{Error, Graph, Result, file};
use std::path::Path;

/// Returns whether `name` refers to a model file rather than an architecture.
pub(super) fn is_file(name: &str) -> bool {
    Path::new(name).exists() || name.ends_with(".safetensors")
}

/// Opens the network `name`: a model file, or an architecture at `size` pixels with `classes` classes (10 by default)
/// and weights drawn from `seed`.
pub(super) fn open_network(
    name: &str,
    classes: Option<u32>,
    size: usize,
    seed: Option<u64>,
) -> Result<Graph> {
    if is_file(name) {
        return match classes {
            None => file::load(name),
            Some(_) => Err(Error::file(
                name,
                "--classes applies to architectures only; a model file has its own classes",
            )),
        };
    }
    let classes = lopper_models::numbered_classes(classes.unwrap_or(10) as usize);
    lopper_models::build(
        name,
        &lopper_models::Options { seed, ..lopper_models::Options::new(classes, [size, size, 3]) },
    )
}
