//! Networks from files.

use crate::errors::compute;
use crate::model::Model;
use lopper_engine::onnx::{ImportOptions, Imported, import};
use lopper_engine::{Error, Graph, Result, file};
use pyo3::prelude::*;
use std::path::PathBuf;

/// Loads a model file of lopper.
#[pyfunction]
pub fn load(py: Python<'_>, path: PathBuf) -> PyResult<Model> {
    Ok(Model::new(compute(py, || file::load(&path))?, String::new()))
}

/// Reads a network from an ONNX file. `size` is the side of the images, where the file leaves it open; `classes`, `mean` and
/// `std` are what it does not say of its classes and images. `report` of the result has remarks on how it was read.
#[pyfunction]
#[pyo3(signature = (path, *, size=None, classes=None, mean=None, std=None))]
pub fn import_onnx(
    py: Python<'_>,
    path: PathBuf,
    size: Option<usize>,
    classes: Option<Vec<String>>,
    mean: Option<Vec<f32>>,
    std: Option<Vec<f32>>,
) -> PyResult<Model> {
    let (graph, notes) = compute(py, || {
        let Imported { mut graph, notes } = import(&path, &ImportOptions { side: size })?;
        let info = &mut graph.info;
        [(classes, &mut info.classes)].into_iter().for_each(replace);
        [(mean, &mut info.mean), (std, &mut info.std)].into_iter().for_each(replace);
        check(&graph)?;
        Ok((graph, notes))
    })?;
    Ok(Model::new(graph, notes.join("\n")))
}

/// Replaces a list by the one that is given.
fn replace<T>((given, place): (Option<Vec<T>>, &mut Vec<T>)) {
    if let Some(given) = given {
        *place = given;
    }
}

/// Checks the lists that may have been replaced.
fn check(graph: &Graph) -> Result<()> {
    let [h, w, c] = graph.info.input;
    let outputs = graph.shapes([1, h, w, c])?[graph.output()].last().copied().unwrap_or(0);
    let lists = [
        ("classes", graph.info.classes.len(), outputs),
        ("mean", graph.info.mean.len(), c),
        ("std", graph.info.std.len(), c),
    ];
    for (name, found, expected) in lists {
        if found != 0 && found != expected {
            return Err(Error::invalid(format!("{name}: expected {expected} entries, found {found}")));
        }
    }
    Ok(())
}
