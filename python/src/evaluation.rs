//! How well a network classifies.

use crate::arrays::View;
use crate::data::Labeled;
use lopper_engine::plan::Plan;
use lopper_engine::train::metrics::score;
use lopper_engine::{Device, Graph, Result};
use pyo3::prelude::*;

/// The result of an evaluation.
#[pyclass(frozen, get_all, module = "lopper")]
pub struct Evaluation {
    /// The share of images whose class has the largest logit.
    pub top1: f64,
    /// The share of images whose class has one of the five largest logits.
    pub top5: f64,
    /// Mean cross entropy.
    pub loss: f64,
    /// Number of images.
    pub images: usize,
}

impl Evaluation {
    /// Evaluates a plan of `graph` on `images` with these `labels`, at most `batch` at a time.
    pub fn of(graph: &Graph, images: View, labels: &[u32], batch: usize, device: &Device) -> Result<Self> {
        let mut data = Labeled::new(graph, images, labels, batch)?;
        let [h, w, c] = graph.info.input;
        let mut plan = Plan::new(graph, [data.batch(), h, w, c], device)?;
        let scores = score(&mut plan, &mut data, device)?;
        let [top1, top5] = [1, 5].map(|k| scores.top(k).top1());
        Ok(Self { top1, top5, loss: scores.loss(), images: labels.len() })
    }
}

#[pymethods]
impl Evaluation {
    fn __repr__(&self) -> String {
        let Self { top1, top5, loss, images } = self;
        format!("Evaluation(top1={top1:.4}, top5={top5:.4}, loss={loss:.4}, images={images})")
    }
}
