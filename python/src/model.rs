//! Networks of Python.

use crate::arrays::{Images, labels};
use crate::certificate::Certificate;
use crate::data::Labeled;
use crate::errors::compute;
use crate::evaluation::Evaluation;
use crate::options::options;
use crate::plan::Plan;
use crate::summary::summary;
use lopper::certify::{Difference, certify, synthetic_images};
use lopper::kernels::cuda::cache;
use lopper::machine::MachineClock;
use lopper::models::published;
use lopper_compress::criteria::Evidence;
use lopper_compress::fold::FoldConfig;
use lopper_compress::prune::PruneStage;
use lopper_compress::techniques::{Applied, Clock};
use lopper_compress::{CompactConfig, FactorizeConfig, SparsifyConfig, Technique};
use lopper_engine::onnx::{Batch, CompactForm, Images as OnnxImages, OnnxOptions};
use lopper_engine::torchvision::{WeightsFormat, export_published};
use lopper_engine::{Device, Graph, file, onnx, python};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::path::PathBuf;
use std::sync::Arc;

/// The largest number of images on which the function is compared before and after a technique.
const COMPARED_IMAGES: usize = 64;

/// Images of a batch when a criterion looks at images.
const EVIDENCE_BATCH: usize = 32;

/// Labeled images, as a caller gives them.
type Pair<'py> = (Bound<'py, PyAny>, Bound<'py, PyAny>);

/// A network. It never changes: each technique returns another one.
#[pyclass(frozen, module = "lopper")]
pub struct Model {
    graph: Graph,
    /// What the technique that made the network did, layer by layer, or "".
    #[pyo3(get)]
    report: String,
}

impl Model {
    pub fn new(graph: Graph, report: String) -> Self {
        Self { graph, report }
    }

    /// The network that `technique` makes, with its certificate. It may look at labeled images, and promise the latency of a
    /// plan on this many threads.
    fn rewritten(
        &self,
        py: Python<'_>,
        technique: impl Technique,
        data: Option<Pair<'_>>,
        threads: Option<usize>,
    ) -> PyResult<Self> {
        let data = data.map(|(images, classes)| {
            let images = Images::borrow(&images, "NHWC")?;
            let classes = labels(&classes, images.view()?.shape()[0])?;
            Ok::<_, PyErr>((images, classes))
        });
        let data = data.transpose()?;
        let data = data.as_ref().map(|(images, classes)| Ok::<_, PyErr>((images.view()?, classes)));
        let data = data.transpose()?;
        compute(py, || {
            technique.check()?;
            let device = Device::open("cpu", threads)?;
            let technique = timed(technique, &device);
            let evidence = match (technique.demand(&self.graph)?, data) {
                (Some(demand), Some((images, classes))) => {
                    let mut data = Labeled::new(&self.graph, images, classes, EVIDENCE_BATCH)?;
                    let (criterion, sites) = (&demand.criterion, &demand.sites);
                    Some(Evidence::measure(criterion, &self.graph, sites, &mut data, usize::MAX, &device)?)
                }
                _ => None,
            };
            let Applied { rewrite, spectra, .. } = technique.apply(&self.graph, evidence.as_ref())?;
            let images = match data {
                Some((images, _)) => images.tensor(0..images.shape()[0].min(COMPARED_IMAGES)),
                None => synthetic_images(&self.graph, &device),
            };
            let networks = [&self.graph, &rewrite.graph];
            let measured = images.and_then(|images| Difference::measure(networks, images, &device));
            let certificate = certify(&*technique, networks, &spectra, measured)?;
            let mut graph = rewrite.graph;
            graph.info.certificates.push(certificate);
            Ok(Self::new(graph, rewrite.report.to_string()))
        })
    }
}

/// `technique`, with the clock of this machine if its options ask for a latency.
fn timed(technique: impl Technique, device: &Device) -> Arc<dyn Technique> {
    let clock = MachineClock::new(device, Some(cache::folder()), |text| eprintln!("lopper: {text}"));
    let clock: Arc<dyn Clock> = Arc::new(clock);
    match technique.timed(&clock) {
        Some(timed) => timed,
        None => Arc::new(technique),
    }
}

#[pymethods]
impl Model {
    /// Removes channels. The options are those of a recipe's `prune`: criterion and fraction, width, widths or target, and
    /// more. Without a criterion, channels that sparsification left dead go. `data` are images and labels for criteria that
    /// look at some. A latency that is a target is that of a plan on `threads` threads.
    #[pyo3(signature = (*, data=None, threads=None, **given))]
    fn prune(
        &self,
        py: Python<'_>,
        data: Option<Pair<'_>>,
        threads: Option<usize>,
        given: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        let stage = PruneStage { prune: Some(options("prune", given)?), ..PruneStage::default() };
        self.rewritten(py, stage, data, threads)
    }

    /// Sets weights to zero and keeps them there, at once. The options are those of a recipe's `sparsify`: sparsity,
    /// granularity, criterion, context and more. `data` are images and labels for criteria that look at some. A latency that
    /// is a target is that of a plan on `threads` threads.
    #[pyo3(signature = (*, data=None, threads=None, **given))]
    fn sparsify(
        &self,
        py: Python<'_>,
        data: Option<Pair<'_>>,
        threads: Option<usize>,
        given: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        self.rewritten(py, options::<SparsifyConfig>("sparsify", given)?, data, threads)
    }

    /// Splits layers into factors of low rank. The options are those of a recipe's `factorize`: one of fraction, energy,
    /// error, vbmf and target_macs, conv and more. `data` are images and labels for metrics that look at some. A latency that
    /// is a target is that of a plan on `threads` threads.
    #[pyo3(signature = (*, data=None, threads=None, **given))]
    fn factorize(
        &self,
        py: Python<'_>,
        data: Option<Pair<'_>>,
        threads: Option<usize>,
        given: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        self.rewritten(py, options::<FactorizeConfig>("factorize", given)?, data, threads)
    }

