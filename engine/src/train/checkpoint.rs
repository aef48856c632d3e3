//! Training checkpoints: the state of a training between two steps, as a file.
//!
//! All randomness in a training is derived from seed, epoch and index, so a checkpoint holds only the network with its
//! masks and running statistics, the optimizer's step counts and moments, the loss scale, the state of the callbacks
//! and of the image source, and the position. A training resumed from it ends with the same bits as an uninterrupted
//! one.
//!
//! The file is a safetensors file, like a model file. The metadata in its header has one entry, `lopper-checkpoint`.
//! The network's tensors are stored under `network/`, the moments of parameter `P` under `optimizer/P/0` and `/1`, the
//! number lists of callback `i` under `callback/i/`, those of the image source under `images/`, and those of an objective
//! with parameters of its own under `objective/`. The formats differ only in the graph, as those of model files do.

use super::loss_scale::LossScale;
use super::optimizer::ParamState;
use super::{EpochMetrics, LossParts, State};
use crate::files::file::{aligned, take_tensors, tensors_of, version};
use crate::files::legacy::Graph1;
use crate::files::tensor_file::{self, TensorFile, Values};
use crate::{Error, Graph, Result};
use safetensors::Dtype;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

const KEY: &str = "lopper-checkpoint";
/// Raised with the format of model files, so that an older program says that it cannot read the file instead of calling
/// its graph damaged.
const VERSION: u32 = 8;
const NETWORK: &str = "network/";

/// The position in a training, with the running totals of the current epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Position {
    /// The epoch, from 0.
    pub epoch: usize,
    /// The next batch, from 0; the number of batches if only validation is left.
    pub batch: usize,
    /// Σ loss · images over the steps of the epoch so far.
    pub loss: f64,
    /// Images processed in the epoch so far.
    pub images: usize,
    /// The learning rate of the last step.
    pub learning_rate: f64,
    /// Duration of the epoch's steps so far, in seconds.
    pub seconds: f64,
    /// Whether a callback has ended the training: no step follows.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stopped: bool,
    /// Σ parts of the loss · images over the steps of the epoch so far, if they are logged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parts: Option<LossParts>,
}

/// A training between two steps.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// The network.
    pub graph: Graph,
    /// The position in the training.
    pub position: Position,
    /// The metrics of the completed epochs.
    pub history: Vec<EpochMetrics>,
    /// A label chosen by the caller, which identifies the training.
    pub label: Value,
    pub(super) optimizer: Vec<(String, ParamState)>,
    pub(super) scale: LossScale,
    pub(super) callbacks: Vec<State>,
    pub(super) images: State,
    pub(super) objective: State,
}

/// The part of the metadata entry that all format versions share.
#[derive(Deserialize)]
struct Preamble {
    version: u32,
}

/// The metadata entry. `G` is `Graph` for reading and `&Graph` for writing.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header<G> {
    version: u32,
    graph: G,
    position: Position,
    history: Vec<EpochMetrics>,
    label: Value,
    scale: LossScale,
    /// For each parameter, its step count and number of moments.
    optimizer: BTreeMap<String, (u32, usize)>,
    callbacks: Vec<Remembered>,
    images: Remembered,
    /// Absent if the objective remembers nothing, as in files of programs in which none does.
    #[serde(default, skip_serializing_if = "Remembered::is_empty")]
    objective: Remembered,
}

impl Header<Graph1> {
    /// The header with its graph as the current format spells it; nothing else differs.
    fn current(self) -> Header<Graph> {
        let Self { version, graph, position, history, label, scale, optimizer, callbacks, images, objective } =
            self;
        let graph = graph.into();
        Header { version, graph, position, history, label, scale, optimizer, callbacks, images, objective }
    }
}

/// A [`State`] with the names of its arrays in place of their contents.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Remembered {
    value: Value,
    arrays: Vec<String>,
}

impl Remembered {
    fn of(state: &State) -> Self {
        Self { value: state.value.clone(), arrays: state.arrays.keys().cloned().collect() }
    }

    fn is_empty(&self) -> bool {
        self.value.is_null() && self.arrays.is_empty()
    }

    fn take(self, file: &mut TensorFile, prefix: &str) -> Result<State> {
        let mut arrays = BTreeMap::new();
        for name in self.arrays {
            let path = format!("{prefix}{name}");
            arrays.insert(name, file.take_f64(&path)?.ok_or_else(|| missing(&path))?);
        }
        Ok(State { value: self.value, arrays })
    }
}

