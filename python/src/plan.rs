//! Plans of Python.

use crate::arrays::Images;
use crate::errors::compute;
use lopper_engine::{Device, Error, Graph, Result};
use numpy::{PyArray1, PyArrayDyn, PyArrayMethods};
use pyo3::prelude::*;
use std::sync::{Mutex, PoisonError};

/// Most images of a plan.
const MOST_IMAGES: usize = 65_536;

/// A network prepared to run on a number of images. Runs of one plan wait for each other.
#[pyclass(frozen, module = "lopper")]
pub struct Plan {
    plan: Mutex<lopper_engine::plan::Plan>,
    /// `(batch, height, width, channels)`.
    #[pyo3(get)]
    input_shape: (usize, usize, usize, usize),
    output: Vec<usize>,
}

impl Plan {
    /// Plans `graph` for `batch` images on a device.
    pub fn new(graph: &Graph, batch: usize, device: &Device) -> Result<Self> {
        if !(1..=MOST_IMAGES).contains(&batch) {
            return Err(Error::invalid(format!("batch: expected 1 to {MOST_IMAGES} images, found {batch}")));
        }
        let [h, w, c] = graph.info.input;
        let plan = lopper_engine::plan::Plan::new(graph, [batch, h, w, c], device)?;
        let output = plan.output_shape().to_vec();
        Ok(Self { plan: Mutex::new(plan), input_shape: (batch, h, w, c), output })
    }
}

#[pymethods]
impl Plan {
    /// Runs the network on images, float32 in C order, and returns its outputs, a new array. The images are read where they
    /// are, without a copy, unless their layout is "NCHW". Other threads of Python go on meanwhile, and must not change them.
    #[pyo3(signature = (images, layout="NHWC"))]
    fn run<'py>(
        &self,
        py: Python<'py>,
        images: &Bound<'py, PyAny>,
        layout: &str,
    ) -> PyResult<Bound<'py, PyArrayDyn<f32>>> {
        let images = Images::borrow(images, layout)?;
        let view = images.view()?;
        let outputs = compute(py, || {
            let (n, h, w, c) = self.input_shape;
            let (expected, found) = ([n, h, w, c], view.shape());
            if expected != found {
                return Err(Error::invalid(format!(
                    "images: expected the shape {expected:?}, [N, H, W, C], found {found:?}"
                )));
            }
            let numbers = view.channels_last()?;
            let broken = |_: PoisonError<_>| {
                Error::invalid("an earlier run of this plan ended in a bug: make a new plan")
            };
            let mut plan = self.plan.lock().map_err(broken)?;
            Ok(plan.run(&numbers)?.to_vec())
        })?;
        PyArray1::from_vec(py, outputs).reshape(self.output.clone())
    }

    /// The shape of the outputs, `(batch, classes)` for a classifier.
    #[getter]
    fn output_shape<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, pyo3::types::PyTuple>> {
        pyo3::types::PyTuple::new(py, &self.output)
    }

    fn __repr__(&self) -> String {
        format!("Plan({:?} -> {:?})", self.input_shape, self.output)
    }
}
