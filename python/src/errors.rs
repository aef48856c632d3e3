//! Errors and panics as exceptions.

use pyo3::create_exception;
use pyo3::exceptions::{PyException, PyMemoryError};
use pyo3::prelude::*;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

create_exception!(lopper, Error, PyException, "An option, a shape or a network that does not fit.");
create_exception!(
    lopper,
    FileError,
    Error,
    "A file that cannot be read or written, or is not what it should be."
);
create_exception!(lopper, InternalError, Error, "A bug in lopper.");

/// Runs `work` without the interpreter's lock, so that other threads of Python go on. Its error becomes an exception with
/// the same message, and so does a panic.
pub fn compute<T: Send>(
    py: Python<'_>,
    work: impl FnOnce() -> lopper_engine::Result<T> + Send,
) -> PyResult<T> {
    match py.detach(|| catch_unwind(AssertUnwindSafe(work))) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(raised(&error)),
        Err(panic) => Err(InternalError::new_err(format!("a bug in lopper: {}", message(&*panic)))),
    }
}

/// The exception for `error`.
pub fn raised(error: &lopper_engine::Error) -> PyErr {
    let text = error.to_string();
    match error {
        lopper_engine::Error::File { .. } => FileError::new_err(text),
        lopper_engine::Error::Memory { .. } => PyMemoryError::new_err(text),
        _ => Error::new_err(text),
    }
}

/// The message of a panic.
fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("unknown")
}

/// Panics, so that a test can see it become an exception.
#[pyfunction]
pub fn _panic(py: Python<'_>, text: String) -> PyResult<()> {
    compute(py, || panic!("{text}"))
}