impl Checkpoint {
    /// Writes the checkpoint to `path` atomically. Its tensors must be on the host; see [`Graph::fetch`].
    ///
    /// # Errors
    /// [`Error::File`] if `path` cannot be written.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        tensor_file::write(path, (KEY, self.header(path)?), &aligned(self.tensors()))
    }

    /// The size in bytes of the file that [`Checkpoint::write`] would write.
    pub fn size(&self) -> Result<u64> {
        let path = Path::new("checkpoint");
        tensor_file::size(path, (KEY, self.header(path)?), &aligned(self.tensors()))
    }

    /// Reads the checkpoint in `path`.
    ///
    /// # Errors
    /// [`Error::File`], with the reason, if the file is truncated or not a checkpoint, if a tensor is missing, unknown
    /// or of the wrong shape or type, or if the network would not load as a model.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        Self::take(&mut TensorFile::read(path)?).map_err(|e| e.in_file(path))
    }

    fn header(&self, path: &Path) -> Result<String> {
        let header = Header {
            version: version(&self.graph),
            graph: &self.graph,
            position: self.position,
            history: self.history.clone(),
            label: self.label.clone(),
            scale: self.scale,
            optimizer: self.optimizer.iter().map(|(p, s)| (p.clone(), (s.steps, s.moments.len()))).collect(),
            callbacks: self.callbacks.iter().map(Remembered::of).collect(),
            images: Remembered::of(&self.images),
            objective: Remembered::of(&self.objective),
        };
        serde_json::to_string(&header).map_err(|e| Error::file(path, e))
    }

    fn tensors(&self) -> Vec<(String, Values<'_>)> {
        let mut tensors = tensors_of(&self.graph, NETWORK);
        for (path, state) in &self.optimizer {
            let moments = state.moments.iter().enumerate();
            tensors.extend(moments.map(|(i, m)| (moment(path, i), Values::F32(Cow::Borrowed(m)))));
        }
        let callbacks = self.callbacks.iter().enumerate().map(|(i, state)| (callback(i), state));
        let others = [(IMAGES.to_string(), &self.images), (OBJECTIVE.to_string(), &self.objective)];
        for (prefix, state) in callbacks.chain(others) {
            let arrays = state.arrays.iter();
            tensors.extend(arrays.map(|(name, list)| (format!("{prefix}{name}"), Values::F64(list))));
        }
        tensors
    }

    fn take(file: &mut TensorFile) -> Result<Self> {
        let damaged = |e| Error::invalid(format!("the header's `{KEY}` entry is damaged: {e}"));
        let text = file.metadata(KEY).ok_or_else(|| Error::invalid("not a checkpoint of lopper"))?;
        let Preamble { version } = serde_json::from_str(text).map_err(damaged)?;
        let header: Header<Graph> = match version {
            1 => serde_json::from_str::<Header<Graph1>>(text).map(Header::current).map_err(damaged)?,
            2..=VERSION => serde_json::from_str(text).map_err(damaged)?,
            _ => {
                return Err(Error::invalid(format!(
                    "checkpoint format {version}: this version of lopper reads formats 1 to {VERSION}"
                )));
            }
        };
        let mut graph = header.graph;
        take_tensors(&mut graph, file, NETWORK)?;
        let mut optimizer = Vec::new();
        for (path, (steps, count)) in header.optimizer {
            let shape = graph.param(&path)?.value().shape().to_vec();
            let take = |i| {
                let name = moment(&path, i);
                let tensor = file.take(&name, &[Dtype::F32])?.ok_or_else(|| missing(&name))?;
                match tensor.shape() == shape {
                    true => Ok(tensor),
                    false => Err(Error::invalid(format!(
                        "tensor `{name}`: expected the shape {shape:?}, found {:?}",
                        tensor.shape()
                    ))),
                }
            };
            let moments = (0..count.min(MAX_MOMENTS)).map(take).collect::<Result<_>>()?;
            optimizer.push((path, ParamState { steps, moments }));
        }
        let callbacks = header.callbacks.into_iter().enumerate();
        let callbacks = callbacks.map(|(i, state)| state.take(file, &callback(i))).collect::<Result<_>>()?;
        let images = header.images.take(file, IMAGES)?;
        let objective = header.objective.take(file, OBJECTIVE)?;
        if let Some(name) = file.left().next() {
            return Err(Error::invalid(format!("tensor `{name}` belongs to nothing")));
        }
        let checkpoint = Self {
            graph,
            position: header.position,
            history: header.history,
            label: header.label,
            optimizer,
            scale: header.scale,
            callbacks,
            images,
            objective,
        };
        checkpoint.check()?;
        Ok(checkpoint)
    }

    /// Checks that a training can reach this position.
    fn check(&self) -> Result<()> {
        let Position { epoch, loss, seconds, learning_rate, .. } = self.position;
        let LossParts { task, distillation } = self.position.parts.unwrap_or_default();
        let finite = [loss, seconds, learning_rate, task, distillation].iter().all(|v| v.is_finite());
        match finite && seconds >= 0.0 && self.history.len() == epoch && self.scale.is_valid() {
            true => Ok(()),
            false => Err(Error::invalid(format!(
                "invalid position in the training: {:?} after {} epochs, {:?}",
                self.position,
                self.history.len(),
                self.scale
            ))),
        }
    }
}

/// An upper bound on the moments that an optimizer keeps for each parameter. A larger count is damaged, and is reported
/// as a missing tensor.
const MAX_MOMENTS: usize = 16;
const IMAGES: &str = "images/";
const OBJECTIVE: &str = "objective/";

fn moment(path: &str, i: usize) -> String {
    format!("optimizer/{path}/{i}")
}

fn callback(i: usize) -> String {
    format!("callback/{i}/")
}

fn missing(name: &str) -> Error {
    Error::invalid(format!("tensor `{name}` is missing"))
}