    /// Merges batch norms into the layers beside them, which keeps the function.
    fn fold(&self, py: Python<'_>) -> PyResult<Self> {
        self.rewritten(py, FoldConfig {}, None, None)
    }

    /// Leaves out the channels that masks kill inside of convolutions. The options are those of a recipe's `compact`.
    #[pyo3(signature = (**given))]
    fn compact(&self, py: Python<'_>, given: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
        self.rewritten(py, options::<CompactConfig>("compact", given)?, None, None)
    }

    /// Classifies labeled images with a plan, at most `batch` at a time.
    #[pyo3(signature = (images, labels, *, batch=32, threads=None, layout="NHWC"))]
    fn evaluate(
        &self,
        py: Python<'_>,
        images: &Bound<'_, PyAny>,
        labels: &Bound<'_, PyAny>,
        batch: usize,
        threads: Option<usize>,
        layout: &str,
    ) -> PyResult<Evaluation> {
        let images = Images::borrow(images, layout)?;
        let view = images.view()?;
        let labels = crate::arrays::labels(labels, view.shape()[0])?;
        compute(py, || Evaluation::of(&self.graph, view, &labels, batch, &Device::open("cpu", threads)?))
    }

    /// Prepares the network to run on `batch` images, on `threads` threads (one per core unless given) or on a GPU.
    #[pyo3(signature = (batch=1, threads=None, *, device="cpu"))]
    fn plan(&self, py: Python<'_>, batch: usize, threads: Option<usize>, device: &str) -> PyResult<Plan> {
        compute(py, || Plan::new(&self.graph, batch, &Device::open(device, threads)?))
    }

    /// A table of the layers.
    fn summary(&self, py: Python<'_>) -> PyResult<String> {
        compute(py, || summary(&self.graph))
    }

    /// Writes a model file of lopper.
    fn save(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        compute(py, || file::save(&self.graph, &path))
    }

    /// Writes an ONNX file: `batch` is a fixed number of images, `bytes` lets it read bytes and normalize them itself,
    /// `dense` writes compact convolutions with all their channels, and `external_data` writes weights to a file beside
    /// it, NAME.onnx.data, even if they fit into its 2 GiB.
    #[pyo3(signature = (path, *, opset=17, batch=None, bytes=false, dense=false, external_data=false))]
    fn export_onnx(
        slf: &Bound<'_, Self>,
        path: PathBuf,
        opset: u32,
        batch: Option<usize>,
        bytes: bool,
        dense: bool,
        external_data: bool,
    ) -> PyResult<()> {
        let options = OnnxOptions {
            opset,
            batch: batch.map_or(Batch::Any, Batch::Fixed),
            compact: if dense { CompactForm::Dense } else { CompactForm::Gather },
            images: if bytes { OnnxImages::Bytes } else { OnnxImages::Normalized },
            external_data,
        };
        let graph = &slf.get().graph;
        compute(slf.py(), || onnx::export(graph, &path, &options).map(drop))
    }

    /// Writes a module of PyTorch, a file of Python, and its weights beside it.
    fn export_torch(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        compute(py, || python::export(&self.graph, &path).map(drop))
    }

    /// Writes the weights as `torch.save` writes a state dict, under the names of the program that publishes the architecture.
    fn export_state_dict(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        let names = |ours: &str| published(&self.graph.info.arch, ours);
        compute(py, || export_published(&self.graph, &path, &names, WeightsFormat::StateDict).map(drop))
    }

    /// The network as a module of PyTorch, which reads images [N, C, H, W].
    fn to_torch<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        slf.py().import("lopper._torch")?.call_method1("to_torch", (slf,))
    }

    /// The architecture, such as "resnet18", or "".
    #[getter]
    fn arch(&self) -> &str {
        &self.graph.info.arch
    }

    /// What each technique that made the network claims about its function, and what was measured, in order.
    #[getter]
    fn certificates(&self) -> Vec<Certificate> {
        self.graph.info.certificates.iter().map(Certificate::from).collect()
    }

    /// The size of an image, `(height, width, channels)`.
    #[getter]
    fn input_shape(&self) -> (usize, usize, usize) {
        self.graph.info.input.into()
    }

    /// The names of the classes.
    #[getter]
    fn classes(&self) -> Vec<String> {
        self.graph.info.classes.clone()
    }

    /// For each channel, what is subtracted from pixels in [0, 1].
    #[getter]
    fn mean(&self) -> Vec<f32> {
        self.graph.info.mean.clone()
    }

    /// For each channel, what the difference is divided by.
    #[getter]
    fn std(&self) -> Vec<f32> {
        self.graph.info.std.clone()
    }

    /// In words, how an image becomes one of the network's size, if the network says it.
    #[getter]
    fn preparation(&self) -> Option<String> {
        self.graph.info.preparation.map(|preparation| preparation.to_string())
    }

    /// Number of weights.
    #[getter]
    fn parameters(&self) -> u64 {
        self.graph.param_count()
    }

    /// Multiply-accumulates for an image.
    #[getter]
    fn macs(&self, py: Python<'_>) -> PyResult<u64> {
        compute(py, || Ok(self.graph.costs(self.graph.info.input)?.iter().map(|cost| cost.macs).sum()))
    }

    fn __repr__(&self) -> String {
        let (arch, [h, w, c]) = (&self.graph.info.arch, self.graph.info.input);
        let name = if arch.is_empty() { "network" } else { arch };
        format!("<lopper.Model {name}, {h}x{w}x{c}, {} parameters>", self.graph.param_count())
    }
}
