//! Certificates of Python.

use lopper_engine::certificate::{self, Claim};
use pyo3::prelude::*;

/// What a technique claims about the function of the network that it made, and what was measured.
#[pyclass(frozen, module = "lopper")]
pub struct Certificate(certificate::Certificate);

impl From<&certificate::Certificate> for Certificate {
    fn from(certificate: &certificate::Certificate) -> Self {
        Self(certificate.clone())
    }
}

#[pymethods]
impl Certificate {
    /// The technique; "train" for a training.
    #[getter]
    fn technique(&self) -> &str {
        &self.0.technique
    }

    /// What is claimed: "exact", "approximate" or "trained".
    #[getter]
    fn claim(&self) -> &'static str {
        match self.0.claim {
            Claim::Exact { .. } => "exact",
            Claim::Approximate { .. } => "approximate",
            Claim::Trained { .. } => "trained",
        }
    }

    /// Of an exact technique, the largest change of a logit that rounding explains.
    #[getter]
    fn bound(&self) -> Option<f32> {
        if let Claim::Exact { bound } = self.0.claim { Some(bound) } else { None }
    }

    /// Of an approximate technique, the quantity that predicts the change, and its value.
    #[getter]
    fn predicted(&self) -> Option<(&str, f64)> {
        if let Claim::Approximate { what, predicted } = &self.0.claim {
            Some((what.as_str(), *predicted))
        } else {
            None
        }
    }

    /// Of a training, its passes over the images.
    #[getter]
    fn epochs(&self) -> Option<usize> {
        if let Claim::Trained { epochs } = self.0.claim { Some(epochs) } else { None }
    }

    /// The largest change of a logit that was measured, if any was.
    #[getter]
    fn logit_difference(&self) -> Option<f32> {
        self.0.logit_difference
    }

    /// Images on which it was measured.
    #[getter]
    fn images(&self) -> usize {
        self.0.images
    }

    /// Whether what was measured is what was claimed, if that can be said.
    #[getter]
    fn holds(&self) -> Option<bool> {
        self.0.holds()
    }

    fn __str__(&self) -> String {
        self.0.to_string()
    }

    fn __repr__(&self) -> String {
        format!("<lopper.Certificate {}>", self.0)
    }
}
