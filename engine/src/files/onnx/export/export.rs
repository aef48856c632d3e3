//! Writes a graph as an ONNX file.
//!
//! Images are `[N, C, H, W]` in ONNX and `[N, H, W, C]` here: weights of convolutions are permuted, and so are the
//! columns of linear layers that read flattened images, which ONNX flattens channel by channel. Nodes keep their names,
//! and each value has the name of its node. Weights that one file cannot hold are written to another beside it.

use super::constant::Constant;
use super::external::External;
use super::model::Model;
use super::options::OnnxOptions;
use crate::graph::layer::CompactConv2d;
use crate::{Error, Graph, Layer, Result, atomic, memory};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exported {
    /// Number of ONNX's nodes.
    pub nodes: usize,
    /// Number of subnormal weights, which were written as zeros.
    pub flushed: usize,
}

/// The longest message of Protocol Buffers, in bytes.
const MAX_BYTES: usize = i32::MAX as usize;

/// Writes `graph` to `path` as an ONNX file, atomically, and its weights to a file beside it if that is needed or asked
/// for: see [`Writer::data`]. The same graph gives the same bytes. Masked weights are written as zeros.
///
/// # Errors
/// Those of [`Writer::new`] and [`Writer::write`].
pub fn export(graph: &Graph, path: impl AsRef<Path>, options: &OnnxOptions) -> Result<Exported> {
    Writer::new(graph, path, options)?.write()
}

/// A graph that is ready to be written as ONNX: it is known which files that takes.
pub struct Writer {
    path: PathBuf,
    model: Model,
    /// The file of weights, and their places in it.
    external: Option<(PathBuf, External)>,
}

impl Writer {
    /// Prepares `graph` to be written to `path`.
    ///
    /// # Errors
    /// [`Error::File`] if the graph does not run on the images that its `info` specifies, if its images cannot be bytes,
    /// if the file would be longer than 2 GiB without its weights, or if these need a file of their own and the name is
    /// not UTF-8; [`Error::Memory`] if a copy of the largest weight does not fit; [`Error::Invalid`] for wrong options.
    pub fn new(graph: &Graph, path: impl AsRef<Path>, options: &OnnxOptions) -> Result<Self> {
        Self::within(MAX_BYTES, graph, path.as_ref(), options)
    }

    /// [`Writer::new`] of a file of at most `most` bytes.
    pub(super) fn within(most: usize, graph: &Graph, path: &Path, options: &OnnxOptions) -> Result<Self> {
        options.check()?;
        memory::require("the weights to write", held(graph))?;
        let refused = |e: Error| Error::file(path, format!("not written: {e}"));
        let model = Model::of(graph, options).map_err(refused)?;
        if !options.external_data && model.message(None).len() <= most {
            return Ok(Self { path: path.to_path_buf(), model, external: None });
        }
        let data = data_of(path);
        let location = data
            .file_name()
            .and_then(OsStr::to_str)
            .ok_or_else(|| refused(Error::invalid("the name of a file with external data must be UTF-8")))?;
        let external = External::of(&model.constants, location);
        let found = model.message(external.as_ref()).len();
        if found > most {
            let message =
                format!("an ONNX file has at most {most} bytes, this one has {found} without its weights");
            return Err(refused(Error::invalid(message)));
        }
        let external = external.map(|external| (data, external));
        Ok(Self { path: path.to_path_buf(), model, external })
    }

    /// The file beside the ONNX file that gets the weights, `x.onnx.data` for `x.onnx`: if they do not fit into one file
    /// of 2 GiB, or if [`OnnxOptions::external_data`] asks for it and there are weights of 1 KiB or more.
    pub fn data(&self) -> Option<&Path> {
        self.external.as_ref().map(|(path, _)| path.as_path())
    }

    /// Writes the files, each atomically, such that there never is an ONNX file beside weights of another one.
    ///
    /// # Errors
    /// [`Error::File`] if a file cannot be written, or if another command is writing both.
    pub fn write(self) -> Result<Exported> {
        let Self { path, model, external } = &self;
        let message = model.message(external.as_ref().map(|(_, external)| external));
        match external {
            None => atomic::write(path, |file| message.write(file))?,
            Some((data, external)) => atomic::write_pair(
                [data, path],
                |file| external.write(&model.constants, file),
                |file| message.write(file),
            )?,
        }
        let flushed = model.constants.iter().map(Constant::subnormal).sum();
        Ok(Exported { nodes: model.nodes.len(), flushed })
    }
}

/// The file of weights of the ONNX file `path`.
pub(super) fn data_of(path: &Path) -> PathBuf {
    let mut name = OsString::from(path.file_name().unwrap_or_default());
    name.push(".data");
    path.with_file_name(name)
}

/// The bytes that are held while `graph` is written: compact convolutions with all their channels, and two copies of the
/// largest weight, while it gets ONNX's layout.
fn held(graph: &Graph) -> u64 {
    let whole = |conv: &CompactConv2d| {
        let [kh, kw] = conv.conv.kernel();
        memory::bytes_of::<f32>([conv.fill.len(), kh, kw, conv.in_width])
    };
    let (mut compact, mut largest) = (0u64, 0u64);
    for node in graph.nodes() {
        if let Layer::CompactConv2d(conv) = &node.layer {
            compact = compact.saturating_add(whole(conv));
            largest = largest.max(whole(conv));
        }
    }
    for (_, param) in graph.params() {
        largest = largest.max(memory::bytes_of::<f32>([param.value().len()]));
    }
    compact.saturating_add(largest.saturating_mul(2))
}
