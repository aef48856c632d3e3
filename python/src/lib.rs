//! The Python package `lopper`: networks as values, rewrites as methods, plans that run on numpy's arrays.
//!
//! Options of techniques are keyword arguments with the names that recipes use (`options`). Whatever takes time runs
//! without the interpreter's lock and turns errors and panics into exceptions (`errors`). Images stay where numpy has them
//! (`arrays`).

#![forbid(unsafe_code)]

mod arrays;
mod certificate;
mod data;
mod errors;
mod evaluation;
mod model;
mod open;
mod options;
mod plan;
mod summary;

use pyo3::prelude::*;
use pyo3::wrap_pyfunction;

/// The module `lopper._lopper`, whose names `lopper` re-exports.
#[pymodule]
fn _lopper(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add("Error", py.get_type::<errors::Error>())?;
    module.add("FileError", py.get_type::<errors::FileError>())?;
    module.add("InternalError", py.get_type::<errors::InternalError>())?;
    module.add_class::<model::Model>()?;
    module.add_class::<plan::Plan>()?;
    module.add_class::<evaluation::Evaluation>()?;
    module.add_class::<certificate::Certificate>()?;
    module.add_function(wrap_pyfunction!(open::load, module)?)?;
    module.add_function(wrap_pyfunction!(open::import_onnx, module)?)?;
    module.add_function(wrap_pyfunction!(errors::_panic, module)?)
}
